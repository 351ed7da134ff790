//! The swarm: random commands over jumping time, from several replicas with good and bad manners, and a small honest
//! cluster that obeys late. `Fleet::invariants` runs inside every `apply`; what is checked here is what it cannot know:
//! who was where before, who has streams, and what the cluster really did.
//!
//! `SWARM_CASES=50000 cargo test -p slotkeeper-core swarm` looks harder. A failing case is shrunk and printed, and
//! `PROPTEST_RNG_SEED` repeats a run.

mod reference;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reference::Witness;
use slotkeeper_core::{
    AfterSession, Command, Effect, Entry, Fleet, Millis, Ordinal, Phase, Place, Placement, PoolId, ReplicaId, Rules,
    Scaling, SessionId, Shrink, Sighting, Span, Spare, Standing, State, Targets, Time, Uid, Window,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use world::{Act, World};

const SESSIONS: u8 = 7;

#[derive(Clone, Debug)]
enum Step {
    /// The clock goes on, or (rarely) far on or back; nobody writes meanwhile.
    Pass(u64),
    Back(u64),
    Visitor(u8, Command),
    /// An entry whose number is not the next.
    OutOfTurn(u8, u64, Command),
    Operator(Command),
    World(Act),
    /// News arrives: which of those on their way, and whether it stays on its way and comes again.
    News(u8, bool),
    /// News that nobody sent.
    Garbage(Command),
    Farewell(u8),
    /// A process dies without a word and another starts.
    Crash(u8),
    /// The fleet is written down and read back.
    Checkpoint,
    /// The newest entries are lost: so many, and who of the replicas had read them.
    Lose(u8, u8),
    /// A replica says that it has missed nothing, if it is asked and has not.
    Whole(u8),
}

fn session() -> impl Strategy<Value = SessionId> {
    (0..SESSIONS).prop_map(|n| SessionId(u128::from(n)))
}

fn visitor() -> impl Strategy<Value = Command> {
    let hint = prop::option::of((0..5u32).prop_map(Ordinal));
    prop_oneof![
        6 => (session(), hint, 0..3u8).prop_map(|(session, hint, class)| Command::Visit { session, hint, class }),
        6 => session().prop_map(|session| Command::Attach { session }),
        4 => session().prop_map(|session| Command::Detach { session }),
        3 => prop::collection::vec(session(), 0..4).prop_map(|sessions| Command::Active { sessions }),
        1 => session().prop_map(|session| Command::Leave { session }),
        1 => session().prop_map(|session| Command::Extend { session }),
        2 => Just(Command::Tick),
        1 => (0..400u64, 0..4000u64, prop::option::of(0..4000u64))
            .prop_map(|(messages, over, gauge)| Command::Load { messages, over: Millis(over), gauge }),
    ]
}

fn operator() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => session().prop_map(|session| Command::Kick { session }),
        3 => (0..5u32).prop_map(|o| Command::Cordon { pod: Ordinal(o) }),
        4 => (0..5u32).prop_map(|o| Command::Uncordon { pod: Ordinal(o) }),
        2 => (0..5u32).prop_map(|o| Command::Empty { pod: Ordinal(o) }),
        2 => spare().prop_map(Command::Schedule),
        1 => rules().prop_map(Command::Rules),
        1 => Just(Command::Remove),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Pending { why: "no node".into() }),
        Just(Phase::Starting),
        (1..4u16).prop_map(|port| Phase::Ready { address: ([10, 0, 0, 1], port).into() }),
        Just(Phase::Unready),
        Just(Phase::Terminating),
        Just(Phase::Failed { why: "it crashes".into() }),
    ]
}

