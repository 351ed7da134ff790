//! The mirror: the fleet as the journal has it, entry by entry, and what follows from each of them.

use super::super::evidence;
use super::{Before, Inner, Oracle, short};
use crate::record::{SessionLife, Spell};
use slotkeeper::cookie::public_name;
use slotkeeper_core::{Command, Effect, Entry, Fleet, Ordinal, PoolId, ReplicaId, SessionId, State};
use std::collections::BTreeSet;

/// Number of journal positions whose census is remembered: a scrape's position is a recent one.
const REMEMBERED: usize = 20_000;
/// Number of the fleet's states that are remembered: lost entries and checkpoints are always more recent.
const STATES: usize = 2_000;

impl Oracle {
    /// The journal has taken an entry: applies it to the mirror, and runs all checks that are possible now.
    pub fn journalled(&self, position: u64, entry: &Entry) {
        self.others(|t| t.journalled(position, entry));
        let at = self.now();
        let mut inner = self.locked();
        if position != inner.mirror.applied() + 1 {
            let what = format!("position {position} follows {}", inner.mirror.applied());
            inner.violate(at, "the journal goes on where it was", what);
        }
        inner.journalled(&self.pool, entry, at);
        let serves = !inner.lapse_is_due && !inner.mirror.is_quiet();
        drop(inner);
        if serves {
            self.journal_serves();
        }
    }

    /// The journal has lost all entries after this position.
    pub fn rewound(&self, position: u64) {
        self.others(|t| t.rewound(position));
        let at = self.now();
        self.locked().rewound(&self.pool, position, at);
        self.journal_lost();
    }
}

impl Inner {
    pub(super) fn journalled(&mut self, pool: &PoolId, entry: &Entry, at: u64) {
        let repeated = entry.number > 0 && self.mirror.replica(entry.from).is_some_and(|number| entry.number <= number);
        let without = repeated.then(|| {
            self.count("entry repeated".into());
            let mut fleet = self.mirror.clone();
            let _ = fleet.apply(&Entry { from: ReplicaId(0), number: 0, command: Command::Tick, ..entry.clone() });
            serde_json::to_string(&fleet).ok()
        });
        if let Command::Lapse { .. } = entry.command {
            self.lapse_is_due = false;
            self.log(at, "entries may be lost: no session is placed for a while".into());
        }
        let missed = |id: &SessionId| {
            let session = self.mirror.session(pool, *id)?;
            session.last.filter(|_| matches!(session.state, State::Queued { lost: true, .. }))
        };
        let queue: Vec<(SessionId, Option<Ordinal>)> = self.mirror.queue(pool).map(|id| (id, missed(&id))).collect();
        if let Command::Active { sessions } = &entry.command
            && !repeated
            && entry.pool == *pool
        {
            self.check_reports(pool, sessions, at);
        }
        self.count(format!("command {}", evidence::word(&entry.command)));
        if let Command::Visit { session, .. } = &entry.command
            && entry.pool == *pool
        {
            self.names.insert(public_name(*session), *session);
        }
        let terminating: Vec<Ordinal> =
            self.mirror.pods(pool).filter(|(_, p)| p.is_terminating()).map(|(ordinal, _)| ordinal).collect();
        let ending: BTreeSet<String> = terminating.into_iter().filter_map(|o| self.uid(pool, o)).collect();
        let mut effects = self.mirror.apply(entry);
        effects.retain(|(id, _)| id == pool);
        self.stamps.push_back((at, entry.at));
        if self.stamps.len() > STATES {
            self.stamps.pop_front();
        }
        self.remember(pool, entry, &effects, at);
        if without.is_some_and(|without| without != serde_json::to_string(&self.mirror).ok()) {
            let what = format!(
                "number {} of {:?} was written twice, and had an effect: {:?}",
                entry.number, entry.from, entry.command
            );
            self.violate(at, "what is written twice counts once", what);
        }
        if let Err(what) = self.mirror.invariants() {
            self.violate(at, "invariants of the core", format!("{what}, after {entry:?}"));
        }
        self.ordered(pool, &queue, &effects, at);
        for (_, effect) in &effects {
            self.placed_where_it_can_stay(pool, &ending, effect, &entry.command, at);
            self.effect(pool, effect, at);
        }
        if !self.lapse_is_due && !self.mirror.is_quiet() {
            // All that relied on lost entries has been released.
            self.before.clear();
            self.shaken.clear();
        }
        self.highest = self.highest.max(self.mirror.applied());
        if self.states.len() == STATES {
            self.states.pop_front();
        }
        self.states.push_back((self.mirror.applied(), self.mirror.clone()));
        self.noted(pool, at);
    }

