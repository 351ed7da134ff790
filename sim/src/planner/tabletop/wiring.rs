//! An operator's configuration for scaling by KEDA: the ScaledObject, its trigger, and the HPA's behavior. Defines
//! the least-effort one, and the one that Slotkeeper needs; `scaler.rs` runs it.

use super::scaler::{METRIC, POOL};
use crate::chance::Chance;
use crate::models::hpa::{Behavior, Controller, Hpa, Policy, PolicyKind, Rules, Spec, Target};
use crate::models::keda::{Keda, PrometheusTrigger, Release, ScaledObject, Trigger, hpa_behavior, hpa_bounds};
use crate::models::prometheus::Expr;
use rand::Rng;

/// An operator's configuration for scaling.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub object: ScaledObject,
    /// `advanced.horizontalPodAutoscalerConfig.behavior`.
    pub behavior: Option<Behavior>,
    pub source: Source,
    /// KEDA's time-out for a query (`timeout`, 3 s).
    pub timeout: u64,
    /// The metric's `threshold` (or `targetSize`) per pod.
    pub per_pod: u32,
    pub guard: Guard,
}

/// Where KEDA gets its number.
#[derive(Clone, Debug)]
pub enum Source {
    /// From Prometheus, which scrapes every `scrape` milliseconds.
    Prometheus { query: Expr, meaning: PrometheusTrigger, scrape: u64 },
    /// From the dispatcher as an external scaler; `push`: it also pushes when a visitor arrives.
    External { push: bool },
}

/// Set on the ScaledObject by the dispatcher while sessions exist, so that an outage cannot end in 0 pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Nothing,
    /// Sets the annotation `paused-scale-in`, which prevents any scale-down.
    PausedScaleIn,
    /// Sets `minReplicaCount` to 1.
    MinOne,
}

impl Wiring {
    /// A first attempt of an operator: every default, and `sum(sessions)`.
    #[must_use]
    pub fn least_effort(max: u32, slots_per_pod: u32) -> Wiring {
        Wiring {
            object: ScaledObject { max: Some(max), ..ScaledObject::default() },
            behavior: None,
            source: Source::Prometheus {
                query: sessions().sum(),
                meaning: PrometheusTrigger::default(),
                scrape: 30_000,
            },
            timeout: 3000,
            per_pod: slots_per_pod,
            guard: Guard::Nothing,
        }
    }

    /// Slotkeeper behind KEDA: scales up in one step and without a tolerance, treats an empty answer as an error, and
    /// uses the maximum of several answers.
    #[must_use]
    pub fn slotkeeper(min: u32, max: u32, push: bool) -> Wiring {
        let at_once = Policy { kind: PolicyKind::Pods, value: 100_000, period: 15_000 };
        let up = Rules { tolerance: Some(0.0), policies: Some(vec![at_once]), ..Rules::default() };
        let meaning = PrometheusTrigger { ignore_null_values: false, ..PrometheusTrigger::default() };
        let prometheus = Source::Prometheus { query: sessions().max(), meaning, scrape: 15_000 };
        Wiring {
            object: ScaledObject { min, max: Some(max), ..ScaledObject::default() },
            behavior: Some(Behavior { scale_up: up, ..Behavior::default() }),
            source: if push { Source::External { push: true } } else { prometheus },
            timeout: 3000,
            per_pod: 1,
            guard: Guard::PausedScaleIn,
        }
    }

    pub(super) fn hpa(&self, now: u64) -> Hpa {
        let (min, max) = hpa_bounds(&self.object);
        let behavior = hpa_behavior(&self.object, self.behavior.as_ref());
        Hpa::new(Spec { min, max, behavior }, Controller::default(), now)
    }

    /// The API stores the creation time in whole seconds.
    pub(super) fn keda(&self, now: u64) -> Keda {
        let trigger = Trigger { target: Target::AverageValue(i64::from(self.per_pod) * 1000), cached: false };
        Keda::new(self.object.clone(), vec![trigger], Release::V2_20, now - now % 1000)
    }
}

/// When the scalers act for the first time: their periods are not synchronized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// KEDA's poll.
    pub poll: u64,
    /// The HPA's sync, a period earlier.
    pub hpa: u64,
    pub scrape: u64,
}

impl Phases {
    #[must_use]
    pub fn drawn(chance: Chance) -> Phases {
        let mut chance = chance.stream("phases");
        let mut below = |end: u64| chance.random_range(0..end);
        Phases { poll: below(30_000), hpa: below(15_000), scrape: below(30_000) }
    }
}

impl Default for Phases {
    fn default() -> Phases {
        Phases { poll: 700, hpa: 4000, scrape: 7000 }
    }
}

/// The latest number of every dispatcher.
#[must_use]
pub fn sessions() -> Expr {
    Expr::latest(METRIC, POOL)
}
