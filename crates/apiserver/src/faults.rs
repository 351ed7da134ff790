//! What can go wrong with an API server, switched on and off while it runs. Breaking things now (watches,
//! connections) is an act of the Server, not a switch.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Everything off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Each answer (of a watch: its head) comes this much later; what it asks for is done at once.
    pub delay_answers: Duration,
    /// Each watch event comes this much after the one before it.
    pub delay_events: Duration,
    /// Each watch line is written in pieces of this many bytes, a millisecond apart.
    pub split_lines: Option<usize>,
    /// Each watch event is told twice.
    pub duplicate_events: bool,
    /// Requests are taken and nothing is answered, watches fall silent; switched off, it all goes on.
    pub hang: bool,
    /// Connections are closed as soon as they are made. Those already made stay: `Server::cut_connections`.
    pub away: bool,
    /// As many of the next connections are closed as soon as they are made.
    pub drop_connections: u32,
    /// Answers instead of the real ones: each is used up by the first request it is meant for.
    pub refusals: VecDeque<Refusal>,
    /// Answers instead of the real ones to every request that they are meant for, as long as they are here.
    pub standing: Vec<Refusal>,
    /// What a request changes is done this much later, even if its client has given up by then.
    pub late_writes: Duration,
    /// Uids whose DELETED no watch is told, ever: only a list shows that they are gone.
    pub swallowed: BTreeSet<String>,
}

/// One answer of a server in trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// 429, 500, 503 or 504.
    pub code: u16,
    pub retry_after_seconds: Option<u64>,
    /// Only for requests with this verb; none: any.
    pub verb: Option<String>,
    /// Only for this resource, with its subresource (`statefulsets/scale`); none: any.
    pub resource: Option<String>,
    /// What was asked for is done all the same, as when the answer is lost on its way.
    pub done: bool,
}

impl Refusal {
    #[must_use]
    pub fn new(code: u16) -> Refusal {
        Refusal { code, ..Refusal::default() }
    }

    #[must_use]
    pub fn of(mut self, verb: &str, resource: &str) -> Refusal {
        self.verb = Some(verb.to_owned());
        self.resource = Some(resource.to_owned());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Refusal {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The request is carried out, only its answer is this one.
    #[must_use]
    pub fn but_done(mut self) -> Refusal {
        self.done = true;
        self
    }
}

impl Faults {
    /// The same refusal for the next `times` requests that it is meant for.
    pub fn refuse(&mut self, times: usize, refusal: &Refusal) {
        self.refusals.extend(std::iter::repeat_n(refusal.clone(), times));
    }

    pub(crate) fn take_refusal(&mut self, verb: &str, resource: &str) -> Option<Refusal> {
        let meant = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let fits = |r: &Refusal| meant(&r.verb, verb) && meant(&r.resource, resource);
        match self.refusals.iter().position(fits) {
            Some(at) => self.refusals.remove(at),
            None => self.standing.iter().find(|r| fits(r)).cloned(),
        }
    }
}
