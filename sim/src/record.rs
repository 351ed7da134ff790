//! What happened in one run, for pictures, tables and machines. Plain data: the tabletop and the world write it, `report`
//! reads it. Times are milliseconds since the run began.

use serde::Serialize;

/// One run of one design.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// What was simulated, in a few words: "direct scaling, fixed window".
    pub title: String,
    /// What a reader who was not there has to know: the setting, and what to look at. One paragraph.
    pub story: String,
    pub seed: Option<u64>,
    /// How long it took.
    pub length: u64,
    /// The pool over time; each sample holds until the next one.
    pub samples: Vec<Sample>,
    pub pods: Vec<PodLife>,
    pub sessions: Vec<SessionLife>,
    pub marks: Vec<Mark>,
    pub figures: Figures,
}

/// The pool in numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub at: u64,
    /// What the design wants.
    pub desired: u32,
    /// What the cluster has been told (`spec.replicas`).
    pub replicas: u32,
    /// Pods that exist, terminating ones included.
    pub pods: u32,
    pub ready: u32,
    /// Sessions with a slot.
    pub seated: u32,
    /// Visitors waiting for one.
    pub waiting: u32,
}

/// One incarnation.
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
    /// The dispatcher had it made anew between two visitors.
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
    /// When it asked for a slot.
    pub joined: u64,
    /// Where it sat, and when.
    pub spells: Vec<Spell>,
    pub end: Option<u64>,
    /// Why it ended, in the words of the design ("disconnected", "killed by a scale-down").
    pub why: Option<String>,
    /// A scaler took the pod away while somebody sat in it.
    pub killed: bool,
}

/// A time in one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spell {
    pub ordinal: u32,
    pub uid: String,
    pub from: u64,
    pub to: Option<u64>,
}

/// Something worth a mark on the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    pub at: u64,
    /// For what lasts: an outage, a partition.
    pub until: Option<u64>,
    pub kind: MarkKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Something was broken on purpose.
    Fault,
    /// A live session was killed by a scaler.
    Kill,
    /// A promise was broken.
    Violation,
    Note,
}

/// What it comes down to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Visitors who asked for a slot.
    pub visitors: u64,
    /// Sessions whose pod a scaler took away under them.
    pub killed: u64,
    /// Visitors who never got a slot although they waited to the end, or gave up waiting.
    pub never_served: u64,
    pub time_to_slot: Option<Quantiles>,
    /// Pod time from creation until gone, in hours.
    pub pod_hours: f64,
    /// The part of it in which nobody sat there.
    pub wasted_pod_hours: f64,
    /// Writes of the number of pods.
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
    /// Nearest-rank quantiles of values in milliseconds; `None` of nothing. Sorts them.
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
