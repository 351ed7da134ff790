//! Conditions that must hold after every entry and that `Fleet::invariants` cannot check, because they depend on the past.

use super::case::SESSIONS;
use super::clocks::Before;
use super::{Life, Stream, Swarm};
use slotkeeper_core::{
    AfterSession, Command, Effect, Entry, Ordinal, Place, Pod, Scaling, SessionId, Span, Standing, State, Timeline, Uid,
};
use std::collections::{BTreeMap, BTreeSet};

impl Swarm {
    /// During a lapse no session is placed or admitted, and no pod is removed.
    pub(super) fn nothing_is_given_or_taken(&self, before: Span, effects: &[Effect]) {
        let forbidden = |e: &&Effect| matches!(e, Effect::Placed { .. } | Effect::Recycle { .. });
        assert_eq!(effects.iter().find(forbidden), None);
        let scaled = self.fleet.rules(&self.pool).is_some_and(|r| r.scaling != Scaling::None);
        let now = self.fleet.desired(&self.pool).unwrap_or(before);
        let kept = before.is_empty() || now.start <= before.start && before.end <= now.end;
        // A pool that was being removed may have ended, and this entry may have created a new one without sessions.
        let is_new = !self.fleet.is_listed(&self.pool);
        assert!(kept || !scaled || is_new, "{before:?} has become {now:?}");
        for id in (0..SESSIONS).map(|n| SessionId(u128::from(n))) {
            assert!(!matches!(self.fleet.place(&self.pool, id), Place::At { .. }), "{id:?} is admitted");
        }
    }

    pub(super) fn keep_streams(&mut self, entry: &Entry, performed: bool) {
        match &entry.command {
            Command::Attach { session } if performed => {
                if let Place::At { pod, incarnation } = self.fleet.place(&self.pool, *session) {
                    let life = (pod, incarnation.uid.clone());
                    self.streams.insert((*session, entry.from, life.clone()));
                    self.guests.entry(life).or_default().insert(*session);
                }
            }
            Command::Detach { session } if performed => {
                self.streams.retain(|(s, r, _)| (s, r) != (session, &entry.from));
            }
            _ => {}
        }
        let lives = self.fleet.pods(&self.pool).filter_map(|(o, p)| Some((o, p.life.as_ref()?.uid.clone())));
        let alive: BTreeSet<Life> = lives.collect();
        self.streams.retain(|(_, r, life)| self.fleet.replica(*r).is_some() && alive.contains(life));
    }

    /// In every incarnation, sessions with a stream and sessions with a slot are together no more than there are slots.
    pub(super) fn slots_are_exclusive(&self) {
        let mut there: BTreeMap<Life, BTreeSet<SessionId>> = BTreeMap::new();
        let open = self.ghosts.iter().filter(|(_, until)| self.world.real < **until).map(|(stream, _)| stream);
        for (session, _, life) in self.streams.iter().chain(open) {
            there.entry(life.clone()).or_default().insert(*session);
        }
        for session in (0..SESSIONS).map(|n| SessionId(u128::from(n))) {
            if let Place::At { pod, incarnation } = self.fleet.place(&self.pool, session) {
                there.entry((pod, incarnation.uid.clone())).or_default().insert(session);
            }
        }
        for (life, sessions) in there {
            assert!(sessions.len() <= self.most_slots, "{life:?} has {} slots and {sessions:?}", self.most_slots);
        }
        let rules = self.fleet.rules(&self.pool);
        if self.orderly && rules.is_some_and(|r| r.after_session == AfterSession::Recycle && r.slots_per_pod == 1) {
            for (life, sessions) in &self.guests {
                assert!(sessions.len() <= 1, "{sessions:?} have all been in {life:?}");
            }
        }
    }

    pub(super) fn line_is_lawful(&self, before: &[(SessionId, Option<Ordinal>)], returns: bool, effects: &[Effect]) {
        let after: Vec<SessionId> = self.fleet.queue(&self.pool).collect();
        let lane = |s: &SessionId| {
            let session = self.fleet.session(&self.pool, *s).expect("a queued session exists");
            match session.state {
                State::Queued { lost: true, .. } => 0,
                _ => u16::from(session.class) + 1,
            }
        };
        assert!(after.is_sorted_by_key(lane), "the classes are mixed: {after:?}");
        let left: BTreeSet<SessionId> = effects
            .iter()
            .filter_map(|e| match e {
                Effect::Released { session, .. } | Effect::Placed { session, .. } => Some(*session),
                _ => None,
            })
            .collect();
        let stayed: Vec<SessionId> =
            before.iter().map(|(s, _)| *s).filter(|s| after.contains(s) && !left.contains(s)).collect();
        let same: Vec<SessionId> = after.iter().copied().filter(|s| stayed.contains(s)).collect();
        assert_eq!(stayed, same, "a waiting session was overtaken");
        for class in 0..=3 {
            let of_class = after.iter().filter(|s| lane(s) == class);
            assert!(of_class.clone().is_sorted_by_key(|s| !stayed.contains(s)), "a new session is before earlier ones");
        }
        for effect in effects {
            let Effect::Placed { session, pod, .. } = effect else { continue };
            let at = before.iter().position(|(s, _)| s == session);
            let is_home = returns && at.is_some_and(|at| before[at].1 == Some(*pod));
            if returns && !is_home {
                let own = after.iter().find(|s| stayed.contains(s) && self.misses(**s) == Some(*pod));
                assert_eq!(own, None, "{session:?} got the ordinal of a session that has lost its pod there");
            }
            if let Some(at) = at {
                let passed = before[..at].iter().map(|(s, _)| s);
                let passed = passed.filter(|s| stayed.contains(s)).find(|s| !is_home || self.misses(**s).is_none());
                assert_eq!(passed, None, "{session:?} was placed before a session that came earlier");
            }
        }
    }

