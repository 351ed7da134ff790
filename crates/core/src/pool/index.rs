//! Indexes derived from a pool's sessions and pods, so that nothing has to be searched. Every change of a session goes through
//! [`Pool::change`], which updates them; after a change of a pod, `touch_pod` does. `reindex` rebuilds them after a checkpoint
//! was read and when the rules change.

use super::{Pool, Step};
use crate::entry::Effect;
use crate::ids::{Ordinal, SessionId};
use crate::pods::Index;
use crate::prefix::Prefix;
use crate::queue::Turn;
use crate::rules::Rules;
use crate::sessions::{Session, State};
use crate::time::Time;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// The indexes of one pool, and counts by session state.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolIndex {
    pub(crate) deadlines: BTreeSet<(Time, Owner)>,
    /// Pods that can take a session now, best first.
    pub(crate) open: BTreeSet<(u32, Ordinal)>,
    pub(crate) busy: BTreeSet<Ordinal>,
    pub(crate) busy_slots: u64,
    /// Free slots of each ordinal below `max` that `needed` may count on.
    pub(crate) usable: Prefix,
    /// 1 for each ordinal below `max` that is counted on to bear its share of the load.
    pub(crate) able: Prefix,
    /// Ordinals whose ready incarnation is awaited, longest wait first.
    pub(crate) starting: BTreeSet<(Time, Ordinal)>,
    /// Pods that are inside `desired` again but not yet certain to stay.
    pub(crate) returning: BTreeSet<Ordinal>,
    pub(crate) owes_recycle: BTreeSet<Ordinal>,
    /// Waiting sessions that lost their pods, by their former ordinals.
    pub(crate) missed: BTreeSet<(Ordinal, Turn, SessionId)>,
    pub(crate) ready: u32,
    pub(crate) held: u64,
    pub(crate) taken: u64,
    pub(crate) ending: u64,
}

/// The owner of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Session(SessionId),
    Pod(Ordinal),
}

impl Pool {
    pub(super) fn add(&mut self, id: SessionId, mut session: Session) {
        self.index.enter(id, &mut session, &self.rules);
        self.sessions.insert(id, session);
    }

    /// Changes a session, and what is derived from it: no other function may change one. `None` if there is no such session.
    pub(super) fn change<T>(&mut self, id: SessionId, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let session = self.sessions.get_mut(id)?;
        self.index.leave(id, session);
        let result = change(session);
        self.index.enter(id, session, &self.rules);
        Some(result)
    }

    pub(super) fn forget(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        self.index.leave(id, &session);
        self.index.deadlines.remove(&(session.alarm, Owner::Session(id)));
        Some(session)
    }

    /// Updates the pod's index entries, and emits `Recycle` if it newly owes one.
    pub(super) fn touch_pod(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
        let owed_before = self.index.owes_recycle.contains(&ordinal);
        self.reindex_pod(ordinal);
        let Some(pod) = self.pods.get(&ordinal) else { return };
        if pod.sessions.len() as u32 > pod.slots && !self.frozen {
            self.freeze("more sessions than slots in a pod", step);
        } else if pod.index.owes_recycle
            && !owed_before
            && let Some(life) = &pod.life
        {
            step.effects.push(Effect::Recycle { pod: ordinal, uid: life.uid.clone() });
        }
    }

    pub(super) fn reindex_pod(&mut self, ordinal: Ordinal) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        let new = pod.derive(&self.rules);
        self.index.replace(ordinal, &pod.index, &new);
        pod.index = new;
    }

    /// Rebuilds every index: after a checkpoint was read, and when the rules change.
    pub(crate) fn reindex(&mut self) {
        self.index = PoolIndex {
            usable: Prefix::new(self.rules.max, self.rules.slots_per_pod),
            able: Prefix::new(self.rules.max, 1),
            ..PoolIndex::default()
        };
        let ordinals: Vec<Ordinal> = self.pods.keys().copied().collect();
        for ordinal in ordinals {
            if let Some(pod) = self.pods.get_mut(&ordinal) {
                pod.index = Index::default();
            }
            self.reindex_pod(ordinal);
        }
        self.reindex_sessions();
    }

    fn reindex_sessions(&mut self) {
        planted!(CheckpointForgetsTimers => ());
        for (id, _) in self.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.alarm = Time::NEVER;
                self.index.enter(id, session, &self.rules);
            }
        }
    }
}

impl PoolIndex {
    /// Adds what is derived from the session. Its deadline may be that of an earlier state.
    fn enter(&mut self, id: SessionId, session: &mut Session, rules: &Rules) {
        if let Some(count) = self.count(&session.state) {
            *count += 1;
        }
        self.missed.extend(missed(id, session));
        let alarm = session.due(rules).map_or(Time::NEVER, |d| d.0);
        let owner = Owner::Session(id);
        let deadline = |at: Time| at.known().map(|at| (at, owner));
        move_in(&mut self.deadlines, deadline(session.alarm), deadline(alarm));
        session.alarm = alarm;
    }

    /// Removes what is derived from the session's state, except for its deadline.
    fn leave(&mut self, id: SessionId, session: &Session) {
        if let Some(count) = self.count(&session.state) {
            *count -= 1;
        }
        if let Some(missed) = missed(id, session) {
            self.missed.remove(&missed);
        }
    }

    /// The number of sessions in this state, if they are counted.
    fn count(&mut self, state: &State) -> Option<&mut u64> {
        match state {
            State::Queued { .. } => None,
            State::Held { .. } => Some(&mut self.held),
            State::Taken { .. } => Some(&mut self.taken),
            State::Ending { .. } => Some(&mut self.ending),
        }
    }

    fn replace(&mut self, ordinal: Ordinal, old: &Index, new: &Index) {
        move_in(&mut self.open, old.open.map(|k| (k, ordinal)), new.open.map(|k| (k, ordinal)));
        move_in(&mut self.busy, (old.busy > 0).then_some(ordinal), (new.busy > 0).then_some(ordinal));
        move_in(&mut self.starting, old.starting.map(|t| (t, ordinal)), new.starting.map(|t| (t, ordinal)));
        move_in(&mut self.returning, old.returning.then_some(ordinal), new.returning.then_some(ordinal));
        move_in(&mut self.owes_recycle, old.owes_recycle.then_some(ordinal), new.owes_recycle.then_some(ordinal));
        let deadline = |alarm: Option<Time>| alarm.map(|at| (at, Owner::Pod(ordinal)));
        move_in(&mut self.deadlines, deadline(old.alarm), deadline(new.alarm));
        self.busy_slots = self.busy_slots + u64::from(new.busy) - u64::from(old.busy);
        self.ready = self.ready + u32::from(new.ready) - u32::from(old.ready);
        if self.usable.get(ordinal.0) != new.usable {
            self.usable.set(ordinal.0, new.usable);
        }
        if self.able.get(ordinal.0) != u32::from(new.able) {
            self.able.set(ordinal.0, u32::from(new.able));
        }
    }
}

/// The session's entry in `missed`, if it waits because it lost its pod.
fn missed(id: SessionId, session: &Session) -> Option<(Ordinal, Turn, SessionId)> {
    match session.state {
        State::Queued { turn, lost: true, .. } => session.last.map(|last| (last, turn, id)),
        State::Queued { .. } | State::Held { .. } | State::Taken { .. } | State::Ending { .. } => None,
    }
}

fn move_in<T: Ord>(set: &mut BTreeSet<T>, old: Option<T>, new: Option<T>) {
    if old != new {
        if let Some(old) = old {
            set.remove(&old);
        }
        if let Some(new) = new {
            set.insert(new);
        }
    }
}
