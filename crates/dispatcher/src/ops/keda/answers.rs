//! The answers to KEDA, from memory and at once: nothing here waits, because KEDA sets no deadline, and a slow failure is worse
//! for it than a fast one. If a number is not certain, the answer is an error, never 0.

use super::messages::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use crate::config::Trigger;
use crate::engine::view::View;
use crate::front::{Dispatcher, Pool};
use crate::io::{duration, now};
use crate::ops::gauges;
use slotkeeper_core::{Fleet, PoolId, Scaling, planted};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// The only metric: the desired number of pods.
pub const METRIC: &str = "slotkeeper-pods";
/// The pause between two warnings that KEDA gets no answer.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The minimum lag of the journal that is tolerated, however short `settle` is.
const LEAST_LAG: Duration = Duration::from_secs(2);

pub(super) struct Scaler {
    pub(super) dispatcher: Arc<Dispatcher>,
    /// The pools for which KEDA has called.
    met: Mutex<BTreeSet<PoolId>>,
    warned: Mutex<Option<Instant>>,
}

impl Scaler {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Scaler {
        Scaler { dispatcher, met: Mutex::default(), warned: Mutex::new(None) }
    }

    /// The pool that a trigger is for.
    pub(super) fn pool(&self, asks: &ScaledObjectRef) -> Result<&Arc<Pool>, Status> {
        let pools = &self.dispatcher.pools;
        let mut pushed = pools.iter().filter(|p| is_pushed(p));
        let known = || {
            let names: Vec<&str> = pools.iter().filter(|p| is_pushed(p)).map(|p| &*p.config.id.0).collect();
            if names.is_empty() { "no pool has scaling = \"keda-push\"".into() } else { names.join(", ") }
        };
        let Some(name) = asks.scaler_metadata.get("pool") else {
            return match (pushed.next(), pushed.next()) {
                (Some(only), None) => Ok(only),
                _ => {
                    let what = "the trigger's metadata names no pool; allowed for `pool`";
                    Err(Status::invalid_argument(format!("{what}: {}", known())))
                }
            };
        };
        let Some(pool) = pools.iter().find(|p| *p.config.id.0 == **name) else {
            return Err(Status::not_found(format!("there is no pool {}; allowed: {}", shown(name), known())));
        };
        if !is_pushed(pool) {
            let what = format!("pool {name} is not scaled by KEDA over gRPC; it needs scaling = \"keda-push\"");
            return Err(Status::failed_precondition(what));
        }
        if self.met.lock().unwrap_or_else(PoisonError::into_inner).insert(pool.config.id.clone()) {
            let (namespace, object) = (shown(&asks.namespace), shown(&asks.name));
            tracing::info!(pool = %pool.config.id, namespace, scaled_object = object, "first call of KEDA for this pool");
        }
        Ok(pool)
    }

    /// Constant, and returned even if no number is known: without it KEDA creates no HPA, and never uses its fallback.
    pub(super) fn spec() -> GetMetricSpecResponse {
        let spec = MetricSpec { metric_name: METRIC.into(), target_size: 1, target_size_float: 1.0 };
        GetMetricSpecResponse { metric_specs: vec![spec] }
    }

    pub(super) fn is_active(&self, pool: &Pool) -> Result<IsActiveResponse, Status> {
        let view = self.dispatcher.view.borrow();
        self.certain(&view, pool)?;
        Ok(IsActiveResponse { result: is_active(&view.fleet, &pool.config.id) })
    }

    /// Returns the number, and records in the journal that it is served. (`IsActive` is not recorded: no scale-down
    /// follows from it, and having sent it does not prove that KEDA has received it.)
    pub(super) fn metrics(&self, pool: &Pool, asks: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        if !asks.metric_name.is_empty() && asks.metric_name != METRIC {
            let what = format!("there is no metric {}; allowed: {METRIC}", shown(&asks.metric_name));
            return Err(Status::invalid_argument(what));
        }
        let view = self.dispatcher.view.borrow();
        self.certain(&view, pool)?;
        let replicas = view.fleet.desired(&pool.config.id).unwrap_or_default().len();
        self.dispatcher.serve(&view.fleet, pool);
        let metric_value = i64::from(replicas);
        let value = MetricValue { metric_name: METRIC.into(), metric_value, metric_value_float: f64::from(replicas) };
        Ok(GetMetricsResponse { metric_values: vec![value] })
    }

