//! KEDA, its HPA and Prometheus around one pool: the models of `crate::models`, wired as a cluster wires them. A poll, or the
//! HPA's request, is a round of questions that takes time when the trigger is slow to fail; the stage comes back for the answers.

use super::dispatcher::Gauge;
use crate::chance::Chance;
use crate::models::hpa::{Behavior, Controller, Hpa, Policy, PolicyKind, Rules, Scale, Spec, Target};
use crate::models::keda::{
    Annotations, Answer, Failure, Heard, Keda, PrometheusTrigger, Query, Reading, Release, Replicas, ScaledObject,
    Trigger, hpa_behavior, hpa_bounds,
};
use crate::models::prometheus::{Expr, Prometheus, Sample, ScrapeFailed};
use rand::Rng;

const METRIC: &str = "sessions";
const POOL: &str = "pool";

/// What an operator has written about scaling.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub object: ScaledObject,
    /// `advanced.horizontalPodAutoscalerConfig.behavior`.
    pub behavior: Option<Behavior>,
    pub source: Source,
    /// KEDA gives up on a question after this long (`timeout`, 3 s).
    pub timeout: u64,
    /// The metric's `threshold` (or `targetSize`): so much of it per pod.
    pub per_pod: u32,
    pub guard: Guard,
}

/// Where KEDA gets its number.
#[derive(Clone, Debug)]
pub enum Source {
    /// What Prometheus has scraped, every so many milliseconds.
    Prometheus { query: Expr, meaning: PrometheusTrigger, scrape: u64 },
    /// The dispatcher answers itself; `push`: and says at once when somebody comes.
    External { push: bool },
}

/// What the dispatcher does to the ScaledObject while anybody lives or waits, so that an outage cannot end in 0 pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Nothing,
    /// Keeps the annotation `paused-scale-in`: nothing shrinks.
    PausedScaleIn,
    /// Keeps `minReplicaCount` at 1.
    MinOne,
}

impl Wiring {
    /// As an operator would write it who sees this for the first time: every default, and `sum(sessions)`.
    #[must_use]
    pub fn least_effort(max: u32, slots_per_pod: u32) -> Wiring {
        Wiring {
            object: ScaledObject { max: Some(max), ..ScaledObject::default() },
            behavior: None,
            source: Source::Prometheus {
                query: sessions().sum(),
                meaning: PrometheusTrigger::default(),
                scrape: 30_000,
            },
            timeout: 3000,
            per_pod: slots_per_pod,
            guard: Guard::Nothing,
        }
    }

    /// Slotkeeper behind KEDA: grows in one step and without a tolerance, an empty answer is an error, one answer of several.
    #[must_use]
    pub fn slotkeeper(min: u32, max: u32, push: bool) -> Wiring {
        let at_once = Policy { kind: PolicyKind::Pods, value: 100_000, period: 15_000 };
        let up = Rules { tolerance: Some(0.0), policies: Some(vec![at_once]), ..Rules::default() };
        let meaning = PrometheusTrigger { ignore_null_values: false, ..PrometheusTrigger::default() };
        let prometheus = Source::Prometheus { query: sessions().max(), meaning, scrape: 15_000 };
        Wiring {
            object: ScaledObject { min, max: Some(max), ..ScaledObject::default() },
            behavior: Some(Behavior { scale_up: up, ..Behavior::default() }),
            source: if push { Source::External { push: true } } else { prometheus },
            timeout: 3000,
            per_pod: 1,
            guard: Guard::PausedScaleIn,
        }
    }

    fn hpa(&self, now: u64) -> Hpa {
        let (min, max) = hpa_bounds(&self.object);
        let behavior = hpa_behavior(&self.object, self.behavior.as_ref());
        Hpa::new(Spec { min, max, behavior }, Controller::default(), now)
    }

    /// The API knows in which second it was created.
    fn keda(&self, now: u64) -> Keda {
        let trigger = Trigger { target: Target::AverageValue(i64::from(self.per_pod) * 1000), cached: false };
        Keda::new(self.object.clone(), vec![trigger], Release::V2_20, now - now % 1000)
    }
}

/// When the scalers do their things for the first time: nothing keeps their periods in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// KEDA's poll.
    pub poll: u64,
    /// The HPA's sync, a period earlier.
    pub hpa: u64,
    pub scrape: u64,
}

impl Phases {
    #[must_use]
    pub fn drawn(chance: Chance) -> Phases {
        let mut chance = chance.stream("phases");
        let mut below = |end: u64| chance.random_range(0..end);
        Phases { poll: below(30_000), hpa: below(15_000), scrape: below(30_000) }
    }
}

impl Default for Phases {
    fn default() -> Phases {
        Phases { poll: 700, hpa: 4000, scrape: 7000 }
    }
}

