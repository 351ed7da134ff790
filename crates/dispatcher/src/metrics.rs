//! The metrics for Prometheus: counters, and how they are registered. Each dispatcher has its own registry. The gauges of the
//! fleet's state are computed at each scrape (`ops/gauges.rs`).

mod groups;
pub mod http2;
pub mod labels;
pub mod process;
pub mod tls;

use crate::config::{PoolConfig, Trigger};
use groups::{ReplicaMetrics, RequestMetrics, ScalingMetrics, SessionMetrics, StateMetrics};
use labels::{Late, Reporter, SCALER_METHODS};
use process::ProcessMetrics;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use slotkeeper_core::planted;
use slotkeeper_core::{Millis, Why};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use labels::{Corrected, Fault, Outcome, Sessionless};

/// The orders to a cluster (`fleet/actuator.rs`).
const ORDERS: [&str; 2] = ["scale", "recycle"];

pub struct Metrics {
    registry: Registry,
    scrape: Mutex<()>,
    pub state: StateMetrics,
    sessions: SessionMetrics,
    requests: RequestMetrics,
    pub replica: ReplicaMetrics,
    pub scaling: ScalingMetrics,
    pub process: ProcessMetrics,
}

/// One pool's counters, looked up once.
pub struct PoolMetrics {
    requests: [Histogram; Outcome::ALL.len()],
    faults: [IntCounter; 3],
    pub repeated: IntCounter,
    corrected: [IntCounter; 3],
    late: [IntCounter; Late::ALL.len()],
    sessionless: [IntCounter; 6],
    reports: [IntCounter; 2],
    pub open_requests: IntGauge,
    pub open_tunnels: IntGauge,
    pub messages_in: IntCounter,
    pub messages_out: IntCounter,
    pub bytes_in: IntCounter,
    pub bytes_out: IntCounter,
    pub minted: IntCounter,
    pub attached: IntGauge,
    time_to_slot: Histogram,
    cold_start: Histogram,
    releases: Vec<IntCounter>,
    /// `active_sessions_gauge`, set at each scrape.
    pub own_gauge: Option<IntGaugeVec>,
}

impl Metrics {
    /// # Errors
    /// Two metrics of the same name.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        Ok(Metrics {
            state: StateMetrics::new(&registry)?,
            sessions: SessionMetrics::new(&registry)?,
            requests: RequestMetrics::new(&registry)?,
            replica: ReplicaMetrics::new(&registry)?,
            scaling: ScalingMetrics::new(&registry)?,
            process: ProcessMetrics::new(&registry)?,
            registry,
            scrape: Mutex::default(),
        })
    }

    /// Registers metrics of a cluster or a journal.
    ///
    /// # Errors
    /// If another metric has the same name.
    pub fn also(&self, collectors: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(collectors)
    }

    /// # Errors
    /// If the pool's own gauge has the name of another metric.
    pub fn pool(&self, config: &PoolConfig) -> Result<PoolMetrics, prometheus::Error> {
        let pool = &*config.id.0;
        let own_gauge = match &config.active_sessions_gauge {
            Some(name) => {
                Some(gauges(&self.registry, name, "Sessions of one pool: waiting, with a slot, or draining.", &[])?)
            }
            None => None,
        };
        if config.trigger == Trigger::Push {
            for (method, code) in SCALER_METHODS[..4].iter().flat_map(|m| ["ok", "unavailable"].map(|code| (m, code))) {
                self.scaling.scaler_requests.with_label_values(&[pool, method, code]);
            }
            self.scaling.scaler_streams.with_label_values(&[pool]);
            self.scaling.scaler_pushes.with_label_values(&[pool]);
        }
        if config.gauge.is_some() {
            self.scaling.gauge_errors.with_label_values(&[pool]);
        }
        for order in ORDERS {
            // Created at 0: increase() does not see the first event of a counter that starts with it.
            self.scaling.cluster_errors.with_label_values(&[pool, order]);
        }
        Ok(PoolMetrics {
            requests: Outcome::ALL.map(|o| self.requests.requests.with_label_values(&[pool, o.word()])),
            repeated: self.requests.repeated.with_label_values(&[pool]),
            corrected: ["cookie", "framing", "location"]
                .map(|what| self.requests.corrected.with_label_values(&[pool, what])),
            late: Late::ALL.map(|late| self.requests.late.with_label_values(&[pool, late.word()])),
            sessionless: Sessionless::ALL.map(|why| self.requests.sessionless.with_label_values(&[pool, why.word()])),
            reports: Reporter::ALL.map(|from| self.requests.reports.with_label_values(&[pool, from.word()])),
            faults: [Fault::Visitor, Fault::Pod, Fault::Us]
                .map(|f| self.requests.faults.with_label_values(&[pool, f.word()])),
            open_requests: self.requests.streams.with_label_values(&[pool, "request"]),
            open_tunnels: self.requests.streams.with_label_values(&[pool, "upgraded"]),
            messages_in: self.requests.messages.with_label_values(&[pool, "in"]),
            messages_out: self.requests.messages.with_label_values(&[pool, "out"]),
            bytes_in: self.requests.bytes.with_label_values(&[pool, "in"]),
            bytes_out: self.requests.bytes.with_label_values(&[pool, "out"]),
            minted: self.sessions.minted.with_label_values(&[pool]),
            attached: self.sessions.attached.with_label_values(&[pool]),
            time_to_slot: self.sessions.time_to_slot.with_label_values(&[pool]),
            cold_start: self.sessions.cold_start.with_label_values(&[pool]),
            releases: Why::ALL
                .iter()
                .map(|why| self.sessions.releases.with_label_values(&[pool, why.word()]))
                .collect(),
            own_gauge,
        })
    }

    /// Removes the series of a pool that was removed.
    pub fn forget(&self, config: &PoolConfig, own: &PoolMetrics, collectors: Vec<Box<dyn Collector>>) {
        let pool = &*config.id.0;
        self.state.forget(pool);
        self.sessions.forget(pool);
        self.requests.forget(pool);
        self.scaling.forget(pool);
        let gauge = own.own_gauge.iter().map(|gauge| Box::new(gauge.clone()) as Box<dyn Collector>);
        for collector in gauge.chain(collectors) {
            // An error means that it was not registered.
            let _ = self.registry.unregister(collector);
        }
    }

    /// Held during a scrape: another one must not see gauges that this one is still setting.
    pub fn scrape(&self) -> MutexGuard<'_, ()> {
        self.scrape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All metrics in the text format.
    ///
    /// # Errors
    /// Only if the registry itself is broken.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

