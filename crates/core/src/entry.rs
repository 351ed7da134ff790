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
    /// The replica that wrote it; 0 if the journal itself did ([`Command::Lapse`]).
    pub from: ReplicaId,
    /// Counts this replica's entries, from 1: exactly last + 1 is accepted.
    pub number: u64,
    /// The pool that the command concerns. Empty for commands that concern the replica or the whole fleet.
    pub pool: PoolId,
    /// What it reports or requests.
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

/// The report or request of an entry. An entry that does not fit the state (an ended session, an outdated observation)
/// changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A browser has returned the session's cookie. `hint`: the ordinal in the cookie. `class`: its priority class, 0 first.
    Visit {
        /// The session that the cookie names; it is created if it does not exist.
        session: SessionId,
        /// The ordinal in the cookie: where the session was last. `None` in a new cookie.
        hint: Option<Ordinal>,
        /// Its priority class; 0 is placed first.
        class: u8,
    },
    /// The replica's first stream of this session opens.
    Attach {
        /// The session, which gets the state [`State::Taken`](crate::State::Taken) if it has a slot.
        session: SessionId,
    },
    /// The replica's last stream of this session has closed.
    Detach {
        /// The session; if no other replica has streams of it, its grace begins.
        session: SessionId,
    },
    /// Heartbeats, batched: renew the leases of waiting sessions and the activity of attached ones.
    Active {
        /// The sessions with a heartbeat or activity since the last such entry.
        sessions: Vec<SessionId>,
    },
    /// The visitor ends the session.
    Leave {
        /// The session to end.
        session: SessionId,
    },
    /// An operator ends the session.
    Kick {
        /// The session to end.
        session: SessionId,
    },
    /// The visitor (or an operator) wants more time.
    Extend {
        /// The session to extend by [`Rules::warn_before`], up to [`Rules::extend_limit`].
        session: SessionId,
    },
    /// An observation of one pod.
    PodSeen {
        /// The observed pod's ordinal.
        pod: Ordinal,
        /// Its incarnation.
        uid: Uid,
        /// The incarnation's phase.
        phase: Phase,
        /// The cluster's version of the pod (Kubernetes: `metadata.resourceVersion`). An older one than was read before changes nothing.
        version: u64,
    },
    /// This incarnation has been deleted.
    PodGone {
        /// The ordinal it had.
        pod: Ordinal,
        /// The incarnation that does not exist any more.
        uid: Uid,
        /// The cluster's version of the deletion.
        version: u64,
    },
    /// The complete list of the pool's pods: any other pod has been deleted.
    PodsListed {
        /// Every pod of the pool that exists.
        pods: Vec<Sighting>,
        /// The cluster's version of the list.
        version: u64,
    },
    /// The size as the cluster has it, and the journal position that decided it (from the annotation written with it).
    ScaleSeen {
        /// The first ordinal (Kubernetes: `spec.ordinals.start`).
        start: u32,
        /// The number of pods (Kubernetes: `spec.replicas`).
        replicas: u32,
        /// The journal position of the decision that the size carries out; 0 if that decision is not this fleet's.
        decided: u64,
        /// The timeline of `decided`.
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
        /// The cluster's version of the object that has the size.
        version: u64,
    },
    /// KEDA has been served this number of pods.
    Served {
        /// The number that was served.
        replicas: u32,
    },
    /// At fleet time `at`, in this timeline, it was certain that neither KEDA nor its autoscaler removes a pod, regardless of
    /// the numbers they have been served, while a session lives or waits or [`Fleet::needs_pause`](crate::Fleet::needs_pause)
    /// is true. The size and the pods that existed then have been reported before.
    ScaleInPaused {
        /// Fleet time at which it was certain.
        at: Time,
        /// The timeline of `at`.
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
    },
    /// This replica's measurements: messages of its streams during `over` (on its own clock), and, if it has read the pods'
    /// gauge, the sum in thousandths.
    Load {
        /// WebSocket messages in both directions.
        messages: u64,
        /// How long they were counted.
        over: Millis,
        /// The sum of the gauge over all pods, in thousandths. `None` if this replica does not read it, or could not.
        gauge: Option<u64>,
    },
    /// No session is placed in this pod until it is uncordoned; its sessions stay.
    Cordon {
        /// The cordoned pod.
        pod: Ordinal,
    },
    /// Undoes [`Command::Cordon`] and [`Command::Empty`].
    Uncordon {
        /// The pod that takes sessions again.
        pod: Ordinal,
    },
    /// Cordons the pod and moves its sessions.
    Empty {
        /// The pod to empty.
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
        /// The newest semantics that the replica knows.
        speaks: u32,
    },
    /// Written by the journal itself (replica and number are 0, and do not count): entries before this one may be lost. For
    /// `patience`, replicas may keep streams that the journal no longer knows. `timeline`: a random number that names the
    /// history that begins here.
    Lapse {
        /// How long replicas may keep such streams.
        patience: Millis,
        /// The name of the history that begins here; [`Timeline::FIRST`] if the journal does not name one.
        #[serde(default, skip_serializing_if = "Timeline::is_first")]
        timeline: Timeline,
    },
    /// This replica has read every entry up to the lapse at that position, and none of the lost ones.
    Whole {
        /// The journal position of the lapse.
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
    /// The pod's ordinal.
    pub pod: Ordinal,
    /// Its incarnation.
    pub uid: Uid,
    /// The incarnation's phase.
    pub phase: Phase,
}

