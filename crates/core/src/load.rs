//! The load of a pool's pods, as the replicas report it: messages over a window of fleet time, and a gauge that the pods
//! export. `scale.rs` derives a number of pods from it.

use crate::ids::ReplicaId;
use crate::rules::Targets;
use crate::time::{Millis, Time};
use alloc::collections::{BTreeMap, VecDeque};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Messages of the window, oldest first, with the moments at which they were reported.
    counts: VecDeque<(Time, u64)>,
    /// The sum of `counts`.
    messages: u64,
    /// The pods' gauge as each replica read it last. All replicas read the same pods: the highest value counts.
    gauges: BTreeMap<ReplicaId, (Time, u64)>,
}

/// Reports that are kept apart; beyond that, the two oldest are merged.
const MOST: usize = 1024;

impl Load {
    /// Adds a report. If it covers more time than the window (the replica could not write meanwhile), only its share counts.
    pub(crate) fn note(
        &mut self,
        from: ReplicaId,
        (messages, over): (u64, Millis),
        gauge: Option<u64>,
        targets: &Targets,
        now: Time,
    ) {
        let share = u128::from(messages) * u128::from(targets.window.0.min(over.0)) / u128::from(over.0.max(1));
        let share = if over <= targets.window { messages } else { share as u64 };
        if share > 0 {
            self.messages = self.messages.saturating_add(share);
            match self.counts.back_mut().filter(|(at, _)| *at == now) {
                Some((_, count)) => *count = count.saturating_add(share),
                None => self.counts.push_back((now, share)),
            }
            if self.counts.len() > MOST
                && let Some((_, first)) = self.counts.pop_front()
                && let Some((_, second)) = self.counts.front_mut()
            {
                *second = second.saturating_add(first);
            }
        }
        if let Some(gauge) = gauge {
            self.gauges.insert(from, (now, gauge));
        }
    }

    /// Forgets what is older than the window.
    pub(crate) fn forget(&mut self, window: Millis, now: Time) {
        while let Some((_, count)) = self.counts.pop_front_if(|(at, _)| *at + window <= now) {
            self.messages = self.messages.saturating_sub(count);
        }
        self.gauges.retain(|_, (at, _)| *at + window > now);
    }

    /// When time alone will change the load.
    pub(crate) fn deadline(&self, window: Millis) -> Option<Time> {
        let gauges = self.gauges.values().map(|(at, _)| *at);
        self.counts.front().map(|(at, _)| *at).into_iter().chain(gauges).min().map(|at| at + window)
    }

    /// Messages per second, in thousandths.
    pub(crate) fn rate(&self, window: Millis) -> u64 {
        u64::try_from(u128::from(self.messages) * 1_000_000 / u128::from(window.0.max(1))).unwrap_or(u64::MAX)
    }

    /// The sum of the pods' gauge, in thousandths; `None` if no replica has read it within the window.
    pub(crate) fn gauge(&self) -> Option<u64> {
        planted!(GaugeAddedUp => self.gauges.values().map(|(_, value)| *value).reduce(u64::saturating_add));
        self.gauges.values().map(|(_, value)| *value).max()
    }
}
