//! Checks every clock against its definition: fleet time, and when and why each session has to end, are computed from
//! entries and effects alone. Nothing here reads a deadline of the fleet.

use super::case::SESSIONS;
use super::promises::is_returning;
use slotkeeper_core::{Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, Rules, SessionId, State, Time, Why};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    /// Fleet time. `alive`: the same, but it also advances during a lapse. `journal`: the journal's clock.
    now: Time,
    alive: Time,
    journal: Time,
    begun: bool,
    rules: Option<Rules>,
    sessions: BTreeMap<SessionId, Session>,
    /// When each replica wrote last, and how long it may be silent from then on.
    replicas: BTreeMap<ReplicaId, (Time, Millis)>,
}

#[derive(Clone, Debug)]
struct Session {
    at: At,
    active: Time,
    first_attach: Option<Time>,
    /// When a replica last detached it: if the others fall silent, its grace counts from here.
    parted: Time,
    extended: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// Until the lease runs out.
    Queued {
        until: Time,
        lost: bool,
    },
    /// Until `claim` runs out or, if it has attached to the slot, `grace`.
    Held {
        until: Time,
        came: bool,
    },
    Taken(BTreeSet<ReplicaId>),
    Ending(BTreeSet<ReplicaId>),
}

/// Facts about the fleet before the entry is applied.
pub(super) struct Before {
    quiet: bool,
    known: BTreeSet<ReplicaId>,
    /// The entry is the next one of its replica.
    performed: bool,
    /// Sessions whose pod is not certain to stay.
    doubtful: BTreeSet<SessionId>,
}

/// Sessions whose pod is not certain to stay: those without a stream cannot attach, and their claim or grace does not run.
fn doubtful(fleet: &Fleet, pool: &PoolId) -> BTreeSet<SessionId> {
    let pods = fleet.pods(pool).filter(|(_, pod)| is_returning(pod));
    pods.flat_map(|(_, pod)| pod.sessions.iter().copied()).collect()
}

impl Before {
    pub(super) fn of(fleet: &Fleet, entry: &Entry, pool: &PoolId, births: u64) -> Before {
        let known = (0..=births).map(ReplicaId).filter(|r| fleet.replica(*r).is_some()).collect();
        let last = fleet.replica(entry.from).unwrap_or(0);
        let performed = entry.number == last + 1;
        Before { quiet: fleet.is_quiet(), known, performed, doubtful: doubtful(fleet, pool) }
    }

    pub(super) fn performed(&self) -> bool {
        self.performed
    }
}

impl Clocks {
    /// Takes an entry that has been applied.
    pub(super) fn observe(
        &mut self,
        before: &Before,
        entry: &Entry,
        effects: &[Effect],
        fleet: &Fleet,
        pool: &PoolId,
        strict: bool,
    ) {
        self.advance(before, entry);
        assert_eq!((self.now, self.alive, self.journal), (fleet.now(), fleet.alive(), fleet.journal()), "fleet time");
        if before.performed {
            self.replicas.insert(entry.from, (self.alive, self.patience()));
        }
        let departed = self.departures(before, entry, fleet, strict);
        let due = self.due(self.rules.as_ref());
        let old = self.rules.clone();
        if let Command::Rules(rules) = &entry.command
            && before.performed
        {
            self.rules = Some(rules.clone().clamped());
            if old.is_none() {
                let patience = self.patience();
                self.replicas.values_mut().for_each(|(_, own)| *own = (*own).max(patience));
            }
        }
        let quiet = before.quiet || matches!(entry.command, Command::Lapse { .. });
        for effect in effects {
            self.effect(effect, entry, (before, departed), old.as_ref(), fleet, pool);
        }
        if !quiet && old.is_some() {
            // A slot freed by a replica that was given up may have gone to a waiting session whose time was over.
            let is_released =
                |id: &SessionId| effects.iter().any(|e| matches!(e, Effect::Released { session, .. } if session == id));
            let late = due.iter().find(|(id, _)| !departed && !is_released(id));
            assert_eq!(late, None, "its time was over at {:?}, and it has not ended: {:?}", self.now, self.sessions);
        }
        let doubtful = doubtful(fleet, pool);
        if before.performed {
            self.command(entry, &doubtful, fleet, pool);
        }
        let held: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in held {
            // Pods may become certain because of time, before the command of the same entry changes the rules.
            let claim = self.limit(entry, old.as_ref(), |r| r.claim, id, fleet, pool);
            let grace = self.limit(entry, old.as_ref(), |r| r.grace, id, fleet, pool);
            let Some(session) = self.sessions.get_mut(&id).filter(|_| self.rules.is_some()) else { continue };
            // Within one entry, a replica may be given up before or after the pod has become certain.
            let parted = session.parted + grace;
            let theirs = fleet.session(pool, id).map(|s| &s.state);
            let is_parted = matches!(theirs, Some(State::Held { until, came: true, .. }) if *until == parted);
            if departed
                && is_parted
                && before.doubtful.contains(&id)
                && matches!(session.at, At::Held { came: true, .. })
            {
                session.at = At::Held { until: parted, came: true };
            }
            session.wait_for_pod(doubtful.contains(&id), self.now, claim, grace);
        }
        if fleet.rules(pool).is_none() {
            self.rules = None;
        }
        self.agree(fleet, pool);
    }

