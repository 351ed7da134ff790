//! What the messages of an external scaler mean (`pkg/scalers/external_scaler.go`). Numbers travel in two fields, the older
//! one an integer; the float wins if it is above 0.

/// `MetricValue`. Its name is ignored: every value of an answer counts, and the HPA sums them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricValue {
    /// `metricValue`.
    pub whole: i64,
    /// `metricValueFloat`.
    pub float: f64,
}

/// A metric value in thousandths: never negative, 0 for what is no number.
#[must_use]
pub fn value_milli(value: MetricValue) -> i64 {
    milli(if value.float > 0.0 { value.float } else { value.whole as f64 })
}

/// `MetricSpec`'s target in thousandths, from `targetSize` and `targetSizeFloat`. 0 is refused by the API server.
#[must_use]
pub fn target_milli(whole: i64, float: f64) -> i64 {
    milli(if float > 0.0 { float } else { whole as f64 })
}

/// Three decimals, at least 0; NaN and infinities are 0.
pub(super) fn milli(x: f64) -> i64 {
    if x.is_finite() { ((x * 1000.0).round() as i64).max(0) } else { 0 }
}
