//! The record of one run, for pictures, tables and JSON. Plain data: the tabletop and the world write it, `report`
//! reads it. Times are milliseconds since the run began.

use serde::Serialize;

/// One run of one design.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// What was simulated, in a few words: "direct scaling, fixed window".
    pub title: String,
    /// The setting, and what to look at, understandable without further context. One paragraph.
    pub story: String,
    pub seed: Option<u64>,
    /// The duration of the run.
    pub length: u64,
    /// The pool over time; each sample holds until the next one.
    pub samples: Vec<Sample>,
    pub pods: Vec<PodLife>,
    pub sessions: Vec<SessionLife>,
    pub marks: Vec<Mark>,
    pub figures: Figures,
}

/// The state of the pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub at: u64,
    /// The number of pods that the design wants.
    pub desired: u32,
    /// `spec.replicas` in the cluster.
    pub replicas: u32,
    /// Pods that exist, terminating ones included.
    pub pods: u32,
    pub ready: u32,
    /// Sessions with a slot.
    pub seated: u32,
    /// Visitors waiting for a slot.
    pub waiting: u32,
}

/// One incarnation of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodLife {
    pub ordinal: u32,
    pub uid: String,
    pub created: u64,
    pub ready: Option<u64>,
    pub terminating: Option<u64>,
    pub gone: Option<u64>,
    pub end: Option<PodEnd>,
}

/// Why an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PodEnd {
    /// The number of pods was lowered.
    ScaledDown,
    /// The dispatcher recycled the pod between two visitors.
    Recycled,
    /// A new template was rolled out.
    RolledOut,
    Crashed,
    NodeLost,
    /// Evicted from a node that was drained.
    Drained,
    /// A pod with a higher priority took its place.
    Preempted,
}

/// One visitor's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionLife {
    pub visitor: u32,
    /// When the visitor requested a slot.
    pub joined: u64,
    /// The pods in which the session had a slot, and when.
    pub spells: Vec<Spell>,
    pub end: Option<u64>,
    /// Why the session ended, in the words of the design ("disconnected", "killed by a scale-down").
    pub why: Option<String>,
    /// A scaler removed the pod while the session had a slot there.
    pub killed: bool,
}

/// A period in one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spell {
    pub ordinal: u32,
    pub uid: String,
    pub from: u64,
    pub to: Option<u64>,
}

/// An event to mark on the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    pub at: u64,
    /// The end of an event with a duration: an outage, a partition.
    pub until: Option<u64>,
    pub kind: MarkKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// An injected fault.
    Fault,
    /// A live session was killed by a scaler.
    Kill,
    /// A promise was broken.
    Violation,
    Note,
}

/// The totals of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Visitors who requested a slot.
    pub visitors: u64,
    /// Sessions whose pod was removed by a scaler.
    pub killed: u64,
    /// Visitors who never got a slot: they waited to the end, or gave up waiting.
    pub never_served: u64,
    pub time_to_slot: Option<Quantiles>,
    /// Pod time from creation until removal, in hours.
    pub pod_hours: f64,
    /// The part of `pod_hours` without any session.
    pub wasted_pod_hours: f64,
    /// Number of writes of the pod count.
    pub writes: u64,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub max: f64,
}

impl Quantiles {
    /// Nearest-rank quantiles of values in milliseconds; `None` if there are none. Sorts the values.
    #[must_use]
    pub fn of(values: &mut [u64]) -> Option<Quantiles> {
        values.sort_unstable();
        let rank = |percent: usize| {
            let at = (values.len() * percent).div_ceil(100).max(1) - 1;
            values.get(at).map(|ms| *ms as f64 / 1000.0)
        };
        Some(Quantiles { p50: rank(50)?, p95: rank(95)?, max: rank(100)? })
    }
}
