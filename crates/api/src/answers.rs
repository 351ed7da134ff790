//! The answer to a request that failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every answer with a status of 400 or above, except `/readyz`, which answers in plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What is wrong, where, and what is allowed. For people: programs should go by the status.
    pub error: String,
}
