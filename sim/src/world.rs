//! Simulates a whole world: dispatchers (`slotkeeper::run` itself) on turmoil's network, pods on nodes, a Redis, an
//! API server with its controllers, Prometheus and KEDA, and homes with visitors. First a phase with faults, then a
//! calm one: all faults are healed, and everything must come to rest. One seed determines everything.

pub mod activity;
pub mod api;
pub mod conduct;
pub mod disk;
pub mod evidence;
pub mod faults;
mod happenings;
pub mod journal;
pub mod keda;
pub mod kube;
pub mod limits;
pub mod log;
mod milliseconds;
pub mod net;
pub mod node;
pub mod operator;
pub mod overload;
pub mod points;
pub mod pools;
pub mod program;
pub mod promises;
pub mod redis;
pub mod reference;
pub mod reset;
pub mod rollout;
pub mod scaler;
pub mod scenarios;
pub mod setting;
pub mod shape;
pub mod stall;
pub mod stored;
pub mod tab;
pub mod transfer;
pub mod truth;
pub mod visitor;
pub mod window;

use crate::chance::Chance;
use crate::record::{Figures, Quantiles, Record, Sample};
use api::Api;
use disk::Disk;
use happenings::Happenings;
use journal::Traps;
use keda::{Asker, KEDA_PORT};
use kube::Kube;
use log::Lines;
use net::{Connections, SimNet};
use node::{Crashes, Pods};
use operator::Orders;
use overload::Overload;
use pools::{ANNEX, Grounds, Kind};
use rand::Rng;
use redis::Redis;
use rollout::Older;
use scaler::{ADMIN_PORT, Scaler};
use setting::{POOL, Setting};
use slotkeeper::Outside;
use slotkeeper::cluster::kubernetes::{self, Pace, client};
use slotkeeper::cluster::{Cluster, Clusters};
use slotkeeper::config::{
    Admin, Admission, ClusterConfig, Config, KubernetesPods, PoolConfig, Probe, Secret, Workload,
};
use slotkeeper::io::{Clock, Ids, Net};
use slotkeeper::journal::Journal;
use slotkeeper::journal::file::OpenError;
use slotkeeper_core::{AfterSession, Rules};
use stall::Gate;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use truth::{EPOCH, Line, Truth, Violation};
use visitor::{Guests, KEY, PORT, Scene, Visitor, WAY, Way};
use window::Windows;

const TICK: Duration = Duration::from_millis(5);
/// How long a world continues after a broken promise, in milliseconds: later events may explain it.
const AFTERWARDS: u64 = 500;
const SAMPLE_EVERY: u64 = 250;
/// Every patient visitor must have been served this long after the end of all faults, in milliseconds.
const SERVED_WITHIN: u64 = 180_000;
/// The world ends when nothing has changed for this long, in milliseconds.
const REST: u64 = 13_000;

/// The outcome of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub setting: Setting,
    pub violations: Vec<Violation>,
    pub coverage: BTreeMap<String, u64>,
    pub story: Vec<Line>,
    pub record: Record,
    /// The explanation of the first violation.
    pub evidence: Vec<evidence::Subject>,
    /// Milliseconds from a slot to the pod's first answer.
    pub answered: Vec<u64>,
    /// The log, if requested.
    pub log: Vec<String>,
    /// Simulated milliseconds.
    pub lasted: u64,
}

/// State shared between a dispatcher's host and its faults.
#[derive(Clone)]
struct Door {
    stop: Arc<Notify>,
    /// The clock skew at the next start.
    skew: Arc<AtomicI64>,
    lives: Arc<AtomicI64>,
}

/// The state of a world, except the network.
struct World {
    setting: Setting,
    truth: Truth,
    annex: Option<Truth>,
    kube: Kube,
    disks: Vec<Disk>,
    gates: Vec<Gate>,
    redis: Redis,
    traps: Traps,
    doors: Vec<Door>,
    crashes: Crashes,
    calm: Arc<AtomicBool>,
    guests: Guests,
    shaky: Arc<AtomicBool>,
    overload: Overload,
    prometheus_down: Arc<AtomicBool>,
    removal: Arc<AtomicBool>,
    connections: Connections,
    windows: Windows,
}

