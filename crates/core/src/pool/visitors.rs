//! The transitions between a session's states, caused by visitors, operators and time. A slot becomes free in `vacate`, and
//! nowhere else: by `free` (the session is over) or by `requeue` (it waits again, at the front).

use super::{Pool, Step};
use crate::entry::{Effect, Phase, Why};
use crate::ids::{Ordinal, ReplicaId, SessionId};
use crate::pods::Life;
use crate::queue::Queue;
use crate::rules::{AfterSession, Rules, Spare};
use crate::sessions::{Session, State};
use crate::time::{Millis, Time};
use alloc::vec;
use alloc::vec::Vec;

impl Pool {
    pub(super) fn visit(&mut self, id: SessionId, hint: Option<Ordinal>, class: u8, step: &mut Step<'_>) {
        let lease = step.now + self.rules.queue_lease;
        let known = self.change(id, |session| {
            if let State::Queued { lease: l, .. } = &mut session.state {
                *l = lease;
            }
        });
        if known.is_some() || !self.takes_newcomers(step.quiet) {
            return;
        }
        let turn = self.queue.join(id, class);
        let session = Session {
            state: State::Queued { turn, lease, lost: false },
            last: hint.filter(|_| self.rules.sticky_storage),
            class,
            since: step.now,
            active: step.now,
            first_attach: Time::NEVER,
            parted: Time::default(),
            extended: Millis::ZERO,
            alarm: Time::NEVER,
        };
        self.add(id, session);
    }

    pub(super) fn attach(&mut self, id: SessionId, from: ReplicaId, step: &Step<'_>) {
        let Some(session) = self.sessions.get(id).filter(|_| !step.quiet) else { return };
        let life = session.pod().and_then(|pod| self.pods.get(&pod)?.life.as_ref());
        if life.is_some_and(Life::is_returning) {
            return;
        }
        self.change(id, |session| {
            match &mut session.state {
                State::Held { pod, .. } => session.state = State::Taken { pod: *pod, by: vec![from] },
                State::Taken { by, .. } if by.contains(&from) => {}
                State::Taken { by, .. } => by.push(from),
                State::Queued { .. } | State::Ending { .. } => return,
            }
            session.active = step.now;
            session.first_attach = session.first_attach.min(step.now);
        });
    }

    pub(crate) fn detach(&mut self, id: SessionId, from: ReplicaId, step: &mut Step<'_>) {
        let now = step.now;
        let last = self.change(id, |session| {
            let (by, taken) = match &mut session.state {
                State::Taken { pod, by } => (by, Some(*pod)),
                State::Ending { by, .. } => (by, None),
                State::Queued { .. } | State::Held { .. } => return None,
            };
            take_off(by, from);
            if taken.is_some() {
                session.parted = now;
            }
            by.is_empty().then_some(taken)
        });
        match last.flatten() {
            Some(Some(pod)) => self.hold_or_requeue(id, pod, step),
            Some(None) => self.free(id, step),
            None => {}
        }
    }

    /// The last stream has closed: the slot is held for `grace`. If the pod is terminating or being emptied, is not ready and
    /// its sessions may be moved, or has not been certain to stay for `stuck_after`, the session is requeued instead.
    fn hold_or_requeue(&mut self, id: SessionId, pod: Ordinal, step: &mut Step<'_>) {
        let moves = self.rules.moves(step.targeted);
        let life = self.pods.get(&pod).and_then(|p| p.life.as_ref());
        let given_up = life.is_some_and(|l| l.is_returning() && l.stuck);
        if given_up || self.pods.get(&pod).is_some_and(|p| p.is_going() || moves && !p.is_ready()) {
            self.requeue(id, step);
            return;
        }
        // The session cannot return before the pod is certain to stay.
        let until = if life.is_some_and(Life::is_returning) { Time::NEVER } else { step.now + self.rules.grace };
        self.change(id, |session| session.state = State::Held { pod, until, came: true });
    }

    pub(super) fn active(&mut self, id: SessionId, now: Time) {
        let lease = now + self.rules.queue_lease;
        self.change(id, |session| match session.state {
            State::Queued { .. } => session.renew_lease(lease),
            State::Taken { .. } => session.note_activity(now),
            State::Held { .. } | State::Ending { .. } => {}
        });
    }

    pub(super) fn extend(&mut self, id: SessionId, now: Time) {
        let (by, limit) = (self.rules.warn_before, self.rules.extend_limit);
        if is_waited_for(&self.queue) {
            return;
        }
        self.change(id, |session| {
            let seated = matches!(session.state, State::Taken { .. } | State::Held { .. });
            if seated && session.extended < limit {
                session.extended = (session.extended + by).min(limit);
                session.active = now;
            }
        });
    }

    /// Ends the session. If streams are still open, its slot stays busy until they are closed.
    pub(super) fn end(&mut self, id: SessionId, why: Why, step: &mut Step<'_>) {
        planted!(FreeWhileStreaming => self.end_at_once(id, why, step));
        let ended = self.change(id, |session| {
            let is_open = match &mut session.state {
                State::Taken { pod, by } => {
                    session.state = State::Ending { pod: *pod, by: core::mem::take(by), why };
                    true
                }
                State::Queued { .. } | State::Held { .. } => false,
                State::Ending { .. } => return None,
            };
            Some((is_open, session.last))
        });
        let Some((is_open, last)) = ended.flatten() else { return };
        step.effects.push(Effect::Released { session: id, why, last });
        if !is_open {
            self.free(id, step);
        }
    }

    #[cfg(feature = "planted")]
    fn end_at_once(&mut self, id: SessionId, why: Why, step: &mut Step<'_>) {
        if let Some(session) = self.sessions.get(id) {
            step.effects.push(Effect::Released { session: id, why, last: session.last });
            self.free(id, step);
        }
    }

