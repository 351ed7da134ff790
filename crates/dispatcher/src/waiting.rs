//! The waiting room: what a visitor sees until the slot is ready, as a page, as an event stream, and as JSON.

pub mod page;

use serde::Serialize;

/// What the waiting room knows, the same for the page, the event stream and the JSON twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The pool's title.
    pub pool: String,
    pub state: RoomState,
    /// Place in line, from 1. Only while queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Seconds until a slot is ready, as far as anybody can know.
    pub estimate_seconds: Option<u64>,
    /// What is happening now, in order; the last one that is not `done` is in progress.
    pub steps: Vec<Step>,
    /// Why the session ended (`state` is `ended`), or will end (`state` is `ready` and `ends_in_seconds` is set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// A running session that is about to be ended, and in how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_in_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    /// The first visit: the cookie has not come back yet.
    Arriving,
    /// In line, and a pod for this visitor is on its way.
    Starting,
    /// In line, and everything is taken.
    Queued,
    /// The slot is there: reload.
    Ready,
    /// Even the line is full.
    Full,
    /// The session is over, and `reason` says why.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub name: &'static str,
    /// In plain words; from the cluster where it says something ("no GPU is free").
    pub text: String,
    pub done: bool,
}
