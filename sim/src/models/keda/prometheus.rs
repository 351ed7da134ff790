//! The prometheus trigger: what an answer means (`pkg/scalers/prometheus_scaler.go`).

use super::external::milli;
use super::query::Reading;

/// The trigger's metadata, as far as it decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrometheusTrigger {
    /// Default true: no result, or none that is a number, is 0.
    pub ignore_null_values: bool,
    /// Active above it, strictly.
    pub activation_threshold: f64,
}

/// Why an answer is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerError {
    /// No answer, or an HTTP status other than 2xx.
    NoAnswer,
    /// More than one series.
    SeveralSeries,
    /// An empty result, with `ignoreNullValues: "false"`.
    Empty,
    /// NaN or infinite, with `ignoreNullValues: "false"`.
    NotANumber,
}

impl PrometheusTrigger {
    /// The value of an answer: one number per series, or none at all.
    ///
    /// # Errors
    /// What KEDA counts as a failure of the trigger.
    pub fn value(&self, answer: Option<&[f64]>) -> Result<f64, TriggerError> {
        match answer {
            None => Err(TriggerError::NoAnswer),
            Some([]) if self.ignore_null_values => Ok(0.0),
            Some([]) => Err(TriggerError::Empty),
            Some([value]) if value.is_finite() => Ok(*value),
            Some([_]) if self.ignore_null_values => Ok(0.0),
            Some([_]) => Err(TriggerError::NotANumber),
            Some([_, _, ..]) => Err(TriggerError::SeveralSeries),
        }
    }

    #[must_use]
    pub fn is_active(&self, value: f64) -> bool {
        value > self.activation_threshold
    }

    /// The answer as the operator takes it.
    ///
    /// # Errors
    /// As `value`.
    pub fn read(&self, answer: Option<&[f64]>) -> Result<Reading, TriggerError> {
        let value = self.value(answer)?;
        Ok(Reading { active: self.is_active(value), milli: vec![milli(value)] })
    }
}

impl Default for PrometheusTrigger {
    fn default() -> PrometheusTrigger {
        PrometheusTrigger { ignore_null_values: true, activation_threshold: 0.0 }
    }
}
