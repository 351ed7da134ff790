//! The metrics in groups, each registered at the start. Most have a label `pool`.

use super::{counters, gauges, histograms, register};
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::HashMap;

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

/// The fleet's state: set at each scrape (`ops/gauges.rs`).
pub struct StateMetrics {
    pub sessions: IntGaugeVec,
    pub queue: IntGaugeVec,
    pub slots: IntGaugeVec,
    pub pods: IntGaugeVec,
    pub asked: IntGaugeVec,
    pub message_rate: IntGaugeVec,
    pub pod_gauge: GaugeVec,
    pub max_pods: IntGaugeVec,
    pub active: IntGaugeVec,
    pub frozen: IntGaugeVec,
}

impl StateMetrics {
    pub(super) fn new(registry: &Registry) -> Result<StateMetrics, prometheus::Error> {
        Ok(StateMetrics {
            sessions: gauges(registry, "slotkeeper_sessions", "Sessions by state.", &["pool", "state"])?,
            queue: gauges(registry, "slotkeeper_queue_length", "Sessions waiting for a slot.", &["pool"])?,
            slots: gauges(
                registry,
                "slotkeeper_slots",
                "Slots of ready pods by state: busy, or free to be placed in.",
                &["pool", "state"],
            )?,
            pods: gauges(
                registry,
                "slotkeeper_pods",
                "Pods: needed, desired, told (the size written to the cluster), existing, ready, leaving, retiring, terminating, unusable, failing.",
                &["pool", "state"],
            )?,
            asked: gauges(
                registry,
                "slotkeeper_pods_asked",
                "Pods that each target asks for: slots, sessions, messages, gauge. The largest is needed.",
                &["pool", "target"],
            )?,
            message_rate: gauges(
                registry,
                "slotkeeper_messages_per_second",
                "WebSocket messages per second through all dispatchers, over the window of a pool that has them as a target.",
                &["pool"],
            )?,
            pod_gauge: register(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "slotkeeper_pod_gauge",
                        "The sum of the pods' own gauge, of a pool that has it as a target.",
                    ),
                    &["pool"],
                )?,
            )?,
            max_pods: gauges(registry, "slotkeeper_max_pods", "Maximum of pods (max_pods).", &["pool"])?,
            active: gauges(
                registry,
                "slotkeeper_active",
                "1 while any session exists: waits, has a slot or drains.",
                &["pool"],
            )?,
            frozen: gauges(
                registry,
                "slotkeeper_frozen",
                "1 after an invariant was broken (a bug): no session is placed in the pool any more.",
                &["pool"],
            )?,
        })
    }
}

impl StateMetrics {
    /// Removes all series: those of a state that is not known any more must not stay.
    pub fn reset(&self) {
        self.each().into_iter().for_each(IntGaugeVec::reset);
        self.pod_gauge.reset();
    }

    fn each(&self) -> [&IntGaugeVec; 9] {
        let StateMetrics { sessions, queue, slots, pods, asked, message_rate, pod_gauge: _, max_pods, active, frozen } =
            self;
        [sessions, queue, slots, pods, asked, message_rate, max_pods, active, frozen]
    }

    pub(super) fn forget(&self, pool: &str) {
        self.each().into_iter().for_each(|series| forget(series, pool));
        forget(&self.pod_gauge, pool);
    }
}

/// Events of sessions and pods.
pub(super) struct SessionMetrics {
    pub(super) releases: IntCounterVec,
    pub(super) time_to_slot: HistogramVec,
    pub(super) cold_start: HistogramVec,
    pub(super) attached: IntGaugeVec,
    pub(super) minted: IntCounterVec,
}

