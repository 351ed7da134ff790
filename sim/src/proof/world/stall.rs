//! A process that does not run for a while (`SIGSTOP`, a starved or migrated machine): its connections stay open,
//! without any traffic. The gate blocks every socket and every disk job. Turmoil ticks all hosts, so timers inside
//! the process still fire; the test `stopped` covers that with the real program.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Open, unless the process is stopped. Also records whether the process has descriptors left.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    closed: bool,
    exhausted: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the process, or lets it continue.
    pub fn close(&self, closed: bool) {
        let waiting = {
            let mut state = self.locked();
            state.closed = closed;
            if closed { Vec::new() } else { std::mem::take(&mut state.waiting) }
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The process runs out of descriptors, or has some again.
    pub fn exhaust(&self, exhausted: bool) {
        self.locked().exhausted = exhausted;
    }

    pub fn heal(&self) {
        self.close(false);
        self.exhaust(false);
    }

    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.locked().exhausted
    }

    pub fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.locked();
        if !state.closed {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the process runs.
    pub async fn open(&self) {
        poll_fn(|cx| self.poll_open(cx)).await;
    }
}