/// The latest number of every dispatcher.
#[must_use]
pub fn sessions() -> Expr {
    Expr::latest(METRIC, POOL)
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Poll,
    Hpa,
}

/// How a round of questions goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The answers come then.
    Later(u64),
    /// It is over; this is to be written.
    Over(Option<u32>),
}

#[derive(Clone, Debug)]
struct Round {
    query: Query,
    /// It was asked something that hangs.
    hangs: bool,
}

/// See the file.
pub(super) struct Scaler {
    wiring: Wiring,
    keda: Keda,
    hpa: Hpa,
    prometheus: Option<Prometheus>,
    targets: Vec<String>,
    /// How many targets there have ever been.
    named: u32,
    poll: Option<Round>,
    request: Option<Round>,
    /// Until then questions are not answered, and not refused either.
    hangs_until: u64,
    /// Until then the dispatcher is out of reach.
    cut_off_until: u64,
    /// This target does not answer.
    lost_target: Option<String>,
    /// What the guard was told last.
    guarded: Option<bool>,
}

impl Scaler {
    /// `dispatchers`: replicas, each of them scraped.
    pub(super) fn new(wiring: Wiring, dispatchers: u32, phases: Phases) -> Scaler {
        let prometheus = match &wiring.source {
            Source::Prometheus { scrape, .. } => Some(Prometheus::new(*scrape)),
            Source::External { .. } => None,
        };
        let (mut keda, hpa) = (wiring.keda(0), wiring.hpa(phases.hpa));
        keda.restart_loop(phases.poll);
        let targets = Vec::new();
        let (poll, request) = (None, None);
        let mut scaler = Scaler {
            wiring,
            keda,
            hpa,
            prometheus,
            targets,
            named: 0,
            poll,
            request,
            hangs_until: 0,
            cut_off_until: 0,
            lost_target: None,
            guarded: None,
        };
        for n in 0..dispatchers {
            // Prometheus spreads its targets over the interval.
            scaler.discover(phases.scrape + u64::from(n) * 1000);
        }
        scaler
    }

    fn discover(&mut self, first: u64) {
        let name = format!("dispatcher-{}", self.named);
        self.named += 1;
        if let Some(prometheus) = &mut self.prometheus {
            prometheus.add_target(&name, first);
        }
        self.targets.push(name);
    }

    /// The dispatcher's pods have been replaced: other targets.
    pub(super) fn replace_targets(&mut self, now: u64) {
        let old = std::mem::take(&mut self.targets);
        for name in &old {
            if let Some(prometheus) = &mut self.prometheus {
                prometheus.remove_target(name);
            }
        }
        for n in 0..old.len() {
            self.discover(now + 5000 + n as u64 * 1000);
        }
    }

    pub(super) fn next_poll(&self) -> Option<u64> {
        self.keda.next_poll()
    }

    pub(super) fn next_sync(&self) -> Option<u64> {
        self.request.is_none().then(|| self.hpa.next_sync())
    }

    pub(super) fn next_scrape(&self) -> Option<u64> {
        self.prometheus.as_ref()?.next_scrape().map(|(at, _)| at)
    }

    /// The scrapes that are due. `gauge`: `None` if the dispatcher does not answer.
    pub(super) fn scrape(&mut self, gauge: Option<Gauge>, now: u64) {
        let Some(prometheus) = &mut self.prometheus else { return };
        while let Some((_, name)) = prometheus.next_scrape().filter(|(at, _)| *at <= now) {
            let name = name.to_owned();
            let sample = |g: Gauge| Sample { metric: METRIC.into(), pool: POOL.into(), value: g.metric, at: None };
            let gauge = gauge.filter(|_| self.lost_target.as_ref() != Some(&name));
            prometheus.scrape(&name, gauge.map(|g| vec![sample(g)]).ok_or(ScrapeFailed), now);
        }
    }

    /// What the trigger says when it is asked now.
    fn answer(&self, hangs: bool, gauge: Option<Gauge>, now: u64) -> Answer {
        if hangs {
            return Err(Failure::Metrics);
        }
        match (&self.wiring.source, &self.prometheus) {
            (Source::Prometheus { query, meaning, .. }, Some(prometheus)) => {
                let values = prometheus.query(query, now).ok();
                meaning.read(values.as_deref()).map_err(|_| Failure::Metrics)
            }
            (Source::Prometheus { .. }, None) => Err(Failure::Metrics),
            (Source::External { .. }, _) => {
                let gauge = gauge.filter(|_| now >= self.cut_off_until).ok_or(Failure::Spec)?;
                Ok(Reading { active: gauge.active, milli: vec![(gauge.metric * 1000.0).round() as i64] })
            }
        }
    }

