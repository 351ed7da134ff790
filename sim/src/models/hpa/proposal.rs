//! Computes a proposal from a metric, and the tolerance of the ratio (`replica_calculator.go`:
//! GetExternalPerPodMetricReplicas, GetExternalMetricReplicas). In IEEE doubles, as there.

/// One external metric at one sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub target: Target,
    pub answer: Answer,
}

/// All values the API returned, in thousandths; `Err`: it returned an error. An empty list is an error too.
pub type Answer = Result<Vec<i64>, NoAnswer>;

/// The metrics API failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// The target of one metric, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Per pod of `status.replicas`, ready or not.
    AverageValue(i64),
    /// The total; scales the number of *ready* pods.
    Value(i64),
}

/// How much the ratio of usage and target may deviate, per direction. Both bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
    /// See [`Controller::old_comparison`](super::Controller).
    pub old_comparison: bool,
}

impl Tolerance {
    /// NaN (0 of 0 pods) is outside the tolerance.
    fn holds(self, ratio: f64) -> bool {
        if self.old_comparison {
            let tolerance = if ratio < 1.0 { self.down } else { self.up };
            return (1.0 - ratio).abs() <= tolerance;
        }
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// Returns the replicas that one metric proposes; negative if the metric is. `None`: a Value target without any
/// matching pod is an error. `spec`, `status` and `ready` are the target's replicas from the scale subresource and
/// the pods.
#[must_use]
pub fn proposal(target: Target, values: &[i64], scale: super::Scale, tolerance: Tolerance) -> Option<i64> {
    let usage = total(values) as f64;
    match target {
        Target::AverageValue(target) => {
            let status = f64::from(scale.status);
            let ratio = usage / (target as f64 * status);
            Some(if tolerance.holds(ratio) { i64::from(scale.status) } else { ceil(usage / target as f64) })
        }
        Target::Value(target) => {
            let ratio = usage / target as f64;
            if scale.spec == 0 {
                Some(ceil(ratio))
            } else if tolerance.holds(ratio) {
                Some(i64::from(scale.spec))
            } else if scale.status == 0 {
                None
            } else {
                Some(ceil(ratio * f64::from(scale.ready)))
            }
        }
    }
}

/// Returns the current average that the HPA reports, in thousandths.
#[must_use]
pub fn reported(values: &[i64], status: u32) -> Option<i64> {
    (status > 0).then(|| ceil(total(values) as f64 / f64::from(status)))
}

/// Saturating sum.
fn total(values: &[i64]) -> i64 {
    values.iter().fold(0, |sum: i64, value| sum.saturating_add(*value))
}

/// Replica counts are 32 bits wide.
fn ceil(x: f64) -> i64 {
    (x.ceil() as i64).min(i64::from(i32::MAX))
}
