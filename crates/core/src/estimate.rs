//! How long a visitor will probably wait, learned from measured cold starts and releases. Where there is not enough
//! data the answer is "unknown", never an invented number.

use crate::time::{Millis, Time};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Samples remembered of each kind.
const MEMORY: usize = 16;
/// Releases needed before their rate is meaningful.
const ENOUGH: usize = 4;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Estimate {
    cold_starts: VecDeque<Millis>,
    typical: Millis,
    longest: Millis,
    releases: VecDeque<Time>,
}

impl Estimate {
    pub(crate) fn cold_start(&mut self, took: Millis) {
        remember(&mut self.cold_starts, took);
        let mut sorted: Vec<Millis> = self.cold_starts.iter().copied().collect();
        sorted.sort_unstable();
        self.typical = sorted[sorted.len() / 2];
        self.longest = sorted[sorted.len() - 1];
    }

    pub(crate) fn release(&mut self, at: Time) {
        remember(&mut self.releases, at);
    }

    /// The rest of a start that has run for `elapsed`: by the median, then by the longest of the samples, then `None`.
    pub(crate) fn until_started(&self, elapsed: Millis) -> Option<Millis> {
        planted!(EstimateNotCountedDown => [self.typical, self.longest].into_iter().find(|t| *t > elapsed));
        [self.typical, self.longest].into_iter().find(|t| *t > elapsed).map(|t| Millis(t.0 - elapsed.0))
    }

    /// How long until `count` more slots are released, at the rate of the last releases.
    pub(crate) fn until_released(&self, now: Time, count: u64) -> Option<Millis> {
        let first = *self.releases.front()?;
        let seen = self.releases.len() as u64;
        self.is_enough().then(|| Millis(now.since(first).0.saturating_mul(count) / seen))
    }

    /// Whether there are enough releases for a rate.
    fn is_enough(&self) -> bool {
        planted!(EstimateFromOneRelease => true);
        self.releases.len() >= ENOUGH
    }
}

fn remember<T>(samples: &mut VecDeque<T>, sample: T) {
    if samples.len() == MEMORY {
        samples.pop_front();
    }
    samples.push_back(sample);
}