    pub(super) fn remember(&mut self, pool: &PoolId, entry: &Entry, effects: &[(PoolId, Effect)], at: u64) {
        let subject = evidence::subject(&entry.command);
        let after = subject.and_then(|id| self.mirror.session(pool, id));
        if let (Command::Attach { session }, Some(State::Taken { .. })) = (&entry.command, after.map(|s| &s.state)) {
            self.shaken.remove(session);
        }
        let effects = effects.iter().map(|(_, effect)| effect.clone()).collect();
        self.ledger.note(at, self.mirror.applied(), entry, effects, after);
    }

    /// The fleet has changed: remembers its census.
    pub(super) fn noted(&mut self, pool: &PoolId, at: u64) {
        if let Some(census) = self.mirror.census(pool) {
            if self.censuses.len() == REMEMBERED {
                self.censuses.pop_front();
            }
            self.censuses.push_back((self.mirror.applied(), census));
            if self.wanted.last().is_none_or(|(_, n)| *n != census.desired.len()) {
                self.wanted.push((at, census.desired.len()));
            }
        }
    }

    /// The entries after this position are lost: restores the fleet's state at this position.
    pub(super) fn rewound(&mut self, pool: &PoolId, position: u64, at: u64) {
        self.log(at, format!("the journal has lost what came after {position}; it was at {}", self.mirror.applied()));
        self.lapse_is_due = true;
        self.activity.rewound(at);
        let kept = self.states.partition_point(|(p, _)| *p <= position);
        self.states.truncate(kept);
        let fleet = match self.states.back() {
            Some((p, fleet)) if *p == position => fleet.clone(),
            _ if position == 0 => Fleet::new(),
            _ => return self.violate(at, "the world runs", format!("position {position} is not remembered")),
        };
        let fleet = std::mem::replace(&mut self.mirror, fleet);
        for (id, session) in self.mirror.sessions(pool) {
            let Some(uid) = session.pod().and_then(|at| uid_of(&self.mirror, pool, at)) else { continue };
            let there = fleet.session(pool, id).and_then(|s| s.pod()).and_then(|at| uid_of(&fleet, pool, at));
            if there.as_ref() != Some(&uid) {
                self.departed.insert((public_name(id), uid));
            }
        }
        let gone = self.censuses.partition_point(|(p, _)| *p <= position);
        self.lost.push((self.lives.clone(), self.censuses.split_off(gone)));
        // Sessions whose state differs because of the loss.
        let different = |id: &SessionId, session: &slotkeeper_core::Session, other: &Fleet| {
            other.session(pool, *id).map(|s| &s.state) != Some(&session.state)
        };
        let lost = fleet.sessions(pool).into_iter().filter(|(id, s)| different(id, s, &self.mirror));
        let revived = self.mirror.sessions(pool).into_iter().filter(|(id, s)| different(id, s, &fleet));
        let shaken: Vec<SessionId> = lost.chain(revived).map(|(id, _)| id).collect();
        self.shaken.extend(shaken);
        for (_, applied) in self.started.values_mut() {
            *applied = position.min(*applied);
        }
        for (id, session) in fleet.sessions(pool) {
            let now = self.mirror.session(pool, id);
            let (known, moved) = (now.is_some(), now.and_then(|s| s.pod()) != session.pod());
            if !known {
                self.count("session forgotten".into());
                self.log(at, format!("session {} is forgotten", short(&public_name(id))));
            }
            if moved {
                self.placed.remove(&id);
                end_spell(self.life(id, at), at);
            }
        }
        self.before.push(Before { fleet, lives: self.lives.clone() });
        self.wanted.push((at, self.mirror.desired(pool).map_or(0, |d| d.len())));
    }

