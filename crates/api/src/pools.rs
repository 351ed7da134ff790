//! The types of the answers about pools and their pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pools that the dispatcher's configuration names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolList {
    /// Whether the journal has lost entries, and no session is placed until every dispatcher that may have acted on them has closed
    /// its streams (`docs/lapse.md`).
    pub lapse: bool,
    /// The pools, in the order of the configuration.
    pub pools: Vec<Pool>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Pool {
    /// The journal has it.
    Known(Box<PoolStatus>),
    /// The journal does not have it: an operator has removed it, or no dispatcher has written it yet.
    Unknown(UnknownPool),
}

impl Pool {
    /// Returns the pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Pool::Known(status) => &status.pool,
            Pool::Unknown(unknown) => &unknown.pool,
        }
    }

    /// Returns what the journal knows of it.
    #[must_use]
    pub fn status(&self) -> Option<&PoolStatus> {
        match self {
            Pool::Known(status) => Some(status),
            Pool::Unknown(_) => None,
        }
    }
}

/// A pool that the configuration names and the journal does not have.
// Without further fields: otherwise a pool's status of which a field cannot be read would count as an unknown pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnknownPool {
    /// The pool's name in the configuration.
    pub pool: String,
}

/// The state of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStatus {
    /// The pool's name in the configuration.
    pub pool: String,
    /// The name that visitors see.
    pub title: String,
    /// The pool's condition in one word.
    pub state: Condition,
    /// How many sessions are in which state.
    pub sessions: SessionCounts,
    /// How many slots are in use.
    pub slots: Slots,
    /// Number of pods that demand requires now.
    pub needed: u32,
    /// Number of pods that the pool should have: `needed`, but it falls only after the cooldown.
    pub desired: u32,
    /// The lowest ordinal of the desired pods. They have the ordinals from `start` to `start + desired - 1`.
    pub start: u32,
    /// How many pods each target requires. The largest number, within `min` and `max`, is `needed`.
    pub asked: Asked,
    /// WebSocket messages per second through all dispatchers, averaged over the target's window. 0 without such a target.
    pub messages_per_second: u64,
    /// The sum of the gauge that the pods report. Null without such a target, and if it could not be read within the window.
    pub gauge: Option<f64>,
    /// The minimum number of pods.
    pub min: u32,
    /// The maximum number of pods.
    pub max: u32,
    /// Whether a violated invariant has stopped placing in this pool. Must be false.
    pub frozen: bool,
    /// The pods that exist or are cordoned, by ordinal.
    pub pods: Vec<Pod>,
}

/// The condition of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It has no pod and needs none.
    Dormant,
    /// No pod is ready yet.
    Waking,
    /// A pod is ready.
    Awake,
    /// All slots are busy, or sessions wait and it may not grow.
    Full,
}

impl Condition {
    /// Returns it as it is in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Condition::Dormant => "dormant",
            Condition::Waking => "waking",
            Condition::Awake => "awake",
            Condition::Full => "full",
        }
    }
}

/// Numbers of sessions by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionCounts {
    /// Sessions that wait for a slot.
    pub queued: u64,
    /// Sessions that have a slot and no stream.
    pub held: u64,
    /// Sessions that have a slot and at least one stream or request.
    pub taken: u64,
    /// Sessions that have ended and whose slot is not free yet.
    pub ending: u64,
}

/// Numbers of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    /// Slots of held, taken and ending sessions.
    pub busy: u64,
    /// Slots in which a session could be placed now.
    pub free: u64,
    /// Slots of each pod, by the settings.
    pub per_pod: u32,
}

/// Numbers of pods that each target requires. 0 for a target that is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// For slots: sessions with and without one, and spare slots.
    pub slots: u32,
    /// For the target of sessions per pod.
    pub sessions: u32,
    /// For the target of WebSocket messages per second and pod.
    pub messages: u32,
    /// For the target of the pods' own gauge.
    pub gauge: u32,
}

/// A pod: its ordinal, and the incarnation that has it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pod {
    /// Its number in the pool: `POOL-3` in a StatefulSet has 3.
    pub ordinal: u32,
    /// The incarnation's uid in the cluster. Null if the pod does not exist.
    pub uid: Option<String>,
    /// Where it is between its creation and its end.
    pub phase: Phase,
    /// Why it is pending or has failed. Null in other phases.
    pub why: Option<String>,
    /// Address and port to which its sessions' requests go. Null until it has been ready.
    pub address: Option<String>,
    /// Number of sessions in its slots: held, taken and ending.
    pub sessions: u64,
    /// Number of its slots.
    pub slots: u32,
    /// Whether an operator has cordoned or drained it: no session is placed here.
    pub cordoned: bool,
    /// Whether it is outside the desired pods, or inside again and not yet certain to stay: no session is placed here.
    pub retiring: bool,
    /// Whether its sessions are being moved so that it can be removed.
    pub leaving: bool,
    /// Whether it may hold data of a session that has ended: no session is placed here until it has been recycled.
    pub dirty: bool,
}

/// The phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It does not exist.
    Absent,
    /// It exists but does not run: not scheduled, or its image or volumes are not there yet.
    Pending,
    /// It runs and has not been ready yet.
    Starting,
    /// It reports that it is ready, and a connection to it has succeeded.
    Ready,
    /// It has been ready and is not ready now.
    Unready,
    /// It is being deleted.
    Terminating,
    /// It has ended, or starts again and again.
    Failed,
}

/// The answer to the removal of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolRemoved {
    /// The pool's name.
    pub pool: String,
    /// Always true.
    pub removed: bool,
}
