//! One pod: its incarnation, its sessions, and what follows for placing and scaling.
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
    /// Its incarnation, if it has one.
    pub life: Option<Life>,
    /// The sessions that occupy its slots: held, taken and ending.
    pub sessions: BTreeSet<SessionId>,
    /// Number of its slots: [`Rules::slots_per_pod`] when its incarnation was first observed.
    pub slots: u32,
    /// An operator has cordoned it: no session is placed here.
    pub cordoned: bool,
    /// Cordoned, and its sessions are to be moved.
    #[serde(default)]
    pub emptied: bool,
    /// Since when a ready incarnation of this ordinal has been awaited. [`Time::NEVER`] if none is.
    pub asked: Time,
    /// The position of the entry that brought it inside `desired`.
    pub(crate) raised: u64,
    /// When that was, if the cluster may still have had a size that covers it: until KEDA has settled on a number that covers it,
    /// KEDA may act on a lower one, whatever incarnation the controller has created meanwhile.
    #[serde(default)]
    pub(crate) contested: Option<Time>,
    /// The cluster's version of the newest observation of this ordinal.
    pub(crate) version: u64,
    /// The uid of the last incarnation known to be deleted: later observations of it are ignored.
    pub(crate) gone: Option<Uid>,
    /// Derived: its entries in the pool's indexes.
    #[serde(skip)]
    pub(crate) index: Index,
}

/// One incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The incarnation's uid: a session is bound to it, and it is deleted by it.
    pub uid: Uid,
    /// Its newest observed phase.
    pub phase: Phase,
    /// Known since it was first ready.
    pub incarnation: Option<Incarnation>,
    /// A session has been in it, or may have been because it already ran when the journal began.
    pub used: bool,
    /// It may hold data of a session: no other session is placed here (`after_session = recycle`).
    pub dirty: bool,
    /// Its relation to the ordinals that the pool should run.
    pub standing: Standing,
    /// Since when it has not been ready. [`Time::NEVER`] while it is.
    pub unready: Time,
    /// It has not been ready, or not been certain to stay, for `stuck_after`; or it has failed while terminating.
    pub stuck: bool,
    /// Its deletion has been ordered and may be carried out at any time, whatever has changed since: it is never used again.
    #[serde(default)]
    pub condemned: bool,
}

impl Life {
    /// Records that a session has been in it. The rules decide whether that makes it dirty.
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

    /// Inside `desired`, but not yet certain to stay: an earlier order may still delete it.
    pub(crate) fn is_returning(&self) -> bool {
        matches!(self.standing, Standing::Returning { .. })
    }

    /// Clears `stuck`, unless it is still not ready.
    pub(crate) fn forgive(&mut self) {
        self.stuck &= self.unready != Time::NEVER;
    }
}

/// The relation of an incarnation to `desired` (`docs/behaviour.md`, §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Inside `desired`, and certain to stay: sessions are placed here.
    Wanted,
    /// To be removed after the pods above it; takes sessions only if no other pod can ([`Shrink::Move`](crate::rules::Shrink)).
    Surplus,
    /// It is being emptied: no session is placed here, and its sessions are moved. It stays until it is empty.
    Leaving,
    /// Outside `desired`: the cluster may delete it at any moment.
    Retiring,
    /// Inside `desired` again since the entry at position `decided` (as in `Effect::Scale`), but an earlier order may still
    /// delete it. After a lapse every pod inside is returning (`Pool::doubt`), also one with sessions.
    Returning {
        /// The journal position of the entry. The cluster's size must carry it, or a later one.
        decided: u64,
        /// When it became returning.
        since: Time,
    },
}

/// A pod's entries in the pool's indexes: derived by [`Pod::derive`], replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Its key among the pods that can take a session now: the lowest is chosen.
    pub(crate) open: Option<u32>,
    /// Free slots it has or will have, for `needed`.
    pub(crate) usable: u32,
    /// It is counted on to bear its share of the load.
    pub(crate) able: bool,
    pub(crate) busy: u32,
    pub(crate) ready: bool,
    /// Since when a ready incarnation has been awaited, if one is.
    pub(crate) starting: Option<Time>,
    pub(crate) returning: bool,
    pub(crate) owes_recycle: bool,
    pub(crate) alarm: Option<Time>,
}

/// The lowest key of surplus pods: above the keys of all pods that stay.
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
            contested: None,
            version: 0,
            gone: None,
            index: Index::default(),
        }
    }

    /// Reports whether its incarnation is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.life.as_ref().is_some_and(|l| matches!(l.phase, Phase::Terminating))
    }

    /// It is terminating or being emptied: a session without a stream here is placed elsewhere.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.emptied || self.is_terminating() || self.life.as_ref().is_some_and(|l| l.standing == Standing::Leaving)
    }

    /// Reports whether its incarnation is ready, whether sessions may be placed there or not.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.life.as_ref().is_some_and(|l| matches!(l.phase, Phase::Ready { .. }))
    }

    /// Whether a session may be placed in this incarnation now.
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

    /// Its key among the pods that can take a session: the lowest is chosen.
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

    /// Its free slots; 0 if no session may be placed in its incarnation now.
    #[must_use]
    pub fn free_slots(&self) -> u32 {
        let placeable = self.life.as_ref().is_some_and(|life| self.is_placeable(life));
        if placeable { self.slots.saturating_sub(self.sessions.len() as u32) } else { 0 }
    }

    /// The position of the entry that wanted it again, and when that was, if it is returning: later than the time of `contested`
    /// if this is a successor.
    pub(crate) fn returning(&self) -> Option<(u64, Time)> {
        let Standing::Returning { decided, since } = self.life.as_ref()?.standing else { return None };
        Some((decided, self.contested.unwrap_or(since)))
    }

    /// It is outside `desired` from now on: not awaited any more, and no session is placed there.
    pub(crate) fn retire(&mut self) {
        self.asked = Time::NEVER;
        self.contested = None;
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
            // Its successor will have all slots. A dirty pod is replaced only after its last session: that may take long.
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
