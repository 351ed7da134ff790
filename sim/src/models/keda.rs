//! KEDA: the operator that writes 0 and 1, and the metrics API behind the HPA (`pkg/scaling`, v2.20). `operator` keeps one
//! ScaledObject's state and connects the rest: what a poll decides, when fallback begins, what a trigger's answer means.
//! Not here: scalingModifiers, ScaledJobs, StreamMetricSpec, other scalers than prometheus and external.

mod bounds;
mod decide;
mod external;
mod fallback;
mod operator;
mod pause;
mod prometheus;
mod query;
mod stream;

pub use bounds::{DEFAULT_MAX, hpa_behavior, hpa_bounds, reconcile_backoff};
pub use decide::{Active, Decision, Moment, Ready, decide};
pub use external::{MetricValue, target_milli, value_milli};
pub use fallback::{Evaluation, Fallback, FallbackBehavior, Replicas, evaluate};
pub use operator::{Keda, Trigger};
pub use pause::Annotations;
pub use prometheus::{PrometheusTrigger, Series, TriggerError};
pub use query::{Answer, Failure, Heard, Query, Reading};
pub use stream::{End, Stream};

/// One ScaledObject, without its triggers. Milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledObject {
    /// `minReplicaCount`.
    pub min: u32,
    /// `maxReplicaCount`; `None`: 100.
    pub max: Option<u32>,
    /// `idleReplicaCount`.
    pub idle: Option<u32>,
    /// `pollingInterval`.
    pub polling: u64,
    /// `cooldownPeriod`: from the last active poll or push to 0.
    pub cooldown: u64,
    /// `initialCooldownPeriod`: the same from the creation, while no trigger has ever been active.
    pub initial_cooldown: u64,
    pub fallback: Option<Fallback>,
    pub annotations: Annotations,
}

/// In which version, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// v2.19: a closed scaler cache is rebuilt by whoever meets it.
    V2_19,
    /// v2.20: whoever meets a closed cache learns nothing, and a poll takes that for "inactive, without error".
    V2_20,
    /// Of August 2026, on the way to 2.21: as 2.20, but an error leaves a cached value (useCachedMetrics) alone.
    Main,
}

impl Default for ScaledObject {
    fn default() -> ScaledObject {
        ScaledObject {
            min: 0,
            max: None,
            idle: None,
            polling: 30_000,
            cooldown: 300_000,
            initial_cooldown: 0,
            fallback: None,
            annotations: Annotations::default(),
        }
    }
}