    /// A poll, or a sync of the HPA, begins.
    pub(super) fn begin(&mut self, path: Path, gauge: Option<Gauge>, scale: Scale, now: u64) -> Step {
        if path == Path::Hpa && !self.hpa.reads_metrics(scale) {
            return Step::Over(self.hpa.reconcile(Some(scale), &[], now).write);
        }
        let query = match path {
            Path::Poll => self.keda.begin_poll(now),
            Path::Hpa => self.keda.begin_request(0),
        };
        self.ask(path, query, gauge, scale, now)
    }

    fn ask(&mut self, path: Path, query: Query, gauge: Option<Gauge>, scale: Scale, now: u64) -> Step {
        let hangs = now < self.hangs_until;
        *self.round(path) = Some(Round { query, hangs });
        if hangs { Step::Later(now + self.wiring.timeout) } else { self.hear(path, gauge, scale, now) }
    }

    fn round(&mut self, path: Path) -> &mut Option<Round> {
        match path {
            Path::Poll => &mut self.poll,
            Path::Hpa => &mut self.request,
        }
    }

    /// The answers of a round are there.
    pub(super) fn hear(&mut self, path: Path, gauge: Option<Gauge>, scale: Scale, now: u64) -> Step {
        let Some(Round { mut query, hangs }) = self.round(path).take() else { return Step::Over(None) };
        let answer = self.answer(hangs, gauge, now);
        if self.keda.hear(&mut query, &[answer]) == Heard::Again {
            return self.ask(path, query, gauge, scale, now);
        }
        let replicas = Replicas { current: scale.spec, ready: scale.ready };
        Step::Over(match path {
            Path::Poll => {
                let set = self.keda.end_poll(query, replicas, now).set;
                let pushed = self.keda.take_push(set.unwrap_or(replicas.current), now);
                pushed.and_then(|decision| decision.set).or(set)
            }
            Path::Hpa => {
                let metric = self.keda.end_request(query, 0, replicas);
                self.hpa.reconcile(Some(scale), &[metric], now).write
            }
        })
    }

    /// Whether KEDA listens for pushes.
    pub(super) fn takes_pushes(&self) -> bool {
        matches!(self.wiring.source, Source::External { push: true })
    }

    pub(super) fn is_external(&self) -> bool {
        matches!(self.wiring.source, Source::External { .. })
    }

    /// The dispatcher says that somebody is there.
    pub(super) fn push(&mut self, current: u32, now: u64) -> Option<u32> {
        self.keda.push(true, true, current, now)?.set
    }

    /// Keeps the guard as it should be. True if something was changed.
    pub(super) fn keep_guard(&mut self, active: bool, now: u64) -> bool {
        if self.guarded.replace(active) == Some(active) {
            return false;
        }
        let before = self.keda.object.clone();
        let object = &mut self.keda.object;
        match self.wiring.guard {
            Guard::Nothing => return false,
            Guard::PausedScaleIn => {
                object.annotations = self.wiring.object.annotations.clone();
                if active {
                    let annotations = std::mem::take(&mut object.annotations);
                    object.annotations = annotations.with(Annotations::PAUSED_SCALE_IN, "true");
                }
            }
            Guard::MinOne => object.min = if active { self.wiring.object.min.max(1) } else { self.wiring.object.min },
        }
        let changed = *object != before;
        if changed {
            self.renew_hpa();
            self.keda.restart_loop(now);
        }
        changed
    }

    fn renew_hpa(&mut self) {
        (self.hpa.spec.min, self.hpa.spec.max) = hpa_bounds(&self.keda.object);
        self.hpa.spec.behavior = hpa_behavior(&self.keda.object, self.wiring.behavior.as_ref());
    }

    /// `maxReplicaCount` is changed.
    pub(super) fn set_max(&mut self, max: u32, now: u64) {
        (self.wiring.object.max, self.keda.object.max) = (Some(max), Some(max));
        self.renew_hpa();
        self.keda.restart_loop(now);
    }

    /// The ScaledObject is deleted and made anew.
    pub(super) fn recreate(&mut self, now: u64) {
        (self.keda, self.hpa) = (self.wiring.keda(now), self.wiring.hpa(now));
        (self.poll, self.request, self.guarded) = (None, None, None);
    }

    pub(super) fn stop_prometheus(&mut self) {
        if let Some(prometheus) = &mut self.prometheus {
            prometheus.stop();
        }
    }

    pub(super) fn start_prometheus(&mut self, keep: bool, now: u64) {
        if let Some(prometheus) = &mut self.prometheus {
            prometheus.start(now, keep);
        }
    }

    /// Until then the trigger's questions run into their time-out.
    pub(super) fn hang(&mut self, until: u64) {
        self.hangs_until = until;
    }

    /// Until then the dispatcher's scaler cannot be asked.
    pub(super) fn cut_off(&mut self, until: u64) {
        self.cut_off_until = until;
    }

    /// The last of its targets does not answer any more.
    pub(super) fn lose_target(&mut self) {
        self.lost_target = self.targets.last().cloned();
    }
}
