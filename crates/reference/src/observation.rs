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
    /// When it was made, in milliseconds of real time.
    pub at: u64,
    /// How much earlier it may have become true, in milliseconds.
    pub tolerance: u64,
    /// What was observed.
    pub what: Observation,
}

/// An observation from outside of the dispatcher. Times are milliseconds of real time.
#[derive(Clone, Debug)]
pub enum Observation {
    /// The operator's settings, at the beginning and whenever they change.
    Settings(Settings),

    /// The visitor sends a request, a heartbeat or a message. `class`: its priority class, 0 first.
    Sign {
        /// The session whose cookie the request carries.
        visitor: VisitorId,
        /// Its priority class, 0 first.
        class: u8,
    },
    /// The visitor has been connected to the waiting room since `since` without interruption.
    Connected {
        /// The connected session.
        visitor: VisitorId,
        /// Since when it has been connected.
        since: u64,
    },
    /// The visitor gets this answer.
    Told {
        /// The session that got the answer.
        visitor: VisitorId,
        /// The answer.
        answer: Answer,
    },
    /// The visitor has an open stream to the pod; `stream` identifies it.
    Stream {
        /// The session whose stream it is.
        visitor: VisitorId,
        /// The incarnation that serves it.
        pod: PodId,
        /// A number that no other stream has.
        stream: u64,
    },
    /// The stream is closed, and nothing was sent on it after `quiet_since`.
    Closed {
        /// The session whose stream it was.
        visitor: VisitorId,
        /// The number with which it was opened.
        stream: u64,
        /// When the last byte was sent.
        quiet_since: u64,
    },
    /// The visitor is notified that its pod terminates: its stream is closed with a reason.
    Notified {
        /// The notified session.
        visitor: VisitorId,
        /// The incarnation that terminates.
        pod: PodId,
    },
    /// The visitor ends its session.
    Leaves {
        /// The session that ends.
        visitor: VisitorId,
    },
    /// An operator ends the visitor's session.
    Kicked {
        /// The session that ends.
        visitor: VisitorId,
    },

    /// The API server stores this state of a pod.
    Pod {
        /// The incarnation.
        pod: PodId,
        /// Its number in the pool.
        ordinal: u32,
        /// The stored state.
        state: PodState,
    },
    /// The dispatcher orders the pool to run the ordinals `start..end`. `position`: orders with a higher one are newer.
    Ordered {
        /// The first ordinal.
        start: u32,
        /// One more than the last ordinal.
        end: u32,
        /// The journal position that decided the order.
        position: u64,
    },
    /// The API server stores this size.
    Stored {
        /// The first ordinal.
        start: u32,
        /// One more than the last ordinal.
        end: u32,
        /// The position that was written with the size.
        position: u64,
    },
    /// Every state and size so far has been delivered to the dispatchers.
    CaughtUp,

    /// An operator takes a pod out of use; its sessions stay.
    Cordoned {
        /// The pod's number in the pool.
        ordinal: u32,
    },
    /// An operator takes a pod into use again.
    Uncordoned {
        /// The pod's number in the pool.
        ordinal: u32,
    },
    /// Cordoned, and its sessions are to be moved.
    Emptied {
        /// The pod's number in the pool.
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
        /// When the disturbance ends, and its consequences are over.
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
    Waiting {
        /// The shown number of visitors ahead.
        ahead: Option<u64>,
    },
    /// A slot is ready. Its pod will be observed later.
    Ready,
    /// An answer from this pod, or (in a snapshot) the pod that the next request goes to.
    Seat {
        /// The incarnation that answers.
        pod: PodId,
    },
    /// The session has ended.
    Ended {
        /// The reason that is shown.
        reason: Reason,
    },
    /// The queue is full.
    Full,
    /// There is no such session: it never joined, or its end has been announced before.
    Unknown,
}

/// Why a session ended, as shown to its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It sent no heartbeat in the queue for `queue_lease`.
    LeftQueue,
    /// It did not connect to its slot within `claim`.
    NoShow,
    /// It had no stream for `grace`.
    Disconnected,
    /// It was not active for `idle`.
    Idle,
    /// It lasted `max_session`.
    TimeUp,
    /// The visitor ended it.
    Left,
    /// An operator ended it.
    Kicked,
    /// Its pod was lost, and the visitor did not return for another one.
    PodLost,
    /// Its pool was removed.
    PoolRemoved,
}

impl Reason {
    /// Returns the reason with this word, as pages, close codes and the admin API have it. `None` if there is none.
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

/// The state of an incarnation, as the API server stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It exists and has never been ready.
    Starting,
    /// It reports that it is ready.
    Ready,
    /// It has been ready, and reports that it is not.
    Unready,
    /// It is being deleted, and may still run.
    Terminating {
        /// The cause of its removal.
        by: Remover,
    },
    /// It does not exist any more.
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
    /// Sessions that fit in one pod.
    pub slots_per_pod: u32,
    /// The maximum number of pods.
    pub max: u32,
    /// An incarnation is replaced after each session.
    pub recycle: bool,
    /// Sessions may be moved when the pool shrinks.
    pub moves: bool,
    /// The program that turns the number of pods into pods.
    pub scaling: Scaling,
    /// A waiting session that sends no heartbeat for this long leaves the queue.
    pub queue_lease: u64,
    /// How long a slot is kept for a session that has not connected to it.
    pub claim: u64,
    /// How long a slot is kept after the last stream closed.
    pub grace: u64,
    /// A session without activity for this long ends.
    pub idle: Option<u64>,
    /// A session ends this long after it first connected.
    pub max_session: Option<u64>,
    /// A pod that has not been ready for this long is not counted on.
    pub stuck_after: u64,
    /// How long all that an outsider cannot observe may take in total: events in flight, slots promised to or held for absent
    /// visitors ([`Watch::Events`](crate::Watch) only).
    pub hidden: u64,
    /// The dispatchers' clocks may run faster than real time, so that clocks prove nothing.
    pub clocks_jump: bool,
}
