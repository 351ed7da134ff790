//! The scenarios.

use super::Scenario;

#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    Vec::new()
}
