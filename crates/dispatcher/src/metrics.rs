//! What Prometheus is told. One owned registry per dispatcher; what the fleet's state says is read from it at the scrape.

use crate::config::PoolConfig;
use crate::error::Fault;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use slotkeeper_core::planted::{self, Bug};
use slotkeeper_core::{Census, Fleet, Millis, Why};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SECONDS_TO_SLOT: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
const SECONDS_OF_REQUEST: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

pub struct Metrics {
    registry: Registry,
    /// One scrape at a time: none may see what another has half set.
    scrape: Mutex<()>,
    sessions: IntGaugeVec,
    queue: IntGaugeVec,
    slots: IntGaugeVec,
    pods: IntGaugeVec,
    active: IntGaugeVec,
    releases: IntCounterVec,
    time_to_slot: HistogramVec,
    cold_start: HistogramVec,
    requests: HistogramVec,
    faults: IntCounterVec,
    streams: IntGaugeVec,
    messages: IntCounterVec,
    bytes: IntCounterVec,
    minted: IntCounterVec,
    pub connections: IntGauge,
    pub journal_position: IntGauge,
    pub cut_off: IntGauge,
    pub new_lives: IntCounter,
    pub broken: IntCounter,
    pub cluster_errors: IntCounterVec,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by a pod.
    Forwarded,
    /// Became a tunnel.
    Upgraded,
    /// Answered by the waiting room, or told to come again.
    Waiting,
    /// Answered by the dispatcher itself (its own pages and assets).
    Own,
    /// Refused or failed; `fault` says whose fault it was.
    Failed,
}

impl Outcome {
    const ALL: [Outcome; 5] = [Outcome::Forwarded, Outcome::Upgraded, Outcome::Waiting, Outcome::Own, Outcome::Failed];

    fn word(self) -> &'static str {
        match self {
            Outcome::Forwarded => "forwarded",
            Outcome::Upgraded => "upgraded",
            Outcome::Waiting => "waiting",
            Outcome::Own => "own",
            Outcome::Failed => "failed",
        }
    }
}

/// One pool's counters, looked up once.
pub struct PoolMetrics {
    requests: [Histogram; Outcome::ALL.len()],
    faults: [IntCounter; 3],
    pub open_requests: IntGauge,
    pub open_tunnels: IntGauge,
    pub messages_in: IntCounter,
    pub messages_out: IntCounter,
    pub bytes_in: IntCounter,
    pub bytes_out: IntCounter,
    pub minted: IntCounter,
    time_to_slot: Histogram,
    cold_start: Histogram,
    releases: Vec<IntCounter>,
    own_gauge: Option<IntGaugeVec>,
}

