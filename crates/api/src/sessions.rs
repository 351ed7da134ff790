//! The types of the answers about sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pool's sessions. At most 1 000 are listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// Number of the pool's sessions, also of those that are not listed.
    pub total: u64,
    /// The listed sessions.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its public name: the value of `X-Session-Id` in requests to pods, and in the log. A hash, which reveals nothing about the
    /// visitor's cookie.
    pub session: String,
    /// Where it is between its first request and its end.
    pub state: SessionState,
    /// The ordinal of the pod in which it has a slot. Null while it waits.
    pub pod: Option<u32>,
    /// Seconds since it entered its state.
    pub since_seconds: u64,
    /// Seconds since its last activity.
    pub active_seconds_ago: u64,
    /// Seconds until `idle_seconds` or `max_session_seconds` ends it if nothing happens. Null if neither applies.
    pub ends_in_seconds: Option<u64>,
    /// Which of the two ends it: `idle` or `time_up`.
    pub ends_because: Option<Reason>,
}

/// Where a session is between its first request and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It waits for a slot.
    Queued,
    /// It has a slot and no stream: it has not claimed the slot yet, or its streams have ended and the slot is kept for its return.
    Held,
    /// It has a slot and at least one stream or request.
    Taken,
    /// It has ended, and its slot is freed as soon as every dispatcher has closed its streams.
    Ending,
}

/// Why a session ended, or would end. The log, the metrics and the visitor's close code have the same word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It waited, and sent no heartbeat for `queue_lease_seconds`.
    LeftQueue,
    /// Its slot was ready, and it did not connect within `claim_seconds`.
    NoShow,
    /// It had no stream for `grace_seconds`.
    Disconnected,
    /// It was not active for `idle_seconds`.
    Idle,
    /// It lasted `max_session_seconds`.
    TimeUp,
    /// The visitor ended it.
    Left,
    /// An operator ended it.
    Kicked,
    /// Its pod was lost, and the visitor did not return for another one.
    PodLost,
    /// An operator removed its pool.
    PoolRemoved,
}
