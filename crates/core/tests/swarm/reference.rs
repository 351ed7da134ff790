//! Runs the second oracle (`slotkeeper-reference`) with the swarm: answers to visitors, changes of pods and of the API server,
//! and operators' commands are reported as observations, and every finding fails the case. The fleet is only read as a
//! visitor, a scaler or an operator could: `Fleet::place`, `Fleet::desired` and `Fleet::is_quiet`. One exception: the answer
//! to a session that is shown the waiting room although it has a slot (its pod is not certain to stay) is not reported.
//!
//! A replica closes its streams before `silence + grace` has passed since its last entry (law 5 of the dispatcher). So a
//! stream of a silent or dead replica counts as open until then.

use super::Stream;
use super::case::SESSIONS;
use super::world::World;
use slotkeeper_core::{
    AfterSession, Command, Decision, Effect, Entry, Fleet, Phase, Place, PoolId, ReplicaId, Rules, Scaling, SessionId,
    Shrink, State, Uid, Why,
};
use slotkeeper_reference::{
    self as reference, Answer, Observation, Observed, PodId, PodState, Reason, Reference, Remover, Settings, VisitorId,
    Watch,
};
use std::collections::{BTreeMap, BTreeSet};

/// How long a replica may keep its streams after its last entry.
#[derive(Clone, Copy, Debug)]
struct Silence {
    heard: u64,
    patience: u64,
    /// Its streams may be open until then: it may not have read that the settings are shorter now.
    keeps: u64,
}

#[derive(Debug)]
struct Open {
    pod: PodId,
    number: u64,
    /// When its replica closes it at the latest, if the replica has acted on lost entries.
    until: Option<u64>,
}

pub(super) struct Witness {
    reference: Reference,
    rules: Rules,
    removed: bool,
    quiet: bool,
    pods: BTreeMap<u32, (PodId, PodState)>,
    size: Option<(u32, u32, Decision)>,
    /// The decisions of all sizes, in the order in which they were first ordered.
    orders: Vec<Decision>,
    /// Observations arrive in order. If not, a size may overtake the end of a pod, and the cause of its removal proves nothing.
    orderly: bool,
    /// The number that was served last, unless a size was ordered since.
    published: Option<u32>,
    streams: BTreeMap<(SessionId, ReplicaId), Open>,
    numbers: u64,
    /// Sessions that have a slot, by their last answer.
    seated: BTreeSet<SessionId>,
    replicas: BTreeMap<ReplicaId, Silence>,
    /// Those that the fleet has not given up.
    known: BTreeSet<ReplicaId>,
    /// Streams that are attached according to the fleet.
    counted: BTreeSet<(SessionId, ReplicaId)>,
    now: u64,
}

impl Witness {
    pub(super) fn new(rules: &Rules, world: &World, orderly: bool) -> Witness {
        let mut witness = Witness {
            reference: Reference::new(Watch::Snapshots),
            rules: rules.clone(),
            removed: false,
            quiet: false,
            pods: BTreeMap::new(),
            size: None,
            orders: Vec::new(),
            orderly,
            published: None,
            streams: BTreeMap::new(),
            numbers: 0,
            seated: BTreeSet::new(),
            replicas: BTreeMap::new(),
            known: BTreeSet::new(),
            counted: BTreeSet::new(),
            now: world.real,
        };
        witness.see(Observation::Settings(settings(rules)));
        witness.look(world);
        witness
    }

    /// The cluster has done something.
    pub(super) fn cluster(&mut self, world: &World) {
        self.now = world.real;
        self.close_silent();
        self.look(world);
    }