/// Plays a whole world. `trace`: keeps every line of every log.
#[must_use]
pub fn play(setting: &Setting, trace: bool) -> Outcome {
    // The checks of the second pool, if there is one.
    let annex = setting.annex.as_ref().map(|_| Truth::of(ANNEX));
    let truth = Truth::new().with(annex.clone());
    let lines = Lines::new(truth.clone(), trace);
    align();
    note_panics();
    PANIC.with_borrow_mut(Option::take);
    let mut samples = Vec::new();
    let (kube, guests, lasted) = tracing::subscriber::with_default(lines.subscriber(), || {
        let world = World::new(setting, &truth, annex);
        let (kube, guests) = (world.kube.clone(), world.guests.clone());
        let mut lasted = 0;
        let played = catch_unwind(AssertUnwindSafe(|| world.play(&mut samples, &mut lasted)));
        match played {
            Ok(Ok(())) => {}
            Ok(Err(error)) => truth.violate("the world runs", error.to_string()),
            Err(_) => {
                let what = PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| "something panicked".into());
                truth.violate("nothing panics", what);
            }
        }
        (kube, guests, lasted)
    });
    let violations = truth.violations();
    let mut coverage = truth.coverage();
    for guest in guests.all().values() {
        *coverage.entry(format!("guest {}", if guest.served { "served" } else { "not served" })).or_default() += 1;
    }
    for (what, times) in kube.asked() {
        *coverage.entry(what).or_default() += times;
    }
    let count = |what: &str| coverage.get(what).copied().unwrap_or_default();
    let again = count("API list pods").saturating_sub(count("dispatcher started"));
    coverage.insert("pods listed again".to_owned(), again);
    let (waited, answered) = truth.waits();
    let record = record(setting, &truth, &kube, samples, waited, lasted, &guests);
    Outcome {
        setting: setting.clone(),
        violations,
        coverage,
        story: truth.story(),
        evidence: truth.evidence(),
        record,
        answered,
        log: lines.take(),
        lasted,
    }
}

/// Aligns task numbers. A runtime drops its tasks in an order that depends on their numbers, which are counted across
/// worlds in one process: each world starts at a multiple of a number larger than that of the runtime's task lists.
fn align() {
    const LISTS: u64 = 64;
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        for _ in 0..LISTS {
            let number = tokio::spawn(async {}).id().to_string().parse::<u64>().unwrap_or_default();
            if number % LISTS == 0 {
                return;
            }
        }
    });
}

thread_local! {
    /// Message and location of the first panic of this thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook: only the hook learns about a task's panic.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if turmoil::in_simulation() {
                // Keeps the first panic: later ones are caused by the runtime that it ended.
                PANIC.with_borrow_mut(|said| {
                    said.get_or_insert_with(|| info.to_string().lines().collect::<Vec<_>>().join(" "));
                });
            } else {
                usual(info);
            }
        }));
    });
}

impl World {
    fn new(setting: &Setting, truth: &Truth, annex: Option<Truth>) -> World {
        let door = |_| Door { stop: Arc::new(Notify::new()), skew: Arc::default(), lives: Arc::default() };
        let traps = Traps::default();
        let windows = Windows::new(truth.clone());
        let gates: Vec<Gate> = (0..setting.dispatchers).map(|_| Gate::default()).collect();
        let disk = |(host, gate): (usize, &Gate)| {
            let dice = Chance::new(setting.seed).stream(&format!("disk {host}"));
            Disk::new(host, truth.clone(), traps.clone(), gate.clone(), dice)
        };
        truth.settings(setting);
        World {
            setting: setting.clone(),
            truth: truth.clone(),
            annex,
            kube: Kube::new(setting, truth.clone()),
            disks: gates.iter().enumerate().map(disk).collect(),
            gates,
            redis: Redis::new(truth.clone(), traps.clone(), Chance::new(setting.seed).stream("redis")),
            traps,
            doors: (0..setting.dispatchers).map(door).collect(),
            crashes: Arc::new(Mutex::new(Vec::new())),
            calm: Arc::default(),
            guests: Guests::default(),
            shaky: Arc::default(),
            overload: Overload::default(),
            prometheus_down: Arc::default(),
            removal: Arc::default(),
            connections: Connections::new(windows.clone()),
            windows,
        }
    }

