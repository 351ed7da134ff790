//! An overloaded API server: it rejects requests with 429 (API priority and fairness), answers late, or executes
//! writes late. Both delays exceed the clients' time-outs: a write is executed although its client has given up.

use slotkeeper_apiserver::{Refusal, Server};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum delay of an answer, in milliseconds: the dispatchers wait 2 s for one.
const SLOW: u64 = 3_000;
/// Maximum delay of a write, in milliseconds: as long as a client may wait between two attempts, or longer than a
/// lapse (at least 5 s), so that a write ordered by entries that are lost can arrive after it.
pub const LATE: [u64; 2] = [4_000, 15_000];

/// Which requests are rejected.
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

/// The overload that the current faults have enabled.
#[derive(Clone, Debug, Default)]
pub struct Overload {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    refused: Option<Refused>,
    slow: bool,
    /// Maximum delay of a write, in milliseconds.
    late: u64,
}

impl Overload {
    pub fn refuse(&self, refused: Option<Refused>) {
        self.locked().refused = refused;
    }

    pub fn slow_down(&self, slow: bool) {
        self.locked().slow = slow;
    }

    /// `most`: maximum delay of a write, in milliseconds; 0 for none.
    pub fn delay_writes(&self, most: u64) {
        self.locked().late = most;
    }

    /// Ends the overload.
    pub fn end(&self) {
        *self.locked() = State::default();
    }

    /// Applies the state to the server; called repeatedly. Some requests still pass: a queue of the server
    /// occasionally has room.
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
