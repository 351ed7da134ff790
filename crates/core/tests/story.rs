//! A story: one pool and its entries in order. When time passes, every replica that has written an entry keeps ticking until
//! `silent` or `farewell`. Before every entry the fleet is written to a checkpoint and read back, and the entry is applied to
//! both, so every story also proves that a checkpoint loses nothing.

use slotkeeper_core::{
    Census, Command, Decision, Effect, Entry, Fleet, Millis, Ordinal, Phase, Place, PoolId, ReplicaId, Rules, Session,
    SessionId, Sighting, Time, Timeline, Uid, Why,
};
use std::collections::BTreeMap;

pub(crate) const ANA: SessionId = SessionId(0xA);
pub(crate) const BEN: SessionId = SessionId(0xB);
pub(crate) const CAT: SessionId = SessionId(0xC);
pub(crate) const DAN: SessionId = SessionId(0xD);

pub(crate) const R1: ReplicaId = ReplicaId(1);
pub(crate) const R2: ReplicaId = ReplicaId(2);

pub(crate) const NO_PODS: [u32; 0] = [];

const START: Time = Time(1_000_000);

pub(crate) const fn secs(n: u64) -> Millis {
    Millis::secs(n)
}

/// A [`Place`] without estimates and addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Unknown,
    /// The number of sessions ahead.
    Queued(usize),
    At(u32),
    Ending(Why),
}

pub(crate) fn at_pod(ordinal: u32) -> Where {
    Where::At(ordinal)
}

pub(crate) struct Story {
    pub(crate) fleet: Fleet,
    pool: PoolId,
    clock: Time,
    speaker: ReplicaId,
    /// The replicas that tick.
    alive: Vec<ReplicaId>,
    /// The last number of each replica.
    numbers: BTreeMap<ReplicaId, u64>,
    version: u64,
    /// The number of each ordinal's present incarnation.
    lives: BTreeMap<u32, u32>,
    /// Effects since `effects` was last called.
    effects: Vec<Effect>,
}

/// Pods and sizes, as the cluster reports them.
impl Story {
    /// An empty cluster with these rules.
    pub(crate) fn new(rules: Rules) -> Story {
        let mut story = Story {
            fleet: Fleet::new(),
            pool: PoolId::from("pool"),
            clock: START,
            speaker: R1,
            alive: vec![R1],
            numbers: BTreeMap::new(),
            version: 0,
            lives: BTreeMap::new(),
            effects: Vec::new(),
        };
        story.say(Command::Rules(rules));
        story
    }

    /// A journal that begins with a lapse.
    pub(crate) fn lapsed(patience: Millis, rules: Rules) -> Story {
        let mut story = Story::new(rules.clone());
        story.fleet = Fleet::new();
        story.numbers.clear();
        story.lapse(patience).say(Command::Rules(rules));
        story
    }

    /// A cluster that is known to run no pods.
    pub(crate) fn asleep(rules: Rules) -> Story {
        let mut story = Story::new(rules);
        story.list(&[]).scale_seen(0, 0);
        story
    }

    /// `pods` exclusive pods that were already running when the journal began, and are ready: they stay for `cooldown`.
    pub(crate) fn with_pods(pods: u32) -> Story {
        Story::running(pods, Rules { max: pods, ..Rules::default() })
    }

    pub(crate) fn running(pods: u32, rules: Rules) -> Story {
        let mut story = Story::new(rules);
        story.list(&[]).scale_seen(pods, 0);
        for ordinal in 0..pods {
            story.pod_ready(ordinal);
        }
        story.effects();
        story
    }

    fn uid(&self, ordinal: u32) -> Uid {
        Uid::from(format!("{ordinal}/{}", self.lives.get(&ordinal).copied().unwrap_or(0)).as_str())
    }

    fn version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The ordinal's present incarnation is observed in this phase.
    pub(crate) fn pod(&mut self, ordinal: u32, phase: Phase) -> &mut Story {
        let (uid, version) = (self.uid(ordinal), self.version());
        self.say(Command::PodSeen { pod: Ordinal(ordinal), uid, phase, version })
    }

