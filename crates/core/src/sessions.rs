//! One session: its states, and the deadline of each state that comes first. The transitions, and what they do to pods
//! and queue, are in `pool/visitors.rs`.
//!
//! ```text
//! (Visit) ─▶ Queued ─▶ Held{until} ◀─────▶ Taken{by replicas} ─▶ Ending{by replicas} ─▶ released
//!               │          │ until passes       │ pod gone
//!               ▼          ▼                    ▼
//!            released   released            Queued (front), also from Held
//! ```

use crate::entry::Why;
use crate::ids::{Ordinal, ReplicaId};
use crate::queue::Turn;
use crate::rules::Rules;
use crate::time::{Millis, Time};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One session, from its first `Visit` to its release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whether it waits, has a slot, or is ending.
    pub state: State,
    /// The ordinal it has, had, or had according to its cookie: preferred when it is placed.
    pub last: Option<Ordinal>,
    /// Its priority class: lower ones are placed first.
    pub class: u8,
    /// Since when it has been waiting or (after placing) has had this slot.
    pub since: Time,
    /// Its client's last activity.
    pub active: Time,
    /// Its first attach: `max_session` counts from here. [`Time::NEVER`] before.
    pub first_attach: Time,
    /// When a replica last detached it. If all other replicas that had it attached turn out to be dead, its grace runs
    /// from here.
    #[serde(default)]
    pub parted: Time,
    /// The sum of its extensions.
    pub extended: Millis,
    /// Derived: its deadline in the pool's index.
    #[serde(skip, default = "never")]
    pub(crate) alarm: Time,
}

/// A session has a place in the queue, or a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// In the queue until the lease runs out. `lost`: because it lost its pod.
    Queued {
        /// Its place in the queue.
        turn: Turn,
        /// It leaves the queue then, unless a heartbeat renews the lease.
        lease: Time,
        /// It waits because it lost its pod.
        lost: bool,
    },
    /// A slot is kept for it until then. `came`: it has attached to it (otherwise `claim` runs, and its end is a no-show).
    Held {
        /// The pod whose slot is kept.
        pod: Ordinal,
        /// Until when it is kept.
        until: Time,
        /// It has attached to this slot.
        came: bool,
    },
    /// These replicas have streams of the session.
    Taken {
        /// The pod in whose slot it is.
        pod: Ordinal,
        /// The replicas that have streams of it. Never empty.
        by: Vec<ReplicaId>,
    },
    /// It has ended, but these replicas' streams may still run: the slot stays busy.
    Ending {
        /// The pod whose slot stays busy.
        pod: Ordinal,
        /// The replicas whose streams may still run.
        by: Vec<ReplicaId>,
        /// Why it has ended.
        why: Why,
    },
}

impl State {
    /// Whether it has attached to its present slot: a no-show does not count as use of the pod.
    pub(crate) fn has_come(&self) -> bool {
        planted!(NoShowRecycles => !matches!(self, State::Queued { .. }));
        match self {
            State::Queued { .. } => false,
            State::Held { came, .. } => *came,
            State::Taken { .. } | State::Ending { .. } => true,
        }
    }
}

fn never() -> Time {
    Time::NEVER
}

impl Session {
    /// The pod whose slot it occupies.
    #[must_use]
    pub fn pod(&self) -> Option<Ordinal> {
        match self.state {
            State::Queued { .. } => None,
            State::Held { pod, .. } | State::Taken { pod, .. } | State::Ending { pod, .. } => Some(pod),
        }
    }

    /// Renews the lease if it is queued.
    pub(crate) fn renew_lease(&mut self, until: Time) {
        planted!(LeaseNotRenewed => ());
        if let State::Queued { lease, .. } = &mut self.state {
            *lease = until;
        }
    }

    /// Records that its client has been active.
    pub(crate) fn note_activity(&mut self, now: Time) {
        planted!(ActivityIgnored => ());
        self.active = now;
    }

    /// Reports whether it ever had a stream.
    #[must_use]
    pub fn has_attached(&self) -> bool {
        self.first_attach != Time::NEVER
    }

    /// When `idle` or `max_session` will end it if nothing happens, and which of them. The visitor is warned before.
    #[must_use]
    pub fn ends(&self, rules: &Rules) -> Option<(Time, Why)> {
        let idle = match self.state {
            State::Taken { .. } => rules.idle.map(|idle| (self.active + idle, Why::Idle)),
            State::Queued { .. } | State::Held { .. } | State::Ending { .. } => None,
        };
        // Losing a pod does not stop this clock: it also runs in the queue.
        let over = matches!(self.state, State::Ending { .. });
        let time_up = rules
            .max_session
            .filter(|_| !over && self.has_attached())
            .map(|max| (self.begun() + max + self.extended, Why::TimeUp));
        idle.into_iter().chain(time_up).min()
    }

    /// Since when `max_session` counts.
    fn begun(&self) -> Time {
        planted!(TimeUpFromActivity => self.active);
        self.first_attach
    }

    /// The deadline that comes first, and why the session ends then.
    pub(crate) fn due(&self, rules: &Rules) -> Option<(Time, Why)> {
        self.own_clock().into_iter().chain(self.ends(rules)).min()
    }

    /// The deadline of its state.
    fn own_clock(&self) -> Option<(Time, Why)> {
        planted!(ClaimNeverEnds => self.patient_clock());
        match self.state {
            State::Queued { lease, lost: false, .. } => Some((lease, Why::LeftQueue)),
            State::Queued { lease, lost: true, .. } => Some((lease, Why::PodLost)),
            State::Held { until, came: false, .. } => Some((until, Why::NoShow)),
            State::Held { until, came: true, .. } => Some((until, Why::Disconnected)),
            State::Taken { .. } | State::Ending { .. } => None,
        }
    }

    #[cfg(feature = "planted")]
    fn patient_clock(&self) -> Option<(Time, Why)> {
        match self.state {
            State::Queued { lease, lost: false, .. } => Some((lease, Why::LeftQueue)),
            State::Queued { lease, lost: true, .. } => Some((lease, Why::PodLost)),
            State::Held { until, came: true, .. } => Some((until, Why::Disconnected)),
            State::Held { came: false, .. } | State::Taken { .. } | State::Ending { .. } => None,
        }
    }
}