impl Metrics {
    /// # Errors
    /// Two metrics of one name: a pool's own gauge can ask for that.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Metrics {
            sessions: gauges(&registry, "slotkeeper_sessions", "Sessions by state.", &["pool", "state"])?,
            queue: gauges(&registry, "slotkeeper_queue_length", "Sessions waiting for a slot.", &["pool"])?,
            slots: gauges(
                &registry,
                "slotkeeper_slots",
                "Slots of ready pods by state: busy, or free to be placed in.",
                &["pool", "state"],
            )?,
            pods: gauges(
                &registry,
                "slotkeeper_pods",
                "Pods: needed, desired, existing, ready, retiring, unusable.",
                &["pool", "state"],
            )?,
            active: gauges(&registry, "slotkeeper_active", "1 while any session lives, waits or drains.", &["pool"])?,
            releases: counters(
                &registry,
                "slotkeeper_releases_total",
                "Sessions ended, by reason.",
                &["pool", "reason"],
            )?,
            time_to_slot: histograms(
                &registry,
                "slotkeeper_time_to_slot_seconds",
                "From joining the queue to a slot.",
                &["pool"],
                SECONDS_TO_SLOT,
            )?,
            cold_start: histograms(
                &registry,
                "slotkeeper_cold_start_seconds",
                "From wanting a pod to its being ready.",
                &["pool"],
                SECONDS_TO_SLOT,
            )?,
            requests: histograms(
                &registry,
                "slotkeeper_request_seconds",
                "From a request's head to its answer's head, by outcome.",
                &["pool", "outcome"],
                SECONDS_OF_REQUEST,
            )?,
            faults: counters(
                &registry,
                "slotkeeper_request_faults_total",
                "Failed requests, by whose fault it was.",
                &["pool", "fault"],
            )?,
            streams: gauges(
                &registry,
                "slotkeeper_streams_open",
                "Open streams: requests in flight, and upgraded connections.",
                &["pool", "kind"],
            )?,
            messages: counters(
                &registry,
                "slotkeeper_messages_total",
                "WebSocket messages: in (from visitors) and out.",
                &["pool", "direction"],
            )?,
            bytes: counters(
                &registry,
                "slotkeeper_tunnel_bytes_total",
                "Bytes of upgraded connections: in (from visitors) and out.",
                &["pool", "direction"],
            )?,
            minted: counters(
                &registry,
                "slotkeeper_sessions_minted_total",
                "Session cookies given out. Costs nothing until one comes back.",
                &["pool"],
            )?,
            connections: register(
                &registry,
                IntGauge::new("slotkeeper_connections_open", "Connections from visitors.")?,
            )?,
            journal_position: register(
                &registry,
                IntGauge::new("slotkeeper_journal_position", "Entries applied by this dispatcher.")?,
            )?,
            cut_off: register(
                &registry,
                IntGauge::new(
                    "slotkeeper_cut_off",
                    "1 while this replica is cut off from the shared journal: its streams are closed, and the gauges of pools are not shown.",
                )?,
            )?,
            new_lives: register(
                &registry,
                IntCounter::new(
                    "slotkeeper_new_lives_total",
                    "How often this replica was given up by the others, and started anew.",
                )?,
            )?,
            broken: register(
                &registry,
                IntCounter::new("slotkeeper_broken_invariants_total", "Bugs: a pool's placing was frozen.")?,
            )?,
            cluster_errors: counters(
                &registry,
                "slotkeeper_cluster_errors_total",
                "Orders to the cluster that failed.",
                &["pool", "order"],
            )?,
            registry,
            scrape: Mutex::default(),
        };
        Ok(metrics)
    }

    /// # Errors
    /// The pool's own gauge has the name of another metric.
    pub fn pool(&self, config: &PoolConfig) -> Result<PoolMetrics, prometheus::Error> {
        let pool = &*config.id.0;
        let own_gauge = match &config.active_sessions_gauge {
            Some(name) => Some(gauges(&self.registry, name, "Sessions that live, wait or drain in one pool.", &[])?),
            None => None,
        };
        Ok(PoolMetrics {
            requests: Outcome::ALL.map(|o| self.requests.with_label_values(&[pool, o.word()])),
            faults: [Fault::Visitor, Fault::Pod, Fault::Us].map(|f| self.faults.with_label_values(&[pool, f.word()])),
            open_requests: self.streams.with_label_values(&[pool, "request"]),
            open_tunnels: self.streams.with_label_values(&[pool, "upgraded"]),
            messages_in: self.messages.with_label_values(&[pool, "in"]),
            messages_out: self.messages.with_label_values(&[pool, "out"]),
            bytes_in: self.bytes.with_label_values(&[pool, "in"]),
            bytes_out: self.bytes.with_label_values(&[pool, "out"]),
            minted: self.minted.with_label_values(&[pool]),
            time_to_slot: self.time_to_slot.with_label_values(&[pool]),
            cold_start: self.cold_start.with_label_values(&[pool]),
            releases: Why::ALL.iter().map(|why| self.releases.with_label_values(&[pool, why.word()])).collect(),
            own_gauge,
        })
    }

    /// The text format, with the state as of now; without it if there is none that can be relied on: a scaler must never
    /// read an old number, or a 0, where nothing is known.
    ///
    /// # Errors
    /// Only if the registry itself is broken.
    pub fn text<'a>(
        &self,
        fleet: Option<&Fleet>,
        pools: impl Iterator<Item = (&'a PoolConfig, &'a PoolMetrics)>,
    ) -> Result<String, prometheus::Error> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        for state in [&self.sessions, &self.queue, &self.slots, &self.pods, &self.active] {
            state.reset();
        }
        if let Some(fleet) = fleet {
            self.journal_position.set(fleet.applied() as i64);
        }
        for (config, own) in pools {
            if let Some(gauge) = &own.own_gauge {
                gauge.reset();
            }
            let census = fleet.and_then(|f| f.census(&config.id));
            if let Some(census) = census.or(planted::is(Bug::ServeZero).then(Census::default)) {
                self.state(&config.id.0, &census, own);
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }

    fn state(&self, pool: &str, c: &Census, own: &PoolMetrics) {
        let sessions = [("queued", c.queued), ("held", c.held), ("taken", c.taken), ("ending", c.ending)];
        for (state, n) in sessions {
            self.sessions.with_label_values(&[pool, state]).set(n as i64);
        }
        self.queue.with_label_values(&[pool]).set(c.queued as i64);
        for (state, n) in [("busy", c.busy_slots), ("free", c.free_slots)] {
            self.slots.with_label_values(&[pool, state]).set(n as i64);
        }
        let pods = [
            ("needed", c.needed.len()),
            ("desired", c.desired.len()),
            ("existing", c.pods),
            ("ready", c.ready),
            ("retiring", c.retiring),
            ("unusable", c.unusable),
        ];
        for (state, n) in pods {
            self.pods.with_label_values(&[pool, state]).set(i64::from(n));
        }
        self.active.with_label_values(&[pool]).set(i64::from(c.is_active()));
        if let Some(gauge) = &own.own_gauge {
            gauge.with_label_values::<&str>(&[]).set((c.queued + c.busy_slots) as i64);
        }
    }
}

impl PoolMetrics {
    pub fn request(&self, outcome: Outcome, took: Duration) {
        self.requests[outcome as usize].observe(took.as_secs_f64());
    }

    pub fn fault(&self, fault: Fault) {
        self.faults[fault as usize].inc();
    }

    pub fn placed(&self, waited: Millis) {
        self.time_to_slot.observe(waited.0 as f64 / 1000.0);
    }

    pub fn started(&self, took: Millis) {
        self.cold_start.observe(took.0 as f64 / 1000.0);
    }

    pub fn released(&self, why: Why) {
        if let Some(at) = Why::ALL.iter().position(|w| *w == why) {
            self.releases[at].inc();
        }
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    register(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
}
