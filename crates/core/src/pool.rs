//! One pool: its sessions, pods and queue, and the steps between their states. What each step changes is indexed at
//! once (`touch_pod`, `touch_session`); at the end of every entry `settle` seats who can be seated and renews `desired`.
//! The commands about pods and scale are in `pool/cluster.rs`.

mod cluster;

use crate::census::{Census, Place};
use crate::entry::{Command, Effect, Why};
use crate::estimate::Estimate;
use crate::ids::{Ordinal, ReplicaId, SessionId};
use crate::lookup::Lookup;
use crate::pods::{Index, Pod, Standing};
use crate::prefix::Prefix;
use crate::queue::Queue;
use crate::rules::{Rules, Scaling, Spare};
use crate::scale::{Demand, Scale};
use crate::sessions::{Session, State};
use crate::time::{Millis, Time};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) rules: Rules,
    pub(crate) sessions: Lookup<SessionId, Session>,
    pub(crate) pods: BTreeMap<Ordinal, Pod>,
    pub(crate) queue: Queue,
    pub(crate) scale: Scale,
    pub(crate) estimate: Estimate,
    /// A complete list of pods has been read at least once.
    pub(crate) listed: bool,
    /// The cluster's version of the newest complete list: no news of any pod is older.
    pub(crate) list_version: u64,
    /// An invariant was broken: nobody is placed any more.
    pub(crate) frozen: bool,
    /// The pool is going away: nobody joins.
    pub(crate) removed: bool,
    #[serde(skip)]
    pub(crate) index: PoolIndex,
}

/// What can be derived from sessions and pods, kept so that nothing has to be searched.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolIndex {
    pub(crate) deadlines: BTreeSet<(Time, Owner)>,
    /// Pods that can take somebody now, best first.
    pub(crate) open: BTreeSet<(u32, Ordinal)>,
    pub(crate) busy: BTreeSet<Ordinal>,
    pub(crate) busy_slots: u64,
    /// Free slots of each ordinal below `max` that `needed` may count on.
    pub(crate) usable: Prefix,
    /// Ordinals whose ready incarnation is awaited, longest first.
    pub(crate) starting: BTreeSet<(Time, Ordinal)>,
    /// Pods inside `desired` again of which it is not yet certain that they stay.
    pub(crate) returning: BTreeSet<Ordinal>,
    pub(crate) owes_recycle: BTreeSet<Ordinal>,
    pub(crate) ready: u32,
    pub(crate) held: u64,
    pub(crate) taken: u64,
    pub(crate) ending: u64,
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Session(SessionId),
    Pod(Ordinal),
}