    /// An observation of a given incarnation, with a given version.
    pub(crate) fn pod_seen(&mut self, ordinal: u32, life: u32, phase: Phase, version: u64) -> &mut Story {
        let uid = Uid::from(format!("{ordinal}/{life}").as_str());
        self.version = self.version.max(version);
        self.lives.insert(ordinal, life.max(self.lives.get(&ordinal).copied().unwrap_or(0)));
        self.say(Command::PodSeen { pod: Ordinal(ordinal), uid, phase, version })
    }

    pub(crate) fn pod_ready(&mut self, ordinal: u32) -> &mut Story {
        self.pod(ordinal, ready(ordinal))
    }

    pub(crate) fn pod_terminating(&mut self, ordinal: u32) -> &mut Story {
        self.pod(ordinal, Phase::Terminating)
    }

    /// Its incarnation has been deleted; the next one has another uid.
    pub(crate) fn pod_gone(&mut self, ordinal: u32) -> &mut Story {
        let (uid, version) = (self.uid(ordinal), self.version());
        *self.lives.entry(ordinal).or_default() += 1;
        self.say(Command::PodGone { pod: Ordinal(ordinal), uid, version })
    }

    /// Its incarnation has been deleted, and the next one is ready.
    pub(crate) fn pod_replaced(&mut self, ordinal: u32) -> &mut Story {
        self.pod_gone(ordinal).pod_ready(ordinal)
    }

    /// The complete list: the present incarnations of these ordinals, all ready.
    pub(crate) fn list(&mut self, ordinals: &[u32]) -> &mut Story {
        let pods = ordinals.iter().map(|&o| Sighting { pod: Ordinal(o), uid: self.uid(o), phase: ready(o) }).collect();
        let version = self.version();
        self.say(Command::PodsListed { pods, version })
    }

    /// `spec.replicas` and the position written with it.
    pub(crate) fn scale_seen(&mut self, replicas: u32, decided: u64) -> &mut Story {
        self.window_seen(0, replicas, decided)
    }

    pub(crate) fn window_seen(&mut self, start: u32, replicas: u32, decided: u64) -> &mut Story {
        let version = self.version();
        let timeline = Timeline::FIRST;
        self.say(Command::ScaleSeen { start, replicas, decided, timeline, version })
    }

    /// The dispatcher has written the last decision, and reads it back.
    pub(crate) fn scale_done(&mut self) -> &mut Story {
        let owed = self.owed().into_iter().find_map(|e| match e {
            Effect::Scale { start, replicas, decided, .. } => Some((start, replicas, decided)),
            _ => None,
        });
        let (start, replicas, decided) = owed.expect("no scale is owed");
        self.size_seen(start, replicas, decided)
    }

    /// A size with the decision that was written with it.
    pub(crate) fn size_seen(&mut self, start: u32, replicas: u32, decided: Decision) -> &mut Story {
        let (version, Decision { timeline, position: decided }) = (self.version(), decided);
        self.say(Command::ScaleSeen { start, replicas, decided, timeline, version })
    }
}

