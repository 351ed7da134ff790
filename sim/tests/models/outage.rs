//! Outages of a trigger, as measured: ScaledObjects with 4 pods each and minimum 0, whose sessions continue, and the
//! effect of the errors on KEDA's two paths to the trigger (its polls, and the HPA's requests). Times count from the
//! beginning of the outage. The HPA controller has five workers for all objects, which mixes the phases of polls and
//! requests.

use slotkeeper_sim::models::hpa::{Controller, Hpa, Scale, Spec, Target};
use slotkeeper_sim::models::keda::{
    Annotations, Answer, Failure, Fallback, FallbackBehavior, Heard, Keda, Query, Reading, Release, Replicas,
    ScaledObject, Trigger, hpa_bounds,
};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone)]
struct Outage {
    object: ScaledObject,
    release: Release,
    failure: Failure,
    /// Number of objects that share the HPA controller, created one after the other within two seconds.
    objects: u64,
    /// How long a call takes to fail, in milliseconds.
    fails_after: u64,
    lasts: u64,
    window: u64,
}

const BEGINS: u64 = 100_000;
const WORKERS: usize = 5;

/// A write of the replicas: its time, and its value.
type Write = (u64, u32);

impl Outage {
    /// Prometheus accepts connections and never answers; KEDA's time-out is 3 s.
    fn of_silence() -> Outage {
        Outage {
            object: ScaledObject { cooldown: 30_000, ..ScaledObject::default() },
            release: Release::V2_20,
            failure: Failure::Metrics,
            objects: 10,
            fails_after: 3_000,
            lasts: 300_000,
            window: 300_000,
        }
    }

    /// Returns how many objects were set to 0.
    fn zeroes(&self) -> usize {
        World::run(self).into_iter().filter(|writes| writes.iter().any(|(_, to)| *to == 0)).count()
    }

    /// Returns the writes for a single object.
    fn writes(self) -> Vec<Write> {
        World::run(&Outage { objects: 1, ..self }).remove(0)
    }

    /// Returns how long a call takes that is made now, and its answer.
    fn answer(&self, now: u64) -> (u64, Answer) {
        let some = now % 97;
        if (BEGINS..BEGINS + self.lasts).contains(&now) {
            (self.fails_after + some, Err(self.failure))
        } else {
            (some, Ok(Reading { active: true, milli: vec![4_000] }))
        }
    }
}

/// One ScaledObject with its HPA.
struct Pool {
    keda: Keda,
    hpa: Hpa,
    pods: u32,
    writes: Vec<Write>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Poll,
    Hpa,
}

/// A pool, its caller, and the caller's current query.
type Turn = (usize, Caller, Option<Round>);
type Round = (Query, Answer);

/// Current and planned events, by time.
struct World<'a> {
    outage: &'a Outage,
    pools: Vec<Pool>,
    /// Planned turns, by time and order of planning.
    plan: BTreeMap<(u64, u64), Turn>,
    planned: u64,
    free_workers: usize,
    waiting: VecDeque<usize>,
}

impl World<'_> {
    fn run(outage: &Outage) -> Vec<Vec<Write>> {
        let (min, max) = hpa_bounds(&outage.object);
        let controller = Controller { downscale_window: outage.window, ..Controller::default() };
        let trigger = Trigger { target: Target::AverageValue(1000), cached: false };
        let pool = |n| {
            let created = n * 2_000 / outage.objects;
            let keda = Keda::new(outage.object.clone(), vec![trigger], outage.release, created);
            let hpa = Hpa::new(Spec { min, max, behavior: None }, controller, created + 130);
            Pool { keda, hpa, pods: 4, writes: Vec::new() }
        };
        let pools: Vec<Pool> = (0..outage.objects).map(pool).collect();
        let plan = BTreeMap::new();
        let mut world = World { outage, pools, plan, planned: 0, free_workers: WORKERS, waiting: VecDeque::new() };
        for n in 0..world.pools.len() {
            world.plan_next(n, Caller::Poll);
            world.plan_next(n, Caller::Hpa);
        }
        while let Some(((now, _), (n, caller, round))) = world.plan.pop_first()
            && now < BEGINS + outage.lasts
        {
            world.step(n, caller, round, now);
        }
        world.pools.into_iter().map(|pool| pool.writes).collect()
    }

    fn plan(&mut self, at: u64, n: usize, caller: Caller, round: Option<Round>) {
        self.planned += 1;
        self.plan.insert((at, self.planned), (n, caller, round));
    }

    fn plan_next(&mut self, n: usize, caller: Caller) {
        let pool = &self.pools[n];
        let at = match caller {
            Caller::Poll => pool.keda.next_poll().expect("nothing is paused"),
            Caller::Hpa => pool.hpa.next_sync(),
        };
        self.plan(at, n, caller, None);
    }

    fn step(&mut self, n: usize, caller: Caller, round: Option<Round>, now: u64) {
        match (round, caller) {
            (None, Caller::Poll) => {
                let query = self.pools[n].keda.begin_poll(now);
                self.ask(n, caller, query, now);
            }
            (None, Caller::Hpa) => {
                self.waiting.push_back(n);
                self.work(now);
            }
            (Some((mut query, answer)), _) => match self.pools[n].keda.hear(&mut query, &[answer]) {
                Heard::Again => self.ask(n, caller, query, now),
                Heard::Over => self.end(n, caller, query, now),
            },
        }
    }

    /// Assigns waiting pools to free workers.
    fn work(&mut self, now: u64) {
        while self.free_workers > 0
            && let Some(n) = self.waiting.pop_front()
        {
            self.free_workers -= 1;
            let query = self.pools[n].keda.begin_request(0);
            self.ask(n, Caller::Hpa, query, now);
        }
    }

    fn ask(&mut self, n: usize, caller: Caller, query: Query, now: u64) {
        let (takes, answer) = self.outage.answer(now);
        self.plan(now + takes, n, caller, Some((query, answer)));
    }

    fn end(&mut self, n: usize, caller: Caller, query: Query, now: u64) {
        let pool = &mut self.pools[n];
        let replicas = Replicas { current: pool.pods, ready: pool.pods };
        let write = match caller {
            Caller::Poll => pool.keda.end_poll(query, replicas, now).set,
            Caller::Hpa => {
                let metric = pool.keda.end_request(query, 0, replicas);
                let scale = Scale { spec: pool.pods, status: pool.pods, ready: pool.pods };
                pool.hpa.reconcile(Some(scale), &[metric], now).write
            }
        };
        if let Some(to) = write {
            pool.pods = to;
            pool.writes.push((now.saturating_sub(BEGINS), to));
        }
        self.plan_next(n, caller);
        if caller == Caller::Hpa {
            self.free_workers += 1;
            self.work(now);
        }
    }
}

