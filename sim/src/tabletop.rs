//! One pool on a table: visitors, pods, scalers and a dispatcher as events on one clock of integer milliseconds. No network, no
//! threads, no real time: a day takes a moment, and the same seed gives the same day. The cluster behaves as
//! `crate::models` says; the dispatcher is a `Design`: Slotkeeper's own core, or the one of least effort.
//!
//! Deliberately absent: anything about bytes, sockets or HTTP (that is `crate::world`), and several dispatchers with views of
//! their own.

pub(crate) mod agenda;
mod cluster;
mod crowd;
pub(crate) mod dispatcher;
mod fault;
mod naive;
pub(crate) mod ours;
mod scaler;
mod stage;
mod tally;
mod wiring;

pub use crowd::{Crowd, Habits, Visitor};
pub use fault::Fault;
pub use naive::{ActiveIs, Habit};
pub use tally::{Detail, Outcome};
pub use wiring::{Guard, Phases, Source, Wiring, sessions};

use crate::chance::{Chance, Draw};
use crate::models::pace::Pace;
use crate::models::statefulset::{Policy, UpdateStrategy};
use slotkeeper_core::{Millis, Rules, Scaling, Spare, Window};

/// What is the same for every design: the pool, its pods, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Setting {
    /// For a reader who was not there.
    pub story: String,
    pub chance: Chance,
    /// Milliseconds.
    pub length: u64,
    /// The pool as its operator wants it; who scales it is the design's.
    pub rules: Rules,
    /// Changes of the spare slots, with their moments.
    pub spare: Vec<(u64, Spare)>,
    /// Pods that are wanted when it begins.
    pub pods: u32,
    /// From the creation of a pod until it is ready; without what the next two add.
    pub cold_start: Draw,
    /// From the creation of a pod until its program starts.
    pub pod_start: Draw,
    /// Milliseconds between two probes of a program that starts: it is found ready up to so much later. 0: at once.
    pub probe_period: u64,
    /// From the deletion of a pod until it is gone; at most `kill_after`.
    pub stop: Draw,
    /// `terminationGracePeriodSeconds`.
    pub kill_after: u64,
    /// A pod that is deleted ends only when its sessions have, if `kill_after` lets it.
    pub pods_wait: bool,
    /// How fast the cluster's controllers make their calls.
    pub pace: Pace,
    pub phases: Phases,
    pub faults: Vec<(u64, Fault)>,
    pub detail: Detail,
}

impl Setting {
    /// A pool of exclusive pods that start within 40 s and stop within 2 s.
    #[must_use]
    pub fn new(max: u32, length: u64) -> Setting {
        Setting {
            story: String::new(),
            chance: Chance::new(0),
            length,
            rules: Rules { max, ..Rules::default() },
            spare: Vec::new(),
            pods: 0,
            cold_start: Draw::Always(40_000),
            pod_start: Draw::Always(0),
            probe_period: 0,
            stop: Draw::Always(2000),
            kill_after: 30_000,
            pods_wait: false,
            pace: Pace::default(),
            phases: Phases::default(),
            faults: Vec::new(),
            detail: Detail::default(),
        }
    }
}

/// Who dispatches, and how the pods are scaled.
#[derive(Clone, Debug)]
pub struct Design {
    pub title: String,
    pub mind: Mind,
    /// The StatefulSet's.
    pub policy: Policy,
    pub update: UpdateStrategy,
    /// `None`: the dispatcher scales by itself.
    pub wiring: Option<Wiring>,
    /// Pods carry `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`.
    pub holds_nodes: bool,
    pub believes: Believes,
}

/// When the dispatcher takes it for certain that a raised number of replicas holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believes {
    /// As soon as it stands in the spec. A controller in the middle of a large sync may still delete for an older one.
    Spec,
    /// When the controller has observed it (`status.observedGeneration`); until then, what all numbers since agree on.
    Observed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mind {
    Slotkeeper(Scaling),
    Naive(Habit),
}

impl Design {
    /// Slotkeeper, with whatever turns its number into pods.
    #[must_use]
    pub fn slotkeeper(title: &str, scaling: Scaling, wiring: Option<Wiring>) -> Design {
        Design {
            title: title.to_owned(),
            mind: Mind::Slotkeeper(scaling),
            policy: Policy::Parallel,
            update: UpdateStrategy::OnDelete,
            wiring,
            holds_nodes: true,
            believes: Believes::Observed,
        }
    }

    /// The dispatcher changes the number of pods itself.
    #[must_use]
    pub fn direct(window: Window) -> Design {
        let title = match window {
            Window::Fixed => "direct, fixed window",
            Window::Sliding => "direct, sliding window",
        };
        Design::slotkeeper(title, Scaling::Direct { window }, None)
    }

    /// KEDA asks the dispatcher, and is told at once when somebody comes.
    #[must_use]
    pub fn keda_push(rules: &Rules) -> Design {
        let wiring = Wiring::slotkeeper(rules.min, rules.max, true);
        Design::slotkeeper("KEDA push", Scaling::Keda { settle: Millis::secs(20) }, Some(wiring))
    }

    /// KEDA reads the dispatcher's number in Prometheus.
    #[must_use]
    pub fn keda_prometheus(rules: &Rules) -> Design {
        let wiring = Wiring::slotkeeper(rules.min, rules.max, false);
        Design::slotkeeper("KEDA Prometheus", Scaling::Keda { settle: Millis::secs(50) }, Some(wiring))
    }

    /// Least effort: every default, and a count of sessions.
    #[must_use]
    pub fn naive(rules: &Rules) -> Design {
        Design {
            title: "naive".to_owned(),
            mind: Mind::Naive(Habit::usual(rules.slots_per_pod)),
            policy: Policy::OrderedReady,
            update: UpdateStrategy::RollingUpdate { partition: 0 },
            wiring: Some(Wiring::least_effort(rules.max, rules.slots_per_pod)),
            holds_nodes: false,
            believes: Believes::Spec,
        }
    }
}

/// Plays the setting to its end with this design and these visitors (in order of their arrival).
#[must_use]
pub fn run(setting: &Setting, design: &Design, visitors: impl IntoIterator<Item = Visitor>) -> Outcome {
    stage::run(setting, design, &mut visitors.into_iter())
}