    /// `kept`: the streams at the position to which the journal has fallen back. `unsound`: the replicas that had read more;
    /// they close their streams before `trusted`, and so do replicas that are not among the `living`: they have closed them.
    pub(super) fn journal_lost(
        &mut self,
        kept: &BTreeSet<Stream>,
        unsound: &BTreeSet<ReplicaId>,
        living: &BTreeSet<ReplicaId>,
        trusted: u64,
        now: u64,
    ) {
        self.now = now;
        self.close_silent();
        let kept: BTreeSet<(SessionId, ReplicaId)> = kept.iter().map(|(s, r, _)| (*s, *r)).collect();
        let keys: Vec<(SessionId, ReplicaId)> = self.streams.keys().copied().collect();
        for key in keys {
            match self.streams.get_mut(&key) {
                Some(open) if unsound.contains(&key.1) || !living.contains(&key.1) => {
                    open.until.get_or_insert(trusted);
                }
                Some(_) if !kept.contains(&key) => self.close(key, now),
                _ => {}
            }
        }
        self.quiet = true;
        self.see(Observation::JournalLost);
    }

    /// The journal has accepted an entry. `heard`: the fleet accepts it, too.
    pub(super) fn entry(&mut self, entry: &Entry, heard: bool, effects: &[Effect], fleet: &Fleet, world: &World) {
        self.now = world.real;
        self.known = self.replicas.keys().copied().filter(|r| fleet.replica(*r).is_some()).collect();
        let is_counted = |(session, replica): &(SessionId, ReplicaId)| {
            fleet.session(&entry.pool, *session).is_some_and(|session| match &session.state {
                State::Taken { by, .. } | State::Ending { by, .. } => by.contains(replica),
                State::Queued { .. } | State::Held { .. } => false,
            })
        };
        self.counted = self.streams.keys().copied().filter(is_counted).collect();
        self.close_silent();
        self.look(world);
        if heard {
            self.command(entry);
        }
        if self.quiet && !fleet.is_quiet() {
            self.quiet = false;
            self.see(Observation::JournalSettled);
        }
        self.effects(entry, heard, effects);
        self.publish(fleet, &entry.pool);
        self.name_seats(effects, fleet, &entry.pool);
        if matches!(entry.command, Command::Rules(_)) {
            self.see(Observation::Settings(settings(&self.rules)));
        }
        // A first entry may be written while an observation is in flight.
        if matches!(entry.command, Command::Hello { .. }) {
            return;
        }
        // If observations overtake each other, late ones are ignored: then the dispatchers do not know everything.
        if self.orderly && world.is_delivered() {
            self.see(Observation::CaughtUp);
        }
        self.ask_everybody(entry, heard, fleet);
        if let (true, Command::Attach { session }) = (heard, &entry.command)
            && let Place::At { incarnation, .. } = fleet.place(&entry.pool, *session)
        {
            self.open(*session, entry.from, PodId::from(&*incarnation.uid.0));
        }
        self.see(Observation::Snapshot);
    }

    fn see(&mut self, what: Observation) {
        let observed = Observed { at: self.now, tolerance: 0, what };
        if let Some(finding) = self.reference.observe(&observed).first() {
            panic!("the reference: {finding}");
        }
    }

    // ---- the cluster ----

    fn look(&mut self, world: &World) {
        let by = |uid: &Uid| match self.orderly {
            true if world.scaled_away.contains(uid) => Remover::ScaleDown,
            true if world.recycled.contains(uid) => Remover::Recycle,
            _ => Remover::Other,
        };
        let now: BTreeMap<u32, (PodId, PodState)> =
            world.pods().iter().map(|(o, (uid, phase))| (*o, (PodId::from(&*uid.0), state(phase, by(uid))))).collect();
        let terminating = |s: PodState| matches!(s, PodState::Terminating { .. });
        let before = std::mem::take(&mut self.pods);
        for (ordinal, (pod, _)) in &before {
            if now.get(ordinal).is_none_or(|(p, _)| p != pod) {
                self.see(Observation::Pod { pod: pod.clone(), ordinal: *ordinal, state: PodState::Gone });
                let broken: Vec<_> = self.streams.iter().filter(|(_, s)| s.pod == *pod).map(|(key, _)| *key).collect();
                for key in broken {
                    // A replica that writes no more entries does not report that the stream is closed: the dispatchers count
                    // from its last entry.
                    let heard = self.replicas.get(&key.1).map_or(self.now, |silence| silence.heard);
                    self.close(key, heard);
                }
            }
        }
        for (ordinal, (pod, state)) in &now {
            let old = before.get(ordinal).filter(|(p, _)| p == pod).map(|(_, s)| *s);
            if old != Some(*state) && !(old.is_some_and(terminating) && terminating(*state)) {
                self.see(Observation::Pod { pod: pod.clone(), ordinal: *ordinal, state: *state });
            }
        }
        self.pods = now;
        let size = world.size_stored();
        if self.size != Some(size) {
            self.size = Some(size);
            let (start, replicas, decided) = size;
            let position = self.position(decided);
            self.see(Observation::Stored { start, end: start + replicas, position });
        }
    }

