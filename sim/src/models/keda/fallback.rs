//! What stands in for a metric that fails (`pkg/fallback/fallback.go`). The counter belongs to one metric, and both the poll
//! and every request of the HPA turn it.

use crate::models::hpa::Target;

/// `spec.fallback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Fallback holds when *more* failures than this came in a row.
    pub threshold: u32,
    pub replicas: u32,
    pub behavior: FallbackBehavior,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FallbackBehavior {
    /// `replicas`.
    #[default]
    Static,
    /// What it is now.
    CurrentReplicas,
    /// The higher one: never shrinks.
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
    /// The counter after it.
    pub failures: u32,
    /// The synthetic metric in thousandths, if fallback holds.
    pub synthetic: Option<i64>,
    /// Somebody has to be told: the scaler failed, and nothing stands in for it.
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
    /// A metric that makes the HPA want so many pods. `None`: a Value target and no pod is ready.
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