fn garbage() -> impl Strategy<Value = Command> {
    let pod = || prop_oneof![9 => 0..6u32, 1 => Just(u32::MAX)].prop_map(Ordinal);
    let uid = || (0..4u32).prop_map(|n| Uid::from(format!("garbage/{n}").as_str()));
    let number = || prop_oneof![9 => 0..60u64, 1 => Just(u64::MAX)];
    let size = || prop_oneof![9 => 0..7u32, 1 => Just(u32::MAX)];
    let sighting = (pod(), uid(), phase()).prop_map(|(pod, uid, phase)| Sighting { pod, uid, phase });
    prop_oneof![
        6 => (pod(), uid(), phase(), number())
            .prop_map(|(pod, uid, phase, version)| Command::PodSeen { pod, uid, phase, version }),
        2 => (pod(), uid(), number()).prop_map(|(pod, uid, version)| Command::PodGone { pod, uid, version }),
        1 => (prop::collection::vec(sighting, 0..4), number())
            .prop_map(|(pods, version)| Command::PodsListed { pods, version }),
        3 => (size(), size(), number(), number()).prop_map(|(start, replicas, decided, version)| Command::ScaleSeen {
            start,
            replicas,
            decided,
            version
        }),
        2 => size().prop_map(|replicas| Command::Served { replicas }),
    ]
}

fn spare() -> impl Strategy<Value = Spare> {
    prop_oneof![3 => Just(Spare::Slots(0)), 2 => (0..3u32).prop_map(Spare::Slots), 1 => (0..200u32).prop_map(Spare::Percent)]
}

fn scaling() -> impl Strategy<Value = Scaling> {
    prop_oneof![
        4 => Just(Scaling::Direct { window: Window::Fixed }),
        3 => Just(Scaling::Direct { window: Window::Sliding }),
        2 => (0..4000u64).prop_map(|ms| Scaling::Keda { settle: Millis(ms) }),
        1 => Just(Scaling::None),
    ]
}

fn targets() -> impl Strategy<Value = Targets> {
    let each = || prop::option::weighted(0.3, 0..4u32);
    (each(), prop::option::weighted(0.2, 0..60u32), prop::option::weighted(0.2, 0..3000u64), 0..4000u64, 0..100u32)
        .prop_map(|(sessions, messages, gauge, window, slack)| Targets {
            sessions,
            messages,
            gauge,
            window: Millis(window),
            slack,
        })
}