    /// A number for the decision: higher for later decisions, 0 if it is not this pool's.
    fn position(&self, decided: Decision) -> u64 {
        self.orders.iter().position(|d| *d == decided).map_or(0, |at| at as u64 + 1)
    }

    /// Reports the number that a scaler would be served now, in pools of KEDA.
    fn publish(&mut self, fleet: &Fleet, pool: &PoolId) {
        let keda = matches!(self.rules.scaling, Scaling::Keda { .. });
        if let Some(desired) = fleet.desired(pool).filter(|d| keda && Some(d.end) != self.published) {
            self.published = Some(desired.end);
            self.see(Observation::Ordered { start: desired.start, end: desired.end, position: 0 });
        }
    }

    // ---- visitors ----

    fn command(&mut self, entry: &Entry) {
        let now = self.now;
        let patience = (self.rules.silence + self.rules.grace).0;
        let silence = self.replicas.entry(entry.from).or_insert(Silence { heard: now, patience, keeps: 0 });
        (silence.heard, silence.patience) = (now, patience);
        match &entry.command {
            Command::Leave { session } => self.see(Observation::Leaves { visitor: visitor(*session) }),
            Command::Kick { session } => self.see(Observation::Kicked { visitor: visitor(*session) }),
            Command::Cordon { pod } => self.see(Observation::Cordoned { ordinal: pod.0 }),
            Command::Uncordon { pod } => self.see(Observation::Uncordoned { ordinal: pod.0 }),
            Command::Empty { pod } => self.see(Observation::Emptied { ordinal: pod.0 }),
            Command::Remove => {
                self.removed = true;
                self.see(Observation::PoolRemoved);
            }
            Command::Detach { session } => self.close((*session, entry.from), now),
            Command::Farewell => {
                let own: Vec<_> = self.streams.keys().filter(|(_, r)| *r == entry.from).copied().collect();
                for key in own {
                    self.close(key, now);
                }
                self.replicas.remove(&entry.from);
            }
            Command::Rules(rules) => {
                // Deadlines that became due in this entry were handled under the former rules: these may have used a pod again.
                let rules = rules.clone().clamped();
                let is_keep = self.rules.after_session == AfterSession::Keep;
                self.rules_changed(&rules, if is_keep { AfterSession::Keep } else { rules.after_session });
            }
            _ => {}
        }
    }

    /// The rules in force, which may be earlier ones: an entry that changed them may be lost.
    pub(super) fn rules_changed(&mut self, rules: &Rules, after_session: AfterSession) {
        if *rules == self.rules && !self.removed {
            return;
        }
        let (before, after) = ((self.rules.silence + self.rules.grace).0, (rules.silence + rules.grace).0);
        for (replica, silence) in &mut self.replicas {
            // A replica that was given up closes its streams as soon as it reads that, whatever the rules are then.
            if !self.known.contains(replica) {
                continue;
            }
            silence.patience = silence.patience.max(after);
            if after < before {
                silence.keeps = silence.keeps.max(self.now + before);
            }
        }
        (self.rules, self.removed) = (rules.clone(), false);
        self.see(Observation::Settings(settings(&Rules { after_session, ..rules.clone() })));
    }

