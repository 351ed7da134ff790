//! Compares a computed value with the expected one: only expected fields count, lists must have the same length and
//! order, numbers are compared by value (2 equals 2.0).

use serde_json::Value;

pub(super) fn holds(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            expected.iter().all(|(key, value)| got.get(key).is_some_and(|g| holds(value, g)))
        }
        (Value::Array(expected), Value::Array(got)) => {
            expected.len() == got.len() && expected.iter().zip(got).all(|(e, g)| holds(e, g))
        }
        (Value::Number(expected), Value::Number(got)) => {
            expected == got || expected.as_f64().is_some_and(|e| got.as_f64() == Some(e))
        }
        _ => expected == got,
    }
}