    /// A gap of more than half a `silence` does not count, nor does time without a living replica.
    fn advance(&mut self, before: &Before, entry: &Entry) {
        let passed = entry.at.since(self.journal);
        let silence = self.rules.as_ref().map_or(Rules::default().silence, |r| r.silence);
        if !self.begun {
            (self.now, self.alive, self.begun) = (entry.at, entry.at, true);
        } else if !before.known.is_empty() && passed.0 * 2 <= silence.0 {
            self.alive += passed;
            if !before.quiet {
                self.now += passed;
            }
        }
        self.journal = entry.at;
    }

    fn patience(&self) -> Millis {
        self.rules.as_ref().map_or(Rules::default().silence, |r| r.silence + r.grace)
    }

    /// Gives up replicas that have been silent for too long. Their streams are closed, and have been for a grace (which counts
    /// only outside a lapse). Returns whether there were any.
    fn departures(&mut self, before: &Before, entry: &Entry, fleet: &Fleet, strict: bool) -> bool {
        let said_farewell = before.performed && matches!(entry.command, Command::Farewell);
        let own = said_farewell.then_some(entry.from);
        let gone = before.known.iter().copied().filter(|r| fleet.replica(*r).is_none() && Some(*r) != own);
        let gone: Vec<ReplicaId> = gone.collect();
        let quiet = before.quiet || matches!(entry.command, Command::Lapse { .. });
        for replica in &gone {
            let (heard, patience) = self.replicas.remove(replica).expect("it has written");
            let silent = self.alive.since(heard);
            assert!(!strict || silent >= patience, "{replica:?} was given up after {silent:?} of {patience:?}");
            let (claim, grace) = self.rules.as_ref().map_or((Millis::ZERO, Millis::ZERO), |r| (r.claim, r.grace));
            for (id, session) in &mut self.sessions {
                let since = if quiet { self.now } else { session.parted };
                if session.is_attached(*replica) {
                    session.detach(*replica, since, grace);
                    if self.rules.is_some() {
                        session.wait_for_pod(before.doubtful.contains(id), self.now, claim, grace);
                    }
                }
            }
        }
        if said_farewell {
            self.replicas.remove(&entry.from);
        }
        self.replicas.retain(|replica, (heard, patience)| {
            let is_late = self.alive.since(*heard) >= *patience;
            assert!(!strict || !is_late, "{replica:?} is silent for longer than {patience:?}, and is not given up");
            fleet.replica(*replica).is_some()
        });
        self.sessions.retain(|_, s| !s.is_over());
        !gone.is_empty()
    }

    /// The sessions whose time is over, with the possible reasons: those of the earliest deadline.
    fn due(&self, rules: Option<&Rules>) -> BTreeMap<SessionId, BTreeSet<Why>> {
        let Some(rules) = rules else { return BTreeMap::new() };
        let due = self.sessions.iter().filter_map(|(id, session)| {
            let clocks = session.clocks(rules);
            let first = clocks.iter().map(|(at, _)| *at).min().filter(|at| *at <= self.now)?;
            Some((*id, clocks.into_iter().filter(|(at, _)| *at == first).map(|(_, why)| why).collect()))
        });
        due.collect()
    }

