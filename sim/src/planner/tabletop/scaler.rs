//! KEDA, its HPA and Prometheus around one pool: the models of `crate::models`, connected as in a cluster. A poll, or
//! the HPA's request, is a query that takes time if the trigger is slow to fail; the stage then calls again for the
//! answers.

use super::dispatcher::Gauge;
use super::wiring::{Guard, Phases, Source, Wiring};
use crate::models::hpa::{Hpa, Scale};
use crate::models::keda::{
    Annotations, Answer, Failure, Heard, Keda, Query, Reading, Replicas, hpa_behavior, hpa_bounds,
};
use crate::models::prometheus::{Prometheus, Sample, ScrapeFailed};

pub(super) const METRIC: &str = "sessions";
pub(super) const POOL: &str = "pool";

/// The origin of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Poll,
    Hpa,
}

/// How a query continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The answers arrive then.
    Later(u64),
    /// The query is complete; this number is to be written.
    Over(Option<u32>),
}

#[derive(Clone, Debug)]
struct Round {
    query: Query,
    /// The trigger did not respond when the query began.
    hangs: bool,
}

/// The scalers of one pool.
pub(super) struct Scaler {
    wiring: Wiring,
    keda: Keda,
    hpa: Hpa,
    prometheus: Option<Prometheus>,
    targets: Vec<String>,
    /// Number of targets created so far, for their names.
    named: u32,
    poll: Option<Round>,
    request: Option<Round>,
    /// Queries before this time are neither answered nor refused.
    hangs_until: u64,
    /// Before this time the dispatcher is unreachable.
    cut_off_until: u64,
    /// A target that does not answer.
    lost_target: Option<String>,
    /// The last state passed to the guard.
    guarded: Option<bool>,
}

impl Scaler {
    /// `dispatchers`: number of replicas, each of them scraped.
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

    /// The dispatcher's pods have been replaced, and with them the targets.
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

    /// Runs the scrapes that are due. `gauge`: `None` if the dispatcher does not answer.
    pub(super) fn scrape(&mut self, gauge: Option<Gauge>, now: u64) {
        let Some(prometheus) = &mut self.prometheus else { return };
        while let Some((_, name)) = prometheus.next_scrape().filter(|(at, _)| *at <= now) {
            let name = name.to_owned();
            let sample = |g: Gauge| Sample { metric: METRIC.into(), pool: POOL.into(), value: g.metric, at: None };
            let gauge = gauge.filter(|_| self.lost_target.as_ref() != Some(&name));
            prometheus.scrape(&name, gauge.map(|g| vec![sample(g)]).ok_or(ScrapeFailed), now);
        }
    }

    /// Returns the trigger's answer to a query now.
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

    /// Begins a poll, or a sync of the HPA.
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

    /// The answers to a query have arrived.
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

    /// Reports whether KEDA accepts pushes.
    pub(super) fn takes_pushes(&self) -> bool {
        matches!(self.wiring.source, Source::External { push: true })
    }

    pub(super) fn is_external(&self) -> bool {
        matches!(self.wiring.source, Source::External { .. })
    }

    /// The dispatcher pushes that it is active.
    pub(super) fn push(&mut self, current: u32, now: u64) -> Option<u32> {
        self.keda.push(true, true, current, now)?.set
    }

    /// Updates the guard. Returns true if something changed.
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

    /// Changes `maxReplicaCount`.
    pub(super) fn set_max(&mut self, max: u32, now: u64) {
        (self.wiring.object.max, self.keda.object.max) = (Some(max), Some(max));
        self.renew_hpa();
        self.keda.restart_loop(now);
    }

    /// The ScaledObject is deleted and created again.
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

    /// Queries to the trigger time out until then.
    pub(super) fn hang(&mut self, until: u64) {
        self.hangs_until = until;
    }

    /// The dispatcher's scaler is unreachable until then.
    pub(super) fn cut_off(&mut self, until: u64) {
        self.cut_off_until = until;
    }

    /// The last of the dispatcher's targets no longer answers.
    pub(super) fn lose_target(&mut self) {
        self.lost_target = self.targets.last().cloned();
    }
}
