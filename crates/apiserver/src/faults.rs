//! Faults of an API server that can be switched on and off while it runs. Methods of [`Server`](crate::Server) break
//! connections and watches at once.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Everything is off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Each answer (of a watch: its head) is sent this much later; the request itself is executed at once.
    pub delay_answers: Duration,
    /// Each watch event is sent this much after the previous one.
    pub delay_events: Duration,
    /// Each watch line is written in pieces of this many bytes, a millisecond apart.
    pub split_lines: Option<usize>,
    /// Each watch event is sent twice.
    pub duplicate_events: bool,
    /// Requests are accepted and never answered, and watches fall silent; when switched off, everything continues.
    pub hang: bool,
    /// New connections are closed at once. Existing ones stay: see `Server::cut_connections`.
    pub away: bool,
    /// This many of the next connections are closed at once.
    pub drop_connections: u32,
    /// Answers in place of the real ones: each is used once, for the first matching request.
    pub refusals: VecDeque<Refusal>,
    /// Answers in place of the real ones for every matching request, until they are removed.
    pub standing: Vec<Refusal>,
    /// Writes are executed this much later, even if their client has given up by then.
    pub late_writes: Duration,
    /// Uids whose DELETED is never sent to a watch: only a list shows that the objects were deleted.
    pub swallowed: BTreeSet<String>,
}

/// An error in place of the real answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// 429, 500, 503 or 504.
    pub code: u16,
    /// The field `Retry-After` of the answer, in seconds. `None`: without it.
    pub retry_after_seconds: Option<u64>,
    /// Only for requests with this verb; none: any.
    pub verb: Option<String>,
    /// Only for this resource, with its subresource (`statefulsets/scale`); none: any.
    pub resource: Option<String>,
    /// The request is executed anyway, as if only its answer was lost.
    pub done: bool,
}

impl Refusal {
    /// Returns a refusal of every request with this status code.
    #[must_use]
    pub fn new(code: u16) -> Refusal {
        Refusal { code, ..Refusal::default() }
    }

    /// Restricts it to requests with this verb on this resource.
    #[must_use]
    pub fn of(mut self, verb: &str, resource: &str) -> Refusal {
        self.verb = Some(verb.to_owned());
        self.resource = Some(resource.to_owned());
        self
    }

    /// Adds the field `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Refusal {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Executes the request anyway, and only replaces its answer.
    #[must_use]
    pub fn but_done(mut self) -> Refusal {
        self.done = true;
        self
    }
}

impl Faults {
    /// Refuses the next `times` matching requests.
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
