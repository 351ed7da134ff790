//! Interprets the messages of an external scaler (`pkg/scalers/external_scaler.go`). Each number has two fields, an
//! older integer and a float; the float is used if it is above 0.

/// `MetricValue`. Its name is ignored: every value of an answer counts, and the HPA sums them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricValue {
    /// `metricValue`.
    pub whole: i64,
    /// `metricValueFloat`.
    pub float: f64,
}

/// Returns a metric value in thousandths: never negative, and 0 if it is not finite.
#[must_use]
pub fn value_milli(value: MetricValue) -> i64 {
    milli(if value.float > 0.0 { value.float } else { value.whole as f64 })
}

/// Returns `MetricSpec`'s target in thousandths, from `targetSize` and `targetSizeFloat`. The API server rejects 0.
#[must_use]
pub fn target_milli(whole: i64, float: f64) -> i64 {
    milli(if float > 0.0 { float } else { whole as f64 })
}

/// Rounds to three decimals, at least 0; NaN and infinities become 0.
pub(super) fn milli(x: f64) -> i64 {
    if x.is_finite() { ((x * 1000.0).round() as i64).max(0) } else { 0 }
}