    /// The sessions that this entry placed are at their pods by the rules of this entry, whenever they ask.
    fn name_seats(&mut self, effects: &[Effect], fleet: &Fleet, pool: &PoolId) {
        let placed = effects.iter().filter_map(|e| match e {
            Effect::Placed { session, .. } => Some(*session),
            _ => None,
        });
        for session in placed {
            if let Place::At { incarnation, .. } = fleet.place(pool, session) {
                self.tell(session, Answer::Seat { pod: PodId::from(&*incarnation.uid.0) });
            }
        }
    }

    /// Reports what the dispatchers do because of an entry. Effects of time come before those of the command.
    fn effects(&mut self, entry: &Entry, heard: bool, effects: &[Effect]) {
        let ended =
            |id: &SessionId| effects.iter().any(|e| matches!(e, Effect::Released { session, .. } if session == id));
        // Requests of a visitor with a slot go to its pod: a dispatcher would not write this entry, and it is no activity.
        let mut visit = match &entry.command {
            Command::Visit { session, class, .. } if heard && (ended(session) || !self.seated.contains(session)) => {
                Some((*session, *class))
            }
            _ => None,
        };
        // Deadlines may have requeued the session and ended it in this entry: its visit comes after that.
        let over = visit.and_then(|(session, _)| {
            effects.iter().rposition(|e| matches!(e, Effect::Released { session: s, .. } if *s == session))
        });
        for (number, effect) in effects.iter().enumerate() {
            if let (Some((session, class)), Effect::Placed { session: s, .. } | Effect::Requeued { session: s, .. }) =
                (visit, effect)
                && *s == session
                && over.is_none_or(|over| number > over)
            {
                self.see(Observation::Sign { visitor: visitor(session), class });
                visit = None;
            }
            if let Effect::Released { session, .. } | Effect::Requeued { session, .. } = effect {
                self.seated.remove(session);
            }
            match effect {
                Effect::Scale { start, replicas, decided, .. } => {
                    if !self.orders.contains(decided) {
                        self.orders.push(*decided);
                    }
                    let position = self.position(*decided);
                    self.published = None;
                    self.see(Observation::Ordered { start: *start, end: start + replicas, position });
                }
                Effect::Placed { session, .. } => self.tell(*session, Answer::Ready),
                Effect::Requeued { session, .. } => self.tell(*session, Answer::Waiting { ahead: None }),
                Effect::Released { session, why, .. } => self.tell(*session, Answer::Ended { reason: reason(*why) }),
                Effect::Drain { uid, .. } => {
                    let pod = PodId::from(&*uid.0);
                    let there: BTreeSet<SessionId> =
                        self.streams.iter().filter(|(_, s)| s.pod == pod).map(|((s, _), _)| *s).collect();
                    for session in there {
                        self.see(Observation::Notified { visitor: visitor(session), pod: pod.clone() });
                    }
                }
                _ => {}
            }
        }
        if let Some((session, class)) = visit {
            self.see(Observation::Sign { visitor: visitor(session), class });
        }
        if let (true, Command::Active { sessions }) = (heard, &entry.command) {
            for session in sessions {
                self.see(Observation::Sign { visitor: visitor(*session), class: 0 });
            }
        }
    }