    fn effect(
        &mut self,
        effect: &Effect,
        entry: &Entry,
        (before, departed): (&Before, bool),
        old: Option<&Rules>,
        fleet: &Fleet,
        pool: &PoolId,
    ) {
        let now = self.now;
        let Some(rules) = self.rules.clone() else { return };
        match effect {
            Effect::Released { session: id, why, .. } => {
                let session = self.sessions.get_mut(id).expect("a session that is released exists");
                let asked = match (&entry.command, why) {
                    (Command::Leave { session }, Why::Left) | (Command::Kick { session }, Why::Kicked) => session == id,
                    (Command::Remove, Why::PoolRemoved) => true,
                    _ => false,
                };
                let clocks =
                    session.clocks(&rules).into_iter().chain(old.map(|r| session.clocks(r)).unwrap_or_default());
                let clocks: Vec<(Time, Why)> = clocks.collect();
                // The earliest deadline gives the reason. Exceptions: it may be by rules that are no longer, or not yet, in
                // force; a replica that is given up comes first; and a lapse stops the clock of sessions without streams.
                let first = clocks.iter().map(|(at, _)| *at).min();
                let stops = matches!(entry.command, Command::Lapse { .. });
                let is_first = |at: &Time| departed || stops || old != Some(&rules) || Some(*at) == first;
                let due = clocks.iter().any(|(at, reason)| reason == why && *at <= now && is_first(at));
                // Its pod may have become certain after one replica of this entry was given up, and before another one.
                let admitted = departed && *why == Why::Disconnected && before.doubtful.contains(id);
                assert!(asked || due || admitted, "{id:?} was released at {now:?}, {why:?}, but {session:?}");
                let At::Taken(by) = &session.at else {
                    self.sessions.remove(id);
                    return;
                };
                session.at = At::Ending(by.clone());
            }
            Effect::Placed { session: id, .. } => {
                let until = now + self.limit(entry, old, |r| r.claim, *id, fleet, pool);
                let session = self.sessions.entry(*id).or_insert_with(|| Session::new(now));
                session.at = At::Held { until, came: false };
            }
            Effect::Requeued { session: id, .. } => {
                let until = now + self.limit(entry, old, |r| r.queue_lease.max(r.grace), *id, fleet, pool);
                let session = self.sessions.get_mut(id).expect("a session that is requeued exists");
                session.at = At::Queued { until, lost: true };
            }
            _ => {}
        }
    }

    /// A duration of the rules. In an entry that changes them it is the old or the new one, whichever the fleet has used.
    fn limit(
        &self,
        entry: &Entry,
        old: Option<&Rules>,
        of: impl Fn(&Rules) -> Millis,
        id: SessionId,
        fleet: &Fleet,
        pool: &PoolId,
    ) -> Millis {
        let new = self.rules.as_ref().map(&of).unwrap_or_default();
        let Some(old) = old.map(of).filter(|_| matches!(entry.command, Command::Rules(_))) else { return new };
        let taken = match fleet.session(pool, id).map(|s| &s.state) {
            Some(State::Queued { lease: until, .. } | State::Held { until, .. }) => until.since(self.now),
            _ => new,
        };
        if taken == old { old } else { new }
    }

