//! One pod's life: its incarnation, who sits in it, and what follows for placing and scaling.
//!
//! ```text
//! (new uid) Free ─▶ Serving ─▶ Free (keep) | Dirty (recycle) ─▶ (new uid) Free;   Free ─▶ Retiring ─▶ gone
//! where sessions may be moved:  Serving ─▶ Surplus ─▶ Leaving ─▶ (empty) Retiring ─▶ gone
//! ```

use crate::entry::Phase;
use crate::ids::{Incarnation, SessionId, Uid};
use crate::rules::{AfterSession, Placement, Rules};
use crate::time::Time;
use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

/// One ordinal. It may have no incarnation at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub life: Option<Life>,
    /// Who occupies its slots: held, taken and ending sessions.
    pub sessions: BTreeSet<SessionId>,
    pub slots: u32,
    pub cordoned: bool,
    /// ... and its sessions are to be moved.
    #[serde(default)]
    pub emptied: bool,
    /// Since when a ready incarnation of this ordinal is wanted and missing. [`Time::NEVER`] if none is.
    pub asked: Time,
    /// The position of the entry since which it is inside `desired`.
    pub(crate) raised: u64,
    /// The cluster's version of the newest news of this ordinal.
    pub(crate) version: u64,
    /// The last uid that is known to be gone: it stays gone.
    pub(crate) gone: Option<Uid>,
    /// Derived: what the pool's indexes hold about it.
    #[serde(skip)]
    pub(crate) index: Index,
}

/// One incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    pub uid: Uid,
    pub phase: Phase,
    /// Known from the first moment it was ready.
    pub incarnation: Option<Incarnation>,
    /// Somebody has been in it, or may have been: it already ran when the journal began.
    pub used: bool,
    /// Somebody's traces are in it: nobody else is placed here (`after_session = recycle`).
    pub dirty: bool,
    pub standing: Standing,
    /// Since when it has not been ready. [`Time::NEVER`] while it is.
    pub unready: Time,
    /// It has not been ready, or not been certain to stay, for `stuck_after`.
    pub stuck: bool,
    /// Its deletion has been ordered, and may be carried out at any time from then on, whatever has changed since: it is never used again.
    #[serde(default)]
    pub condemned: bool,
}

impl Life {
    /// Leaves traces. Whether they matter is for the rules to say.
    pub(crate) fn use_up(&mut self, rules: &Rules) {
        planted!(NeverDirty => ());
        self.used = true;
        self.judge(rules);
    }

    pub(crate) fn judge(&mut self, rules: &Rules) {
        self.dirty = self.used && rules.after_session == AfterSession::Recycle;
    }

    #[cfg(feature = "planted")]
    fn taken_for_returned(&self) -> Life {
        let standing = if self.is_returning() { Standing::Wanted } else { self.standing };
        Life { standing, ..self.clone() }
    }

    /// Inside `desired`, but it is not certain yet that nobody still deletes it.
    pub(crate) fn is_returning(&self) -> bool {
        matches!(self.standing, Standing::Returning { .. })
    }

    /// Being late counts anew, unless it is still not ready.
    pub(crate) fn forgive(&mut self) {
        self.stuck &= self.unready != Time::NEVER;
    }
}

/// Where an incarnation stands towards `desired` (behaviour §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Wanted,
    /// It will have to go, but somebody above it goes first: chosen where nothing else is free ([`Shrink::Move`](crate::rules::Shrink)).
    Surplus,
    /// It is being emptied: nobody is placed here, and whoever is here is moved. It stays until it is empty.
    Leaving,
    /// Outside `desired`: somebody may delete it any moment.
    Retiring,
    /// Inside again since the entry at position `decided` (as in `Effect::Scale`), but not yet certain that nobody still deletes it.
    /// After a lapse every pod inside is (`Pool::doubt`), also one with sessions.
    Returning {
        decided: u64,
        since: Time,
    },
}

/// What the pool's indexes hold about a pod: derived from it by [`Pod::derive`], replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Its key among the pods that can take somebody now: the lowest is chosen.
    pub(crate) open: Option<u32>,
    /// Free slots it has or will have, for `needed`.
    pub(crate) usable: u32,
    /// It is counted on to bear its share.
    pub(crate) able: bool,
    pub(crate) busy: u32,
    pub(crate) ready: bool,
    /// Waited for, and since when.
    pub(crate) starting: Option<Time>,
    pub(crate) returning: bool,
    pub(crate) owes_recycle: bool,
    pub(crate) alarm: Option<Time>,
}

/// A key behind those of all pods that stay.
const LAST_CHOICE: u32 = 1 << 31;

