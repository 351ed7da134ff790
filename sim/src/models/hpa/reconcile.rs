//! One complete sync (`horizontal.go`: reconcileAutoscaler). The write is returned and assumed to succeed: on a
//! conflict the controller writes the same number again, and overwrites any patch made meanwhile.

use super::Hpa;
use super::behavior::Behavior;
use super::limit::{Event, Limited, Recent, limit};
use super::proposal::{Metric, proposal};
use super::stabilize::{History, Recommendation, Windows};

/// The target at the start of a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`.
    pub spec: u32,
    /// `status.replicas`. For a StatefulSet it includes terminating pods.
    pub status: u32,
    /// Pods that are Running and Ready, terminating or not; used by Value targets only.
    pub ready: u32,
}

/// The result of one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The number written to `spec.replicas`.
    pub write: Option<u32>,
    pub able_to_scale: AbleToScale,
    /// `None`: metrics were not evaluated.
    pub scaling_active: Option<ScalingActive>,
    pub scaling_limited: Option<Limited>,
    /// The sync returned an error, possibly after scaling.
    pub error: bool,
}

/// Reasons of the condition AbleToScale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbleToScale {
    FailedGetScale,
    SucceededGetScale,
    ReadyForNewScale,
    ScaleUpStabilized,
    ScaleDownStabilized,
    SucceededRescale,
}

/// Reasons of the condition ScalingActive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingActive {
    ValidMetricFound,
    FailedGetExternalMetric,
    ScalingDisabled,
}

impl Hpa {
    /// Runs one sync that ends at `now`: the next one starts a period later. `scale`: `None` if the API server does
    /// not answer. `metrics`: one per metric of the HPA, in any order.
    pub fn reconcile(&mut self, scale: Option<Scale>, metrics: &[Metric], now: u64) -> Sync {
        self.next_sync = now.saturating_add(self.controller.period);
        let Some(scale) = scale else { return Sync::idle(AbleToScale::FailedGetScale, None, true) };
        let first = Recommendation { at: now, replicas: scale.spec };
        self.history.get_or_insert_with(|| History(vec![first]));
        let mut sync = match self.short_cut(scale) {
            Some(sync) => sync,
            None => self.follow(scale, metrics, now),
        };
        sync.write = sync.write.filter(|to| *to != scale.spec);
        if let Some(to) = sync.write {
            sync.able_to_scale = AbleToScale::SucceededRescale;
            self.remember_write(scale.spec, to, now);
        }
        sync
    }

    /// Reports whether a sync reads the metrics at this scale; if not, a slow metrics API does not delay it.
    #[must_use]
    pub fn reads_metrics(&self, scale: Scale) -> bool {
        self.short_cut(scale).is_none()
    }

    /// Handles the cases that need no metric, no window and no rate limit.
    fn short_cut(&self, scale: Scale) -> Option<Sync> {
        let may_wake = self.controller.gates.scale_to_zero && self.scaled_to_zero;
        let to = |n| Some(Sync { write: Some(n), ..Sync::idle(AbleToScale::SucceededGetScale, None, false) });
        if scale.spec == 0 && !may_wake {
            Some(Sync::idle(AbleToScale::SucceededGetScale, Some(ScalingActive::ScalingDisabled), false))
        } else if scale.spec > self.spec.max {
            to(self.spec.max)
        } else if 0 < scale.spec && scale.spec < self.spec.min {
            to(self.spec.min)
        } else {
            None
        }
    }

    fn follow(&mut self, scale: Scale, metrics: &[Metric], now: u64) -> Sync {
        let tolerance = self.tolerance();
        let proposals = metrics.iter().map(|metric| match &metric.answer {
            Ok(values) if !values.is_empty() => proposal(metric.target, values, scale, tolerance),
            Ok(_) | Err(_) => None,
        });
        let mut failed = 0;
        let mut highest = None;
        for proposed in proposals {
            match proposed {
                // The running maximum starts at 0.
                Some(n) => highest = highest.max(Some(u32::try_from(n.max(0)).unwrap_or(u32::MAX))),
                None => failed += 1,
            }
        }
        let error = failed > 0;
        let Some(proposed) = highest.filter(|n| !error || *n >= scale.spec) else {
            let why = Some(ScalingActive::FailedGetExternalMetric);
            return Sync::idle(AbleToScale::SucceededGetScale, why, true);
        };
        let windows = self.windows();
        let history = self.history.get_or_insert_default();
        let stabilized = history.stabilize(scale.spec, proposed, windows, now);
        let bounds = (self.spec.min, self.spec.max);
        let recent = Recent { ups: &self.ups, downs: &self.downs, now };
        let (result, limited) = limit(self.spec.behavior.as_ref(), scale.spec, stabilized, bounds, recent);
        Sync {
            write: Some(result),
            able_to_scale: self.stabilized(scale.spec, proposed, stabilized),
            scaling_active: Some(ScalingActive::ValidMetricFound),
            scaling_limited: Some(limited),
            error,
        }
    }

    fn windows(&self) -> Windows {
        let down = self.controller.downscale_window;
        match &self.spec.behavior {
            None => Windows::Plain { down },
            Some(Behavior { scale_up, scale_down }) => {
                Windows::Behavior { up: scale_up.window.unwrap_or(0), down: scale_down.window.unwrap_or(down) }
            }
        }
    }

    fn stabilized(&self, current: u32, proposed: u32, stabilized: u32) -> AbleToScale {
        if proposed == stabilized {
            AbleToScale::ReadyForNewScale
        } else if self.spec.behavior.is_some() && proposed >= current {
            AbleToScale::ScaleUpStabilized
        } else {
            AbleToScale::ScaleDownStabilized
        }
    }

    fn remember_write(&mut self, from: u32, to: u32, now: u64) {
        self.scaled_to_zero = to == 0 && self.controller.gates.scale_to_zero;
        let Some(behavior) = &self.spec.behavior else { return };
        let event = Event { at: now, change: from.abs_diff(to) };
        if to > from {
            self.ups.store(event, behavior.policies_up());
        } else {
            self.downs.store(event, behavior.policies_down());
        }
    }
}

impl Sync {
    fn idle(able_to_scale: AbleToScale, scaling_active: Option<ScalingActive>, error: bool) -> Sync {
        Sync { write: None, able_to_scale, scaling_active, scaling_limited: None, error }
    }
}
