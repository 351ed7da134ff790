//! Logs failed requests that a pod caused once a minute for each pod and step: a page whose pod is dead sends several
//! requests a second. All failures are counted (`slotkeeper_request_faults_total`).

use crate::error::{Fault, RequestError, Step};
use crate::outside::now;
use slotkeeper_core::Ordinal;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For this long after a logged failure, failures of the same kind are only counted.
const QUIET: Duration = Duration::from_secs(60);
/// The maximum number of kinds. Beyond it the oldest are forgotten, and logged again.
const MOST: usize = 1024;

/// The failures of one pool that were logged lately.
#[derive(Default)]
pub struct Repeats(Mutex<BTreeMap<(Option<Ordinal>, Step), Logged>>);

struct Logged {
    at: Instant,
    /// The number of failures since then.
    repeated: u64,
}

impl Repeats {
    /// Logs the failure, unless the same was logged lately.
    pub fn log(&self, pool: &str, pod: Option<Ordinal>, error: &RequestError) {
        if error.fault != Fault::Pod {
            error.log(pool, pod, 0);
        } else if let Some(repeated) = self.is_due((pod, error.step)) {
            error.log(pool, pod, repeated);
        }
    }

    /// Whether to log it, and how many have not been logged since the last one that was.
    fn is_due(&self, kind: (Option<Ordinal>, Step)) -> Option<u64> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(logged) = known.get_mut(&kind).filter(|logged| now() < logged.at + QUIET) {
            logged.repeated += 1;
            return None;
        }
        if known.len() >= MOST {
            known.retain(|_, logged| now() < logged.at + QUIET);
        }
        if known.len() >= MOST {
            let oldest = known.iter().min_by_key(|(_, logged)| logged.at).map(|(kind, _)| *kind);
            oldest.and_then(|oldest| known.remove(&oldest));
        }
        let before = known.insert(kind, Logged { at: now(), repeated: 0 });
        Some(before.map_or(0, |logged| logged.repeated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_failure_is_logged_once_a_minute_with_its_count() {
        let (repeats, dead) = (Repeats::default(), (Some(Ordinal(0)), Step::Dial));
        assert_eq!(repeats.is_due(dead), Some(0));
        for _ in 0..400 {
            assert_eq!(repeats.is_due(dead), None);
        }
        assert_eq!(repeats.is_due((Some(Ordinal(1)), Step::Dial)), Some(0), "another pod is another kind");
        assert_eq!(repeats.is_due((Some(Ordinal(0)), Step::Send)), Some(0), "and so is another step");
        tokio::time::advance(QUIET).await;
        assert_eq!(repeats.is_due(dead), Some(400));
        assert_eq!(repeats.is_due(dead), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_remembered_failures_is_bounded() {
        let repeats = Repeats::default();
        for pod in 0..(MOST as u32 * 2) {
            assert_eq!(repeats.is_due((Some(Ordinal(pod)), Step::Dial)), Some(0));
        }
        assert_eq!(repeats.0.lock().unwrap().len(), MOST);
    }
}