    fn ask_everybody(&mut self, entry: &Entry, heard: bool, fleet: &Fleet) {
        if fleet.is_quiet() {
            return;
        }
        for session in (0..SESSIONS).map(|n| SessionId(u128::from(n))) {
            // KEDA may or may not have acted on a lower number meanwhile: until that is certain, a visitor with a slot is shown
            // the waiting room, and keeps its slot.
            let in_doubt = fleet.session(&entry.pool, session).is_some_and(|s| s.pod().is_some())
                && matches!(fleet.place(&entry.pool, session), Place::Queued { .. });
            if in_doubt {
                continue;
            }
            let asked = heard && matches!(&entry.command, Command::Visit { session: s, .. } if *s == session);
            let answer = match fleet.place(&entry.pool, session) {
                Place::Unknown if asked => Answer::Full,
                Place::Unknown => Answer::Unknown,
                Place::Queued { ahead, .. } => Answer::Waiting { ahead: Some(ahead as u64) },
                Place::At { incarnation, .. } => Answer::Seat { pod: PodId::from(&*incarnation.uid.0) },
                Place::Ending { why } => Answer::Ended { reason: reason(why) },
            };
            if matches!(answer, Answer::Seat { .. }) {
                self.seated.insert(session);
            } else {
                self.seated.remove(&session);
            }
            self.tell(session, answer);
        }
    }

    fn tell(&mut self, session: SessionId, answer: Answer) {
        self.see(Observation::Told { visitor: visitor(session), answer });
    }

    // ---- streams ----

    fn open(&mut self, session: SessionId, replica: ReplicaId, pod: PodId) {
        let key = (session, replica);
        if self.streams.get(&key).is_some_and(|s| s.pod != pod) {
            self.close(key, self.now);
        }
        self.numbers += 1;
        let number = self.streams.get(&key).map_or(self.numbers, |s| s.number);
        let is_there = self.pods.values().any(|(there, _)| *there == pod);
        self.streams.insert(key, Open { pod: pod.clone(), number, until: None });
        self.see(Observation::Stream { visitor: visitor(session), pod, stream: number });
        // The pod may have vanished, and the observation of that may still be in flight.
        if !is_there {
            self.close(key, self.now);
        }
    }

    fn close(&mut self, key: (SessionId, ReplicaId), quiet_since: u64) {
        if let Some(open) = self.streams.remove(&key) {
            self.see(Observation::Closed { visitor: visitor(key.0), stream: open.number, quiet_since });
        }
    }

    /// Closes streams of silent replicas whose time is over. While the fleet still counts a stream as attached, its slot stays
    /// busy: for waiting visitors that is the same as an open stream.
    fn close_silent(&mut self) {
        let now = self.now;
        let over: Vec<_> = (self.streams.iter())
            .filter(|(key, _)| !self.counted.contains(key))
            .filter_map(|(key, open)| {
                let silence = self.replicas.get(&key.1)?;
                let closes = open.until.unwrap_or((silence.heard + silence.patience).max(silence.keeps));
                (closes <= now).then_some((*key, silence.heard))
            })
            .collect();
        for (key, heard) in over {
            self.close(key, heard);
        }
    }
}

fn visitor(session: SessionId) -> VisitorId {
    VisitorId::from(format!("visitor {}", session.0).as_str())
}

fn state(phase: &Phase, by: Remover) -> PodState {
    match phase {
        Phase::Pending { .. } | Phase::Starting => PodState::Starting,
        Phase::Ready { .. } => PodState::Ready,
        Phase::Unready | Phase::Failed { .. } => PodState::Unready,
        Phase::Terminating => PodState::Terminating { by },
    }
}

fn reason(why: Why) -> Reason {
    Reason::from_word(why.word()).expect("the reference knows every reason")
}

fn settings(rules: &Rules) -> Settings {
    Settings {
        slots_per_pod: rules.slots_per_pod,
        max: rules.max,
        recycle: rules.after_session == AfterSession::Recycle,
        moves: rules.shrink == Shrink::Move,
        scaling: match rules.scaling {
            Scaling::Direct { .. } => reference::Scaling::Own,
            Scaling::Keda { .. } => reference::Scaling::Keda,
            Scaling::None => reference::Scaling::Fixed,
        },
        queue_lease: rules.queue_lease.0,
        claim: rules.claim.0,
        grace: rules.grace.0,
        idle: rules.idle.map(|t| t.0),
        max_session: rules.max_session.map(|t| t.0),
        stuck_after: rules.stuck_after.0,
        hidden: 0,
        clocks_jump: false,
    }
}