    fn command(&mut self, entry: &Entry, doubtful: &BTreeSet<SessionId>, fleet: &Fleet, pool: &PoolId) {
        let (now, from) = (self.now, entry.from);
        let Some(rules) = self.rules.clone() else { return };
        match &entry.command {
            Command::Visit { session: id, .. } => match self.sessions.get_mut(id) {
                Some(session) => session.renew(now + rules.queue_lease),
                None => {
                    if fleet.session(pool, *id).is_some() {
                        let mut session = Session::new(now);
                        session.renew(now + rules.queue_lease);
                        self.sessions.insert(*id, session);
                    }
                }
            },
            Command::Attach { session: id } if !fleet.is_quiet() => {
                let Some(session) = self.sessions.get_mut(id) else { return };
                if doubtful.contains(id) {
                    return;
                }
                match &mut session.at {
                    At::Held { .. } => session.at = At::Taken(BTreeSet::from([from])),
                    At::Taken(by) => drop(by.insert(from)),
                    At::Queued { .. } | At::Ending(_) => return,
                }
                session.active = now;
                session.first_attach.get_or_insert(now);
            }
            Command::Detach { session: id } => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.detach(from, now, rules.grace);
                }
            }
            Command::Farewell => {
                let own = self.sessions.values_mut().filter(|s| s.is_attached(from));
                own.for_each(|s| s.detach(from, now, rules.grace));
            }
            Command::Active { sessions } => {
                for id in sessions {
                    let Some(session) = self.sessions.get_mut(id) else { continue };
                    session.renew(now + rules.queue_lease);
                    if matches!(session.at, At::Taken(_)) {
                        session.active = now;
                    }
                }
            }
            Command::Extend { session: id } => {
                let is_line_empty = fleet.queue(pool).next().is_none();
                let Some(session) = self.sessions.get_mut(id) else { return };
                let seated = matches!(session.at, At::Taken(_) | At::Held { .. });
                if seated && is_line_empty && session.extended < rules.extend_limit {
                    session.extended = (session.extended + rules.warn_before).min(rules.extend_limit);
                    session.active = now;
                }
            }
            _ => {}
        }
        self.sessions.retain(|_, s| !s.is_over());
    }

    /// The fleet has the same sessions in the same states, and warns of the same ends.
    fn agree(&mut self, fleet: &Fleet, pool: &PoolId) {
        // A session that was ending is released with its pod, without another effect.
        self.sessions.retain(|id, s| !matches!(s.at, At::Ending(_)) || fleet.session(pool, *id).is_some());
        for id in (0..SESSIONS).map(|n| SessionId(u128::from(n))) {
            let (own, theirs) = (self.sessions.get(&id), fleet.session(pool, id));
            let same = match (own.map(|s| &s.at), theirs.map(|s| &s.state)) {
                (None, None) => true,
                (Some(At::Queued { lost, .. }), Some(State::Queued { lost: theirs, .. })) => lost == theirs,
                (Some(At::Held { came, .. }), Some(State::Held { came: theirs, .. })) => came == theirs,
                (Some(At::Taken(own)), Some(State::Taken { by, .. }))
                | (Some(At::Ending(own)), Some(State::Ending { by, .. })) => {
                    own.len() == by.len() && by.iter().all(|r| own.contains(r))
                }
                _ => false,
            };
            assert!(same, "{id:?} is {theirs:?}, and by the rules {own:?}");
            if let (Some(own), Some(theirs), Some(rules)) = (own, theirs, &self.rules) {
                let ends = own.ends(rules).into_iter().map(|(at, _)| at).min();
                assert_eq!(theirs.ends(rules).map(|(at, _)| at), ends, "{id:?} ends, and is warned, at another time");
            }
        }
    }
}

impl Session {
    fn new(now: Time) -> Session {
        let at = At::Queued { until: now, lost: false };
        Session { at, active: now, first_attach: None, parted: Time::default(), extended: Millis::ZERO }
    }

    fn is_attached(&self, replica: ReplicaId) -> bool {
        matches!(&self.at, At::Taken(by) | At::Ending(by) if by.contains(&replica))
    }

    fn renew(&mut self, lease: Time) {
        if let At::Queued { until, .. } = &mut self.at {
            *until = lease;
        }
    }

    /// The replica's streams are closed. If they were the last ones, `grace` runs from `since`.
    fn detach(&mut self, replica: ReplicaId, since: Time, grace: Millis) {
        match &mut self.at {
            At::Taken(by) => {
                by.remove(&replica);
                // This also counts a detach by a replica that had no streams.
                self.parted = since;
            }
            At::Ending(by) => drop(by.remove(&replica)),
            At::Queued { .. } | At::Held { .. } => {}
        }
        if matches!(&self.at, At::Taken(by) if by.is_empty()) {
            self.at = At::Held { until: since + grace, came: true };
        }
    }

    fn wait_for_pod(&mut self, is_doubtful: bool, now: Time, claim: Millis, grace: Millis) {
        let At::Held { until, came } = &mut self.at else { return };
        if is_doubtful {
            *until = Time::NEVER;
        } else if *until == Time::NEVER {
            *until = now + if *came { grace } else { claim };
        }
    }

    fn is_over(&self) -> bool {
        matches!(&self.at, At::Ending(by) if by.is_empty())
    }

    /// `idle` and `max_session`.
    fn ends(&self, rules: &Rules) -> Vec<(Time, Why)> {
        let idle = rules.idle.filter(|_| matches!(self.at, At::Taken(_))).map(|idle| (self.active + idle, Why::Idle));
        let max = rules.max_session.filter(|_| !matches!(self.at, At::Ending(_)));
        let time_up = max.zip(self.first_attach).map(|(max, first)| (first + max + self.extended, Why::TimeUp));
        idle.into_iter().chain(time_up).collect()
    }

    fn clocks(&self, rules: &Rules) -> Vec<(Time, Why)> {
        let own = match self.at {
            At::Queued { until, lost } => Some((until, if lost { Why::PodLost } else { Why::LeftQueue })),
            At::Held { until, came } => Some((until, if came { Why::Disconnected } else { Why::NoShow })),
            At::Taken(_) | At::Ending(_) => None,
        };
        own.into_iter().chain(self.ends(rules)).collect()
    }
}
