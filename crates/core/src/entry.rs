//! The whole vocabulary on one screen: what can happen (`Entry`, `Command`), and what follows from it (`Effect`).

use crate::decision::Decision;
use crate::ids::{Ordinal, PoolId, ReplicaId, SessionId, Timeline, Uid};
use crate::rules::{Rules, Spare};
use crate::time::{Millis, Time};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the journal took it, on the journal's clock.
    pub at: Time,
    pub from: ReplicaId,
    /// The replica's own count of its entries, from 1: exactly last + 1 is accepted.
    pub number: u64,
    pub pool: PoolId,
    pub command: Command,
}

impl Entry {
    /// The semantics that this program knows: what entries mean, and which there are. A fleet goes over to newer ones when
    /// all living replicas know them, and never back.
    pub const SEMANTICS: u32 = 5;

    /// Since when there are [`Command::Load`] and [`Command::Empty`], and `shrink` and `targets` of the rules count.
    pub const TARGETS: u32 = 2;

    /// Since when sizes carry a [`Timeline`], and pods are in doubt after a lapse until a size of the new one has been seen.
    pub const TIMELINES: u32 = 3;

    /// Since when sessions whose pods ended together return to their own ordinals, and a terminating pod that is seen to have
    /// failed is not counted on.
    pub const RETURNS: u32 = 4;

    /// Since when there is [`Command::ScaleInPaused`].
    pub const PAUSES: u32 = 5;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cookie came back. `hint`: the ordinal it had last. `class`: its priority class, 0 first.
    Visit {
        session: SessionId,
        hint: Option<Ordinal>,
        class: u8,
    },
    /// The replica's first stream of this session opens; its last one has closed.
    Attach {
        session: SessionId,
    },
    Detach {
        session: SessionId,
    },
    /// Signs of life, batched: renews the lease of who waits, and the activity of who plays.
    Active {
        sessions: Vec<SessionId>,
    },
    /// The visitor ended it; the operator ended it; the visitor (or operator) wants more time.
    Leave {
        session: SessionId,
    },
    Kick {
        session: SessionId,
    },
    Extend {
        session: SessionId,
    },
    /// News of one pod.
    PodSeen {
        pod: Ordinal,
        uid: Uid,
        phase: Phase,
        version: u64,
    },
    PodGone {
        pod: Ordinal,
        uid: Uid,
        version: u64,
    },
    /// The complete list: what is absent is gone.
    PodsListed {
        pods: Vec<Sighting>,
        version: u64,
    },
    /// What the cluster has been told: the size, and the journal position that decided it (the annotation written with it).
    ScaleSeen {
        start: u32,
        replicas: u32,
        decided: u64,
        /// The timeline of `decided`.
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
        version: u64,
    },
    /// KEDA has been served this number.
    Served {
        replicas: u32,
    },
    /// At fleet time `at`, in this timeline, it was certain that neither KEDA nor its autoscaler removes a pod, whatever number they
    /// have been served, as long as a session lives or waits or [`Fleet::needs_pause`](crate::Fleet::needs_pause) says so. The size
    /// and the pods that existed then have been reported before.
    ScaleInPaused {
        at: Time,
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
    },
    /// What this replica has measured: messages of its streams over the time that it says, on its own clock, and, where the
    /// pods have been asked, the sum of their gauge in thousandths.
    Load {
        messages: u64,
        over: Millis,
        gauge: Option<u64>,
    },
    Cordon {
        pod: Ordinal,
    },
    Uncordon {
        pod: Ordinal,
    },
    /// Cordoned, and whoever is there is moved.
    Empty {
        pod: Ordinal,
    },
    /// The pool's settings (creates the pool); its weekly schedule's current number of spare slots; its end.
    Rules(Rules),
    Schedule(Spare),
    Remove,
    /// The first of each life: the newest semantics that it knows ([`Entry::SEMANTICS`]).
    Hello {
        speaks: u32,
    },
    /// The journal's own word (replica and number are 0, and do not count): entries before this one may be lost. For
    /// `patience`, replicas may keep streams that nobody knows of any more. `timeline`: a random number, the name of the history
    /// that begins here.
    Lapse {
        patience: Millis,
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
    },
    /// This replica has read everything up to the lapse at that position, and nothing that is lost.
    Whole {
        lapse: u64,
    },
    /// This replica ends: everything it had attached is detached.
    Farewell,
    /// Time passes.
    Tick,
}

/// One pod in a complete list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub pod: Ordinal,
    pub uid: Uid,
    pub phase: Phase,
}

/// How far an incarnation is. `why` is in plain words: the waiting room shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Pending {
        why: Arc<str>,
    },
    /// It has never been ready: nobody can have been in it.
    Starting,
    /// The pod says it is ready, and one connection to it has succeeded.
    Ready {
        address: SocketAddr,
    },
    Unready,
    Terminating,
    Failed {
        why: Arc<str>,
    },
}

/// Why a session ended. The same word for the visitor, the log, the metrics and the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
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

impl Why {
    pub const ALL: [Why; 9] = [
        Why::LeftQueue,
        Why::NoShow,
        Why::Disconnected,
        Why::Idle,
        Why::TimeUp,
        Why::Left,
        Why::Kicked,
        Why::PodLost,
        Why::PoolRemoved,
    ];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Why::LeftQueue => "left_queue",
            Why::NoShow => "no_show",
            Why::Disconnected => "disconnected",
            Why::Idle => "idle",
            Why::TimeUp => "time_up",
            Why::Left => "left",
            Why::Kicked => "kicked",
            Why::PodLost => "pod_lost",
            Why::PoolRemoved => "pool_removed",
        }
    }
}

/// What the world has to do, or may want to know, because of an entry. Every replica gets the same ones; all are safe twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Make the cluster run the ordinals `start..start + replicas`; write `decided` with it, and only over a size that
    /// [`Decision::may_overwrite`] allows. `over`: the timeline of the size that was read last.
    Scale { start: u32, replicas: u32, decided: Decision, over: Timeline },
    /// Delete this incarnation, by uid.
    Recycle { pod: Ordinal, uid: Uid },
    /// The incarnation is on its way out (`gone`: is no more): close its streams, spread over the drain time (at once).
    Drain { pod: Ordinal, uid: Uid, gone: bool },
    /// The session got a slot after waiting this long.
    Placed { session: SessionId, pod: Ordinal, waited: Millis },
    /// The session is over: close its streams. `last`: where it was.
    Released { session: SessionId, why: Why, last: Option<Ordinal> },
    /// The pod under the session is lost; the session is at the front of the queue again.
    Requeued { session: SessionId, pod: Ordinal },
    /// A pod became ready this long after it was first wanted.
    Started { pod: Ordinal, took: Millis },
    /// An invariant does not hold: placing in this pool is frozen. A bug: log it as an ERROR.
    Broken { what: alloc::string::String },
}
