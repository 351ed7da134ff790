//! KEDA, its HPA and Prometheus around one pool: the models of `crate::models`, wired as a cluster wires them. A poll, or the
//! HPA's request, is a round of questions that takes time when the trigger is slow to fail; the stage comes back for the answers.

use super::dispatcher::Gauge;
use super::wiring::{Guard, Phases, Source, Wiring};
use crate::models::hpa::{Hpa, Scale};
use crate::models::keda::{
    Annotations, Answer, Failure, Heard, Keda, Query, Reading, Replicas, hpa_behavior, hpa_bounds,
};
use crate::models::prometheus::{Prometheus, Sample, ScrapeFailed};

pub(super) const METRIC: &str = "sessions";
pub(super) const POOL: &str = "pool";

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
