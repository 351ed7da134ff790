//! Plays a case: replicas that write entries, a cluster that acts late, and a journal that loses entries.

use super::Swarm;
use super::case::{Case, Step};
use super::clocks::{Before, Clocks};
use super::coverage::Coverage;
use super::reference::Witness;
use super::world::{self, Act, World};
use slotkeeper_core::{
    Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, Rules, Scaling, SessionId, State, Time, Timeline,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl Swarm {
    pub(super) fn new(case: &Case) -> Swarm {
        let rules = case.rules.clone().clamped();
        let mut swarm = Swarm {
            fleet: Fleet::new(),
            twin: None,
            pool: PoolId::from("pool"),
            clock: Time(1_000_000),
            replicas: [(ReplicaId(1), 0), (ReplicaId(2), 0), (ReplicaId(3), 0)],
            births: 3,
            speaks: case.speaks,
            world: World::new(case.running.min(rules.max), &rules, case.prometheus),
            rude: case.rude,
            orderly: case.orderly,
            prometheus: case.prometheus,
            most_slots: rules.slots_per_pod as usize,
            clocks: Clocks::default(),
            streams: BTreeSet::new(),
            guests: BTreeMap::new(),
            past: VecDeque::new(),
            ghosts: BTreeMap::new(),
            departed: BTreeSet::new(),
            unsound: BTreeSet::new(),
            timelines: 0,
            loses: case.speaks >= Entry::TIMELINES,
            coverage: Coverage::default(),
            aloud: false,
            witness: None,
        };
        // The older semantics have known gaps, which the newer ones close: an owed recycle is forgotten with the pool, and an
        // order of a removed pool may still take effect on the next one.
        let is_judged = !case.rude && case.speaks >= Entry::TIMELINES;
        swarm.witness = is_judged.then(|| Witness::new(&rules, &swarm.world, case.orderly));
        swarm.say(0, Command::Rules(case.rules.clone()));
        swarm
    }

    pub(super) fn go(&mut self, step: &Step) {
        match step {
            Step::Pass(ms) => self.pass(*ms),
            Step::Half(off) => self.pass((self.fleet.silence().0 / 2 + off).saturating_sub(1)),
            Step::Due(early) => {
                if let Some((at, _)) = self.fleet.next_deadline() {
                    self.pass(at.since(self.fleet.now()).0.saturating_sub(u64::from(*early)));
                    self.say(1, Command::Tick);
                }
            }
            Step::Back(ms) => self.clock = Time(self.clock.0.saturating_sub(*ms)),
            Step::Visitor(replica, command) => self.say(*replica, command.clone()),
            Step::Come(replica, session) => self.come(*replica, *session),
            Step::Cluster => self.cluster(),
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

    fn come(&mut self, replica: u8, session: SessionId) {
        self.say(replica, Command::Visit { session, hint: None, class: 0 });
        let sessions = self.fleet.sessions(&self.pool);
        let held = sessions.iter().find(|(_, s)| matches!(s.state, State::Held { .. })).map(|(id, _)| *id);
        if let Some(session) = held {
            self.say(replica, Command::Attach { session });
        }
    }

    /// The cluster completes all outstanding work, and its observations arrive.
    pub(super) fn cluster(&mut self) {
        for act in world::CALM {
            self.act(act);
        }
        while let Some(news) = self.world.tell(0, false) {
            self.say(0, news);
        }
    }

    fn operate(&mut self, command: &Command) {
        if let Command::Rules(rules) = command {
            self.most_slots = self.most_slots.max(rules.slots_per_pod as usize);
        }
        self.say(2, command.clone());
        if matches!(command, Command::Rules(_)) && !self.fleet.is_listed(&self.pool) {
            // A new pool needs observations of everything that runs. How long a silent replica keeps its streams now depends on
            // both pools and on the time between them, which the reference does not know.
            self.witness = None;
            self.world.orders.clear();
            self.world.introduce();
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        let Some(rules) = self.fleet.rules(&self.pool).cloned() else { return };
        let (scaled, recycled) = (self.world.scaled_away.len(), self.world.recycled.len());
        let served = self.world.act(act, &rules, &self.fleet);
        if let Some(witness) = &mut self.witness {
            witness.cluster(&self.world);
        }
        if let Some(replicas) = served {
            self.say(0, Command::Served { replicas });
        }
        if (scaled, recycled) != (self.world.scaled_away.len(), self.world.recycled.len()) {
            self.cover_removals(scaled, recycled, &rules);
            self.nobody_dies_of_scaling();
            self.recycling_spares_sessions(&[]);
        }
    }

    fn cover_removals(&mut self, scaled: usize, recycled: usize, rules: &Rules) {
        if self.world.scaled_away.len() > scaled {
            let by_keda = matches!(rules.scaling, Scaling::Keda { .. });
            self.coverage.note(if by_keda { "a number of KEDA removes a pod" } else { "a number removes a pod" });
        }
        if self.world.recycled.len() > recycled {
            self.coverage.note("a recycle removes a pod");
        }
    }

    /// Lets time pass. If KEDA has to act before the end of that time, it acts first, and the observations of that arrive.
    pub(super) fn pass(&mut self, ms: u64) {
        if self.orderly
            && let Some(rules) = self.fleet.rules(&self.pool).cloned()
        {
            let scaled = self.world.scaled_away.len();
            if self.world.obey(ms, &rules) {
                self.coverage.note("KEDA obeys at the last moment");
                if let Some(witness) = &mut self.witness {
                    witness.cluster(&self.world);
                }
                self.cover_removals(scaled, usize::MAX, &rules);
                while let Some(news) = self.world.tell(0, false) {
                    self.say(0, news);
                }
            }
        }
        if ms > self.fleet.silence().0 / 2 {
            self.coverage.note("a gap does not count");
        }
        self.clock += Millis(ms);
        self.world.real += ms;
    }

    pub(super) fn restart(&mut self, replica: u8) {
        self.births += 1;
        self.replicas[usize::from(replica)] = (ReplicaId(self.births), 0);
    }

    /// Reads a twin from a checkpoint of the fleet. It applies the same entries from here on, until the next checkpoint or for
    /// `TWIN_LIVES` entries.
    pub(super) fn checkpoint(&mut self) {
        let written = json(&self.fleet);
        if let Some((twin, _)) = &self.twin {
            assert_eq!(written, json(twin), "the fleet read from a checkpoint has diverged");
        }
        self.twin = Some((serde_json::from_str(&written).expect("what was written can be read"), TWIN_LIVES));
    }

    pub(super) fn say(&mut self, replica: u8, command: Command) {
        let (from, last) = self.replicas[usize::from(replica)];
        if self.fleet.replica(from).unwrap_or(0) != last {
            // It was silent for so long that it has been given up: it starts again as a new replica.
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

    /// The journal continues without its newest entries. Replicas that had read them start again under new ids, and their streams
    /// stay open for a while; the cluster does not change, and is observed again.
    fn lose(&mut self, entries: usize, readers: u8) {
        let Some((fleet, streams, clocks)) = self.past.iter().rev().nth(entries).cloned() else { return };
        if fleet.applied() == 0 || fleet.rules(&self.pool).is_none() {
            return;
        }
        // During a rollout the older semantics are in force, which have no timelines: an order of lost entries may take effect
        // then. The newer semantics close this gap.
        if !self.loses {
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
        // Replicas that have not read the lost entries continue. An attach that no replica has read back opened no stream, and
        // closed streams stay closed.
        self.streams.retain(|stream| streams.contains(stream) && !self.unsound.contains(&stream.1));
        if let Some(witness) = &mut self.witness {
            let living = self.replicas.iter().map(|(name, _)| *name).collect();
            witness.journal_lost(&streams, &self.unsound, &living, trusted, self.world.real);
            fleet.rules(&self.pool).into_iter().for_each(|rules| witness.rules_changed(rules, rules.after_session));
        }
        (self.fleet, self.clocks, self.twin) = (fleet, clocks, None);
        self.coverage.note("entries are lost");
        self.departed = self.in_removed_pods();
        self.past.clear();
        // A name that no other timeline of this case has.
        self.timelines += 1;
        let lapse = Command::Lapse { patience, timeline: Timeline(self.timelines) };
        self.world.forget_recycles();
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
        // The replica may be given up in this entry: then a repeated first entry would be accepted as its first one.
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
        let line: Vec<_> = self.fleet.queue(&self.pool).map(|s| (s, self.misses(s))).collect();
        let returns = self.fleet.semantics() >= Entry::RETURNS;
        let (quiet, size) = (self.fleet.is_quiet(), self.fleet.desired(&self.pool).unwrap_or_default());
        let timeline = self.fleet.timeline();
        let before = Before::of(&self.fleet, entry, &self.pool, self.births);
        let running = self.running();
        self.remember();
        let effects = self.fleet.apply(entry);
        self.twin_goes_along(entry, &effects);
        let effects: Vec<Effect> = effects.into_iter().map(|(_, e)| e).collect();
        if self.aloud {
            self.tell(entry, &effects);
        }
        self.cover(entry, &effects, &before);
        if quiet && self.fleet.is_quiet() {
            self.nothing_is_given_or_taken(size, &effects);
        }
        self.clocks.observe(&before, entry, &effects, &self.fleet, &self.pool, self.orderly);
        self.streams_are_closed(&running, &before, entry, &effects);
        self.keep_streams(entry, before.performed());
        self.line_is_lawful(&line, returns, &effects);
        self.placed_is_placeable(entry, timeline, &effects);
        self.scale_spares_sessions(&effects);
        self.places_agree();
        self.slots_are_exclusive();
        self.recycling_spares_sessions(&effects);
        self.world.hear(&effects);
        if let Command::Served { replicas } = entry.command {
            self.world.settle_on(replicas);
        }
        self.world.show(&self.fleet, &self.pool);
        self.nobody_dies_of_scaling();
        if let Some(witness) = &mut self.witness {
            witness.entry(entry, before.performed(), &effects, &self.fleet, &self.world);
        }
    }

    /// Prints an entry, its effects, and the state after it.
    fn tell(&self, entry: &Entry, effects: &[Effect]) {
        let (at, from, number) = (self.fleet.now(), entry.from, entry.number);
        let real = self.world.real;
        println!("  {at:?} (real: {real} ms) {from:?} {number}: {:?} -> {effects:?}", entry.command);
        for (ordinal, pod) in self.fleet.pods(&self.pool) {
            println!("      {ordinal:?} {:?} {:?}", pod.life, pod.sessions);
        }
        for (id, session) in self.fleet.sessions(&self.pool) {
            println!("      {id:?} {:?}", session.state);
        }
    }

    /// Stores the state before this entry, if entries may be lost at all.
    fn remember(&mut self) {
        if !self.loses {
            return;
        }
        self.past.push_back((self.fleet.clone(), self.streams.clone(), self.clocks.clone()));
        if self.past.len() > 12 {
            self.past.pop_front();
        }
    }

    fn twin_goes_along(&mut self, entry: &Entry, effects: &[(PoolId, Effect)]) {
        let Some((twin, lives)) = &mut self.twin else { return };
        assert_eq!(twin.apply(entry), effects, "the fleet read from a checkpoint has diverged");
        *lives -= 1;
        if *lives == 0 {
            assert_eq!(json(&self.fleet), json(twin), "the fleet read from a checkpoint has diverged");
            self.twin = None;
        }
    }

    fn cover(&mut self, entry: &Entry, effects: &[Effect], before: &Before) {
        if before.performed() || matches!(entry.command, Command::Lapse { .. }) {
            self.coverage.entry(&entry.command, effects);
            if let Some((past, ..)) = self.past.back() {
                self.coverage.change(entry, past, &self.fleet, &self.pool);
            }
        }
        if effects.iter().any(|e| matches!(e, Effect::Drain { .. } | Effect::Released { .. }))
            && !self.streams.is_empty()
        {
            self.coverage.note("streams are closed");
        }
    }
}

/// For how many entries a twin is compared with the fleet.
const TWIN_LIVES: u32 = 100;

fn json(fleet: &Fleet) -> String {
    serde_json::to_string(fleet).expect("a fleet can be written")
}