impl Pod {
    pub(crate) fn new(slots: u32) -> Pod {
        Pod {
            life: None,
            sessions: BTreeSet::new(),
            slots,
            cordoned: false,
            emptied: false,
            asked: Time::NEVER,
            raised: 0,
            version: 0,
            gone: None,
            index: Index::default(),
        }
    }

    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.life.as_ref().is_some_and(|l| matches!(l.phase, Phase::Terminating))
    }

    /// Whoever has no stream here any more is placed elsewhere: it is on its way out.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.emptied || self.is_terminating() || self.life.as_ref().is_some_and(|l| l.standing == Standing::Leaving)
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.life.as_ref().is_some_and(|l| matches!(l.phase, Phase::Ready { .. }))
    }

    /// Whether anybody may be placed in this incarnation now.
    fn is_placeable(&self, life: &Life) -> bool {
        planted!(PlaceOnTerminating => self.is_open(life) || self.is_terminating() && life.incarnation.is_some());
        planted!(PlaceOnCordoned => Pod { cordoned: false, ..self.clone() }.is_open(life));
        planted!(PlaceOnDirty => self.is_open(&Life { dirty: false, ..life.clone() }));
        planted!(PlaceOnReturning => self.is_open(&life.taken_for_returned()));
        self.is_open(life)
    }

    fn is_open(&self, life: &Life) -> bool {
        let stays = matches!(life.standing, Standing::Wanted | Standing::Surplus);
        self.is_ready() && !life.dirty && !life.condemned && !self.cordoned && stays
    }

    /// Where it stands among the pods that can take somebody: the lowest is chosen.
    fn rank(&self, rules: &Rules) -> u32 {
        planted!(SpreadLikePack => 0);
        let busy = self.sessions.len() as u32;
        let is_surplus = self.life.as_ref().is_some_and(|l| l.standing == Standing::Surplus);
        match rules.placement {
            _ if is_surplus => LAST_CHOICE + busy.min(LAST_CHOICE - 1),
            Placement::Pack => 0,
            Placement::Spread => busy.min(LAST_CHOICE - 1),
        }
    }

    /// Free slots of an incarnation that anybody may be placed in now.
    #[must_use]
    pub fn free_slots(&self) -> u32 {
        let placeable = self.life.as_ref().is_some_and(|life| self.is_placeable(life));
        if placeable { self.slots.saturating_sub(self.sessions.len() as u32) } else { 0 }
    }

    /// It is outside `desired` from now on: nobody waits for it, and nobody is placed there.
    pub(crate) fn retire(&mut self) {
        self.asked = Time::NEVER;
        self.mark_retiring();
    }

    fn mark_retiring(&mut self) {
        planted!(LowerWithoutRetiring => ());
        if let Some(life) = &mut self.life {
            life.standing = Standing::Retiring;
            life.forgive();
        }
    }

    pub(crate) fn derive(&self, rules: &Rules) -> Index {
        let busy = self.sessions.len() as u32;
        let free = self.free_slots();
        let returning_since = self.life.as_ref().and_then(|l| match l.standing {
            Standing::Returning { since, .. } => Some(since),
            Standing::Wanted | Standing::Surplus | Standing::Leaving | Standing::Retiring => None,
        });
        let able =
            !self.cordoned && self.life.as_ref().is_none_or(|l| !l.stuck && !matches!(l.phase, Phase::Failed { .. }));
        let usable = match &self.life {
            _ if self.cordoned => 0,
            None => rules.slots_per_pod,
            Some(l) if l.stuck || matches!(l.phase, Phase::Failed { .. }) => 0,
            // Its successor will have all its slots; but a dirty one waits for whoever is still there, and that may take long.
            Some(l) if matches!(l.phase, Phase::Terminating) => rules.slots_per_pod,
            Some(l) if l.dirty || l.condemned => {
                if busy == 0 {
                    rules.slots_per_pod
                } else {
                    0
                }
            }
            Some(_) => self.slots.saturating_sub(busy),
        };
        let owes_recycle = self.life.as_ref().is_some_and(|l| {
            let due = l.dirty || l.condemned || l.stuck && returning_since.is_some();
            due && busy == 0 && !matches!(l.phase, Phase::Terminating)
        });
        let alarm = self.life.as_ref().filter(|l| !l.stuck).and_then(|l| {
            let returning = returning_since.filter(|_| !matches!(l.phase, Phase::Terminating)).unwrap_or(Time::NEVER);
            l.unready.min(returning).known().map(|since| since + rules.stuck_after)
        });
        Index {
            open: (free > 0).then_some(self.rank(rules)),
            usable,
            able,
            busy,
            ready: self.is_ready(),
            starting: self.asked.known().filter(|_| usable > 0),
            returning: returning_since.is_some(),
            owes_recycle,
            alarm,
        }
    }
}
