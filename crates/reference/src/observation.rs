//! The observations that visitors, pods, the API server and operators can make. All times are milliseconds of real time.

use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl From<&str> for $name {
            fn from(name: &str) -> $name {
                $name(name.into())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// One session, as identified by one signed cookie.
    VisitorId
}
name! {
    /// One incarnation of a pod.
    PodId
}

/// One observation. It was made at `at`, and was true at some moment between `at - tolerance` and `at`.
#[derive(Clone, Debug)]
pub struct Observed {
    pub at: u64,
    pub tolerance: u64,
    pub what: Observation,
}

#[derive(Clone, Debug)]
pub enum Observation {
    /// The operator's settings, at the beginning and whenever they change.
    Settings(Settings),

    /// The visitor sends a request, a heartbeat or a message. `class`: its priority class, 0 first.
    Sign {
        visitor: VisitorId,
        class: u8,
    },
    /// The visitor has been connected to the waiting room since `since` without interruption.
    Connected {
        visitor: VisitorId,
        since: u64,
    },
    /// The visitor gets this answer.
    Told {
        visitor: VisitorId,
        answer: Answer,
    },
    /// The visitor has an open stream to the pod; `stream` identifies it.
    Stream {
        visitor: VisitorId,
        pod: PodId,
        stream: u64,
    },
    /// The stream is closed, and nothing was sent on it after `quiet_since`.
    Closed {
        visitor: VisitorId,
        stream: u64,
        quiet_since: u64,
    },
    /// The visitor is notified that its pod terminates: its stream is closed with a reason.
    Notified {
        visitor: VisitorId,
        pod: PodId,
    },
    /// The visitor ends its session.
    Leaves {
        visitor: VisitorId,
    },
    /// An operator ends the visitor's session.
    Kicked {
        visitor: VisitorId,
    },

    /// The API server stores this state of a pod.
    Pod {
        pod: PodId,
        ordinal: u32,
        state: PodState,
    },
    /// The dispatcher orders the pool to run the ordinals `start..end`. `position`: orders with a higher one are newer.
    Ordered {
        start: u32,
        end: u32,
        position: u64,
    },
    /// The API server stores this size.
    Stored {
        start: u32,
        end: u32,
        position: u64,
    },
    /// Every state and size so far has been delivered to the dispatchers.
    CaughtUp,

    Cordoned {
        ordinal: u32,
    },
    Uncordoned {
        ordinal: u32,
    },
    /// Cordoned, and its sessions are to be moved.
    Emptied {
        ordinal: u32,
    },
    /// The operator removes the pool.
    PoolRemoved,

    /// The journal has lost its newest entries.
    JournalLost,
    /// The dispatchers serve again after a journal loss.
    JournalSettled,
    /// Until `until` the network, processes or nodes are broken: promises with a time limit do not hold.
    Disturbed {
        until: u64,
    },

    /// All visitors have been queried at this moment, and all streams reported ([`Watch::Snapshots`](crate::Watch)).
    Snapshot,
    /// Only time has passed ([`Watch::Events`](crate::Watch)).
    Clock,
}

/// An answer that a visitor gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The waiting room, with this many visitors ahead if it shows a number.
    Waiting { ahead: Option<u64> },
    /// A slot is ready. Its pod will be observed later.
    Ready,
    /// An answer from this pod, or (in a snapshot) the pod that the next request goes to.
    Seat { pod: PodId },
    /// The session has ended.
    Ended { reason: Reason },
    /// The queue is full.
    Full,
    /// There is no such session: it never joined, or its end has been announced before.
    Unknown,
}

/// Why a session ended, as shown to its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    LeftQueue,
    NoShow,
    Disconnected,
    Idle,
    TimeUp,
    Left,
    Kicked,
    PodLost,
    PoolRemoved,
}

impl Reason {
    #[must_use]
    pub fn from_word(word: &str) -> Option<Reason> {
        Some(match word {
            "left_queue" => Reason::LeftQueue,
            "no_show" => Reason::NoShow,
            "disconnected" => Reason::Disconnected,
            "idle" => Reason::Idle,
            "time_up" => Reason::TimeUp,
            "left" => Reason::Left,
            "kicked" => Reason::Kicked,
            "pod_lost" => Reason::PodLost,
            "pool_removed" => Reason::PoolRemoved,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It exists and has never been ready.
    Starting,
    Ready,
    Unready,
    Terminating {
        by: Remover,
    },
    Gone,
}

/// The cause of a pod's removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remover {
    /// Its controller, because the dispatcher lowered the number.
    ScaleDown,
    /// A dispatcher, by uid.
    Recycle,
    /// Anything else: a node, an eviction, an operator.
    Other,
}

/// The program that turns the number of pods into pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// The dispatcher, with ordered writes.
    Own,
    /// KEDA, which may act on a number that has changed meanwhile.
    Keda,
    /// None: ordinals below `max` run.
    Fixed,
}

/// One pool's settings. Durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub slots_per_pod: u32,
    pub max: u32,
    /// An incarnation is replaced after each session.
    pub recycle: bool,
    /// Sessions may be moved when the pool shrinks.
    pub moves: bool,
    pub scaling: Scaling,
    pub queue_lease: u64,
    pub claim: u64,
    pub grace: u64,
    pub idle: Option<u64>,
    pub max_session: Option<u64>,
    pub stuck_after: u64,
    /// How long all that an outsider cannot observe may take in total: events in flight, slots promised to or held for absent
    /// visitors ([`Watch::Events`](crate::Watch) only).
    pub hidden: u64,
    /// The dispatchers' clocks may run faster than real time, so that clocks prove nothing.
    pub clocks_jump: bool,
}