    /// The ordinal of the pod that a waiting session has lost.
    pub(super) fn misses(&self, session: SessionId) -> Option<Ordinal> {
        let session = self.fleet.session(&self.pool, session)?;
        session.last.filter(|_| matches!(session.state, State::Queued { lost: true, .. }))
    }

    pub(super) fn placed_is_placeable(&self, entry: &Entry, timeline: Timeline, effects: &[Effect]) {
        // Sessions may have been placed before the command, which may then have changed the pod; so may a timeline that began.
        let later = self.fleet.timeline() != timeline
            || matches!(
                entry.command,
                Command::PodSeen { .. }
                    | Command::PodGone { .. }
                    | Command::PodsListed { .. }
                    | Command::ScaleSeen { .. }
                    | Command::Cordon { .. }
                    | Command::Empty { .. }
                    | Command::Rules(_)
                    | Command::Remove
                    | Command::Schedule(_)
            );
        for effect in effects {
            let Effect::Placed { session, pod: ordinal, .. } = effect else { continue };
            let pod = self.fleet.pod(&self.pool, *ordinal);
            let Some((pod, life)) = pod.and_then(|p| Some((p, p.life.as_ref()?))) else {
                assert!(later, "placed in {ordinal:?}, which has no incarnation");
                continue;
            };
            if !later {
                assert!(pod.is_ready() && !pod.cordoned, "placed in {pod:?}");
                // A pod may become surplus after the placement, because a session leaves later in the same entry.
                let moved = |e: &Effect| matches!(e, Effect::Requeued { session: s, .. } | Effect::Released { session: s, .. } if s == session);
                let stays = matches!(life.standing, Standing::Wanted | Standing::Surplus);
                assert!(stays || effects.iter().any(moved), "placed in {ordinal:?}, which is {:?}", life.standing);
                // In a shared pod another session may have left since, which makes the pod dirty.
                assert!(!life.dirty || self.most_slots > 1, "placed in dirty {ordinal:?}");
            }
            assert!(!self.world.lies_about(&life.uid) || self.rude);
        }
    }

    /// A size that is ordered covers every busy pod, and one entry orders at most one size.
    pub(super) fn scale_spares_sessions(&self, effects: &[Effect]) {
        let mut told = 0;
        for effect in effects {
            let Effect::Scale { start, replicas, .. } = effect else { continue };
            told += 1;
            for (ordinal, pod) in self.fleet.pods(&self.pool) {
                let inside = *start <= ordinal.0 && ordinal.0 < start + replicas;
                assert!(inside || pod.sessions.is_empty(), "{effect:?} removes {ordinal:?} under {:?}", pod.sessions);
            }
        }
        assert!(told <= 1, "two sizes decided at one position cannot be distinguished: {effects:?}");
    }

    pub(super) fn places_agree(&self) {
        let line: Vec<SessionId> = self.fleet.queue(&self.pool).collect();
        for id in (0..SESSIONS).map(|n| SessionId(u128::from(n))) {
            let place = self.fleet.place(&self.pool, id);
            let Some(session) = self.fleet.session(&self.pool, id) else {
                assert_eq!(place, Place::Unknown);
                continue;
            };
            match (&session.state, place) {
                (State::Queued { .. }, Place::Queued { ahead, .. }) => assert_eq!(line.get(ahead), Some(&id)),
                (State::Held { pod, .. } | State::Taken { pod, .. }, Place::At { pod: at, incarnation }) => {
                    assert_eq!(*pod, at);
                    let life = self.fleet.pod(&self.pool, at).and_then(|p| p.life.as_ref()).expect("it lives");
                    assert_eq!(life.uid, incarnation.uid);
                }
                (State::Held { .. } | State::Taken { .. }, Place::Queued { .. }) if self.fleet.is_quiet() => {}
                // A pod that is not certain to stay yet.
                (State::Held { pod, .. } | State::Taken { pod, .. }, Place::Queued { .. })
                    if self.fleet.pod(&self.pool, *pod).is_some_and(is_returning) => {}
                (State::Ending { why, .. }, Place::Ending { why: said }) => assert_eq!(*why, said),
                (state, place) => panic!("{id:?} is {state:?}, and its place is {place:?}"),
            }
            assert!(self.fleet.pods_of(&self.pool, id).len() <= 1, "{id:?} has two places");
        }
    }