impl SessionMetrics {
    pub(super) fn new(registry: &Registry) -> Result<SessionMetrics, prometheus::Error> {
        Ok(SessionMetrics {
            releases: counters(
                registry,
                "slotkeeper_releases_total",
                "Sessions ended, by reason.",
                &["pool", "reason"],
            )?,
            time_to_slot: histograms(
                registry,
                "slotkeeper_time_to_slot_seconds",
                "Time from joining the queue until a slot is assigned.",
                &["pool"],
                SECONDS_TO_SLOT,
            )?,
            cold_start: histograms(
                registry,
                "slotkeeper_cold_start_seconds",
                "Time from wanting a pod until it is ready.",
                &["pool"],
                SECONDS_OF_START,
            )?,
            attached: gauges(
                registry,
                "slotkeeper_sessions_attached",
                "Sessions that have streams on this replica, or had until a moment ago.",
                &["pool"],
            )?,
            minted: counters(
                registry,
                "slotkeeper_sessions_minted_total",
                "Session cookies issued, whether or not they were ever returned.",
                &["pool"],
            )?,
        })
    }
}

impl SessionMetrics {
    pub(super) fn forget(&self, pool: &str) {
        let SessionMetrics { releases, time_to_slot, cold_start, attached, minted } = self;
        [releases, minted].into_iter().for_each(|series| forget(series, pool));
        [time_to_slot, cold_start].into_iter().for_each(|series| forget(series, pool));
        forget(attached, pool);
    }
}

/// Requests and tunnels.
pub(super) struct RequestMetrics {
    pub(super) requests: HistogramVec,
    pub(super) faults: IntCounterVec,
    pub(super) repeated: IntCounterVec,
    pub(super) corrected: IntCounterVec,
    pub(super) late: IntCounterVec,
    pub(super) sessionless: IntCounterVec,
    pub(super) reports: IntCounterVec,
    pub(super) streams: IntGaugeVec,
    pub(super) messages: IntCounterVec,
    pub(super) bytes: IntCounterVec,
}

impl RequestMetrics {
    pub(super) fn new(registry: &Registry) -> Result<RequestMetrics, prometheus::Error> {
        Ok(RequestMetrics {
            requests: histograms(
                registry,
                "slotkeeper_request_seconds",
                "Time from a request's head to its response's head, by outcome.",
                &["pool", "outcome"],
                SECONDS_OF_REQUEST,
            )?,
            faults: counters(
                registry,
                "slotkeeper_request_faults_total",
                "Failed requests, by cause.",
                &["pool", "fault"],
            )?,
            repeated: counters(
                registry,
                "slotkeeper_requests_repeated_total",
                "Requests repeated on a new connection because a pod closed a kept one.",
                &["pool"],
            )?,
            corrected: counters(
                registry,
                "slotkeeper_responses_corrected_total",
                "Responses of pods that were corrected: cookie (set or deleted a session cookie), framing (stated a length in addition to a coding, or twice), location (named the pod's own address).",
                &["pool", "what"],
            )?,
            late: counters(
                registry,
                "slotkeeper_timeouts_total",
                "Requests and bodies that took too long: answer (the pod's head, answer_seconds), page (the same, of a pod that fails its health probes); upload_visitor, upload_pod, download_pod, download_visitor (the side that stalled a body, stall_seconds).",
                &["pool", "what"],
            )?,
            sessionless: counters(
                registry,
                "slotkeeper_requests_without_session_total",
                "Requests that began no session: preflight (CORS), cookie (the response cannot carry it), again (one of several alike: sent again), gone (the client disconnected), passive (does not use the pool), background (of a page whose session has ended).",
                &["pool", "why"],
            )?,
            reports: counters(
                registry,
                "slotkeeper_activity_reports_total",
                "Reports of activity, by pages and by pods.",
                &["pool", "from"],
            )?,
            streams: gauges(
                registry,
                "slotkeeper_streams_open",
                "Open streams: requests in flight, and upgraded connections.",
                &["pool", "kind"],
            )?,
            messages: counters(
                registry,
                "slotkeeper_messages_total",
                "WebSocket messages: in (from visitors) and out.",
                &["pool", "direction"],
            )?,
            bytes: counters(
                registry,
                "slotkeeper_tunnel_bytes_total",
                "Bytes of upgraded connections: in (from visitors) and out.",
                &["pool", "direction"],
            )?,
        })
    }
}

impl RequestMetrics {
    pub(super) fn forget(&self, pool: &str) {
        let RequestMetrics {
            requests,
            faults,
            repeated,
            corrected,
            late,
            sessionless,
            reports,
            streams,
            messages,
            bytes,
        } = self;
        let counters = [faults, repeated, corrected, late, sessionless, reports, messages, bytes];
        counters.into_iter().for_each(|series| forget(series, pool));
        forget(requests, pool);
        forget(streams, pool);
    }
}