    pub(super) fn effect(&mut self, pool: &PoolId, effect: &Effect, at: u64) {
        let debug = format!("{effect:?}");
        self.count(format!("effect {}", debug.split([' ', '(']).next().unwrap_or_default()));
        match effect {
            Effect::Placed { session, pod, waited } => {
                let name = public_name(*session);
                let uid = self.uid(pool, *pod).unwrap_or_default();
                self.log(at, format!("session {} is placed in pod {pod} ({uid})", short(&name)));
                self.places.entry(*session).or_default().push(uid.clone());
                self.placed.insert(*session, at);
                self.waited.push(waited.0);
                let joined = at.saturating_sub(waited.0);
                self.life(*session, joined).spells.push(Spell { ordinal: pod.0, uid, from: at, to: None });
            }
            Effect::Released { session, why, .. } => {
                self.count(format!("reason {}", why.word()));
                let name = public_name(*session);
                self.is_not_playing(&name, *why, at);
                self.is_idle(pool, &name, *why, at);
                self.log(at, format!("session {} is released: {}", short(&name), why.word()));
                // Answers from before the release do not show that the visitor is still connected.
                self.echoes.retain(|_, (heard, _)| *heard != name);
                self.placed.remove(session);
                let life = self.life(*session, at);
                life.end = Some(at);
                life.why = Some(why.word().to_owned());
                end_spell(life, at);
            }
            Effect::Requeued { session, pod } => {
                let name = public_name(*session);
                self.log(at, format!("session {} lost pod {pod}, and waits in front", short(&name)));
                self.requeued.insert(*session, at);
                // The same applies here: its streams to the pod are closed.
                self.echoes.retain(|_, (heard, _)| *heard != name);
                self.placed.remove(session);
                end_spell(self.life(*session, at), at);
            }
            Effect::Scale { start, replicas, decided, .. } => {
                let (position, timeline) = (decided.position, decided.timeline);
                self.log(at, format!("pods wanted: {replicas} from {start} (decided {position} in {timeline:?})"));
            }
            Effect::Recycle { pod, uid } => self.log(at, format!("pod {pod} ({uid:?}) is to be recycled")),
            Effect::Drain { pod, gone, .. } => {
                self.log(at, format!("pod {pod} {}", if *gone { "has ended" } else { "is terminating" }));
            }
            Effect::Started { pod, took } => self.log(at, format!("pod {pod} has started in {took:?}")),
            Effect::Broken { what } => self.violate(at, "invariants of the core", what.clone()),
        }
    }

    pub(super) fn life(&mut self, session: SessionId, joined: u64) -> &mut SessionLife {
        let visitor = self.sessions.len() as u32;
        self.sessions.entry(session).or_insert_with(|| SessionLife {
            visitor,
            joined,
            spells: Vec::new(),
            end: None,
            why: None,
            killed: false,
        })
    }

    pub(super) fn uid(&self, pool: &PoolId, pod: Ordinal) -> Option<String> {
        uid_of(&self.mirror, pool, pod)
    }
}

pub(super) fn uid_of(fleet: &Fleet, pool: &PoolId, pod: Ordinal) -> Option<String> {
    Some(fleet.pod(pool, pod)?.life.as_ref()?.uid.0.to_string())
}

pub(super) fn end_spell(life: &mut SessionLife, at: u64) {
    if let Some(spell) = life.spells.last_mut().filter(|s| s.to.is_none()) {
        spell.to = Some(at);
    }
}
