//! What the server was asked: counts, and the last request lines. So that a test can say "no call in steady state".

use std::collections::{BTreeMap, VecDeque};

use crate::request::Asked;

const LINES: usize = 1000;

#[derive(Clone, Debug, Default)]
pub struct Records {
    /// By verb and resource (`pods`, `statefulsets/scale`); paths of no resource are not counted.
    pub counts: BTreeMap<(String, String), u64>,
    /// How often it was answered with each code.
    pub codes: BTreeMap<u16, u64>,
    /// By verb: requests whose client had gone before the answer was ready, done or not.
    pub given_up: BTreeMap<String, u64>,
    /// The last thousand, oldest first.
    pub lines: VecDeque<Line>,
}

/// One request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the epoch, when it was answered.
    pub at: u64,
    /// `PATCH /apis/apps/v1/namespaces/games/statefulsets/gamecube`
    pub line: String,
    /// Of the answer's head: a watch that fails later began with 200.
    pub code: u16,
}

impl Records {
    #[must_use]
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        self.counts.get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, at: u64, asked: Option<&Asked>, line: String, code: u16) {
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