    fn play(self, samples: &mut Vec<Sample>, lasted: &mut u64) -> turmoil::Result<()> {
        let setting = self.setting.clone();
        let mut sim = turmoil::Builder::new()
            .rng_seed(setting.seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH))
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(86_400))
            .min_message_latency(Duration::from_millis(setting.latency.0))
            .max_message_latency(Duration::from_millis(setting.latency.1))
            .tcp_capacity(4096)
            .build();
        #[cfg(feature = "faultpoints")]
        let _points = points::install(setting.seed, &setting.points, self.truth.clone(), self.calm.clone());
        self.people(&mut sim);
        let mut happenings = Happenings::new(&setting);
        let (mut broken, mut quiet, mut next_sample) = (None, None, 0);
        let most = setting.chaos + setting.calm;
        loop {
            let now = sim.elapsed().as_millis() as u64;
            *lasted = now;
            self.truth.clock(now);
            happenings.step(now, &mut sim, &self);
            self.kube.step(now);
            if now >= setting.chaos && !self.calm.swap(true, Ordering::Relaxed) {
                happenings.heal(&mut sim, &self);
                self.truth.calm();
            }
            if now >= next_sample {
                next_sample = now + SAMPLE_EVERY;
                self.truth.passed();
                samples.push(self.sample(now));
                if self.calm.load(Ordering::Relaxed) {
                    let rests = self.unrest().is_none();
                    quiet = if rests { quiet.or(Some(now)) } else { None };
                    if now >= setting.chaos + SERVED_WITHIN {
                        self.everybody_was_served();
                    }
                }
            }
            if self.truth.is_broken() {
                broken.get_or_insert(now);
            }
            if broken.is_some_and(|at| now >= at + AFTERWARDS) || quiet.is_some_and(|at| now >= at + REST) {
                break;
            }
            if now >= most {
                self.everybody_was_served();
                let unrest = self.unrest().unwrap_or_default();
                self.truth.violate("everything comes to rest", unrest);
                break;
            }
            sim.step()?;
        }
        if !self.truth.is_broken() {
            self.everybody_was_served();
        }
        // Counted, not a violation: a browser whose answers are late may use two sessions.
        for _ in 0..self.truth.doubles() {
            self.truth.count("one browser takes part with several sessions");
        }
        let strangers = self.truth.strangers();
        if self.setting.admission == Admission::Returning && !strangers.is_empty() {
            let names = strangers.join(", ");
            let what = format!("{} sessions take part with a cookie that no visitor has: {names}", strangers.len());
            self.truth.violate("bots wake nothing", what);
        }
        Ok(())
    }

    /// Creates all hosts.
    fn people(&self, sim: &mut turmoil::Sim<'_>) {
        let chance = Chance::new(self.setting.seed);
        let redis = self.redis.clone();
        let journal_at = self.setting.shared_journal.then(|| {
            sim.host("journal", move || {
                let redis = redis.clone();
                async move { Ok(redis.serve().await?) }
            });
            sim.lookup("journal")
        });
        let api = Api {
            server: self.kube.server(),
            truth: self.truth.clone(),
            dice: Arc::new(Mutex::new(chance.stream("api"))),
            overload_dice: Arc::new(Mutex::new(chance.stream("overload"))),
            shaky: self.shaky.clone(),
            overload: self.overload.clone(),
        };
        sim.host("api", move || {
            let api = api.clone();
            async move { Ok(api.serve().await?) }
        });
        let api_at = sim.lookup("api");
        let pods = Pods {
            kube: self.kube.clone(),
            truth: self.truth.clone(),
            recycled: self.setting.rules.after_session == AfterSession::Recycle,
            chance,
            conduct: self.setting.conduct,
            windows: self.windows.clone(),
        };
        for node in 0..self.setting.nodes as usize {
            let name = format!("node{node}");
            let (pods, crashes) = (pods.clone(), self.crashes.clone());
            sim.host(name.clone(), move || {
                let (pods, crashes) = (pods.clone(), crashes.clone());
                async move { Ok(node::run(node, pods, crashes).await?) }
            });
            self.kube.add_node(sim.lookup(name));
        }
        let grounds = self.annex(sim, chance);
        let mut dispatchers = Vec::new();
        for (host, door) in self.doors.iter().enumerate() {
            let name = format!("d{host}");
            let place = Place {
                host,
                setting: self.setting.clone(),
                truth: self.truth.clone(),
                disk: self.disks[host].clone(),
                gate: self.gates[host].clone(),
                kube: self.kube.clone(),
                journal_at,
                api_at,
                door: door.clone(),
                connections: self.connections.clone(),
                grounds: grounds.clone(),
            };
            sim.host(name.clone(), move || {
                let place = place.clone();
                async move {
                    place.dispatch().await;
                    Ok(())
                }
            });
            self.redis.knows(sim.lookup(name.as_str()), host);
            dispatchers.push(sim.lookup(name));
        }
        self.scalers(sim, &dispatchers, chance);
        self.homes(sim, dispatchers, chance);
    }

    /// Creates the second pool's host, and what its clusters need.
    fn annex(&self, sim: &mut turmoil::Sim<'_>, chance: Chance) -> Option<Grounds> {
        let (annex, truth) = (self.setting.annex.clone()?, self.annex.clone()?);
        let (conduct, windows, calm) = (self.setting.conduct, self.windows.clone(), self.calm.clone());
        let (troubled, cold_start) = (!self.setting.faults.is_empty(), self.setting.cold_start);
        let processes = Arc::default();
        let ground = move |host| Grounds {
            annex: annex.clone(),
            truth: truth.clone(),
            host,
            chance,
            conduct,
            windows: windows.clone(),
            calm: calm.clone(),
            troubled,
            processes: Arc::clone(&processes),
            cold_start,
        };
        // The address is known only after the host exists; it is not needed before.
        let on_host = ground.clone();
        sim.host(ANNEX, move || {
            let grounds = on_host(turmoil::lookup(ANNEX));
            async move {
                grounds.serve().await;
                Ok(())
            }
        });
        Some(ground(sim.lookup(ANNEX)))
    }

    fn scalers(&self, sim: &mut turmoil::Sim<'_>, dispatchers: &[IpAddr], chance: Chance) {
        let scaler = Scaler {
            truth: self.truth.clone(),
            kube: self.kube.clone(),
            dispatchers: dispatchers.to_vec(),
            down: self.prometheus_down.clone(),
        };
        let setting = self.setting.clone();
        sim.host("prometheus", move || {
            let (scaler, setting) = (scaler.clone(), setting.clone());
            async move {
                scaler.run(setting).await;
                Ok(())
            }
        });
        if self.setting.is_pushed() {
            let (truth, kube, connections) = (self.truth.clone(), self.kube.clone(), self.connections.clone());
            let (dispatchers, setting) = (dispatchers.to_vec(), self.setting.clone());
            sim.host("keda", move || {
                let (truth, kube, connections) = (truth.clone(), kube.clone(), connections.clone());
                let (dispatchers, setting) = (dispatchers.clone(), setting.clone());
                async move {
                    Asker::new(truth, kube, dispatchers, connections, &setting).run(setting).await;
                    Ok(())
                }
            });
        }
        let (truth, max) = (self.truth.clone(), self.setting.rules.max);
        let orders = Orders { calm: self.calm.clone(), removal: self.removal.clone() };
        let dispatchers = dispatchers.to_vec();
        sim.host("operator", move || {
            let (truth, orders, dispatchers) = (truth.clone(), orders.clone(), dispatchers.clone());
            async move {
                operator::work(truth, dispatchers, orders, max, chance.stream("operator")).await;
                Ok(())
            }
        });
    }

    fn homes(&self, sim: &mut turmoil::Sim<'_>, dispatchers: Vec<IpAddr>, chance: Chance) {
        let scene = Scene {
            truth: self.truth.clone(),
            dispatchers,
            habits: self.setting.habits,
            calm: self.calm.clone(),
            guests: self.guests.clone(),
            bots_are_placed: self.setting.admission == Admission::Immediate,
            alone: self.setting.rules.slots_per_pod == 1,
            chance,
            conduct: self.setting.conduct,
            windows: self.windows.clone(),
            way: WAY,
        };
        let annex = self.setting.annex.as_ref().zip(self.annex.clone()).map(|(annex, truth)| {
            let way = Way { pool: ANNEX, base: pools::PATH, cookie: pools::COOKIE };
            let alone = annex.rules.slots_per_pod == 1;
            let numbers = self.setting.visitors..self.setting.visitors + annex.visitors;
            let scene = Scene { truth, alone, way, bots_are_placed: false, ..scene.clone() };
            (numbers.map(|number| number as usize).collect::<Vec<_>>(), scene)
        });
        let (homes, bots) = (self.setting.homes as usize, self.setting.bots as usize);
        for home in 0..homes {
            let (scene, annex) = (scene.clone(), annex.clone());
            let visitors = self.setting.comers().map(|number| number as usize);
            let visitors: Vec<usize> = visitors.filter(|number| number % homes == home).collect();
            sim.host(format!("home{home}"), move || {
                let (scene, annex, visitors) = (scene.clone(), annex.clone(), visitors.clone());
                async move {
                    for number in visitors {
                        let dice = chance.stream(&format!("visitor {number}"));
                        tokio::spawn(Visitor::new(number, scene.clone(), dice).live());
                    }
                    if let Some((more, scene)) = annex {
                        for number in more.into_iter().filter(|number| number % homes == home) {
                            let dice = chance.stream(&format!("visitor {number} of the second pool"));
                            tokio::spawn(Visitor::new(number, scene.clone(), dice).live());
                        }
                    }
                    for number in (home..bots).step_by(homes) {
                        tokio::spawn(visitor::bot(scene.clone(), chance.stream(&format!("bot {number}"))));
                    }
                    std::future::pending::<()>().await;
                    Ok(())
                }
            });
        }
    }

    fn sample(&self, at: u64) -> Sample {
        let (spec, pods, ready, _) = self.kube.size();
        let census = self.truth.census();
        Sample {
            at,
            desired: census.map_or(0, |c| c.desired.len()),
            replicas: spec.replicas,
            pods,
            ready,
            seated: census.map_or(0, |c| (c.held + c.taken + c.ending) as u32),
            waiting: census.map_or(0, |c| c.queued as u32),
        }
    }

    /// Returns why the world is not at rest: a session is left, or the pool is not at its minimum.
    fn unrest(&self) -> Option<String> {
        let left = self.truth.left();
        if !left.is_empty() {
            return Some(format!("{} sessions are left: {}", left.len(), left.join(", ")));
        }
        let at_home = self.guests.all();
        let out = at_home.values().filter(|g| !g.done).count();
        if out > 0 {
            return Some(format!("{out} visitors have not finished"));
        }
        if let Some((census, annex)) = self.annex.as_ref().and_then(Truth::census).zip(self.setting.annex.as_ref())
            && annex.kind == Kind::Processes
            && !census.desired.is_empty()
        {
            return Some(format!("{} processes of the second pool are wanted", census.desired.len()));
        }
        let (Some(census), Some(rules)) = (self.truth.census(), self.truth.rules()) else {
            return Some("there is no pool".into());
        };
        let spare = rules.spare.slots(0).div_ceil(u64::from(rules.slots_per_pod)) as u32;
        let least = rules.min.max(spare.min(rules.max)).min(rules.max);
        let (spec, pods, ready, _) = self.kube.size();
        let all = [census.desired.len(), spec.replicas, pods, ready];
        let slots = u64::from(least) * u64::from(rules.slots_per_pod);
        if all == [least; 4] && (census.free_slots, census.busy_slots) != (slots, 0) {
            return Some(format!("{slots} slots exist; {} are free, {} busy", census.free_slots, census.busy_slots));
        }
        (all != [least; 4]).then(|| {
            format!(
                "{least} pods are needed; desired {}, replicas {}, existing {}, ready {}",
                all[0], all[1], all[2], all[3]
            )
        })
    }

    fn everybody_was_served(&self) {
        let unserved: Vec<String> = (self.guests.all().iter())
            .filter(|(_, guest)| guest.patient && !guest.served)
            .map(|(number, _)| number.to_string())
            .collect();
        if !unserved.is_empty() {
            let what = format!("visitors {} never got a slot", unserved.join(", "));
            self.truth.violate("every patient visitor is served", what);
        }
    }
}

