//! The metrics for Prometheus. Each dispatcher has its own registry; gauges of the fleet's state are computed at each scrape.

pub mod process;
pub mod tls;

use crate::config::{PoolConfig, Trigger};
use crate::front::activity::Reporter;
use crate::front::error::Fault;
use crate::front::forward::pace::Late;
use crate::ops::keda;
use process::ProcessMetrics;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use slotkeeper_core::planted;
use slotkeeper_core::{Census, Fleet, Millis, PoolId, Scaling, Targets, Why};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SECONDS_TO_SLOT: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0,
    1800.0, 3600.0,
];
/// Finest in the range of pods with GPUs, large images and new nodes.
const SECONDS_OF_START: &[f64] = &[
    0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 900.0, 1200.0,
    1800.0, 3600.0,
];
const SECONDS_OF_REQUEST: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The orders to a cluster (`fleet/actuator.rs`).
const ORDERS: [&str; 2] = ["scale", "recycle"];

pub struct Metrics {
    registry: Registry,
    /// One scrape at a time: a scrape must not see gauges that another one is still setting.
    scrape: Mutex<()>,
    sessions: IntGaugeVec,
    queue: IntGaugeVec,
    slots: IntGaugeVec,
    pods: IntGaugeVec,
    asked: IntGaugeVec,
    message_rate: IntGaugeVec,
    pod_gauge: GaugeVec,
    max_pods: IntGaugeVec,
    active: IntGaugeVec,
    frozen: IntGaugeVec,
    attached: IntGaugeVec,
    releases: IntCounterVec,
    time_to_slot: HistogramVec,
    cold_start: HistogramVec,
    requests: HistogramVec,
    faults: IntCounterVec,
    repeated: IntCounterVec,
    corrected: IntCounterVec,
    late: IntCounterVec,
    sessionless: IntCounterVec,
    reports: IntCounterVec,
    streams: IntGaugeVec,
    messages: IntCounterVec,
    bytes: IntCounterVec,
    minted: IntCounterVec,
    pub connections: IntGauge,
    pub process: ProcessMetrics,
    pub ready: IntGauge,
    pub journal_position: IntGauge,
    pub journal_owed: IntGauge,
    pub cut_off: IntGauge,
    pub lapse: IntGauge,
    pub new_lives: IntCounter,
    pub broken: IntCounter,
    pub cluster_errors: IntCounterVec,
    pub gauge_errors: IntCounterVec,
    pub scaler_requests: IntCounterVec,
    pub scaler_streams: IntGaugeVec,
    pub scaler_pushes: IntCounterVec,
}

/// What was wrong with a pod's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrected {
    /// It set or deleted a session cookie.
    Cookie,
    /// It stated its length in addition to a coding, or twice.
    Framing,
    /// It named the pod's own address.
    Location,
}

/// Why a request began no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessionless {
    /// A CORS preflight.
    Preflight,
    /// Its response cannot carry the cookie.
    Cookie,
    /// It looks like another first request, and was sent again.
    Again,
    /// Its client disconnected before it was answered.
    Gone,
    /// It does not use the pool.
    Passive,
    /// It was sent by a background page whose session has ended.
    Background,
}

impl Sessionless {
    const ALL: [Sessionless; 6] = [
        Sessionless::Preflight,
        Sessionless::Cookie,
        Sessionless::Again,
        Sessionless::Gone,
        Sessionless::Passive,
        Sessionless::Background,
    ];

