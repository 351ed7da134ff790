//! The HPA that KEDA creates for a ScaledObject (`controllers/keda/hpa.go`).

use super::ScaledObject;
use crate::models::hpa::{Behavior, Select};

/// Default of `maxReplicaCount`.
pub const DEFAULT_MAX: u32 = 100;

/// Returns `minReplicas` and `maxReplicas` of the HPA: only KEDA itself scales to 0.
#[must_use]
pub fn hpa_bounds(object: &ScaledObject) -> (u32, u32) {
    (object.min.max(1), object.max.unwrap_or(DEFAULT_MAX))
}

/// Returns the HPA's behavior: as given, with paused directions disabled. That adds a behavior where there was none,
/// and so changes the rate limits for scaling up.
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

/// Returns how long the operator waits before it reconciles a ScaledObject again after this many consecutive
/// failures. If a scaler's GetMetricSpec fails at first (or after a restart of the operator), there is no HPA and no
/// scale loop until then (controller-runtime's rate limiter; general knowledge).
#[must_use]
pub fn reconcile_backoff(failures: u32) -> u64 {
    5_u64.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX)).min(1_000_000)
}