    fn certain(&self, view: &View, pool: &Pool) -> Result<(), Status> {
        planted!(ServeZero => Ok(()));
        self.doubt(view, pool).map_or(Ok(()), |why| {
            self.warn(pool, why);
            Err(Status::unavailable(why))
        })
    }

    /// Why no number may be returned now.
    pub(super) fn doubt(&self, view: &View, pool: &Pool) -> Option<&'static str> {
        let (dispatcher, id) = (&self.dispatcher, &pool.config.id);
        if *dispatcher.stopping.borrow() {
            return Some("this dispatcher is stopping");
        }
        if !dispatcher.has_read(view) {
            return Some("this dispatcher has not read its journal yet");
        }
        if is_late(view, pool) {
            return Some("the journal does not answer");
        }
        if pool.is_being_removed() {
            return Some("this pool is no longer configured");
        }
        if view.fleet.rules(id).is_none() {
            return Some("an operator has removed this pool");
        }
        if !view.fleet.is_listed(id) {
            return Some("the pods of this pool have not been listed yet");
        }
        // Before that, it is not known how many pods run already.
        (!gauges::knows(&view.fleet, id)).then_some("the size of this pool has not been read yet")
    }

    fn warn(&self, pool: &Pool, why: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.dispatcher.stopping.borrow() || warned.is_some_and(|at| now() < at + WARN_EVERY) {
            return;
        }
        *warned = Some(now());
        tracing::warn!(pool = %pool.config.id, "not answering KEDA: {why}");
    }

    /// On a shared journal, writes ticks often enough to prove that this replica reads it. Runs until the process ends.
    pub(super) async fn keep_current(&self) {
        // Read again each time: a rollout may change `settle`.
        let limit = || {
            let view = self.dispatcher.view.borrow();
            let pools = self.dispatcher.pools.iter().filter(|p| is_pushed(p));
            pools.map(|p| longest_lag(&view.fleet, p)).min()
        };
        loop {
            let Some(limit) = limit() else {
                // One may be added.
                tokio::time::sleep(LEAST_LAG).await;
                continue;
            };
            tokio::time::sleep(limit / 4).await;
            if self.dispatcher.view.borrow().lag().is_some_and(|lag| lag > limit / 2) {
                self.dispatcher.driver.post(&"".into(), slotkeeper_core::Command::Tick);
            }
        }
    }
}

/// Whether this replica's state may be outdated.
fn is_late(view: &View, pool: &Pool) -> bool {
    planted!(AnswersWhenLate => false);
    view.is_stale() || view.is_cut_off() || view.lag().is_some_and(|lag| lag > longest_lag(&view.fleet, pool))
}

fn is_pushed(pool: &Pool) -> bool {
    matches!(pool.config.rules.scaling, Scaling::Keda { .. }) && pool.config.trigger == Trigger::Push
}

/// The maximum age of a number when it is served. KEDA must not act on a number for longer than `settle`: half of that is
/// for the age of the number, the other half for KEDA to act on it.
fn longest_lag(fleet: &Fleet, pool: &Pool) -> Duration {
    let Scaling::Keda { settle } = pool.rules(fleet).scaling else { return LEAST_LAG };
    (duration(settle) / 2).max(LEAST_LAG)
}

/// True if there is any session, or pods are desired: when this is false, KEDA scales to 0 from any number. It depends on
/// `desired`, not `needed`: pods retire in the step that lowers `desired`, and no session may be on a pod that KEDA removes.
pub(super) fn is_active(fleet: &Fleet, pool: &PoolId) -> bool {
    planted!(InactiveWhileWanted => fleet.census(pool).is_some_and(|c| c.is_active()));
    fleet.desired(pool).is_some_and(|d| !d.is_empty()) || fleet.census(pool).is_some_and(|c| c.is_active())
}

/// Foreign text, quoted and cut to 63 characters.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(63).collect::<String>())
}