    fn word(self) -> &'static str {
        match self {
            Sessionless::Preflight => "preflight",
            Sessionless::Cookie => "cookie",
            Sessionless::Again => "again",
            Sessionless::Gone => "gone",
            Sessionless::Passive => "passive",
            Sessionless::Background => "background",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by a pod.
    Forwarded,
    /// Became a tunnel.
    Upgraded,
    /// Answered by the waiting room, or with a request to retry.
    Waiting,
    /// Answered by the dispatcher itself (its own pages and assets).
    Own,
    /// Refused or failed; the label `fault` names the cause.
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
    own_gauge: Option<IntGaugeVec>,
}

impl Metrics {
    /// # Errors
    /// Two metrics of the same name.
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
                "Pods: needed, desired, told (the size written to the cluster), existing, ready, leaving, retiring, terminating, unusable, failing.",
                &["pool", "state"],
            )?,
            asked: gauges(
                &registry,
                "slotkeeper_pods_asked",
                "Pods that each target asks for: slots, sessions, messages, gauge. The largest is needed.",
                &["pool", "target"],
            )?,
            message_rate: gauges(
                &registry,
                "slotkeeper_messages_per_second",
                "WebSocket messages per second through all dispatchers, over the window of a pool that has them as a target.",
                &["pool"],
            )?,
            pod_gauge: register(
                &registry,
                GaugeVec::new(
                    Opts::new(
                        "slotkeeper_pod_gauge",
                        "The sum of the pods' own gauge, of a pool that has it as a target.",
                    ),
                    &["pool"],
                )?,
            )?,
            gauge_errors: counters(
                &registry,
                "slotkeeper_pod_gauge_errors_total",
                "Failed reads of the pods' own gauge.",
                &["pool"],
            )?,
            max_pods: gauges(&registry, "slotkeeper_max_pods", "Maximum of pods (max_pods).", &["pool"])?,
            active: gauges(
                &registry,
                "slotkeeper_active",
                "1 while any session exists: waits, has a slot or drains.",
                &["pool"],
            )?,
            frozen: gauges(
                &registry,
                "slotkeeper_frozen",
                "1 after an invariant was broken (a bug): no session is placed in the pool any more.",
                &["pool"],
            )?,
            attached: gauges(
                &registry,
                "slotkeeper_sessions_attached",
                "Sessions that have streams on this replica, or had until a moment ago.",
                &["pool"],
            )?,
            releases: counters(
                &registry,
                "slotkeeper_releases_total",
                "Sessions ended, by reason.",
                &["pool", "reason"],
            )?,
            time_to_slot: histograms(
                &registry,
                "slotkeeper_time_to_slot_seconds",
                "Time from joining the queue until a slot is assigned.",
                &["pool"],
                SECONDS_TO_SLOT,
            )?,
            cold_start: histograms(
                &registry,
                "slotkeeper_cold_start_seconds",
                "Time from wanting a pod until it is ready.",
                &["pool"],
                SECONDS_OF_START,
            )?,
            requests: histograms(
                &registry,
                "slotkeeper_request_seconds",
                "Time from a request's head to its response's head, by outcome.",
                &["pool", "outcome"],
                SECONDS_OF_REQUEST,
            )?,
            repeated: counters(
                &registry,
                "slotkeeper_requests_repeated_total",
                "Requests repeated on a new connection because a pod closed a kept one.",
                &["pool"],
            )?,
            corrected: counters(
                &registry,
                "slotkeeper_responses_corrected_total",
                "Responses of pods that were corrected: cookie (set or deleted a session cookie), framing (stated a length in addition to a coding, or twice), location (named the pod's own address).",
                &["pool", "what"],
            )?,
            late: counters(
                &registry,
                "slotkeeper_timeouts_total",
                "Requests and bodies that took too long: answer (the pod's head, answer_seconds), page (the same, of a pod that fails its health probes); upload_visitor, upload_pod, download_pod, download_visitor (the side that stalled a body, stall_seconds).",
                &["pool", "what"],
            )?,
            sessionless: counters(
                &registry,
                "slotkeeper_requests_without_session_total",
                "Requests that began no session: preflight (CORS), cookie (the response cannot carry it), again (one of several alike: sent again), gone (the client disconnected), passive (does not use the pool), background (of a page whose session has ended).",
                &["pool", "why"],
            )?,
            reports: counters(
                &registry,
                "slotkeeper_activity_reports_total",
                "Reports of activity, by pages and by pods.",
                &["pool", "from"],
            )?,
            faults: counters(
                &registry,
                "slotkeeper_request_faults_total",
                "Failed requests, by cause.",
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
                "Session cookies issued, whether or not they were ever returned.",
                &["pool"],
            )?,
            connections: register(
                &registry,
                IntGauge::new("slotkeeper_connections_open", "Connections from visitors.")?,
            )?,
            process: ProcessMetrics::new(&registry)?,
            ready: register(
                &registry,
                IntGauge::new("slotkeeper_ready", "1 while this dispatcher is ready for visitors, as in /readyz.")?,
            )?,
            journal_position: register(
                &registry,
                IntGauge::new("slotkeeper_journal_position", "Entries applied by this dispatcher.")?,
            )?,
            journal_owed: register(
                &registry,
                IntGauge::new(
                    "slotkeeper_journal_owed",
                    "Entries that this dispatcher has submitted to the journal and not read back yet.",
                )?,
            )?,
            cut_off: register(
                &registry,
                IntGauge::new(
                    "slotkeeper_cut_off",
                    "1 while this replica is cut off from the shared journal: its streams are closed, and the gauges of pools are not shown.",
                )?,
            )?,
            lapse: register(
                &registry,
                IntGauge::new(
                    "slotkeeper_lapse",
                    "1 while the journal may have lost entries: meanwhile no session is placed and no pod is removed.",
                )?,
            )?,
            new_lives: register(
                &registry,
                IntCounter::new(
                    "slotkeeper_new_lives_total",
                    "Number of times that this replica started again under a new id: the fleet had given it up, or the journal had lost entries that it had read.",
                )?,
            )?,
            broken: register(
                &registry,
                IntCounter::new(
                    "slotkeeper_broken_invariants_total",
                    "Bugs: broken invariants, each of which froze a pool's placing.",
                )?,
            )?,
            cluster_errors: counters(
                &registry,
                "slotkeeper_cluster_errors_total",
                "Orders to the cluster that failed.",
                &["pool", "order"],
            )?,
            scaler_requests: counters(
                &registry,
                "slotkeeper_scaler_requests_total",
                "Calls of KEDA, by method and gRPC status code (of a stream: at its start).",
                &["pool", "method", "code"],
            )?,
            scaler_streams: gauges(
                &registry,
                "slotkeeper_scaler_streams_open",
                "Open push streams of KEDA.",
                &["pool"],
            )?,
            scaler_pushes: counters(
                &registry,
                "slotkeeper_scaler_pushes_total",
                "Messages pushed to KEDA to report that the pool is active.",
                &["pool"],
            )?,
            registry,
            scrape: Mutex::default(),
        };
        Ok(metrics)
    }

    /// Registers metrics of a cluster or a journal.
    ///
    /// # Errors
    /// If another metric has the same name.
    pub fn also(&self, figures: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(figures)
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
            for (method, code) in keda::METHODS[..4].iter().flat_map(|m| ["ok", "unavailable"].map(|code| (m, code))) {
                self.scaler_requests.with_label_values(&[pool, method, code]);
            }
            self.scaler_streams.with_label_values(&[pool]);
            self.scaler_pushes.with_label_values(&[pool]);
        }
        if config.gauge.is_some() {
            self.gauge_errors.with_label_values(&[pool]);
        }
        for order in ORDERS {
            // Created at 0: increase() does not see the first event of a counter that starts with it.
            self.cluster_errors.with_label_values(&[pool, order]);
        }
        Ok(PoolMetrics {
            requests: Outcome::ALL.map(|o| self.requests.with_label_values(&[pool, o.word()])),
            repeated: self.repeated.with_label_values(&[pool]),
            corrected: ["cookie", "framing", "location"].map(|what| self.corrected.with_label_values(&[pool, what])),
            late: Late::ALL.map(|late| self.late.with_label_values(&[pool, late.word()])),
            sessionless: Sessionless::ALL.map(|why| self.sessionless.with_label_values(&[pool, why.word()])),
            reports: Reporter::ALL.map(|from| self.reports.with_label_values(&[pool, from.word()])),
            faults: [Fault::Visitor, Fault::Pod, Fault::Us].map(|f| self.faults.with_label_values(&[pool, f.word()])),
            open_requests: self.streams.with_label_values(&[pool, "request"]),
            open_tunnels: self.streams.with_label_values(&[pool, "upgraded"]),
            messages_in: self.messages.with_label_values(&[pool, "in"]),
            messages_out: self.messages.with_label_values(&[pool, "out"]),
            bytes_in: self.bytes.with_label_values(&[pool, "in"]),
            bytes_out: self.bytes.with_label_values(&[pool, "out"]),
            minted: self.minted.with_label_values(&[pool]),
            attached: self.attached.with_label_values(&[pool]),
            time_to_slot: self.time_to_slot.with_label_values(&[pool]),
            cold_start: self.cold_start.with_label_values(&[pool]),
            releases: Why::ALL.iter().map(|why| self.releases.with_label_values(&[pool, why.word()])).collect(),
            own_gauge,
        })
    }

    /// Removes the series of a pool that was removed.
    pub fn forget(&self, config: &PoolConfig, own: &PoolMetrics, figures: Vec<Box<dyn Collector>>) {
        let pool = &*config.id.0;
        let gauges = [
            &self.sessions,
            &self.queue,
            &self.slots,
            &self.pods,
            &self.asked,
            &self.message_rate,
            &self.max_pods,
            &self.active,
            &self.frozen,
            &self.attached,
            &self.streams,
            &self.scaler_streams,
        ];
        gauges.into_iter().for_each(|series| forget(series, pool));
        let counters = [
            &self.releases,
            &self.faults,
            &self.repeated,
            &self.corrected,
            &self.late,
            &self.sessionless,
            &self.reports,
            &self.messages,
            &self.bytes,
            &self.minted,
            &self.cluster_errors,
            &self.gauge_errors,
            &self.scaler_requests,
            &self.scaler_pushes,
        ];
        counters.into_iter().for_each(|series| forget(series, pool));
        [&self.time_to_slot, &self.cold_start, &self.requests].into_iter().for_each(|series| forget(series, pool));
        forget(&self.pod_gauge, pool);
        let gauge = own.own_gauge.iter().map(|gauge| Box::new(gauge.clone()) as Box<dyn Collector>);
        for collector in gauge.chain(figures) {
            // An error means that it was not registered.
            let _ = self.registry.unregister(collector);
        }
    }

    /// The text format, with the current state; without any state if it is not reliable: a scaler must never read an outdated
    /// number, or a 0, when nothing is known.
    ///
    /// # Errors
    /// Only if the registry itself is broken.
    pub fn text<'a>(
        &self,
        fleet: Option<&Fleet>,
        pools: impl Iterator<Item = (&'a PoolConfig, &'a PoolMetrics)>,
    ) -> Result<String, prometheus::Error> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let states = [&self.sessions, &self.queue, &self.slots, &self.pods, &self.max_pods, &self.active, &self.frozen];
        states.into_iter().chain([&self.asked, &self.message_rate]).for_each(IntGaugeVec::reset);
        self.pod_gauge.reset();
        if let Some(fleet) = fleet {
            self.journal_position.set(fleet.applied() as i64);
        }
        for (config, own) in pools {
            if let Some(gauge) = &own.own_gauge {
                gauge.reset();
            }
            let fleet = fleet.filter(|f| knows(f, &config.id));
            if let Some(fleet) = fleet {
                self.size(fleet, &config.id);
            }
            let census = fleet.and_then(|f| f.census(&config.id));
            if let Some((rules, census)) = fleet.and_then(|f| f.rules(&config.id)).zip(census.as_ref()) {
                self.load(&config.id.0, &rules.targets, census);
            }
            self.known_state(&config.id.0, census.as_ref(), own);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }

    /// The pool's maximum, and the size that was last written to its cluster.
    fn size(&self, fleet: &Fleet, pool: &PoolId) {
        if let Some(rules) = fleet.rules(pool) {
            self.max_pods.with_label_values(&[&pool.0]).set(i64::from(rules.max));
        }
        if let Some(seen) = fleet.scale_seen(pool) {
            self.pods.with_label_values(&[&*pool.0, "told"]).set(i64::from(seen.span.len()));
        }
    }

    /// The pods that each target of the pool asks for, and the measured load.
    fn load(&self, pool: &str, targets: &Targets, c: &Census) {
        let asked = [
            ("slots", Some(c.asked.slots)),
            ("sessions", targets.sessions.map(|_| c.asked.sessions)),
            ("messages", targets.messages.map(|_| c.asked.messages)),
            ("gauge", targets.gauge.map(|_| c.asked.gauge)),
        ];
        for (target, n) in asked.into_iter().filter_map(|(target, n)| Some((target, n?))) {
            self.asked.with_label_values(&[pool, target]).set(i64::from(n));
        }
        if targets.messages.is_some() {
            self.message_rate.with_label_values(&[pool]).set(c.messages_per_second as i64);
        }
        if let Some(milli) = c.gauge.filter(|_| targets.gauge.is_some()) {
            self.pod_gauge.with_label_values(&[pool]).set(milli as f64 / 1000.0);
        }
    }

    /// Sets no gauge if nothing is known.
    fn known_state(&self, pool: &str, census: Option<&Census>, own: &PoolMetrics) {
        planted!(ServeZero => self.state(pool, &census.cloned().unwrap_or_default(), own));
        if let Some(census) = census {
            self.state(pool, census, own);
        }
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
            ("leaving", c.leaving),
            ("retiring", c.retiring),
            ("terminating", c.terminating),
            ("unusable", c.unusable),
            ("failing", c.failing),
        ];
        for (state, n) in pods {
            self.pods.with_label_values(&[pool, state]).set(i64::from(n));
        }
        self.active.with_label_values(&[pool]).set(i64::from(c.is_active()));
        self.frozen.with_label_values(&[pool]).set(i64::from(c.frozen));
        if let Some(gauge) = &own.own_gauge {
            gauge.with_label_values::<&str>(&[]).set((c.queued + c.busy_slots) as i64);
        }
    }
}

