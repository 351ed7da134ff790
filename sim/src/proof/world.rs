//! Simulates a whole world: dispatchers (`slotkeeper::run` itself) on turmoil's network, pods on nodes, a Redis, an
//! API server with its controllers, Prometheus and KEDA, and homes with visitors. First a phase with faults, then a
//! calm one: all faults are healed, and everything must come to rest. One seed determines everything.

pub mod activity;
pub mod api;
pub mod conduct;
pub mod disk;
mod dispatcher;
pub mod evidence;
mod fault_driver;
pub mod faults;
mod hosts;
pub mod journal;
pub mod keda;
pub mod kube;
pub mod limits;
pub mod log;
mod milliseconds;
pub mod net;
pub mod node;
pub mod operator;
pub mod oracle;
pub mod overload;
pub mod points;
pub mod pools;
pub mod program;
pub mod promises;
pub mod redis;
pub mod reference;
pub mod reset;
mod rest;
pub mod rollout;
pub mod scaler;
pub mod scenarios;
pub mod setting;
pub mod shape;
pub mod stall;
pub mod stored;
mod summary;
pub mod tab;
pub mod transfer;
pub mod visitor;
pub mod window;

use crate::chance::Chance;
use crate::record::{Record, Sample};
use disk::Disk;
use fault_driver::FaultDriver;
use journal::Traps;
use kube::Kube;
use log::Lines;
use net::Connections;
use node::Crashes;
use oracle::{EPOCH, Line, Oracle, Violation};
use overload::Overload;
use pools::ANNEX;
use redis::Redis;
use setting::Setting;
use slotkeeper::config::Admission;
use stall::Gate;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use visitor::Guests;
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
struct HostControls {
    stop: Arc<Notify>,
    /// The clock skew at the next start.
    skew: Arc<AtomicI64>,
    lives: Arc<AtomicI64>,
}

/// The state of a world, except the network.
struct World {
    setting: Setting,
    oracle: Oracle,
    annex: Option<Oracle>,
    kube: Kube,
    disks: Vec<Disk>,
    gates: Vec<Gate>,
    redis: Redis,
    traps: Traps,
    controls: Vec<HostControls>,
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
    let annex = setting.annex.as_ref().map(|_| Oracle::of(ANNEX));
    let oracle = Oracle::new().with(annex.clone());
    let lines = Lines::new(oracle.clone(), trace);
    align();
    note_panics();
    PANIC.with_borrow_mut(Option::take);
    let mut samples = Vec::new();
    let (kube, guests, lasted) = tracing::subscriber::with_default(lines.subscriber(), || {
        let world = World::new(setting, &oracle, annex);
        let (kube, guests) = (world.kube.clone(), world.guests.clone());
        let mut lasted = 0;
        let played = catch_unwind(AssertUnwindSafe(|| world.play(&mut samples, &mut lasted)));
        match played {
            Ok(Ok(())) => {}
            Ok(Err(error)) => oracle.violate("the world runs", error.to_string()),
            Err(_) => {
                let what = PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| "something panicked".into());
                oracle.violate("nothing panics", what);
            }
        }
        (kube, guests, lasted)
    });
    let violations = oracle.violations();
    let mut coverage = oracle.coverage();
    for guest in guests.all().values() {
        *coverage.entry(format!("guest {}", if guest.served { "served" } else { "not served" })).or_default() += 1;
    }
    for (what, times) in kube.asked() {
        *coverage.entry(what).or_default() += times;
    }
    let count = |what: &str| coverage.get(what).copied().unwrap_or_default();
    let again = count("API list pods").saturating_sub(count("dispatcher started"));
    coverage.insert("pods listed again".to_owned(), again);
    let (waited, answered) = oracle.waits();
    let record = summary::record(setting, &oracle, &kube, samples, waited, lasted, &guests);
    Outcome {
        setting: setting.clone(),
        violations,
        coverage,
        story: oracle.story(),
        evidence: oracle.evidence(),
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
    fn new(setting: &Setting, oracle: &Oracle, annex: Option<Oracle>) -> World {
        let controls = |_| HostControls { stop: Arc::new(Notify::new()), skew: Arc::default(), lives: Arc::default() };
        let traps = Traps::default();
        let windows = Windows::new(oracle.clone());
        let gates: Vec<Gate> = (0..setting.dispatchers).map(|_| Gate::default()).collect();
        let disk = |(host, gate): (usize, &Gate)| {
            let dice = Chance::new(setting.seed).stream(&format!("disk {host}"));
            Disk::new(host, oracle.clone(), traps.clone(), gate.clone(), dice)
        };
        oracle.settings(setting);
        World {
            setting: setting.clone(),
            oracle: oracle.clone(),
            annex,
            kube: Kube::new(setting, oracle.clone()),
            disks: gates.iter().enumerate().map(disk).collect(),
            gates,
            redis: Redis::new(oracle.clone(), traps.clone(), Chance::new(setting.seed).stream("redis")),
            traps,
            controls: (0..setting.dispatchers).map(controls).collect(),
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
        let _points = points::install(setting.seed, &setting.points, self.oracle.clone(), self.calm.clone());
        self.people(&mut sim);
        let mut driver = FaultDriver::new(&setting);
        let (mut broken, mut quiet, mut next_sample) = (None, None, 0);
        let most = setting.chaos + setting.calm;
        loop {
            let now = sim.elapsed().as_millis() as u64;
            *lasted = now;
            self.oracle.clock(now);
            driver.step(now, &mut sim, &self);
            self.kube.step(now);
            if now >= setting.chaos && !self.calm.swap(true, Ordering::Relaxed) {
                driver.heal(&mut sim, &self);
                self.oracle.calm();
            }
            if now >= next_sample {
                next_sample = now + SAMPLE_EVERY;
                self.oracle.passed();
                samples.push(self.sample(now));
                if self.calm.load(Ordering::Relaxed) {
                    let rests = self.unrest().is_none();
                    quiet = if rests { quiet.or(Some(now)) } else { None };
                    if now >= setting.chaos + SERVED_WITHIN {
                        self.everybody_was_served();
                    }
                }
            }
            if self.oracle.is_broken() {
                broken.get_or_insert(now);
            }
            if broken.is_some_and(|at| now >= at + AFTERWARDS) || quiet.is_some_and(|at| now >= at + REST) {
                break;
            }
            if now >= most {
                self.everybody_was_served();
                let unrest = self.unrest().unwrap_or_default();
                self.oracle.violate("everything comes to rest", unrest);
                break;
            }
            self.oracle.steps();
            let stepped = sim.step();
            self.oracle.clock(sim.elapsed().as_millis() as u64);
            stepped?;
        }
        if !self.oracle.is_broken() {
            self.everybody_was_served();
        }
        // Counted, not a violation: a browser whose answers are late may use two sessions.
        for _ in 0..self.oracle.doubles() {
            self.oracle.count("one browser takes part with several sessions");
        }
        let strangers = self.oracle.strangers();
        if self.setting.admission == Admission::Returning && !strangers.is_empty() {
            let names = strangers.join(", ");
            let what = format!("{} sessions take part with a cookie that no visitor has: {names}", strangers.len());
            self.oracle.violate("bots wake nothing", what);
        }
        Ok(())
    }
}