/// Entries caused by visitors, operators and replicas.
impl Story {
    pub(crate) fn visit(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Visit { session, hint: None, class: 0 })
    }
    pub(crate) fn visit_with_hint(&mut self, session: SessionId, ordinal: u32) -> &mut Story {
        self.say(Command::Visit { session, hint: Some(Ordinal(ordinal)), class: 0 })
    }
    pub(crate) fn visit_in_class(&mut self, session: SessionId, class: u8) -> &mut Story {
        self.say(Command::Visit { session, hint: None, class })
    }
    pub(crate) fn attach(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Attach { session })
    }
    pub(crate) fn detach(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Detach { session })
    }
    pub(crate) fn active(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Active { sessions: vec![session] })
    }
    pub(crate) fn leave(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Leave { session })
    }
    pub(crate) fn kick(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Kick { session })
    }
    pub(crate) fn extend(&mut self, session: SessionId) -> &mut Story {
        self.say(Command::Extend { session })
    }
    pub(crate) fn cordon(&mut self, ordinal: u32) -> &mut Story {
        self.say(Command::Cordon { pod: Ordinal(ordinal) })
    }
    pub(crate) fn uncordon(&mut self, ordinal: u32) -> &mut Story {
        self.say(Command::Uncordon { pod: Ordinal(ordinal) })
    }
    pub(crate) fn served(&mut self, replicas: u32) -> &mut Story {
        self.say(Command::Served { replicas })
    }
    /// A dispatcher reports that KEDA's scale-in is paused now.
    pub(crate) fn scale_in_paused(&mut self) -> &mut Story {
        self.scale_in_paused_at(self.fleet.now())
    }
    pub(crate) fn scale_in_paused_at(&mut self, at: Time) -> &mut Story {
        self.say(Command::ScaleInPaused { at, timeline: self.fleet.timeline() })
    }
    pub(crate) fn rules(&mut self, change: impl FnOnce(&mut Rules)) -> &mut Story {
        let mut rules = self.fleet.rules(&self.pool).expect("the pool exists").clone();
        change(&mut rules);
        self.say(Command::Rules(rules))
    }
    pub(crate) fn hello(&mut self, speaks: u32) -> &mut Story {
        self.say(Command::Hello { speaks })
    }
    /// The journal's own entry that begins a lapse.
    pub(crate) fn lapse(&mut self, patience: Millis) -> &mut Story {
        self.lapse_into(Timeline::FIRST, patience)
    }
    /// As `lapse`, with the name of the timeline that begins.
    pub(crate) fn lapse_into(&mut self, timeline: Timeline, patience: Millis) -> &mut Story {
        self.entry(ReplicaId(0), 0, Command::Lapse { patience, timeline })
    }
    pub(crate) fn whole(&mut self, lapse: u64) -> &mut Story {
        self.say(Command::Whole { lapse })
    }
    pub(crate) fn tick(&mut self) -> &mut Story {
        self.say(Command::Tick)
    }
    pub(crate) fn farewell(&mut self) -> &mut Story {
        self.alive.retain(|r| *r != self.speaker);
        self.say(Command::Farewell)
    }

    /// Entries are from this replica from now on. It ticks until `silent` or `farewell`.
    pub(crate) fn by(&mut self, replica: ReplicaId) -> &mut Story {
        self.speaker = replica;
        if !self.alive.contains(&replica) {
            self.alive.push(replica);
        }
        self
    }

    /// The replica writes no more entries.
    pub(crate) fn silent(&mut self, replica: ReplicaId) -> &mut Story {
        self.alive.retain(|r| *r != replica);
        self
    }
}

/// Time, and the entries themselves.
impl Story {
    /// Lets time pass until this long after the story began.
    pub(crate) fn at(&mut self, since_start: Millis) -> &mut Story {
        let goal = START + since_start;
        assert!(goal >= self.clock, "time only moves forward here; to step the clock back, use jump_to");
        loop {
            let silence = self.fleet.rules(&self.pool).map_or(secs(60), |r| r.silence);
            let left = goal.since(self.clock);
            if left == Millis::ZERO {
                return self;
            }
            self.clock += left.min(Millis(silence.0 / 3));
            let speaker = self.speaker;
            for replica in self.alive.clone() {
                self.speaker = replica;
                self.tick();
            }
            self.speaker = speaker;
        }
    }

    pub(crate) fn after(&mut self, time: Millis) -> &mut Story {
        self.at(self.clock.since(START) + time)
    }

    /// The journal's clock jumps, without an entry meanwhile.
    pub(crate) fn jump_to(&mut self, clock: Time) -> &mut Story {
        self.clock = clock;
        self
    }

    /// No replica could write for this long.
    pub(crate) fn gap(&mut self, time: Millis) -> &mut Story {
        self.jump_to(self.clock + time).tick()
    }

    pub(crate) fn clock(&self) -> Time {
        self.clock
    }

    pub(crate) fn say(&mut self, command: Command) -> &mut Story {
        let number = self.numbers.get(&self.speaker).copied().unwrap_or(0) + 1;
        self.entry(self.speaker, number, command)
    }