/// An external scaler whose GetMetrics fails, polled every 10 s.
fn external(fails_after: u64) -> Outage {
    let object = ScaledObject { polling: 10_000, cooldown: 20_000, ..ScaledObject::default() };
    Outage { object, objects: 6, fails_after, lasts: 150_000, ..Outage::of_silence() }
}

/// Prometheus refuses connections; `fallback.replicas: 0` after three failures, polls every 5 s.
fn refused(cooldown: u64) -> Outage {
    let fallback = Some(Fallback { threshold: 3, replicas: 0, behavior: FallbackBehavior::Static });
    let object = ScaledObject { polling: 5_000, cooldown, fallback, ..ScaledObject::default() };
    Outage { object, fails_after: 20, ..Outage::of_silence() }
}

/// Checks the values of the writes, and that each happened within some seconds of the measured time.
fn assert_writes(writes: &[Write], measured: &[(u64, u32)]) {
    let sizes = |writes: &[Write]| writes.iter().map(|(_, to)| *to).collect::<Vec<_>>();
    assert_eq!(sizes(writes), sizes(measured), "{writes:?}");
    for ((at, to), (expected, _)) in writes.iter().zip(measured) {
        assert!(at.abs_diff(*expected) <= 6_000, "to {to} after {at} ms, measured {expected}");
    }
}

#[test]
fn a_slow_failure_lets_keda_write_zero_although_it_saw_only_errors() {
    let silence = Outage::of_silence();
    // Measured: 6 of 10, and 6 of 6.
    let zeroes = silence.zeroes();
    assert!((3..=8).contains(&zeroes), "{zeroes} of 10");
    assert_eq!(external(2_000).zeroes(), 6);
}

#[test]
fn a_quick_failure_hardly_ever_lets_keda_write_zero() {
    // Measured: 0 of 10, 0 of 6, and 0 of 6 if already GetMetricSpec fails.
    assert_eq!(Outage { fails_after: 20, ..Outage::of_silence() }.zeroes(), 0);
    assert_eq!(external(20).zeroes(), 0);
    assert_eq!(Outage { failure: Failure::Spec, ..external(20) }.zeroes(), 0);
}

#[test]
fn before_2_20_an_error_always_freezes() {
    for outage in [Outage::of_silence(), external(2_000)] {
        let writes = World::run(&Outage { release: Release::V2_19, ..outage });
        assert!(writes.iter().all(Vec::is_empty), "{writes:?}");
    }
}

#[test]
fn a_single_pool_is_in_step_with_its_polls_and_may_be_unaffected() {
    // 3 s time-outs make the HPA's period 21 s: with polls every 30 s the same phases repeat. Only other objects that
    // occupy the workers (or polls every 10 s) change the phases.
    assert_eq!(Outage::of_silence().writes(), []);
    assert!(external(2_000).writes().iter().any(|(_, to)| *to == 0));
}

#[test]
fn three_guards_hold_through_the_outage() {
    let silence = |object| Outage { object, ..Outage::of_silence() };
    let plain = ScaledObject { cooldown: 30_000, ..ScaledObject::default() };
    assert_ne!(silence(plain.clone()).zeroes(), 0);
    let minimum = ScaledObject { min: 1, ..plain.clone() };
    let paused = Annotations::default().with(Annotations::PAUSED_SCALE_IN, "true");
    let annotated = ScaledObject { annotations: paused, ..plain.clone() };
    let higher = Fallback { threshold: 3, replicas: 4, behavior: FallbackBehavior::CurrentReplicasIfHigher };
    let fallen_back = ScaledObject { fallback: Some(higher), cooldown: 120_000, ..plain };
    for object in [minimum, annotated, fallen_back] {
        let writes = World::run(&silence(object.clone()));
        assert!(writes.iter().all(Vec::is_empty), "{object:?}: {writes:?}");
    }
}

#[test]
fn a_fallback_to_zero_that_starts_in_time_ends_at_one() {
    // The synthetic metric is 0, and counts as active.
    let outage = Outage { window: 0, lasts: 200_000, ..refused(60_000) };
    assert_writes(&outage.writes(), &[(25_000, 1)]);
}

#[test]
fn a_fallback_to_zero_that_starts_too_late_goes_to_zero_and_recovers() {
    let outage = Outage { lasts: 200_000, ..refused(10_000) };
    assert_writes(&outage.writes(), &[(8_600, 0), (13_600, 1), (25_000, 4)]);
}

#[test]
fn a_fallback_to_zero_that_never_starts_goes_to_zero() {
    let outage = Outage { failure: Failure::Spec, ..refused(20_000) };
    assert_writes(&outage.writes(), &[(15_000, 0)]);
}
