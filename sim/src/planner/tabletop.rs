//! Simulates one pool: visitors, pods, scalers and a dispatcher as events on one clock of integer milliseconds. No
//! network, no threads, no real time: a day takes a moment, and the same seed gives the same day. The cluster is
//! modelled by `crate::models`; the dispatcher is a `Design`: Slotkeeper's own core, or the least-effort one.
//!
//! Deliberately not modelled: bytes, sockets and HTTP (that is `crate::proof::world`), and several dispatchers with separate
//! views.

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

/// Shared by all designs: the pool, its pods, and the faults.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Explains the scenario, understandable without further context.
    pub story: String,
    pub chance: Chance,
    /// Milliseconds.
    pub length: u64,
    /// The pool as its operator configures it; the scaler is part of the design.
    pub rules: Rules,
    /// Changes of the spare slots, with their times.
    pub spare: Vec<(u64, Spare)>,
    /// The number of pods wanted at the start.
    pub pods: u32,
    /// From the creation of a pod until it is ready, without the additions of the next two fields.
    pub cold_start: Draw,
    /// From the creation of a pod until its program starts.
    pub pod_start: Draw,
    /// Milliseconds between two probes of a starting program: it becomes ready up to this much later. 0: at once.
    pub probe_period: u64,
    /// From the deletion of a pod until it is removed; at most `kill_after`.
    pub stop: Draw,
    /// `terminationGracePeriodSeconds`.
    pub kill_after: u64,
    /// A deleted pod ends only when its sessions have ended, or after `kill_after`.
    pub pods_wait: bool,
    /// The rate of the cluster's controllers' calls.
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

/// The dispatcher, and how the pods are scaled.
#[derive(Clone, Debug)]
pub struct Design {
    pub title: String,
    pub mind: Mind,
    /// The StatefulSet's `podManagementPolicy`.
    pub policy: Policy,
    pub update: UpdateStrategy,
    /// `None`: the dispatcher scales the pool directly.
    pub wiring: Option<Wiring>,
    /// Pods have the annotation `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`.
    pub holds_nodes: bool,
    pub believes: Believes,
}

/// When the dispatcher considers a raised number of replicas certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believes {
    /// As soon as it is in the spec. A controller in the middle of a large sync may still delete pods because of an
    /// older number.
    Spec,
    /// When the controller has observed it (`status.observedGeneration`); until then, only the range common to all
    /// numbers since.
    Observed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mind {
    Slotkeeper(Scaling),
    Naive(Habit),
}

impl Design {
    /// Slotkeeper, with a scaler that turns its number into pods.
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

    /// The dispatcher scales the pool directly.
    #[must_use]
    pub fn direct(window: Window) -> Design {
        let title = match window {
            Window::Fixed => "direct, fixed window",
            Window::Sliding => "direct, sliding window",
        };
        Design::slotkeeper(title, Scaling::Direct { window }, None)
    }

    /// KEDA queries the dispatcher, which also pushes activity when a visitor arrives.
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

/// Plays the whole setting with this design and these visitors (in order of their arrival).
#[must_use]
pub fn run(setting: &Setting, design: &Design, visitors: impl IntoIterator<Item = Visitor>) -> Outcome {
    stage::run(setting, design, &mut visitors.into_iter())
}
