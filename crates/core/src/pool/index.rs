//! Indexes derived from a pool's sessions and pods, so that nothing has to be searched: updated by `touch_session` and
//! `touch_pod` at each step, rebuilt by `reindex` after a checkpoint was read and when the rules change.

use super::{Pool, Step};
use crate::entry::Effect;
use crate::ids::{Ordinal, SessionId};
use crate::pods::Index;
use crate::prefix::Prefix;
use crate::queue::Turn;
use crate::sessions::State;
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
    pub(super) fn touch_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let alarm = session.due(&self.rules).map_or(Time::NEVER, |d| d.0);
        if alarm != session.alarm {
            self.index.deadlines.remove(&(session.alarm, Owner::Session(id)));
            session.alarm = alarm;
            if alarm != Time::NEVER {
                self.index.deadlines.insert((alarm, Owner::Session(id)));
            }
        }
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
                match session.state {
                    State::Queued { turn, lost: true, .. } => {
                        self.index.missed.extend(session.last.map(|last| (last, turn, id)));
                    }
                    State::Queued { .. } => {}
                    State::Held { .. } => self.index.held += 1,
                    State::Taken { .. } => self.index.taken += 1,
                    State::Ending { .. } => self.index.ending += 1,
                }
            }
            self.touch_session(id);
        }
    }
}

impl PoolIndex {
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
