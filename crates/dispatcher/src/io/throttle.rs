//! Limits a repeated log line to one a minute, which contains the number of occurrences it stands for.

use crate::io::now;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Default)]
struct State {
    logged: Option<Instant>,
    since: u64,
}

impl Throttle {
    #[must_use]
    pub(crate) const fn new() -> Throttle {
        Throttle(Mutex::new(State { logged: None, since: 0 }))
    }

    /// Counts an occurrence. If it is time to log, returns the number of occurrences since the last log line.
    pub(crate) fn note(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.since += 1;
        let now = now();
        if state.logged.is_some_and(|at| now.duration_since(at) < EVERY) {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_contains_the_number_it_stands_for() {
        let throttle = Throttle::new();
        assert_eq!(throttle.note(), Some(1));
        for _ in 0..59 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(throttle.note(), None);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(throttle.note(), Some(60));
        assert_eq!(throttle.note(), None);
    }
}
