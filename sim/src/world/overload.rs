//! An API server that cannot keep up: it refuses requests with 429 (API priority and fairness), answers late, or carries out
//! writes late. Both kinds of lateness exceed what its clients wait: a write is done although its client has given up.

use slotkeeper_apiserver::{Refusal, Server};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest delay of an answer, in milliseconds: the dispatchers wait 2 s for one.
const SLOW: u64 = 3_000;
/// Longest delay of a write: as long as a client may wait between two tries, or longer than a lapse lasts (5 s at least), so that
/// an order of entries that are lost can come after it.
pub const LATE: [u64; 2] = [4_000, 15_000];

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Everything,
    Writes,
    Lists,
    Watches,
}

impl Refused {
    pub const ALL: [Refused; 4] = [Refused::Everything, Refused::Writes, Refused::Lists, Refused::Watches];

    fn verbs(self) -> &'static [Option<&'static str>] {
        match self {
            Refused::Everything => &[None],
            Refused::Writes => &[Some("patch"), Some("delete"), Some("update"), Some("create")],
            Refused::Lists => &[Some("list"), Some("get")],
            Refused::Watches => &[Some("watch")],
        }
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Refused::Everything => "everything",
            Refused::Writes => "writes",
            Refused::Lists => "lists",
            Refused::Watches => "watches",
        }
    }
}

/// What the faults of the day have switched on.
#[derive(Clone, Debug, Default)]
pub struct Overload {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    refused: Option<Refused>,
    slow: bool,
    /// Longest delay of a write, in milliseconds.
    late: u64,
}

impl Overload {
    pub fn refuse(&self, refused: Option<Refused>) {
        self.locked().refused = refused;
    }

    pub fn slow_down(&self, slow: bool) {
        self.locked().slow = slow;
    }

    /// `most`: longest delay of a write, in milliseconds; 0 for none.
    pub fn delay_writes(&self, most: u64) {
        self.locked().late = most;
    }

    /// Everything is well again.
    pub fn end(&self) {
        *self.locked() = State::default();
    }

    /// Applies the state to the server; called again and again. Some requests pass all the same: a queue of the server has
    /// room now and then.
    pub(super) fn apply(&self, server: &Server, draw: &mut dyn FnMut(u64) -> u64) {
        let state = *self.locked();
        let refuses = state.refused.filter(|_| draw(3) != 0);
        let after = 1 + draw(2);
        let slow = Duration::from_millis(if state.slow { draw(SLOW) } else { 0 });
        let late = Duration::from_millis(draw(state.late.max(1)));
        server.faults(|faults| {
            faults.standing.clear();
            for verb in refuses.into_iter().flat_map(Refused::verbs) {
                let verb = verb.map(str::to_owned);
                faults.standing.push(Refusal { verb, ..Refusal::new(429).retry_after(after) });
            }
            faults.delay_answers = slow;
            faults.late_writes = late;
        });
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