    /// An entry with any number.
    pub(crate) fn entry(&mut self, from: ReplicaId, number: u64, command: Command) -> &mut Story {
        let last = self.numbers.entry(from).or_default();
        *last = number.max(*last);
        let entry = Entry { at: self.clock, from, number, pool: self.pool.clone(), command };
        let written = serde_json::to_string(&self.fleet).expect("a fleet can be written");
        let mut twin: Fleet = serde_json::from_str(&written).expect("a fleet can be read");
        let effects = self.fleet.apply(&entry);
        assert_eq!(twin.apply(&entry), effects, "a fleet read from a checkpoint behaves differently");
        assert_eq!(json(&twin), json(&self.fleet));
        self.effects.extend(effects.into_iter().map(|(_, e)| e));
        self
    }
}

/// Reads.
impl Story {
    pub(crate) fn awaits_pause(&self) -> bool {
        self.fleet.awaits_pause(&self.pool)
    }

    pub(crate) fn needs_pause(&self) -> bool {
        self.fleet.needs_pause(&self.pool)
    }

    pub(crate) fn place(&self, session: SessionId) -> Where {
        match self.fleet.place(&self.pool, session) {
            Place::Unknown => Where::Unknown,
            Place::Queued { ahead, .. } => Where::Queued(ahead),
            Place::At { pod, .. } => Where::At(pod.0),
            Place::Ending { why } => Where::Ending(why),
        }
    }

    pub(crate) fn estimate(&self, session: SessionId) -> Option<Millis> {
        match self.fleet.place(&self.pool, session) {
            Place::Queued { estimate, .. } => estimate,
            other => panic!("{session:?} does not wait: {other:?}"),
        }
    }

    pub(crate) fn session(&self, session: SessionId) -> &Session {
        self.fleet.session(&self.pool, session).expect("the session exists")
    }

    pub(crate) fn census(&self) -> Census {
        self.fleet.census(&self.pool).expect("the pool exists")
    }

    /// How many pods are asked for, and from which ordinal on.
    pub(crate) fn desired(&self) -> (u32, u32) {
        let span = self.census().desired;
        (span.start, span.end)
    }

    pub(crate) fn needed(&self) -> u32 {
        self.census().needed.end
    }

    pub(crate) fn line(&self) -> Vec<SessionId> {
        self.fleet.queue(&self.pool).collect()
    }

    /// The effects since this was last called.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The sessions released since effects were last taken, and why.
    pub(crate) fn released(&mut self) -> Vec<(SessionId, Why)> {
        let released = self.effects().into_iter().filter_map(|e| match e {
            Effect::Released { session, why, .. } => Some((session, why)),
            _ => None,
        });
        released.collect()
    }

    /// The pods whose recycling has been ordered since effects were last taken.
    pub(crate) fn recycled(&mut self) -> Vec<u32> {
        recycles(self.effects())
    }

    pub(crate) fn owed(&self) -> Vec<Effect> {
        self.fleet.owed().map(|(_, e)| e).collect()
    }

    pub(crate) fn owed_recycles(&self) -> Vec<u32> {
        recycles(self.owed())
    }

    pub(crate) fn rules_in_force(&self) -> &Rules {
        self.fleet.rules(&self.pool).expect("the pool exists")
    }

    pub(crate) fn pool_id(&self) -> PoolId {
        self.pool.clone()
    }
}

fn recycles(effects: Vec<Effect>) -> Vec<u32> {
    let recycles = effects.into_iter().filter_map(|e| match e {
        Effect::Recycle { pod, .. } => Some(pod.0),
        _ => None,
    });
    recycles.collect()
}

pub(crate) fn ready(ordinal: u32) -> Phase {
    Phase::Ready { address: std::net::SocketAddr::from(([10, 0, (ordinal >> 8) as u8, ordinal as u8], 80)) }
}

pub(crate) fn failed() -> Phase {
    Phase::Failed { why: "it crashes again and again".into() }
}

fn json(fleet: &Fleet) -> String {
    serde_json::to_string(fleet).expect("a fleet can be written")
}