/// The environment of one dispatcher.
#[derive(Clone)]
struct Place {
    host: usize,
    setting: Setting,
    truth: Truth,
    disk: Disk,
    gate: Gate,
    kube: Kube,
    /// The address of the shared journal.
    journal_at: Option<IpAddr>,
    api_at: IpAddr,
    door: Door,
    connections: Connections,
    grounds: Option<Grounds>,
}

impl Place {
    /// Runs one life of the process.
    async fn dispatch(self) {
        let life = self.door.lives.fetch_add(1, Ordering::Relaxed) as u64;
        let mut dice = Chance::new(self.setting.seed).stream(&format!("dispatcher {} life {life}", self.host));
        let rolled_out = self.rolled_out();
        let (truth, connections, kube) = (self.truth.clone(), self.connections.clone(), self.kube.clone());
        let (annex, gate) = (self.grounds.as_ref().map(|grounds| grounds.truth.clone()), self.gate.clone());
        let net: Arc<dyn Net> = Arc::new(SimNet { host: self.host, truth, connections, kube, annex, gate });
        let skew = self.door.skew.load(Ordering::Relaxed);
        let wall = slotkeeper_core::Time((self.truth.wall().0 as i64 + skew) as u64);
        let clock = Clock::starting_at(wall);
        let mut journal = match self.journal_at {
            Some(at) => match journal::shared(at, net.clone()) {
                Ok(journal) => journal,
                Err(error) => return self.truth.violate("a dispatcher runs", error.to_string()),
            },
            None => match self.own(clock).await {
                Ok(journal) => journal,
                Err(error) => {
                    let what = format!("dispatcher {}: {:#}", self.host, anyhow::Error::new(error));
                    return self.truth.violate("a dispatcher runs", what);
                }
            },
        };
        if self.setting.rollout.as_ref().is_some_and(|r| r.from_older && !rolled_out) {
            self.truth.count("dispatcher of an older version");
            journal.append = Box::new(Older(journal.append));
        }
        let cluster = match self.cluster(net.clone()) {
            Ok(cluster) => cluster,
            Err(error) => {
                return self.truth.violate("a dispatcher runs", format!("no way to the API server: {error:#}"));
            }
        };
        let mut clusters: Clusters = [(POOL.into(), cluster)].into();
        if let Some(grounds) = &self.grounds {
            clusters.insert(ANNEX.into(), grounds.cluster(net.clone(), wall));
        }
        let outside = Outside { net, clock, ids: Ids::seeded(dice.random()), clusters, journal };
        if skew != 0 {
            self.truth.count("dispatcher with a wrong clock");
        }
        if rolled_out {
            self.truth.count("dispatcher with new settings");
        }
        self.truth.started(self.host);
        let (stop, asked) = (self.door.stop.clone(), Arc::new(AtomicBool::new(false)));
        let was_asked = asked.clone();
        let stopped = async move {
            stop.notified().await;
            asked.store(true, Ordering::Relaxed);
        };
        match slotkeeper::run(outside, self.config(), stopped, |_| {}).await {
            Ok(()) if was_asked.load(Ordering::Relaxed) => {
                self.truth.tell(format!("dispatcher {} has stopped", self.host));
            }
            Ok(()) => self.truth.violate("a dispatcher runs", format!("dispatcher {} ended unasked", self.host)),
            Err(error) => self.truth.violate("a dispatcher runs", format!("dispatcher {}: {error:#}", self.host)),
        }
    }