    /// The streams that may continue (their replica is known, and their session is attached through it in their incarnation), and
    /// whether their pod is terminating or being emptied.
    pub(super) fn running(&self) -> BTreeMap<Stream, bool> {
        let running = self.streams.iter().filter_map(|stream| {
            let (id, replica, (ordinal, uid)) = stream;
            let taken = match self.fleet.session(&self.pool, *id).map(|s| &s.state) {
                Some(State::Taken { pod, by }) => pod == ordinal && by.contains(replica),
                _ => false,
            };
            let pod = self.fleet.pod(&self.pool, *ordinal)?;
            let same = taken && pod.life.as_ref().is_some_and(|l| l.uid == *uid);
            same.then(|| (stream.clone(), pod.is_going()))
        });
        running.collect()
    }

    /// An effect closes every stream whose session ends or loses its slot, or whose pod begins to terminate or to be emptied.
    pub(super) fn streams_are_closed(
        &self,
        running: &BTreeMap<Stream, bool>,
        before: &Before,
        entry: &Entry,
        effects: &[Effect],
    ) {
        let after = self.running();
        for (stream, was_going) in running {
            let (id, replica, (_, uid)) = stream;
            let closes = |e: &Effect| match e {
                Effect::Released { session, .. } | Effect::Requeued { session, .. } => session == id,
                Effect::Drain { uid: drained, .. } => drained == uid,
                _ => false,
            };
            let own = match &entry.command {
                Command::Detach { session } => session == id && entry.from == *replica,
                Command::Farewell => entry.from == *replica,
                _ => false,
            };
            let ends = match after.get(stream) {
                None => self.fleet.replica(*replica).is_some() && !(own && before.performed()),
                Some(is_going) => *is_going && !was_going,
            };
            assert!(!ends || effects.iter().any(closes), "nothing closes {stream:?}: {effects:?}");
        }
    }

    /// Only empty incarnations are recycled, however late the order is carried out.
    pub(super) fn recycling_spares_sessions(&self, effects: &[Effect]) {
        // The older semantics forget that a recycle is owed when they first see the pool's size.
        if self.speaks < Entry::TIMELINES {
            return;
        }
        let open = self.ghosts.iter().filter(|(_, until)| self.world.real < **until).map(|(stream, _)| stream);
        let streamed: BTreeSet<&Life> = self.streams.iter().chain(open).map(|(_, _, life)| life).collect();
        for (ordinal, pod) in self.fleet.pods(&self.pool) {
            let Some(life) = &pod.life else { continue };
            let is_ordered =
                |e: &Effect| matches!(e, Effect::Recycle { pod, uid } if (*pod, uid) == (ordinal, &life.uid));
            let is_deleted = self.orderly && self.world.recycled.contains(&life.uid);
            if is_deleted || effects.iter().any(is_ordered) {
                let has_streams = streamed.contains(&(ordinal, life.uid.clone()));
                assert!(pod.sessions.is_empty(), "{ordinal:?} is recycled under {:?}", pod.sessions);
                assert!(!has_streams, "{ordinal:?} is recycled under streams of {:?}", self.streams);
            }
        }
    }

    /// A pod that the cluster deletes because of a lower number is empty, however late the order is carried out (own scaling),
    /// or if it is carried out within `settle` (KEDA). This requires observations in order: a size that overtakes the end of a
    /// pod makes that pod look certain again.
    pub(super) fn nobody_dies_of_scaling(&self) {
        if !self.orderly {
            return;
        }
        for (session, uid) in self.in_removed_pods() {
            let is_let_in = self.streams.iter().any(|(of, _, (_, life))| (of, life) == (&session, &uid));
            let has_departed = self.departed.contains(&(session, uid.clone()));
            assert!(has_departed && !is_let_in, "{uid:?} was scaled away under {session:?}");
        }
    }

    /// The sessions that are, according to the fleet, in an incarnation that a scale-down has removed.
    pub(super) fn in_removed_pods(&self) -> BTreeSet<(SessionId, Uid)> {
        let pods = self.fleet.pods(&self.pool);
        let removed = pods.filter_map(|(_, pod)| {
            let uid = &pod.life.as_ref()?.uid;
            self.world.scaled_away.contains(uid).then(|| pod.sessions.iter().map(|id| (*id, uid.clone())))
        });
        removed.flatten().collect()
    }
}

pub(super) fn is_returning(pod: &Pod) -> bool {
    pod.life.as_ref().is_some_and(|life| matches!(life.standing, Standing::Returning { .. }))
}
