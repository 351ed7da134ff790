//! The HPA that KEDA makes of a ScaledObject (`controllers/keda/hpa.go`).

use super::ScaledObject;
use crate::models::hpa::{Behavior, Select};

/// `maxReplicaCount`, if it is left out.
pub const DEFAULT_MAX: u32 = 100;

/// `minReplicas` and `maxReplicas` of the HPA: it never goes to 0, KEDA does.
#[must_use]
pub fn hpa_bounds(object: &ScaledObject) -> (u32, u32) {
    (object.min.max(1), object.max.unwrap_or(DEFAULT_MAX))
}

/// Its behavior: as given, with the directions that are paused disabled. That makes a behavior where there was none,
/// and so changes the rate limits upwards.
#[must_use]
pub fn hpa_behavior(object: &ScaledObject, given: Option<&Behavior>) -> Option<Behavior> {
    let mut behavior = given.cloned();
    if object.annotations.paused_scale_in() {
        behavior.get_or_insert_default().scale_down.select = Select::Disabled;
    }
    if object.annotations.paused_scale_out() {
        behavior.get_or_insert_default().scale_up.select = Select::Disabled;
    }
    behavior
}

/// How long the operator waits before it reconciles a ScaledObject again, after so many failures in a row: when a scaler's
/// GetMetricSpec fails at first (or after a restart of the operator) there is no HPA and no scale loop until then
/// (controller-runtime's rate limiter; general knowledge).
#[must_use]
pub fn reconcile_backoff(failures: u32) -> u64 {
    5_u64.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX)).min(1_000_000)
}