    /// Opens the file journal. While the disk cannot be read or written, the supervisor restarts the process.
    async fn own(&self, clock: Clock) -> Result<Journal, OpenError> {
        loop {
            self.gate.open().await;
            let opened = journal::own(&self.disk, clock);
            if self.disk.is_dead() {
                // Killed during the start.
                return std::future::pending().await;
            }
            match opened {
                Err(OpenError::Io { what, path, source }) => {
                    self.truth.count("dispatcher could not open its journal");
                    self.truth.tell(format!("d{} cannot {what} {}: {source}", self.host, path.display()));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Creates the real adaptor, with short time-outs.
    fn cluster(&self, net: Arc<dyn Net>) -> anyhow::Result<Arc<dyn Cluster>> {
        let server: http::Uri = format!("http://{}", SocketAddr::new(self.api_at, api::PORT)).parse()?;
        let mut access = ::kube::Config::new(server);
        // No certificates: those of the operating system are not part of this world.
        access.root_cert = Some(Vec::new());
        let client = client::client(access, net.clone())?;
        let pace = Pace {
            call: Duration::from_secs(2),
            watch: Duration::from_secs(10),
            relist: self.setting.relist,
            overdue: Duration::from_secs(1),
            retry: (Duration::from_millis(200), Duration::from_secs(2)),
            acts: scaler::ACTS,
            ..Pace::default()
        };
        Ok(kubernetes::start(&self.pool(), &self.pods(), client, net, pace))
    }

    /// Reports whether this life has the new settings, if the world has a rollout.
    fn rolled_out(&self) -> bool {
        self.setting.rollout.as_ref().is_some_and(|rollout| self.truth.now() >= rollout.at)
    }

    /// Returns the rules of a life that begins now.
    fn rules(&self) -> Rules {
        match &self.setting.rollout {
            Some(rollout) if self.rolled_out() => rollout.rules.clone(),
            Some(_) | None => self.setting.rules.clone(),
        }
    }

    fn pool(&self) -> PoolConfig {
        let mut pool = PoolConfig::new(POOL, self.rules(), ClusterConfig::Kubernetes(self.pods()));
        pool.admission = self.setting.admission;
        pool.trigger = self.setting.trigger;
        pool.linger = self.setting.linger;
        pool.half_open = Some(self.setting.half_open);
        pool.hold = self.setting.hold;
        pool.schedule = self.setting.schedule();
        pool
    }

    fn pods(&self) -> KubernetesPods {
        let (every, timeout) = (Duration::from_millis(300), Duration::from_secs(1));
        KubernetesPods {
            workload: Workload::StatefulSet(POOL.into()),
            namespace: Some(kube::NAMESPACE.into()),
            port: kube::PORT,
            probe: Probe { every, timeout, ..Probe::default() },
            scaled_object: Some(POOL.into()),
            keda_guard: self.setting.is_guarded(),
            // Scaled down like the time-outs of the node controller (`kube.rs`).
            give_up: Some(Duration::from_secs(2)),
        }
    }

    fn config(&self) -> Config {
        let at = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let annex = self.grounds.as_ref().map(Grounds::pool);
        let mut config = Config::new([self.pool()].into_iter().chain(annex).collect());
        config.listen = vec![at(PORT)];
        config.admin = Admin { listen: Some(at(ADMIN_PORT)), token: Some(Secret(KEY.to_vec())) };
        config.keda.listen = self.setting.is_pushed().then(|| at(KEDA_PORT));
        config.cookie_keys = vec![Secret(KEY.to_vec())];
        config.drain = Duration::from_secs(2);
        config
    }
}

fn record(
    setting: &Setting,
    truth: &Truth,
    kube: &Kube,
    samples: Vec<Sample>,
    mut waited: Vec<u64>,
    lasted: u64,
    guests: &Guests,
) -> Record {
    let (pods, sessions) = (kube.lives(), truth.sessions());
    let hours = |ms: u64| ms as f64 / 3_600_000.0;
    let alive: u64 = pods.iter().map(|p| p.gone.unwrap_or(lasted).saturating_sub(p.created)).sum();
    let spells = || sessions.iter().flat_map(|s| &s.spells);
    let seated: u64 = spells().map(|s| s.to.unwrap_or(lasted).saturating_sub(s.from)).sum();
    let in_slots = seated / u64::from(setting.rules.slots_per_pod);
    let figures = Figures {
        visitors: sessions.len() as u64,
        killed: sessions.iter().filter(|s| s.killed).count() as u64,
        never_served: guests.all().values().filter(|g| !g.served).count() as u64,
        time_to_slot: Quantiles::of(&mut waited),
        pod_hours: hours(alive),
        wasted_pod_hours: hours(alive.saturating_sub(in_slots)),
        writes: kube.size().3,
    };
    Record {
        title: setting.name.clone(),
        story: if setting.story.is_empty() { setting.describe() } else { setting.story.clone() },
        seed: Some(setting.seed),
        length: lasted,
        samples,
        pods,
        sessions,
        marks: truth.marks(),
        figures,
    }
}
