//! One session's life: its states, and the one clock of each state that runs out first. What the transitions do to
//! pods and queue is in `pool.rs`.
//!
//! ```text
//! (Visit) ─▶ Queued ─▶ Held{until} ◀─────▶ Taken{by replicas} ─▶ Ending{by replicas} ─▶ released
//!               │          │ until passes       │ pod gone
//!               ▼          ▼                    ▼
//!            released   released            Queued (front)
//! ```

use crate::entry::Why;
use crate::ids::{Ordinal, ReplicaId};
use crate::queue::Turn;
use crate::rules::Rules;
use crate::time::{Millis, Time};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub state: State,
    /// The ordinal it has, had, or says it had: preferred when it is placed.
    pub last: Option<Ordinal>,
    pub class: u8,
    /// Since when it waits, or (after placing) how long it has been at this slot.
    pub since: Time,
    /// Its client's last activity.
    pub active: Time,
    /// Its first attach ever: `max_session` counts from here. [`Time::NEVER`] before.
    pub first_attach: Time,
    /// When a replica last detached it while others still had it. Of those some may be gone without a word: its grace
    /// runs from here then.
    #[serde(default)]
    pub parted: Time,
    /// What its extensions add up to.
    pub extended: Millis,
    /// Derived: when it stands in the pool's deadlines.
    #[serde(skip, default = "never")]
    pub(crate) alarm: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// In line until the lease runs out. `lost`: because the pod under it went away.
    Queued { turn: Turn, lease: Time, lost: bool },
    /// A slot is kept for it until then. `came`: it has been there (else `claim` runs, and running out is a no-show).
    Held { pod: Ordinal, until: Time, came: bool },
    /// These replicas have streams of it.
    Taken { pod: Ordinal, by: Vec<ReplicaId> },
    /// It is over, but these replicas' streams may still run: the slot stays busy.
    Ending { pod: Ordinal, by: Vec<ReplicaId>, why: Why },
}

impl State {
    /// It has been at the slot it has: a no-show leaves no traces.
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

    /// It still waits.
    pub(crate) fn renew_lease(&mut self, until: Time) {
        planted!(LeaseNotRenewed => ());
        if let State::Queued { lease, .. } = &mut self.state {
            *lease = until;
        }
    }

    /// Its client has done something.
    pub(crate) fn note_activity(&mut self, now: Time) {
        planted!(ActivityIgnored => ());
        self.active = now;
    }

    #[must_use]
    pub fn has_attached(&self) -> bool {
        self.first_attach != Time::NEVER
    }

    /// When `idle` or `max_session` will end it if nothing happens, and which. The visitor is warned before.
    #[must_use]
    pub fn ends(&self, rules: &Rules) -> Option<(Time, Why)> {
        let idle = match self.state {
            State::Taken { .. } => rules.idle.map(|idle| (self.active + idle, Why::Idle)),
            State::Queued { .. } | State::Held { .. } | State::Ending { .. } => None,
        };
        // Losing a pod does not stop this clock: it runs in the queue, too.
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

    /// The clock that runs out first, and why the session ends then.
    pub(crate) fn due(&self, rules: &Rules) -> Option<(Time, Why)> {
        self.own_clock().into_iter().chain(self.ends(rules)).min()
    }

    /// The clock of its state.
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