/// This replica and its journal. Not by pool.
pub struct ReplicaMetrics {
    pub connections: IntGauge,
    pub ready: IntGauge,
    pub journal_position: IntGauge,
    pub journal_owed: IntGauge,
    pub cut_off: IntGauge,
    pub lapse: IntGauge,
    pub new_lives: IntCounter,
    pub broken: IntCounter,
}

impl ReplicaMetrics {
    pub(super) fn new(registry: &Registry) -> Result<ReplicaMetrics, prometheus::Error> {
        Ok(ReplicaMetrics {
            connections: register(
                registry,
                IntGauge::new("slotkeeper_connections_open", "Connections from visitors.")?,
            )?,
            ready: register(
                registry,
                IntGauge::new("slotkeeper_ready", "1 while this dispatcher is ready for visitors, as in /readyz.")?,
            )?,
            journal_position: register(
                registry,
                IntGauge::new("slotkeeper_journal_position", "Entries applied by this dispatcher.")?,
            )?,
            journal_owed: register(
                registry,
                IntGauge::new(
                    "slotkeeper_journal_owed",
                    "Entries that this dispatcher has submitted to the journal and not read back yet.",
                )?,
            )?,
            cut_off: register(
                registry,
                IntGauge::new(
                    "slotkeeper_cut_off",
                    "1 while this replica is cut off from the shared journal: its streams are closed, and the gauges of pools are not shown.",
                )?,
            )?,
            lapse: register(
                registry,
                IntGauge::new(
                    "slotkeeper_lapse",
                    "1 while the journal may have lost entries: meanwhile no session is placed and no pod is removed.",
                )?,
            )?,
            new_lives: register(
                registry,
                IntCounter::new(
                    "slotkeeper_new_lives_total",
                    "Number of times that this replica started again under a new id: the fleet had given it up, or the journal had lost entries that it had read.",
                )?,
            )?,
            broken: register(
                registry,
                IntCounter::new(
                    "slotkeeper_broken_invariants_total",
                    "Bugs: broken invariants, each of which froze a pool's placing.",
                )?,
            )?,
        })
    }
}

/// Orders to clusters, the pods' own gauges, and calls of KEDA.
pub struct ScalingMetrics {
    pub cluster_errors: IntCounterVec,
    pub gauge_errors: IntCounterVec,
    pub scaler_requests: IntCounterVec,
    pub scaler_streams: IntGaugeVec,
    pub scaler_pushes: IntCounterVec,
}

impl ScalingMetrics {
    pub(super) fn new(registry: &Registry) -> Result<ScalingMetrics, prometheus::Error> {
        Ok(ScalingMetrics {
            cluster_errors: counters(
                registry,
                "slotkeeper_cluster_errors_total",
                "Orders to the cluster that failed.",
                &["pool", "order"],
            )?,
            gauge_errors: counters(
                registry,
                "slotkeeper_pod_gauge_errors_total",
                "Failed reads of the pods' own gauge.",
                &["pool"],
            )?,
            scaler_requests: counters(
                registry,
                "slotkeeper_scaler_requests_total",
                "Calls of KEDA, by method and gRPC status code (of a stream: at its start).",
                &["pool", "method", "code"],
            )?,
            scaler_streams: gauges(
                registry,
                "slotkeeper_scaler_streams_open",
                "Open push streams of KEDA.",
                &["pool"],
            )?,
            scaler_pushes: counters(
                registry,
                "slotkeeper_scaler_pushes_total",
                "Messages pushed to KEDA to report that the pool is active.",
                &["pool"],
            )?,
        })
    }
}

impl ScalingMetrics {
    pub(super) fn forget(&self, pool: &str) {
        let ScalingMetrics { cluster_errors, gauge_errors, scaler_requests, scaler_streams, scaler_pushes } = self;
        let counters = [cluster_errors, gauge_errors, scaler_requests, scaler_pushes];
        counters.into_iter().for_each(|series| forget(series, pool));
        forget(scaler_streams, pool);
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