/// The phase of an incarnation. `why` is for visitors: the waiting room shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It does not run yet: it is not scheduled, or waits for an image or a volume.
    Pending {
        /// What it waits for.
        why: Arc<str>,
    },
    /// It has never been ready, so no session can have been in it.
    Starting,
    /// The pod reports that it is ready, and one connection to it has succeeded.
    Ready {
        /// Where requests to it go.
        address: SocketAddr,
    },
    /// It has been ready and is not ready now.
    Unready,
    /// It is being deleted, and runs until it has ended by itself or its grace period is over.
    Terminating,
    /// It has ended without being deleted, or starts again and again.
    Failed {
        /// The reason that the cluster reports.
        why: Arc<str>,
    },
}

/// Why a session ended. The same word for the visitor, the log, the metrics and the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It waited, and sent no heartbeat for [`Rules::queue_lease`].
    LeftQueue,
    /// It had a slot, and did not attach within [`Rules::claim`].
    NoShow,
    /// It had no stream for [`Rules::grace`].
    Disconnected,
    /// It was not active for [`Rules::idle`].
    Idle,
    /// [`Rules::max_session`] and its extensions have passed.
    TimeUp,
    /// The visitor ended it ([`Command::Leave`]).
    Left,
    /// An operator ended it ([`Command::Kick`]).
    Kicked,
    /// Its pod was lost, and it sent no heartbeat in the queue for [`Rules::queue_lease`].
    PodLost,
    /// Its pool was removed ([`Command::Remove`]).
    PoolRemoved,
}

impl Why {
    /// Every reason, in the order of the declaration.
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

    /// Returns the reason as visitors, logs, metrics and the admin API have it.
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
    Scale {
        /// The first ordinal.
        start: u32,
        /// The number of pods; 0 for none.
        replicas: u32,
        /// The entry that decided this size.
        decided: Decision,
        /// The timeline of the size that had been read last.
        over: Timeline,
    },
    /// Delete this incarnation, by uid.
    Recycle {
        /// The incarnation's ordinal.
        pod: Ordinal,
        /// The incarnation to delete; a later one with the same ordinal stays.
        uid: Uid,
    },
    /// The incarnation is terminating or being emptied: close its streams, spread over the drain time. `gone`: it has ended, so
    /// close them at once.
    Drain {
        /// The incarnation's ordinal.
        pod: Ordinal,
        /// The incarnation whose streams end.
        uid: Uid,
        /// Whether it has ended already.
        gone: bool,
    },
    /// The session got a slot after waiting this long.
    Placed {
        /// The placed session.
        session: SessionId,
        /// The pod whose slot it has.
        pod: Ordinal,
        /// The time from its request for a place, or from the loss of its former slot.
        waited: Millis,
    },
    /// The session has ended: close its streams. `last`: the ordinal it had last.
    Released {
        /// The ended session.
        session: SessionId,
        /// Why it ended.
        why: Why,
        /// Its ordinal until now. `None` if it never had one.
        last: Option<Ordinal>,
    },
    /// The session has lost its slot at this pod and is at the front of the queue again.
    Requeued {
        /// The waiting session.
        session: SessionId,
        /// The pod that it has lost.
        pod: Ordinal,
    },
    /// A pod became ready this long after it was first wanted.
    Started {
        /// The ready pod.
        pod: Ordinal,
        /// The time since a ready incarnation of this ordinal was first wanted.
        took: Millis,
    },
    /// An invariant does not hold: placing in this pool is frozen. This is a bug: log it as an ERROR.
    Broken {
        /// The invariant, and the values that contradict it.
        what: alloc::string::String,
    },
}
