//! The state machine's input (`Entry`, `Command`) and output (`Effect`).

use crate::decision::Decision;
use crate::ids::{Ordinal, PoolId, ReplicaId, SessionId, Timeline, Uid};
use crate::rules::{Rules, Spare};
use crate::time::{Millis, Time};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the journal accepted it, on the journal's clock.
    pub at: Time,
    pub from: ReplicaId,
    /// Counts this replica's entries, from 1: exactly last + 1 is accepted.
    pub number: u64,
    pub pool: PoolId,
    pub command: Command,
}

impl Entry {
    /// The newest semantics that this program knows: which entries exist, and what they mean. A fleet switches to newer ones
    /// when all living replicas know them, and never back.
    pub const SEMANTICS: u32 = 6;

    /// These semantics add [`Command::Load`] and [`Command::Empty`], and put `shrink` and `targets` of the rules into effect.
    pub const TARGETS: u32 = 2;

    /// These semantics add a [`Timeline`] to sizes; after a lapse, pods are not certain to stay until a size of the new
    /// timeline has been read.
    pub const TIMELINES: u32 = 3;

    /// With these semantics, sessions whose pods ended together return to their own ordinals, and a terminating pod that is
    /// reported as failed is not counted on.
    pub const RETURNS: u32 = 4;

    /// These semantics add [`Command::ScaleInPaused`].
    pub const PAUSES: u32 = 5;

    /// With these semantics, a pod that is created again while KEDA may still act on a lower number is not certain to stay.
    pub const SUCCESSORS: u32 = 6;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A browser has returned the session's cookie. `hint`: the ordinal in the cookie. `class`: its priority class, 0 first.
    Visit {
        session: SessionId,
        hint: Option<Ordinal>,
        class: u8,
    },
    /// The replica's first stream of this session opens.
    Attach {
        session: SessionId,
    },
    /// The replica's last stream of this session has closed.
    Detach {
        session: SessionId,
    },
    /// Heartbeats, batched: renew the leases of waiting sessions and the activity of attached ones.
    Active {
        sessions: Vec<SessionId>,
    },
    /// The visitor ends the session.
    Leave {
        session: SessionId,
    },
    /// An operator ends the session.
    Kick {
        session: SessionId,
    },
    /// The visitor (or an operator) wants more time.
    Extend {
        session: SessionId,
    },
    /// An observation of one pod.
    PodSeen {
        pod: Ordinal,
        uid: Uid,
        phase: Phase,
        version: u64,
    },
    /// This incarnation has been deleted.
    PodGone {
        pod: Ordinal,
        uid: Uid,
        version: u64,
    },
    /// The complete list of the pool's pods: any other pod has been deleted.
    PodsListed {
        pods: Vec<Sighting>,
        version: u64,
    },
    /// The size as the cluster has it, and the journal position that decided it (from the annotation written with it).
    ScaleSeen {
        start: u32,
        replicas: u32,
        decided: u64,
        /// The timeline of `decided`.
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
        version: u64,
    },
    /// KEDA has been served this number of pods.
    Served {
        replicas: u32,
    },
    /// At fleet time `at`, in this timeline, it was certain that neither KEDA nor its autoscaler removes a pod, regardless of
    /// the numbers they have been served, while a session lives or waits or [`Fleet::needs_pause`](crate::Fleet::needs_pause)
    /// is true. The size and the pods that existed then have been reported before.
    ScaleInPaused {
        at: Time,
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
    },
    /// This replica's measurements: messages of its streams during `over` (on its own clock), and, if it has read the pods'
    /// gauge, the sum in thousandths.
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
    /// Cordons the pod and moves its sessions.
    Empty {
        pod: Ordinal,
    },
    /// The pool's settings. Creates the pool if it does not exist.
    Rules(Rules),
    /// The spare slots that the weekly schedule asks for now.
    Schedule(Spare),
    /// Ends all sessions of the pool, and then the pool.
    Remove,
    /// A replica's first entry: the newest semantics that it knows ([`Entry::SEMANTICS`]).
    Hello {
        speaks: u32,
    },
    /// Written by the journal itself (replica and number are 0, and do not count): entries before this one may be lost. For
    /// `patience`, replicas may keep streams that the journal no longer knows. `timeline`: a random number that names the
    /// history that begins here.
    Lapse {
        patience: Millis,
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
    },
    /// This replica has read every entry up to the lapse at that position, and none of the lost ones.
    Whole {
        lapse: u64,
    },
    /// This replica stops: every session it had attached is detached.
    Farewell,
    /// Only time passes.
    Tick,
}

/// One pod in a complete list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub pod: Ordinal,
    pub uid: Uid,
    pub phase: Phase,
}

/// The phase of an incarnation. `why` is for visitors: the waiting room shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Pending {
        why: Arc<str>,
    },
    /// It has never been ready, so no session can have been in it.
    Starting,
    /// The pod reports that it is ready, and one connection to it has succeeded.
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

/// A task or a report for the dispatcher, caused by an entry. Every replica gets the same ones; executing one twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Make the cluster run the ordinals `start..start + replicas`. Write `decided` with the size, and only if
    /// [`Decision::may_overwrite`] allows it. `over`: the timeline of the size that was read last.
    Scale { start: u32, replicas: u32, decided: Decision, over: Timeline },
    /// Delete this incarnation, by uid.
    Recycle { pod: Ordinal, uid: Uid },
    /// The incarnation is terminating or being emptied: close its streams, spread over the drain time. `gone`: it has ended, so
    /// close them at once.
    Drain { pod: Ordinal, uid: Uid, gone: bool },
    /// The session got a slot after waiting this long.
    Placed { session: SessionId, pod: Ordinal, waited: Millis },
    /// The session has ended: close its streams. `last`: the ordinal it had last.
    Released { session: SessionId, why: Why, last: Option<Ordinal> },
    /// The session has lost its slot at this pod and is at the front of the queue again.
    Requeued { session: SessionId, pod: Ordinal },
    /// A pod became ready this long after it was first wanted.
    Started { pod: Ordinal, took: Millis },
    /// An invariant does not hold: placing in this pool is frozen. This is a bug: log it as an ERROR.
    Broken { what: alloc::string::String },
}
