//! Applies observations of the cluster to a pool (its pods and its size), and decides which pods retire or return when
//! `desired` changes (`docs/behaviour.md`, §7).

use super::{Pool, Step};
use crate::decision::Decision;
use crate::entry::{Effect, Phase, Sighting};
use crate::ids::{Incarnation, Ordinal, SessionId, Uid};
use crate::pods::{Life, Pod, Standing};
use crate::rules::Scaling;
use crate::scale::{Seen, Span};
use crate::sessions::State;
use crate::time::Time;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Pool {
    pub(super) fn pod_seen(&mut self, ordinal: Ordinal, uid: &Uid, phase: &Phase, version: u64, step: &mut Step<'_>) {
        let slots = self.rules.slots_per_pod;
        if !self.is_news(ordinal, uid, version) {
            return;
        }
        self.pods.entry(ordinal).or_insert_with(|| Pod::new(slots)).version = version;
        self.succeed(ordinal, uid, phase, step);
        self.set_phase(ordinal, phase, step);
    }

    /// Whether an observation of this incarnation is newer than what is known.
    fn is_news(&self, ordinal: Ordinal, uid: &Uid, version: u64) -> bool {
        let pod = self.pods.get(&ordinal);
        planted!(OldNewsCounts => pod.is_none_or(|pod| pod.gone.as_ref() != Some(uid)));
        planted!(GonePodReturns => version > self.list_version && pod.is_none_or(|pod| version > pod.version));
        version > self.list_version && pod.is_none_or(|pod| version > pod.version && pod.gone.as_ref() != Some(uid))
    }

    /// If this incarnation is a new one, the previous one has ended.
    fn succeed(&mut self, ordinal: Ordinal, uid: &Uid, phase: &Phase, step: &mut Step<'_>) {
        planted!(BindToName => self.rename(ordinal, uid, phase, step));
        if self.pods.get(&ordinal).is_some_and(|pod| pod.life.as_ref().is_none_or(|l| l.uid != *uid)) {
            self.lose(ordinal, step);
            let used = self.was_used(phase);
            self.meet(ordinal, uid, used, step);
        }
    }

    #[cfg(feature = "planted")]
    fn rename(&mut self, ordinal: Ordinal, uid: &Uid, phase: &Phase, step: &mut Step<'_>) {
        let used = self.was_used(phase);
        match self.pods.get_mut(&ordinal).and_then(|pod| pod.life.as_mut()) {
            Some(life) => {
                life.uid = uid.clone();
                life.phase = Phase::Starting;
            }
            None => self.meet(ordinal, uid, used, step),
        }
    }

    /// Before the first complete list, a pod that already runs may have been used by a session that this journal does not know.
    fn was_used(&self, phase: &Phase) -> bool {
        planted!(HistoryPresumedClean => false);
        !self.listed && matches!(phase, Phase::Ready { .. } | Phase::Unready)
    }

    pub(super) fn pod_gone(&mut self, ordinal: Ordinal, uid: &Uid, version: u64, step: &mut Step<'_>) {
        if version < self.list_version {
            return;
        }
        let slots = self.rules.slots_per_pod;
        let pod = self.pods.entry(ordinal).or_insert_with(|| Pod::new(slots));
        if version < pod.version {
            return;
        }
        pod.version = version;
        self.lose_life(ordinal, uid, step);
        if let Some(pod) = self.pods.get_mut(&ordinal) {
            pod.gone = Some(uid.clone());
        }
        self.touch_pod(ordinal, step);
    }

    /// Removes the ordinal's incarnation if it has this uid.
    fn lose_life(&mut self, ordinal: Ordinal, uid: &Uid, step: &mut Step<'_>) {
        planted!(BindToName => ());
        if self.pods.get(&ordinal).and_then(|pod| pod.life.as_ref()).is_some_and(|l| l.uid == *uid) {
            self.lose(ordinal, step);
        }
    }

    pub(super) fn pods_listed(&mut self, pods: &[Sighting], version: u64, step: &mut Step<'_>) {
        for seen in pods {
            self.pod_seen(seen.pod, &seen.uid, &seen.phase, version, step);
        }
        let present: BTreeSet<Ordinal> = pods.iter().map(|s| s.pod).collect();
        for (ordinal, uid) in self.absent(&present, version) {
            self.pod_gone(ordinal, &uid, version, step);
        }
        self.list_version = self.list_version.max(version);
        self.listed = true;
    }

    /// The incarnations that are not in a complete list of this version.
    fn absent(&self, present: &BTreeSet<Ordinal>, version: u64) -> Vec<(Ordinal, Uid)> {
        planted!(ListKeepsAbsent => Vec::new());
        let absent = self.pods.iter().filter(|(o, p)| p.version < version && !present.contains(o));
        absent.filter_map(|(o, p)| Some((*o, p.life.as_ref()?.uid.clone()))).collect()
    }

    /// Adds a new incarnation at this ordinal.
    fn meet(&mut self, ordinal: Ordinal, uid: &Uid, used: bool, step: &mut Step<'_>) {
        let slots = self.rules.slots_per_pod;
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        pod.slots = slots;
        let mut life = Life {
            uid: uid.clone(),
            phase: Phase::Starting,
            incarnation: None,
            used,
            dirty: false,
            standing: Standing::Retiring,
            unready: step.now,
            stuck: false,
            condemned: false,
        };
        life.judge(&self.rules);
        if self.scale.desired.contains(ordinal.0) {
            let may_be_removed = match self.rules.scaling {
                // Until the size that covers this ordinal has been read, an earlier, lower one may still take effect.
                Scaling::Direct { .. } => !self.scale.is_seen(ordinal.0, pod.raised),
                Scaling::Keda { .. } => {
                    self.scale.is_doubted(&self.rules, step.now)
                        || self.scale.is_contested(pod.contested, ordinal.0, &self.rules, step.now)
                }
                Scaling::None => false,
            };
            life.standing = if may_be_removed {
                Standing::Returning { decided: pod.raised, since: step.now }
            } else {
                self.scale.standing(ordinal.0)
            };
        }
        let waits = life.is_returning();
        pod.life = Some(life);
        // It accepts no session before a size of this timeline has been read, even if the size itself has not changed.
        if waits && !step.timeline.is_first() && self.scale.seen.is_some_and(|seen| self.scale.is_behind(seen)) {
            self.tell_scale(step);
        }
    }

    fn set_phase(&mut self, ordinal: Ordinal, phase: &Phase, step: &mut Step<'_>) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        let Some(life) = &mut pod.life else { return };
        let was_terminating = matches!(life.phase, Phase::Terminating);
        if was_terminating {
            // A terminating pod never becomes ready again. If it fails, it may never end, so no successor is awaited.
            if step.returns && matches!(phase, Phase::Failed { .. }) {
                life.stuck = true;
                if !pod.sessions.is_empty() {
                    let uid = life.uid.clone();
                    step.effects.push(Effect::Drain { pod: ordinal, uid, gone: true });
                }
                self.touch_pod(ordinal, step);
            }
            return;
        }
        let was_ready = matches!(life.phase, Phase::Ready { .. });
        life.phase = phase.clone();
        match phase {
            Phase::Ready { address } => {
                life.incarnation = Some(Incarnation { uid: life.uid.clone(), address: *address });
                life.unready = Time::NEVER;
                life.stuck &= matches!(life.standing, Standing::Returning { .. });
                let asked = core::mem::replace(&mut pod.asked, Time::NEVER).known();
                // A pod that already ran before the first complete list is no sample of a cold start.
                if let Some(took) = asked.filter(|_| self.listed).map(|asked| step.now.since(asked)) {
                    self.estimate.cold_start(took);
                    step.effects.push(Effect::Started { pod: ordinal, took });
                }
            }
            Phase::Terminating => {
                life.unready = step.now;
                life.stuck = false;
                let uid = life.uid.clone();
                self.drain(ordinal, uid, step);
            }
            Phase::Pending { .. } | Phase::Starting | Phase::Unready | Phase::Failed { .. } => {
                if was_ready {
                    life.unready = step.now;
                    if self.rules.moves(step.targeted) {
                        // Sessions without a stream are placed elsewhere; open streams may continue.
                        let sessions: Vec<SessionId> = pod.sessions.iter().copied().collect();
                        self.requeue_held(&sessions, step);
                    }
                }
            }
        }
        self.touch_pod(ordinal, step);
    }

    /// The incarnation is terminating or being emptied: sessions without a stream there return to the front of the queue at
    /// once, the others when their streams close.
    pub(super) fn drain(&mut self, ordinal: Ordinal, uid: Uid, step: &mut Step<'_>) {
        let sessions: Vec<SessionId> =
            self.pods.get(&ordinal).map(|p| p.sessions.iter().copied().collect()).unwrap_or_default();
        if sessions.is_empty() {
            return;
        }
        step.effects.push(Effect::Drain { pod: ordinal, uid, gone: false });
        self.requeue_held(&sessions, step);
    }

    /// Requeues those of the sessions that have no stream.
    fn requeue_held(&mut self, sessions: &[SessionId], step: &mut Step<'_>) {
        planted!(StayOnDrainingPod => ());
        for id in sessions {
            if self.sessions.get(*id).is_some_and(|s| matches!(s.state, State::Held { .. })) {
                self.requeue(*id, step);
            }
        }
    }

    /// The incarnation has ended: its sessions are requeued, or released if they were ending.
    fn lose(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        let Some(life) = pod.life.take() else { return };
        pod.gone = Some(life.uid.clone());
        pod.asked = if self.scale.desired.contains(ordinal.0) { pod.asked.min(step.now) } else { Time::NEVER };
        let sessions: Vec<SessionId> = pod.sessions.iter().copied().collect();
        if !sessions.is_empty() {
            step.effects.push(Effect::Drain { pod: ordinal, uid: life.uid, gone: true });
        }
        for id in sessions {
            match self.sessions.get(id).map(|s| &s.state) {
                Some(State::Ending { .. }) => self.free(id, step),
                Some(State::Held { .. } | State::Taken { .. } | State::Queued { .. }) => self.requeue(id, step),
                None => {}
            }
        }
        self.touch_pod(ordinal, step);
    }

    /// The pod has not been ready, or not been certain to stay, for `stuck_after`.
    pub(super) fn pod_is_late(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
        if let Some(pod) = self.pods.get_mut(&ordinal) {
            pod.index.alarm = None;
        }
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        let Some(life) = &mut pod.life else { return };
        life.stuck = true;
        if life.is_returning() {
            // Sessions without a stream cannot return here: they get a slot elsewhere instead of waiting without limit.
            let sessions: Vec<SessionId> = pod.sessions.iter().copied().collect();
            self.requeue_held(&sessions, step);
        }
        self.touch_pod(ordinal, step);
    }

    pub(super) fn cordon(&mut self, ordinal: Ordinal, cordoned: bool) {
        let slots = self.rules.slots_per_pod;
        if ordinal.0 >= self.rules.max && !self.pods.contains_key(&ordinal) {
            return;
        }
        let pod = self.pods.entry(ordinal).or_insert_with(|| Pod::new(slots));
        pod.cordoned = cordoned;
        pod.emptied &= cordoned;
        self.reindex_pod(ordinal);
    }

    pub(super) fn empty(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
        self.cordon(ordinal, true);
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        pod.emptied = true;
        if let Some(uid) = pod.life.as_ref().map(|l| l.uid.clone()) {
            self.drain(ordinal, uid, step);
        }
    }

    pub(super) fn scale_seen(&mut self, span: Span, decided: Decision, version: u64, step: &mut Step<'_>) {
        if self.scale.seen.is_some_and(|s| version <= s.version) {
            return;
        }
        let seen = self.scale.judge(span, decided, version, step.position);
        if self.scale.seen.is_none() {
            self.adopt(seen, step);
        }
        self.scale.seen = Some(seen);
    }

    /// Handles the first size that is read for the pool, as if all of it had been needed until now. Sizes are ordered only from
    /// now on. An order of an earlier journal, unknown to this one, may still be in flight: pods inside `desired` are certain to
    /// stay only when a size of this journal has been read.
    fn adopt(&mut self, seen: Seen, step: &mut Step<'_>) {
        self.scale.adopt(seen.span, step.now);
        self.scale.decide(step.position, step.timeline);
        self.settle(step);
        self.scale.seen = Some(seen);
        if !step.timeline.is_first() {
            self.doubt(step);
            return;
        }
        let desired = self.scale.desired;
        for ordinal in (desired.start..desired.end).filter(|o| seen.span.contains(*o)).map(Ordinal) {
            let Some(pod) = self.pods.get_mut(&ordinal) else { continue };
            pod.raised = 0;
            if let Some(life) = &mut pod.life {
                life.standing = self.scale.standing(ordinal.0);
                life.forgive();
            }
            self.touch_pod(ordinal, step);
        }
        if !seen.span.is_same(desired) {
            self.tell_scale(step);
        }
    }

    /// Orders the present size. Not before a size has been read: an unknown size must not be overwritten.
    pub(super) fn tell_scale(&self, step: &mut Step<'_>) {
        if let (Scaling::Direct { .. }, Some(_)) = (self.rules.scaling, self.scale.seen) {
            step.effects.push(self.scale_effect());
        }
    }

    /// Whether this is the size that the pool orders now.
    pub(crate) fn orders(&self, start: u32, replicas: u32) -> bool {
        let desired = self.scale.desired;
        matches!(self.rules.scaling, Scaling::Direct { .. }) && (start, replicas) == (desired.start, desired.len())
    }

    pub(super) fn served(&mut self, replicas: u32, step: &Step<'_>) {
        if step.successors {
            self.scale.remember_number(replicas, &self.rules, step.now);
        }
        self.scale.serve(replicas, step.now);
    }

    /// `desired` has changed: pods outside retire in the same step; retiring ones inside may return; missing ones are awaited.
    pub(super) fn redraw(&mut self, before: Span, step: &mut Step<'_>) {
        let now = self.scale.desired;
        self.tell_scale(step);
        let slots = self.rules.slots_per_pod;
        for ordinal in (before.start..before.end).filter(|o| !now.contains(*o)).map(Ordinal) {
            if let Some(pod) = self.pods.get_mut(&ordinal) {
                pod.retire();
                self.touch_pod(ordinal, step);
            }
        }
        for ordinal in (now.start..now.end).filter(|o| !before.contains(*o)).map(Ordinal) {
            let is_contested = step.successors && self.scale.may_be_covered(ordinal.0, &self.rules, step.now);
            let pod = self.pods.entry(ordinal).or_insert_with(|| Pod::new(slots));
            pod.raised = self.scale.decided;
            pod.contested = is_contested.then_some(step.now);
            match &mut pod.life {
                None => pod.asked = step.now,
                Some(life) => {
                    if life.standing == Standing::Retiring {
                        life.standing = Standing::Returning { decided: self.scale.decided, since: step.now };
                    }
                    if !matches!(life.phase, Phase::Ready { .. }) {
                        pod.asked = step.now;
                    }
                }
            }
            self.touch_pod(ordinal, step);
        }
    }

    /// A pod that owes a recycle at the end of this entry may be deleted at any time from now on: see [`Life::condemned`].
    pub(super) fn condemn(&mut self) {
        planted!(CondemnedReused => ());
        for ordinal in &self.index.owes_recycle {
            if let Some(life) = self.pods.get_mut(ordinal).and_then(|p| p.life.as_mut()) {
                life.condemned = true;
            }
        }
    }

    /// A deletion that became due, but is no longer due at the end of the entry, is not ordered: nothing would keep the pod from
    /// being used again.
    pub(super) fn withdraw_recycles(&self, step: &mut Step<'_>) {
        let is_owed = |ordinal: &Ordinal| self.index.owes_recycle.contains(ordinal);
        step.effects.retain(|effect| !matches!(effect, Effect::Recycle { pod, .. } if !is_owed(pod)));
    }

    /// Updates standings after a change of the surplus: its pods are chosen last, the highest takes no session, and its sessions
    /// are moved. Returns whether any standing changed.
    pub(super) fn restand(&mut self, before: Span, step: &mut Step<'_>) -> bool {
        let now = self.scale.surplus();
        if now == before {
            return false;
        }
        let mut any = false;
        let concerned = (before.start..before.end).chain((now.start..now.end).filter(|o| !before.contains(*o)));
        for ordinal in concerned.filter(|o| self.scale.desired.contains(*o)).map(Ordinal).collect::<Vec<_>>() {
            let standing = self.scale.standing(ordinal.0);
            let Some(life) = self.pods.get_mut(&ordinal).and_then(|p| p.life.as_mut()) else { continue };
            let is_certain = matches!(life.standing, Standing::Wanted | Standing::Surplus | Standing::Leaving);
            if !is_certain || life.standing == standing {
                continue;
            }
            life.standing = standing;
            any = true;
            let uid = life.uid.clone();
            self.touch_pod(ordinal, step);
            if standing == Standing::Leaving {
                self.drain(ordinal, uid, step);
            }
        }
        any
    }

    pub(crate) fn scale_effect(&self) -> Effect {
        let desired = self.scale.desired;
        let over = self.scale.seen.map(|seen| seen.timeline).unwrap_or_default();
        Effect::Scale { start: desired.start, replicas: desired.len(), decided: self.scale.decision(), over }
    }

    /// Whether the cluster has another size, or pods wait until a size with the last decision has been read.
    pub(super) fn owes_scale(&self) -> bool {
        self.scale.seen.is_some_and(|seen| {
            !seen.span.is_same(self.scale.desired) || self.scale.is_behind(seen) && !self.index.returning.is_empty()
        })
    }

    /// The effects on the cluster that are still owed, derived again from the state.
    pub(crate) fn owed(&self, effects: &mut Vec<Effect>) {
        if matches!(self.rules.scaling, Scaling::Direct { .. }) && self.owes_scale() {
            effects.push(self.scale_effect());
        }
        for ordinal in &self.index.owes_recycle {
            if let Some(life) = self.pods.get(ordinal).and_then(|p| p.life.as_ref()) {
                effects.push(Effect::Recycle { pod: *ordinal, uid: life.uid.clone() });
            }
        }
        for ordinal in &self.index.busy {
            if let Some(pod) = self.pods.get(ordinal).filter(|p| p.is_going())
                && let Some(life) = &pod.life
            {
                effects.push(Effect::Drain { pod: *ordinal, uid: life.uid.clone(), gone: false });
            }
        }
    }
}