/// Whether the fleet knows enough of this pool to report it: before its pods have been listed and its size has been read, the 0
/// pods of a new journal only mean that nothing is known.
#[must_use]
pub fn knows(fleet: &Fleet, pool: &PoolId) -> bool {
    let sized = match fleet.rules(pool).map(|r| r.scaling) {
        Some(Scaling::Direct { .. } | Scaling::Keda { .. }) => fleet.scale_seen(pool).is_some(),
        Some(Scaling::None) | None => true,
    };
    sized && fleet.is_listed(pool)
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

/// Removes the series of this pool.
fn forget<B: MetricVecBuilder>(series: &MetricVec<B>, pool: &str) {
    let families = series.collect();
    for metric in families.iter().flat_map(MetricFamily::get_metric) {
        let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
        let labels: HashMap<&str, &str> = labels.collect();
        if labels.get("pool") == Some(&pool) {
            let _ = series.remove(&labels);
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
    use super::{Metrics, PoolMetrics};
    use crate::config::{PoolConfig, parse};
    use slotkeeper_core::{Command, Entry, Fleet, Millis, ReplicaId, Rules, Scaling, Time};
    use std::path::Path;

    const POOL: &str = "[pools.gamecube]\nactive_sessions_gauge = \"gamecube_active_sessions\"\n\
                        [pools.gamecube.fixed]\npods = [\"127.0.0.1:1\"]\n";

    struct Scrape {
        metrics: Metrics,
        config: PoolConfig,
        own: PoolMetrics,
        fleet: Fleet,
        number: u64,
    }

    impl Scrape {
        fn of(text: &str) -> Scrape {
            let config = parse(text, "test", Path::new("/")).unwrap().pools.remove(0);
            let metrics = Metrics::new().unwrap();
            let own = metrics.pool(&config).unwrap();
            Scrape { metrics, config, own, fleet: Fleet::new(), number: 0 }
        }

        fn after(&mut self, command: Command) {
            self.number += 1;
            let (at, from, pool) = (Time(self.number), ReplicaId(1), self.config.id.clone());
            let _ = self.fleet.apply(&Entry { at, from, number: self.number, pool, command });
        }

        fn text(&self) -> String {
            self.metrics.text(Some(&self.fleet), [(&self.config, &self.own)].into_iter()).unwrap()
        }
    }

    #[test]
    fn no_gauges_of_a_pool_before_its_pods_and_its_size_are_known() {
        let mut scrape = Scrape::of(POOL);
        let by_state =
            ["slotkeeper_pods{", "slotkeeper_active{", "slotkeeper_queue_length{", "gamecube_active_sessions "];
        let told = |text: &str| by_state.map(|name| text.lines().any(|line| line.starts_with(name)));
        assert_eq!(told(&scrape.text()), [false; 4]);
        scrape.after(Command::Rules(Rules {
            scaling: Scaling::Keda { settle: Millis(1) },
            max: 5,
            ..Rules::default()
        }));
        assert_eq!(told(&scrape.text()), [false; 4], "a new journal knows of no pods");
        scrape.after(Command::PodsListed { pods: vec![], version: 1 });
        assert_eq!(told(&scrape.text()), [false; 4], "nor of the size of the workload");
        scrape.after(Command::ScaleSeen {
            start: 0,
            replicas: 3,
            decided: 0,
            timeline: slotkeeper_core::Timeline::FIRST,
            version: 2,
        });
        let text = scrape.text();
        assert_eq!(told(&text), [true; 4]);
        for line in [
            "slotkeeper_pods{pool=\"gamecube\",state=\"desired\"} 3",
            "slotkeeper_pods{pool=\"gamecube\",state=\"told\"} 3",
            "slotkeeper_max_pods{pool=\"gamecube\"} 5",
            "gamecube_active_sessions 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        let nothing = scrape.metrics.text(None, [(&scrape.config, &scrape.own)].into_iter()).unwrap();
        assert_eq!(told(&nothing), [false; 4], "an unreliable state does not repeat earlier values");
    }

    #[test]
    fn counters_exist_at_0_before_their_first_event() {
        let text = Scrape::of(POOL).text();
        for (name, count) in [
            ("slotkeeper_releases_total", 9),
            ("slotkeeper_cluster_errors_total", super::ORDERS.len()),
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
