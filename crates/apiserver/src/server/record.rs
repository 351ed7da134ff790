//! A record of requests: counts, and the last request lines. It lets a test assert "no call in steady state".

use std::collections::{BTreeMap, VecDeque};

use crate::request::RequestLine;

const LINES: usize = 1000;

/// The requests of clients since the server began, or since the record was cleared.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// By verb and resource (`pods`, `statefulsets/scale`); paths outside of resources are not counted.
    pub counts: BTreeMap<(String, String), u64>,
    /// How many answers had each code.
    pub codes: BTreeMap<u16, u64>,
    /// By verb: requests whose client disconnected before the answer was ready, executed or not.
    pub given_up: BTreeMap<String, u64>,
    /// The last thousand, oldest first.
    pub lines: VecDeque<Line>,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was answered, in milliseconds since the epoch.
    pub at: u64,
    /// `PATCH /apis/apps/v1/namespaces/games/statefulsets/gamecube`
    pub line: String,
    /// The code of the answer's head: a watch that fails later has 200.
    pub code: u16,
}

impl Records {
    /// Returns how many requests there were with this verb on this resource (`statefulsets/scale`).
    #[must_use]
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        self.counts.get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, at: u64, asked: Option<&RequestLine>, line: String, code: u16) {
        if let Some(asked) = asked {
            *self.counts.entry((asked.verb.to_owned(), asked.resource())).or_default() += 1;
        }
        *self.codes.entry(code).or_default() += 1;
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at, line, code });
    }

    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.codes.clear();
        self.given_up.clear();
        self.lines.clear();
    }
}