/// One entry as a pool sees it, and where its effects go.
pub(crate) struct Step<'a> {
    pub(crate) now: Time,
    /// How many entries the fleet has applied, this one included.
    pub(crate) position: u64,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Pool {
    pub(crate) fn new(rules: Rules) -> Pool {
        let mut pool = Pool {
            rules: rules.clamped(),
            sessions: Lookup::default(),
            pods: BTreeMap::new(),
            queue: Queue::default(),
            scale: Scale::default(),
            estimate: Estimate::default(),
            listed: false,
            list_version: 0,
            frozen: false,
            removed: false,
            index: PoolIndex::default(),
        };
        pool.reindex();
        pool
    }

    pub(crate) fn apply(&mut self, from: ReplicaId, command: &Command, step: &mut Step<'_>) {
        match command {
            Command::Visit { session, hint, class } => self.visit(*session, *hint, *class, step),
            Command::Attach { session } => self.attach(*session, from, step),
            Command::Detach { session } => self.detach(*session, from, step),
            Command::Active { sessions } => sessions.iter().for_each(|s| self.active(*s, step.now)),
            Command::Leave { session } => self.end(*session, Why::Left, step),
            Command::Kick { session } => self.end(*session, Why::Kicked, step),
            Command::Extend { session } => self.extend(*session, step.now),
            Command::PodSeen { pod, uid, phase, version } => self.pod_seen(*pod, uid, phase, *version, step),
            Command::PodGone { pod, uid, version } => self.pod_gone(*pod, uid, *version, step),
            Command::PodsListed { pods, version } => self.pods_listed(pods, *version, step),
            Command::ScaleSeen { start, replicas, decided, version } => {
                self.scale_seen(*start, *replicas, *decided, *version, step);
            }
            Command::Served { replicas } => self.served(*replicas, step.now),
            Command::Cordon { pod } => self.cordon(*pod, true),
            Command::Uncordon { pod } => self.cordon(*pod, false),
            Command::Rules(rules) => {
                self.set_rules(rules.clone());
                self.removed = false;
                self.expire(step);
            }
            Command::Schedule(spare) => self.rules.spare = *spare,
            Command::Remove => self.remove(step),
            // The fleet has done it, for every pool.
            Command::Farewell | Command::Tick => {}
        }
        self.settle(step);
    }

    /// Does what time alone has made due.
    pub(crate) fn expire(&mut self, step: &mut Step<'_>) {
        let mut due = false;
        while let Some(&(at, owner)) = self.index.deadlines.first()
            && at <= step.now
        {
            self.index.deadlines.pop_first();
            due = true;
            match owner {
                Owner::Session(id) => {
                    let Some(session) = self.sessions.get_mut(id) else { continue };
                    session.alarm = Time::NEVER;
                    if let Some((_, why)) = session.due(&self.rules) {
                        self.end(id, why, step);
                    }
                }
                Owner::Pod(ordinal) => self.pod_is_late(ordinal, step),
            }
        }
        if due || self.is_due(step.now) {
            self.settle(step);
        }
    }

    /// Whether time alone has made anything due.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        let first = self.index.deadlines.first().map(|(at, _)| *at);
        [first, self.scale.deadline(&self.rules), self.settled_at()].into_iter().flatten().any(|at| at <= now)
    }

    /// When KEDA has settled on a raised number, for the first pod that waits for it.
    fn settled_at(&self) -> Option<Time> {
        if !matches!(self.rules.scaling, Scaling::Keda { .. }) {
            return None;
        }
        let standings =
            self.index.returning.iter().filter_map(|o| Some((o, self.pods.get(o)?.life.as_ref()?.standing)));
        let settled = standings.filter_map(|(o, standing)| match standing {
            Standing::Returning { since, .. } => self.scale.settled_at(o.0, since, &self.rules),
            Standing::Wanted | Standing::Retiring => None,
        });
        settled.min()
    }

    pub(crate) fn next_deadline(&self, now: Time) -> Option<(Time, &'static str)> {
        let session_or_pod = self.index.deadlines.first().map(|(at, owner)| match owner {
            Owner::Session(id) => {
                (*at, self.sessions.get(*id).and_then(|s| s.due(&self.rules)).map_or("?", |d| d.1.word()))
            }
            Owner::Pod(_) => (*at, "stuck"),
        });
        let cooldown = self.scale.deadline(&self.rules).map(|at| (at, "cooldown"));
        let settle = self.settled_at().filter(|at| *at > now).map(|at| (at, "settle"));
        session_or_pod.into_iter().chain(cooldown).chain(settle).min()
    }

    // ---- sessions ----

    fn visit(&mut self, id: SessionId, hint: Option<Ordinal>, class: u8, step: &mut Step<'_>) {
        let lease = step.now + self.rules.queue_lease;
        if let Some(session) = self.sessions.get_mut(id) {
            if let State::Queued { lease: l, .. } = &mut session.state {
                *l = lease;
            }
            self.touch_session(id);
            return;
        }
        if !self.takes_newcomers() {
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
            extended: Millis::ZERO,
            alarm: Time::NEVER,
        };
        self.sessions.insert(id, session);
        self.touch_session(id);
    }

    fn attach(&mut self, id: SessionId, from: ReplicaId, step: &Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        match &mut session.state {
            State::Held { pod, .. } => {
                session.state = State::Taken { pod: *pod, by: vec![from] };
                self.index.held -= 1;
                self.index.taken += 1;
            }
            State::Taken { by, .. } => {
                if !by.contains(&from) {
                    by.push(from);
                }
            }
            State::Queued { .. } | State::Ending { .. } => return,
        }
        session.active = step.now;
        session.first_attach = session.first_attach.min(step.now);
        self.touch_session(id);
    }

    pub(crate) fn detach(&mut self, id: SessionId, from: ReplicaId, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        match &mut session.state {
            State::Taken { pod, by } => {
                by.retain(|r| *r != from);
                if by.is_empty() {
                    let pod = *pod;
                    self.hold_or_requeue(id, pod, step);
                }
            }
            State::Ending { by, .. } => {
                by.retain(|r| *r != from);
                if by.is_empty() {
                    self.free(id, step);
                }
            }
            State::Queued { .. } | State::Held { .. } => {}
        }
    }

    /// The last stream has closed: the slot is held for `grace`, unless the pod is on its way out.
    fn hold_or_requeue(&mut self, id: SessionId, pod: Ordinal, step: &mut Step<'_>) {
        if self.pods.get(&pod).is_some_and(Pod::is_terminating) {
            self.requeue(id, step);
            return;
        }
        let until = step.now + self.rules.grace;
        if let Some(session) = self.sessions.get_mut(id) {
            session.state = State::Held { pod, until, came: true };
            self.index.taken -= 1;
            self.index.held += 1;
            self.touch_session(id);
        }
    }

    fn active(&mut self, id: SessionId, now: Time) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        match &mut session.state {
            State::Queued { lease, .. } => *lease = now + self.rules.queue_lease,
            State::Taken { .. } => session.active = now,
            State::Held { .. } | State::Ending { .. } => return,
        }
        self.touch_session(id);
    }

    fn extend(&mut self, id: SessionId, now: Time) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let seated = matches!(session.state, State::Taken { .. } | State::Held { .. });
        if seated && self.queue.len() == 0 && session.extended < self.rules.extend_limit {
            session.extended = (session.extended + self.rules.warn_before).min(self.rules.extend_limit);
            session.active = now;
            self.touch_session(id);
        }
    }

    /// The session is over. With streams still running its slot stays busy until they are closed.
    fn end(&mut self, id: SessionId, why: Why, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        match &mut session.state {
            State::Taken { pod, by } => {
                session.state = State::Ending { pod: *pod, by: core::mem::take(by), why };
                self.index.taken -= 1;
                self.index.ending += 1;
                step.effects.push(Effect::Released { session: id, why, last: session.last });
                self.touch_session(id);
            }
            State::Queued { .. } | State::Held { .. } => {
                step.effects.push(Effect::Released { session: id, why, last: session.last });
                self.free(id, step);
            }
            State::Ending { .. } => {}
        }
    }

    /// Forgets the session and gives back what it had.
    fn free(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.index.deadlines.remove(&(session.alarm, Owner::Session(id)));
        match session.state {
            State::Queued { turn, .. } => self.queue.leave(turn),
            State::Held { pod, .. } | State::Taken { pod, .. } | State::Ending { pod, .. } => {
                match session.state {
                    State::Held { .. } => self.index.held -= 1,
                    State::Taken { .. } => self.index.taken -= 1,
                    State::Queued { .. } | State::Ending { .. } => self.index.ending -= 1,
                }
                self.estimate.release(step.now);
                self.vacate(pod, id, session.state.has_come(), step);
            }
        }
    }

    /// Takes the session off the pod's list.
    fn vacate(&mut self, ordinal: Ordinal, id: SessionId, was_there: bool, step: &mut Step<'_>) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        pod.sessions.remove(&id);
        pod.slots = self.rules.slots_per_pod.max(pod.sessions.len() as u32);
        if was_there && let Some(life) = &mut pod.life {
            life.use_up(&self.rules);
        }
        self.touch_pod(ordinal, step);
    }

    /// The pod under the session is lost, or about to be: front of the queue.
    fn requeue(&mut self, id: SessionId, step: &mut Step<'_>) {
        let turn = self.queue.rejoin(id);
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(pod) = session.pod() else { return };
        match session.state {
            State::Held { .. } => self.index.held -= 1,
            State::Taken { .. } => self.index.taken -= 1,
            State::Ending { .. } | State::Queued { .. } => {}
        }
        let lease = step.now + self.rules.queue_lease.max(self.rules.grace);
        let was_there = session.state.has_come();
        session.state = State::Queued { turn, lease, lost: true };
        session.since = step.now;
        step.effects.push(Effect::Requeued { session: id, pod });
        self.touch_session(id);
        self.vacate(pod, id, was_there, step);
    }

    /// A replica is no more (it said farewell, or was silent too long): its streams are closed. `graced`: their grace is over too.
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
            let alone = by.len() == 1;
            self.detach(id, replica, step);
            let held = self.sessions.get(id).is_some_and(|s| matches!(s.state, State::Held { .. }));
            if alone && graced && held {
                self.end(id, Why::Disconnected, step);
            }
        }
        self.settle(step);
    }

    fn remove(&mut self, step: &mut Step<'_>) {
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

    fn set_rules(&mut self, rules: Rules) {
        self.rules = rules.clamped();
        for pod in self.pods.values_mut() {
            pod.slots = self.rules.slots_per_pod.max(pod.sessions.len() as u32);
            if let Some(life) = &mut pod.life {
                life.judge(&self.rules);
            }
        }
        self.reindex();
    }

    // ---- the end of every entry ----

    /// Seats who can be seated and renews `desired`, until neither changes anything.
    fn settle(&mut self, step: &mut Step<'_>) {
        loop {
            self.seat(step);
            let demand = Demand {
                rules: &self.rules,
                usable: &self.index.usable,
                busy: self.index.busy.first().zip(self.index.busy.last()).map(|(a, b)| (a.0, b.0)),
                want: self.queue.len() as u64 + self.rules.spare.slots(self.index.busy_slots),
            };
            let before = self.scale.desired;
            if self.scale.update(&demand, step.now) {
                self.scale.decide(step.position);
                self.redraw(before, step);
            }
            if !self.confirm_returning(step) {
                break;
            }
        }
        if !self.queue_is_just() && !self.frozen {
            self.freeze("somebody is queued while a placeable slot is free", step);
        }
    }

    fn queue_is_just(&self) -> bool {
        self.queue.len() == 0 || self.index.open.is_empty()
    }

    fn freeze(&mut self, what: &str, step: &mut Step<'_>) {
        self.frozen = true;
        step.effects.push(Effect::Broken { what: String::from(what) });
    }

    fn seat(&mut self, step: &mut Step<'_>) {
        while !self.frozen
            && let Some(id) = self.queue.first()
            && let Some(&(_, best)) = self.index.open.first()
            && let Some(session) = self.sessions.get_mut(id)
        {
            let State::Queued { turn, lost, .. } = session.state else { return };
            let prefers = self.rules.sticky_storage || lost;
            let last = session.last.filter(|o| prefers && self.pods.get(o).is_some_and(|p| p.free_slots() > 0));
            let ordinal = last.unwrap_or(best);
            let waited = step.now.since(session.since);
            session.state = State::Held { pod: ordinal, until: step.now + self.rules.claim, came: false };
            session.last = Some(ordinal);
            session.since = step.now;
            self.queue.leave(turn);
            self.index.held += 1;
            step.effects.push(Effect::Placed { session: id, pod: ordinal, waited });
            self.touch_session(id);
            if let Some(pod) = self.pods.get_mut(&ordinal) {
                pod.sessions.insert(id);
            }
            self.touch_pod(ordinal, step);
        }
    }

    // ---- indexes ----

    fn touch_session(&mut self, id: SessionId) {
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

    /// Brings the indexes in line with the pod, and says what it newly owes.
    fn touch_pod(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
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

    fn reindex_pod(&mut self, ordinal: Ordinal) {
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        let new = pod.derive(&self.rules);
        self.index.replace(ordinal, &pod.index, &new);
        pod.index = new;
    }

    /// Builds every index anew: after a checkpoint was read, and when the rules change.
    pub(crate) fn reindex(&mut self) {
        self.index =
            PoolIndex { usable: Prefix::new(self.rules.max, self.rules.slots_per_pod), ..PoolIndex::default() };
        let ordinals: Vec<Ordinal> = self.pods.keys().copied().collect();
        for ordinal in ordinals {
            if let Some(pod) = self.pods.get_mut(&ordinal) {
                pod.index = Index::default();
            }
            self.reindex_pod(ordinal);
        }
        for (id, _) in self.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.alarm = Time::NEVER;
                match session.state {
                    State::Queued { .. } => {}
                    State::Held { .. } => self.index.held += 1,
                    State::Taken { .. } => self.index.taken += 1,
                    State::Ending { .. } => self.index.ending += 1,
                }
            }
            self.touch_session(id);
        }
    }

    // ---- reads ----

    /// Whether somebody new can join the line. With a free slot nobody is in it, and the newcomer will not stay.
    pub(crate) fn takes_newcomers(&self) -> bool {
        let full = self.queue.len() >= self.rules.queue_limit as usize && self.index.open.is_empty();
        !full && !self.removed && !self.frozen
    }

    pub(crate) fn place(&self, id: SessionId, now: Time) -> Place<'_> {
        let Some(session) = self.sessions.get(id) else { return Place::Unknown };
        match session.state {
            State::Queued { turn, .. } => {
                let ahead = self.queue.ahead(turn);
                Place::Queued { ahead, estimate: self.estimate(ahead as u64, now) }
            }
            State::Held { pod, .. } | State::Taken { pod, .. } => {
                let life = self.pods.get(&pod).and_then(|p| p.life.as_ref());
                match life.and_then(|l| l.incarnation.as_ref()) {
                    Some(incarnation) => Place::At { pod, incarnation },
                    None => Place::Unknown,
                }
            }
            State::Ending { why, .. } => Place::Ending { why },
        }
    }

    /// When whoever has `ahead` before them will get a slot: from a pod that is starting, else from somebody who leaves.
    fn estimate(&self, ahead: u64, now: Time) -> Option<Millis> {
        let per_pod = u64::from(self.rules.slots_per_pod);
        let coming = self.index.starting.len() as u64 * per_pod;
        if ahead < coming {
            let (since, _) = self.index.starting.iter().nth((ahead / per_pod).min(64) as usize)?;
            return self.estimate.until_started(now.since(*since));
        }
        self.estimate.until_released(now, ahead - coming + 1)
    }

    pub(crate) fn census(&self) -> Census {
        let free: u64 =
            self.index.open.iter().filter_map(|(_, o)| self.pods.get(o)).map(|p| u64::from(p.free_slots())).sum();
        Census {
            queued: self.queue.len() as u64,
            held: self.index.held,
            taken: self.index.taken,
            ending: self.index.ending,
            free_slots: free,
            busy_slots: self.index.busy_slots,
            pods: self.pods.values().filter(|p| p.life.is_some()).count() as u32,
            ready: self.index.ready,
            unusable: self
                .pods
                .values()
                .filter(|p| p.life.is_some() && p.index.usable == 0 && p.index.busy == 0)
                .count() as u32,
            retiring: self
                .pods
                .values()
                .filter(|p| p.life.as_ref().is_some_and(|l| l.standing != Standing::Wanted))
                .count() as u32,
            needed: self.scale.needed,
            desired: self.scale.desired,
            frozen: self.frozen,
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
