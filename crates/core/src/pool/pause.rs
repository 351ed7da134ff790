//! The consequences of a pause of KEDA's scale-in: pods that a lower number could have removed are used again at once, and the
//! pause must last until no such number can take effect any more (docs/lapse.md).

use super::{Pool, Step};
use crate::ids::{Ordinal, Timeline};
use crate::rules::Scaling;
use crate::time::{Millis, Time};

/// How long an observation of the pause is valid. Dispatchers keep the pause for three times as long after the last session.
const PAUSE_LASTS: Millis = Millis::secs(10);

impl Pool {
    pub(super) fn scale_in_paused(&mut self, at: Time, timeline: Timeline, step: &mut Step<'_>) {
        let is_keda = matches!(self.rules.scaling, Scaling::Keda { .. });
        if !step.pauses || step.quiet || timeline != step.timeline || !is_keda || !self.is_paused_since(at, step) {
            return;
        }
        let certain = |pool: &Pool, ordinal: Ordinal, _: u64, since: Time, _: Time| {
            since <= at && pool.scale.is_covered(ordinal.0)
        };
        if let Some((last, since)) = self.confirm(certain, step) {
            self.scale.rely_on_pause(last.0.saturating_add(1), since);
        }
    }

    /// Reports whether the pause that was observed at this time is still in force.
    fn is_paused_since(&self, at: Time, step: &Step<'_>) -> bool {
        planted!(PauseForEver => true);
        let is_active = self.queue.len() > 0 || self.index.busy_slots > 0;
        is_active && step.stalled < at && at <= step.now && step.now.since(at) <= PAUSE_LASTS
    }

    /// Reports whether a pod that is not terminating waits until it is certain that KEDA does not remove it.
    pub(crate) fn awaits_pause(&self) -> bool {
        let is_keda = matches!(self.rules.scaling, Scaling::Keda { .. });
        let stays = |o: &Ordinal| self.pods.get(o).is_some_and(|pod| !pod.is_terminating());
        is_keda && self.index.returning.iter().any(stays)
    }

    /// Reports whether pods are in use that KEDA may still remove because of a number it was served before.
    pub(crate) fn needs_pause(&self, now: Time) -> bool {
        planted!(PauseForgotten => false);
        self.scale.needs_pause(&self.rules, now)
    }
}