/// Counts as one in a gauge until it is dropped.
pub struct Counted(IntGauge);

impl Counted {
    #[must_use]
    pub fn one(gauge: &IntGauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl PoolMetrics {
    pub fn request(&self, outcome: Outcome, took: Duration) {
        self.requests[outcome as usize].observe(took.as_secs_f64());
    }

    /// A response of a pod was corrected.
    pub fn corrected(&self, what: Corrected) {
        self.corrected[what as usize].inc();
    }

    /// A request or a body took too long.
    pub fn late(&self, late: Late) {
        self.late[late as usize].inc();
    }

    /// Activity was reported.
    pub fn reported(&self, from: Reporter) {
        self.reports[from as usize].inc();
    }

    /// A request began no session.
    pub fn sessionless(&self, why: Sessionless) {
        self.sessionless[why as usize].inc();
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
        planted!(ReleasesUncounted => ());
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

#[cfg(test)]
mod tests {
    use super::{Metrics, ORDERS};
    use crate::config::parse;
    use std::path::Path;

    #[test]
    fn counters_exist_at_0_before_their_first_event() {
        let pool = "[pools.gamecube.fixed]\npods = [\"127.0.0.1:1\"]\n";
        let config = parse(pool, "test", Path::new("/")).unwrap().pools.remove(0);
        let metrics = Metrics::new().unwrap();
        let _pool = metrics.pool(&config).unwrap();
        let text = metrics.text().unwrap();
        for (name, count) in [
            ("slotkeeper_releases_total", 9),
            ("slotkeeper_cluster_errors_total", ORDERS.len()),
            ("slotkeeper_request_faults_total", 3),
            ("slotkeeper_request_seconds_count", 5),
            ("slotkeeper_time_to_slot_seconds_count", 1),
            ("slotkeeper_cold_start_seconds_count", 1),
            ("slotkeeper_sessions_minted_total", 1),
            ("slotkeeper_sessions_attached", 1),
            ("slotkeeper_broken_invariants_total", 1),
            ("slotkeeper_new_lives_total", 1),
        ] {
            let lines: Vec<&str> = text.lines().filter(|l| l.starts_with(name)).collect();
            assert_eq!(lines.len(), count, "{name}: {lines:?}");
            assert!(lines.iter().all(|l| l.ends_with(" 0")), "{lines:?}");
        }
    }
}
