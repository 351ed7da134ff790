//! What a configuration means, in words.

use super::Config;

/// Every effective value.
#[must_use]
pub fn describe(config: &Config) -> String {
    format!("{config:#?}")
}