fn rules() -> impl Strategy<Value = Rules> {
    let clock = || (0..6000u64).prop_map(Millis);
    let sizes = (1..4u32, 0..3u32, 0..5u32, 0..6u32);
    let ways = (any::<bool>(), any::<bool>(), any::<bool>(), scaling(), spare(), any::<bool>(), targets());
    let clocks = (clock(), clock(), clock(), prop::option::of(clock()), prop::option::of(clock()));
    let more = (clock(), clock(), 1000..6000u64, clock(), 1..20_000u64);
    (sizes, ways, clocks, more).prop_map(|(sizes, ways, clocks, more)| Rules {
        slots_per_pod: sizes.0.saturating_sub(1).max(1),
        min: sizes.1.saturating_sub(1),
        max: sizes.2,
        queue_limit: sizes.3,
        placement: if ways.0 { Placement::Pack } else { Placement::Spread },
        sticky_storage: ways.1,
        after_session: if ways.2 { AfterSession::Keep } else { AfterSession::Recycle },
        scaling: ways.3,
        spare: ways.4,
        shrink: if ways.5 { Shrink::Move } else { Shrink::Wait },
        targets: ways.6,
        queue_lease: clocks.0,
        claim: clocks.1,
        grace: clocks.2,
        idle: clocks.3,
        max_session: clocks.4,
        warn_before: more.0,
        extend_limit: more.1,
        silence: Millis(more.2),
        cooldown: more.3,
        stuck_after: Millis(more.4),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pass = prop_oneof![8 => 0..900u64, 2 => 0..3000u64, 1 => Just(3_600_000u64)];
    prop_oneof![
        20 => pass.prop_map(Step::Pass),
        1 => (0..5000u64).prop_map(Step::Back),
        30 => (0..3u8, visitor()).prop_map(|(r, c)| Step::Visitor(r, c)),
        2 => (0..3u8, 0..4u64, prop_oneof![visitor(), operator()]).prop_map(|(r, n, c)| Step::OutOfTurn(r, n, c)),
        2 => operator().prop_map(Step::Operator),
        24 => world::act().prop_map(Step::World),
        24 => (0..4u8, prop::bool::weighted(0.1)).prop_map(|(n, again)| Step::News(n, again)),
        4 => garbage().prop_map(Step::Garbage),
        1 => (0..3u8).prop_map(Step::Farewell),
        1 => (0..3u8).prop_map(Step::Crash),
        1 => Just(Step::Checkpoint),
        1 => (0..12u8, 0..8u8).prop_map(|(n, r)| Step::Lose(n, r)),
        3 => (0..3u8).prop_map(Step::Whole),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    rules: Rules,
    /// Pods that run already when the journal begins.
    running: u32,
    /// Somebody sends news that is not true.
    rude: bool,
    /// The semantics that every dispatcher knows.
    speaks: u32,
    /// News comes in its order, and the rules stay: then more is promised, and checked.
    orderly: bool,
    steps: Vec<Step>,
}

fn case() -> impl Strategy<Value = Case> {
    let manners = prop_oneof![2 => Just((false, true)), 1 => Just((false, false)), 1 => Just((true, false))];
    let speaks = prop_oneof![1 => Just(1), 3 => Just(Entry::SEMANTICS)];
    (rules(), 0..4u32, manners, speaks, prop::collection::vec(step(), 100..400)).prop_map(
        |(rules, running, (rude, orderly), speaks, steps)| Case { rules, running, rude, speaks, orderly, steps },
    )
}

/// Whose, through whom, in which incarnation.
type Stream = (SessionId, ReplicaId, Life);

/// An incarnation. (Garbage uses a uid for several pods.)
type Life = (Ordinal, Uid);

struct Swarm {
    fleet: Fleet,
    /// Read from a checkpoint of the fleet now and then; goes through the same entries.
    twin: Fleet,
    pool: PoolId,
    clock: Time,
    replicas: [(ReplicaId, u64); 3],
    births: u64,
    speaks: u32,
    world: World,
    rude: bool,
    orderly: bool,
    most_slots: usize,
    /// Open streams: whose, through whom, in which incarnation.
    streams: BTreeSet<Stream>,
    /// Everybody who ever had a stream in an incarnation.
    guests: BTreeMap<Life, BTreeSet<SessionId>>,
    /// The newest states, each with the streams there were.
    past: VecDeque<(Fleet, BTreeSet<Stream>)>,
    /// Streams of replicas that have acted on what is lost: until when (in real time) they are open at most.
    ghosts: BTreeMap<Stream, u64>,
    /// Replicas that have read what is lost.
    unsound: BTreeSet<ReplicaId>,
    /// Reports what outsiders observe to the second oracle. Not where the API server lies.
    witness: Option<Witness>,
}

impl Swarm {
    fn new(case: &Case) -> Swarm {
        let rules = case.rules.clone().clamped();
        let mut swarm = Swarm {
            fleet: Fleet::new(),
            twin: Fleet::new(),
            pool: PoolId::from("pool"),
            clock: Time(1_000_000),
            replicas: [(ReplicaId(1), 0), (ReplicaId(2), 0), (ReplicaId(3), 0)],
            births: 3,
            speaks: case.speaks,
            world: World::new(case.running.min(rules.max), &rules),
            rude: case.rude,
            orderly: case.orderly,
            most_slots: rules.slots_per_pod as usize,
            streams: BTreeSet::new(),
            guests: BTreeMap::new(),
            past: VecDeque::new(),
            ghosts: BTreeMap::new(),
            unsound: BTreeSet::new(),
            witness: None,
        };
        swarm.witness = (!case.rude).then(|| Witness::new(&rules, &swarm.world));
        swarm.say(0, Command::Rules(case.rules.clone()));
        swarm
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Pass(ms) => {
                self.clock += Millis(*ms);
                self.world.real += ms;
            }
            Step::Back(ms) => self.clock = Time(self.clock.0.saturating_sub(*ms)),
            Step::Visitor(replica, command) => self.say(*replica, command.clone()),
            Step::OutOfTurn(replica, off, command) => self.out_of_turn(*replica, *off, command),
            Step::Operator(Command::Rules(_) | Command::Remove) if self.orderly => {}
            Step::Operator(command) => self.operate(command),
            Step::World(act) => self.act(*act),
            Step::News(which, again) => {
                let which = if self.orderly { 0 } else { usize::from(*which) };
                if let Some(news) = self.world.tell(which, *again) {
                    self.say(0, news);
                }
            }
            Step::Garbage(command) if self.rude => self.say(1, command.clone()),
            Step::Garbage(_) => {}
            Step::Farewell(replica) => {
                self.say(*replica, Command::Farewell);
                self.restart(*replica);
            }
            Step::Crash(replica) => self.restart(*replica),
            Step::Checkpoint => self.checkpoint(),
            Step::Lose(entries, readers) => self.lose(usize::from(*entries), *readers),
            Step::Whole(replica) => self.whole(*replica),
        }
    }

    fn operate(&mut self, command: &Command) {
        if let Command::Rules(rules) = command {
            self.most_slots = self.most_slots.max(rules.slots_per_pod as usize);
        }
        self.say(2, command.clone());
        if matches!(command, Command::Rules(_)) && !self.fleet.is_listed(&self.pool) {
            // A new pool has to be told what runs there.
            self.world.orders.clear();
            self.world.introduce();
        }
    }

    fn act(&mut self, act: Act) {
        let desired = self.fleet.census(&self.pool).map(|c| c.desired.end);
        let owed: Vec<Effect> = self.fleet.owed().map(|(_, e)| e).collect();
        let rules = self.fleet.rules(&self.pool).cloned();
        let Some((rules, desired)) = rules.zip(desired) else { return };
        let served = self.world.act(act, &rules, desired, &owed);
        if let Some(witness) = &mut self.witness {
            witness.act(act, &self.world);
        }
        if let Some(served) = served {
            self.say(0, Command::Served { replicas: served });
        }
        self.nobody_dies_of_scaling();
    }

    /// Own scaling: what the cluster deletes because it was told fewer replicas is empty, however late it was told.
    /// (But its news must come in order: a size that overtakes the end of a pod makes that pod look safe once more.)
    fn nobody_dies_of_scaling(&self) {
        if !self.orderly {
            return;
        }
        for (ordinal, pod) in self.fleet.pods(&self.pool) {
            if let Some(life) = &pod.life
                && self.world.scaled_away.contains(&life.uid)
            {
                assert!(pod.sessions.is_empty(), "{ordinal:?} was scaled away under {:?}", pod.sessions);
            }
        }
    }

    fn restart(&mut self, replica: u8) {
        self.births += 1;
        self.replicas[usize::from(replica)] = (ReplicaId(self.births), 0);
    }

    fn checkpoint(&mut self) {
        assert_eq!(json(&self.fleet), json(&self.twin), "the twin has gone another way");
        self.twin = serde_json::from_str(&json(&self.fleet)).expect("what was written can be read");
    }

    fn say(&mut self, replica: u8, command: Command) {
        let (from, last) = self.replicas[usize::from(replica)];
        if self.fleet.replica(from).unwrap_or(0) != last {
            // It was silent for so long that it is not known any more: it starts over.
            self.restart(replica);
        }
        if self.replicas[usize::from(replica)].1 == 0 {
            self.write(replica, Command::Hello { speaks: self.speaks });
        }
        self.write(replica, command);
    }

    fn write(&mut self, replica: u8, command: Command) {
        let (from, number) = &mut self.replicas[usize::from(replica)];
        *number += 1;
        let entry = Entry { at: self.clock, from: *from, number: *number, pool: self.pool.clone(), command };
        self.apply(&entry);
    }

    /// The journal goes on without its newest entries. Those of the replicas that had read them start over, and are slow to
    /// close what they have; the cluster is as it is, and is told of anew.
    fn lose(&mut self, entries: usize, readers: u8) {
        let Some((fleet, streams)) = self.past.iter().rev().nth(entries).cloned() else { return };
        if fleet.applied() == 0 || fleet.rules(&self.pool).is_none() {
            return;
        }
        let patience = self.fleet.patience().max(fleet.patience());
        let trusted = self.world.real + patience.0.saturating_sub(self.fleet.silence().max(fleet.silence()).0 / 2);
        for index in 0..3u8 {
            let (name, number) = self.replicas[usize::from(index)];
            let read_it = readers & 1 << index != 0 || fleet.replica(name).unwrap_or(0) != number;
            if read_it && fleet.applied() < self.fleet.applied() {
                self.unsound.insert(name);
                for stream in self.streams.iter().filter(|(_, r, _)| *r == name) {
                    self.ghosts.insert(stream.clone(), trusted);
                }
                self.restart(index);
            }
        }
        // Who has not read it goes on; an attach that nobody has read back let nobody in, and what is closed stays closed.
        self.streams.retain(|stream| streams.contains(stream) && !self.unsound.contains(&stream.1));
        if let Some(witness) = &mut self.witness {
            witness.journal_lost(&streams, &self.unsound, trusted, self.world.real);
        }
        (self.fleet, self.twin) = (fleet.clone(), fleet);
        self.past.clear();
        let lapse = Command::Lapse { patience };
        self.apply(&Entry { at: self.clock, from: ReplicaId(0), number: 0, pool: self.pool.clone(), command: lapse });
        self.world.introduce();
    }

    fn whole(&mut self, replica: u8) {
        let (name, number) = self.replicas[usize::from(replica)];
        if let Some(lapse) = self.fleet.doubts(name).filter(|_| !self.unsound.contains(&name))
            && self.fleet.replica(name) == Some(number)
        {
            self.say(replica, Command::Whole { lapse });
        }
    }

    fn out_of_turn(&mut self, replica: u8, off: u64, command: &Command) {
        let (from, number) = self.replicas[usize::from(replica)];
        let number = if off == 0 { number } else { number + 1 + off };
        let entry = |from, number, command| Entry { at: self.clock, from, number, pool: self.pool.clone(), command };
        let (wrong, nothing) = (entry(from, number, command.clone()), entry(ReplicaId(0), 5, Command::Tick));
        let mut other = self.fleet.clone();
        let expected = other.apply(&nothing);
        // The replica may be forgotten meanwhile: then a repeated first entry would begin a new life.
        if number == 1 {
            return;
        }
        let before = self.fleet.applied();
        let effects = self.fleet.clone().apply(&wrong);
        assert_eq!(effects, expected, "an entry out of turn did something");
        self.apply(&wrong);
        assert_eq!(json(&self.fleet), json(&other), "an entry out of turn did something");
        assert_eq!(self.fleet.applied(), before + 1);
    }

    fn apply(&mut self, entry: &Entry) {
        self.past.push_back((self.fleet.clone(), self.streams.clone()));
        if self.past.len() > 12 {
            self.past.pop_front();
        }
        let line: Vec<SessionId> = self.fleet.queue(&self.pool).collect();
        let (quiet, size) = (self.fleet.is_quiet(), self.fleet.desired(&self.pool).unwrap_or_default());
        let known = self.fleet.replica(entry.from);
        let effects = self.fleet.apply(entry);
        assert_eq!(self.twin.apply(entry), effects, "the twin has gone another way");
        let heard = self.fleet.replica(entry.from) != known;
        let effects: Vec<Effect> = effects.into_iter().map(|(_, e)| e).collect();
        if quiet && self.fleet.is_quiet() {
            self.nothing_is_given_or_taken(size, &effects);
        }
        self.keep_streams(entry, heard);
        self.line_is_lawful(&line, &effects);
        self.placed_is_placeable(entry, &effects);
        self.scale_spares_sessions(&effects);
        self.places_agree();
        self.slots_are_exclusive();
        self.world.hear(&effects);
        self.nobody_dies_of_scaling();
        if let Some(witness) = &mut self.witness {
            witness.entry(entry, heard, &effects, &self.fleet, &self.world);
        }
    }

    // ---- what must be so ----

    /// ... as long as entries may be lost.
    fn nothing_is_given_or_taken(&self, before: Span, effects: &[Effect]) {
        let forbidden = |e: &&Effect| matches!(e, Effect::Placed { .. } | Effect::Recycle { .. });
        assert_eq!(effects.iter().find(forbidden), None);
        let scaled = self.fleet.rules(&self.pool).is_some_and(|r| r.scaling != Scaling::None);
        let now = self.fleet.desired(&self.pool).unwrap_or(before);
        let kept = before.is_empty() || now.start <= before.start && before.end <= now.end;
        // A pool that was being removed may be gone, and this entry may have made a new one, which knows of nobody.
        let is_new = !self.fleet.is_listed(&self.pool);
        assert!(kept || !scaled || is_new, "{before:?} has become {now:?}");
        for id in (0..SESSIONS).map(|n| SessionId(u128::from(n))) {
            assert!(!matches!(self.fleet.place(&self.pool, id), Place::At { .. }), "{id:?} is let in");
        }
    }

    fn keep_streams(&mut self, entry: &Entry, heard: bool) {
        match &entry.command {
            Command::Attach { session } if heard => {
                if let Place::At { pod, incarnation } = self.fleet.place(&self.pool, *session) {
                    let life = (pod, incarnation.uid.clone());
                    self.streams.insert((*session, entry.from, life.clone()));
                    self.guests.entry(life).or_default().insert(*session);
                }
            }
            Command::Detach { session } if heard => {
                self.streams.retain(|(s, r, _)| (s, r) != (session, &entry.from));
            }
            _ => {}
        }
        let lives = self.fleet.pods(&self.pool).filter_map(|(o, p)| Some((o, p.life.as_ref()?.uid.clone())));
        let alive: BTreeSet<Life> = lives.collect();
        self.streams.retain(|(_, r, life)| self.fleet.replica(*r).is_some() && alive.contains(life));
    }

    /// In every incarnation: those with a stream and those with a place are together no more than there are slots.
    fn slots_are_exclusive(&self) {
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
                assert!(sessions.len() <= 1, "{sessions:?} have met in {life:?}");
            }
        }
    }

    fn line_is_lawful(&self, before: &[SessionId], effects: &[Effect]) {
        let after: Vec<SessionId> = self.fleet.queue(&self.pool).collect();
        let lane = |s: &SessionId| {
            let session = self.fleet.session(&self.pool, *s).expect("who is in line exists");
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
            before.iter().copied().filter(|s| after.contains(s) && !left.contains(s)).collect();
        let same: Vec<SessionId> = after.iter().copied().filter(|s| stayed.contains(s)).collect();
        assert_eq!(stayed, same, "somebody was overtaken in line");
        for class in 0..=3 {
            let of_class = after.iter().filter(|s| lane(s) == class);
            assert!(of_class.clone().is_sorted_by_key(|s| !stayed.contains(s)), "a newcomer stands before others");
        }
        for effect in effects {
            if let Effect::Placed { session, .. } = effect
                && let Some(at) = before.iter().position(|s| s == session)
            {
                let passed = before[..at].iter().find(|s| stayed.contains(s));
                assert_eq!(passed, None, "{session:?} was placed before somebody who came first");
            }
        }
    }

    fn placed_is_placeable(&self, entry: &Entry, effects: &[Effect]) {
        // What time alone did came before the command, which may have changed the pod since.
        let later = matches!(
            entry.command,
            Command::PodSeen { .. }
                | Command::PodGone { .. }
                | Command::PodsListed { .. }
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
                assert!(later, "placed in {ordinal:?}, which has no life");
                continue;
            };
            if !later {
                assert!(pod.is_ready() && !pod.cordoned, "placed in {pod:?}");
                // What is to be emptied is so from the next step on.
                let moved = |e: &Effect| matches!(e, Effect::Requeued { session: s, .. } if s == session);
                let stays = matches!(life.standing, Standing::Wanted | Standing::Surplus);
                assert!(stays || effects.iter().any(moved), "placed in {ordinal:?}, which is {:?}", life.standing);
                // In a shared pod another one may have left since, and its traces with it.
                assert!(!life.dirty || self.most_slots > 1, "placed in dirty {ordinal:?}");
            }
            assert!(!self.world.lies_about(&life.uid) || self.rude);
        }
    }

    /// What is told to the cluster leaves every busy pod inside, and one entry tells it once.
    fn scale_spares_sessions(&self, effects: &[Effect]) {
        let mut told = 0;
        for effect in effects {
            let Effect::Scale { start, replicas, .. } = effect else { continue };
            told += 1;
            for (ordinal, pod) in self.fleet.pods(&self.pool) {
                let inside = *start <= ordinal.0 && ordinal.0 < start + replicas;
                assert!(inside || pod.sessions.is_empty(), "{effect:?} removes {ordinal:?} under {:?}", pod.sessions);
            }
        }
        assert!(told <= 1, "two sizes decided at one position cannot be told apart: {effects:?}");
    }

    fn places_agree(&self) {
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
                (State::Ending { why, .. }, Place::Ending { why: said }) => assert_eq!(*why, said),
                (state, place) => panic!("{id:?} is {state:?}, and its place is {place:?}"),
            }
            assert!(self.fleet.pods_of(&self.pool, id).len() <= 1, "{id:?} has two places");
        }
    }

    // ---- the end ----

    /// Everybody closes up or falls silent, the cluster obeys, time passes: everything is free again, the pool asleep,
    /// and whoever comes then is served.
    fn calm(&mut self) {
        for id in (0..SESSIONS).step_by(2).map(|n| SessionId(u128::from(n))) {
            self.say(0, Command::Leave { session: id });
            self.say(0, Command::Detach { session: id });
        }
        for ordinal in 0..6 {
            self.say(0, Command::Uncordon { pod: Ordinal(ordinal) });
        }
        for _ in 0..200 {
            if self.fleet.is_quiet() {
                self.wait(Millis(1_000));
            }
        }
        assert!(!self.fleet.is_quiet(), "the lapse does not end");
        if let Some(rules) = self.fleet.rules(&self.pool).cloned() {
            // A silent life keeps its slots until it is presumed over: here that is the speaker's own.
            self.restart(0);
            // While there is no pool yet, the silence is the default one.
            let others = Rules::default().silence;
            self.wait(rules.silence + rules.grace + others);
        }
        let Some(rules) = self.fleet.rules(&self.pool).cloned() else { return };
        assert_eq!(self.fleet.sessions(&self.pool), [], "somebody is still there");
        if self.rude {
            return;
        }
        self.wait(rules.cooldown + rules.targets.window + rules.stuck_after.min(Millis(5_000)) + Millis(5_000));
        let census = self.fleet.census(&self.pool).expect("the pool exists");
        let owed: Vec<Effect> = self.fleet.owed().map(|(_, e)| e).collect();
        assert_eq!((owed, self.fleet.next_deadline()), (vec![], None), "{:?} {:?}", self.fleet, self.world);
        if rules.scaling != Scaling::None {
            assert_eq!(census.desired, census.needed);
            let warm = u64::from(rules.min > 0) + rules.spare.slots(0);
            assert_eq!(census.desired.is_empty(), warm == 0 || rules.max == 0, "{census:?}");
        }
        assert_eq!(self.world.ordinals(), (census.desired.start..census.desired.end).collect::<Vec<_>>());
        if rules.max > 0 && rules.queue_limit > 0 && rules.queue_lease > Millis(500) {
            let id = SessionId(0);
            self.say(0, Command::Visit { session: id, hint: None, class: 0 });
            for _ in 0..60 {
                if matches!(self.fleet.place(&self.pool, id), Place::At { .. }) {
                    return;
                }
                self.say(0, Command::Active { sessions: vec![id] });
                self.wait(Millis(300));
            }
            panic!("nobody is served any more: {:?} {:?}", self.fleet, self.world);
        }
    }

    fn wait(&mut self, time: Millis) {
        let mut passed = 0;
        while passed < time.0 {
            self.clock += Millis(300);
            self.world.real += 300;
            passed += 300;
            for act in world::CALM {
                self.act(act);
            }
            while let Some(news) = self.world.tell(0, false) {
                self.say(0, news);
            }
            self.say(0, Command::Tick);
        }
    }
}

fn json(fleet: &Fleet) -> String {
    serde_json::to_string(fleet).expect("a fleet can be written")
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let cases = std::env::var("SWARM_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 4096, ..Config::default() });
    let result = runner.run(&case(), |case| {
        let mut swarm = Swarm::new(&case);
        for step in &case.steps {
            swarm.go(step);
        }
        swarm.checkpoint();
        swarm.calm();
        swarm.checkpoint();
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