    /// Forgets the session and releases its slot or its place in the queue.
    pub(super) fn free(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.forget(id) else { return };
        match session.state {
            State::Queued { turn, .. } => self.queue.leave(turn),
            State::Held { pod, .. } | State::Taken { pod, .. } | State::Ending { pod, .. } => {
                self.estimate.release(step.now);
                self.vacate(pod, id, session.state.has_come(), step);
            }
        }
    }

    /// Removes the session from the pod's list. `was_there`: it has attached there.
    fn vacate(&mut self, ordinal: Ordinal, id: SessionId, was_there: bool, step: &mut Step<'_>) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        pod.sessions.remove(&id);
        pod.slots = self.rules.slots_per_pod.max(pod.sessions.len() as u32);
        if was_there && let Some(life) = &mut pod.life {
            life.use_up(&self.rules);
        }
        self.touch_pod(ordinal, step);
    }

    /// The session loses its slot at this pod: moves it to the front of the queue.
    pub(super) fn requeue(&mut self, id: SessionId, step: &mut Step<'_>) {
        let turn = self.queue.rejoin(id);
        let (now, lease) = (step.now, step.now + self.rules.queue_lease.max(self.rules.grace));
        let lost = self.change(id, |session| {
            let (pod, was_there) = (session.pod()?, session.state.has_come());
            session.state = State::Queued { turn, lease, lost: true };
            session.since = now;
            Some((pod, was_there))
        });
        let Some((pod, was_there)) = lost.flatten() else { return };
        step.effects.push(Effect::Requeued { session: id, pod });
        self.vacate(pod, id, was_there, step);
    }

    /// A replica has stopped or was silent for too long: its streams are closed. `graced`: a whole grace has passed since.
    pub(crate) fn replica_gone(&mut self, replica: ReplicaId, graced: bool, step: &mut Step<'_>) {
        let seated: Vec<SessionId> = self.pods.values().flat_map(|p| p.sessions.iter().copied()).collect();
        for id in seated {
            let by = match self.sessions.get(id).map(|s| &s.state) {
                Some(State::Taken { by, .. } | State::Ending { by, .. }) => by,
                Some(State::Queued { .. } | State::Held { .. }) | None => continue,
            };
            if !by.contains(&replica) {
                continue;
            }
            let before = self.sessions.get(id).map(|s| s.parted).unwrap_or_default();
            self.detach(id, replica, step);
            if graced {
                self.grace_from(id, before, step);
            }
        }
        self.settle(step);
    }

    /// The session's streams at a silent replica have been closed for a grace already; those at other replicas perhaps not.
    fn grace_from(&mut self, id: SessionId, parted: Time, step: &mut Step<'_>) {
        planted!(GraceAfterSilence => ());
        let end = parted + self.rules.grace;
        let held = self.change(id, |session| {
            session.parted = parted;
            match &mut session.state {
                State::Held { until, .. } if *until != Time::NEVER => {
                    *until = end;
                    true
                }
                State::Queued { .. } | State::Held { .. } | State::Taken { .. } | State::Ending { .. } => false,
            }
        });
        if held == Some(true) && end <= step.now {
            self.end(id, Why::Disconnected, step);
        }
    }

    /// A lapse has ended. `lost`: the use of pods may be forgotten. (Even if all known replicas have missed nothing, one whose
    /// first entry is lost may have admitted a session to a pod.)
    pub(crate) fn resume(&mut self, lost: bool, step: &mut Step<'_>) {
        if (lost || !step.timeline.is_first()) && self.rules.after_session == AfterSession::Recycle {
            let ordinals: Vec<Ordinal> = self.pods.keys().copied().collect();
            for ordinal in ordinals {
                self.suspect(ordinal, step);
            }
        }
        self.settle(step);
    }

    /// A forgotten session may have used this pod: marks it as used, and requeues sessions that have not attached to it yet.
    fn suspect(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        let Some(life) = &mut pod.life else { return };
        if matches!(life.phase, Phase::Pending { .. } | Phase::Starting) {
            return;
        }
        life.use_up(&self.rules);
        let sessions: Vec<SessionId> = pod.sessions.iter().copied().collect();
        for id in sessions {
            if self.sessions.get(id).is_some_and(|s| matches!(s.state, State::Held { came: false, .. })) {
                self.requeue(id, step);
            }
        }
        self.touch_pod(ordinal, step);
    }

    pub(super) fn remove(&mut self, step: &mut Step<'_>) {
        self.removed = true;
        self.rules.min = 0;
        self.rules.spare = Spare::Slots(0);
        for (id, _) in self.ids() {
            self.end(id, Why::PoolRemoved, step);
        }
    }

    /// All sessions in order of their ids, and whether each occupies a slot. O(n log n).
    pub(crate) fn ids(&self) -> Vec<(SessionId, bool)> {
        self.sessions.sorted().into_iter().map(|(id, s)| (id, s.pod().is_some())).collect()
    }

    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules.clamped();
        for pod in self.pods.values_mut() {
            pod.slots = self.rules.slots_per_pod.max(pod.sessions.len() as u32);
            if let Some(life) = &mut pod.life {
                life.judge(&self.rules);
            }
        }
        self.reindex();
    }
}

/// Removes the replica from those that have streams of the session.
fn take_off(by: &mut Vec<ReplicaId>, from: ReplicaId) {
    planted!(DetachForAll => by.clear());
    by.retain(|r| *r != from);
}

fn is_waited_for(queue: &Queue) -> bool {
    planted!(ExtendWhileOthersWait => false);
    queue.len() > 0
}
