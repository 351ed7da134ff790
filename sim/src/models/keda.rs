//! KEDA: the operator that scales between 0 and 1, and the metrics API behind the HPA (`pkg/scaling`, v2.20).
//! `operator` has the state of one ScaledObject and combines the other modules: the decision of a poll, the start of
//! fallback, the interpretation of a trigger's answer. Not modelled: scalingModifiers, ScaledJobs, StreamMetricSpec,
//! scalers other than prometheus and external.

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

/// One ScaledObject, without its triggers. Times are milliseconds.
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
    /// `cooldownPeriod`: from the last active poll or push until scaling to 0.
    pub cooldown: u64,
    /// `initialCooldownPeriod`: replaces `cooldown`, counted from the creation, while no trigger has ever been
    /// active.
    pub initial_cooldown: u64,
    pub fallback: Option<Fallback>,
    pub annotations: Annotations,
}

/// The KEDA version, as far as its behaviour differs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// v2.19: a closed scaler cache is rebuilt by the first query that finds it closed.
    V2_19,
    /// v2.20: a query that finds a closed cache gets no result, and a poll treats that as "inactive, without error".
    V2_20,
    /// As of August 2026, before 2.21: as 2.20, but an error does not clear cached values (useCachedMetrics).
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
