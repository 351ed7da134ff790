//! The fallback for a failing metric (`pkg/fallback/fallback.go`). The failure counter belongs to one metric; both
//! the poll and every request of the HPA update it.

use crate::models::hpa::Target;

/// `spec.fallback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Fallback applies when *more* than this many failures occurred in a row.
    pub threshold: u32,
    pub replicas: u32,
    pub behavior: FallbackBehavior,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FallbackBehavior {
    /// `replicas`.
    #[default]
    Static,
    /// The current number of replicas.
    CurrentReplicas,
    /// The higher of both: never scales down.
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
}

/// The target's pods: `spec.replicas`, and how many are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    pub current: u32,
    pub ready: u32,
}

/// One evaluation of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The failure counter afterwards.
    pub failures: u32,
    /// The synthetic metric in thousandths, if fallback applies.
    pub synthetic: Option<i64>,
    /// The scaler failed and no fallback applies: the error must be reported.
    pub error: bool,
}

#[must_use]
pub fn evaluate(fallback: Option<&Fallback>, failures: u32, failed: bool, target: Target, now: Replicas) -> Evaluation {
    if !failed {
        return Evaluation { failures: 0, synthetic: None, error: false };
    }
    let failures = failures.saturating_add(1);
    let synthetic = fallback.filter(|f| failures > f.threshold).and_then(|f| f.metric(target, now));
    Evaluation { failures, synthetic, error: synthetic.is_none() }
}

impl Fallback {
    /// Returns a metric that makes the HPA want this number of pods. `None`: a Value target and no ready pod.
    fn metric(&self, target: Target, now: Replicas) -> Option<i64> {
        let wanted = f64::from(match self.behavior {
            FallbackBehavior::Static => self.replicas,
            FallbackBehavior::CurrentReplicas => now.current,
            FallbackBehavior::CurrentReplicasIfHigher => now.current.max(self.replicas),
            FallbackBehavior::CurrentReplicasIfLower => now.current.min(self.replicas),
        });
        match target {
            Target::AverageValue(milli) => Some((milli as f64 * wanted).round() as i64),
            Target::Value(_) if now.ready == 0 => None,
            Target::Value(milli) => Some((milli as f64 * (wanted / f64::from(now.ready))).round() as i64),
        }
    }
}
