//! The prometheus trigger: interprets an answer (`pkg/scalers/prometheus_scaler.go`).

use super::external::milli;
use super::query::Reading;

/// The trigger's metadata that affects decisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrometheusTrigger {
    /// Default true: no result, or a non-finite one, counts as 0.
    pub ignore_null_values: bool,
    /// Active above this value, strictly.
    pub activation_threshold: f64,
}

/// The `value` list of one series of an answer, as the scaler reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Series {
    /// A string that is a number, including NaN and the infinities; elements after the second are ignored.
    Number(f64),
    /// No list, or an empty one.
    NoValue,
    /// One element only: a time without a value.
    TimeOnly,
    /// The value is null: the scaler keeps the -1 that it starts with.
    Null,
    /// The value is a string that is not a number.
    NoNumber,
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
    /// A time without a value, or a string that is not a number: an error regardless of `ignoreNullValues`.
    Unreadable,
}

impl PrometheusTrigger {
    /// Returns the value of an answer: one number per series, or none.
    ///
    /// # Errors
    /// If KEDA counts the answer as a failure of the trigger.
    pub fn value(&self, answer: Option<&[f64]>) -> Result<f64, TriggerError> {
        let series: Option<Vec<Series>> = answer.map(|values| values.iter().copied().map(Series::Number).collect());
        self.value_of_series(series.as_deref())
    }

    /// Returns the value of an answer whose series may have `value` lists of any length.
    ///
    /// # Errors
    /// As `value`.
    pub fn value_of_series(&self, answer: Option<&[Series]>) -> Result<f64, TriggerError> {
        let null = |error| if self.ignore_null_values { Ok(0.0) } else { Err(error) };
        match answer {
            None => Err(TriggerError::NoAnswer),
            Some([]) => null(TriggerError::Empty),
            Some([_, _, ..]) => Err(TriggerError::SeveralSeries),
            Some([one]) => match *one {
                Series::Number(value) if value.is_finite() => Ok(value),
                Series::Number(_) => null(TriggerError::NotANumber),
                Series::NoValue => null(TriggerError::Empty),
                Series::Null => Ok(-1.0),
                Series::TimeOnly | Series::NoNumber => Err(TriggerError::Unreadable),
            },
        }
    }

    #[must_use]
    pub fn is_active(&self, value: f64) -> bool {
        value > self.activation_threshold
    }

    /// Returns the answer as the operator reads it.
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
