//! The gateway's metrics, under the names that WebSocket dashboards use. Each gateway has its own registry: several gateways
//! in one process do not share metrics.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Reasons for refusing a socket.
const REFUSALS: [&str; 4] = ["full", "draining", "origin", "bad_request"];
/// Reasons for the end of a socket.
const ENDS: [&str; 7] = ["client", "heartbeat", "slow_consumer", "drain", "too_large", "protocol", "error"];

pub(super) struct Metrics {
    registry: Registry,
    active: [IntGauge; 2],
    limit: IntGauge,
    ratio: Gauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    drain_started: Gauge,
    pub(super) connections: IntCounter,
    pub(super) refused: IntCounterVec,
    pub(super) closed: IntCounterVec,
    pub(super) received: IntCounter,
    pub(super) sent: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) backlog: IntGauge,
    pub(super) draining: IntGauge,
    pub(super) redis_connected: IntGauge,
    pub(super) published: IntCounter,
    pub(super) delivered: IntCounter,
}

impl Metrics {
    /// # Errors
    /// If two metrics have the same name.
    pub(super) fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let gauge = |name, help| known(&registry, IntGauge::new(name, help)?);
        let number = |name, help| known(&registry, Gauge::new(name, help)?);
        let counter = |name, help| known(&registry, IntCounter::new(name, help)?);
        let counters = |name, help, reasons: &[&str]| {
            let counters = known(&registry, IntCounterVec::new(Opts::new(name, help), &["reason"])?)?;
            // All labels exist from the start, because a rate needs an initial zero.
            reasons.iter().for_each(|reason| counters.with_label_values(&[*reason]).inc_by(0));
            Ok::<_, prometheus::Error>(counters)
        };
        let metrics = Metrics {
            active: [
                gauge("websocket_active_connections", "Open WebSockets, including those that are being opened")?,
                gauge("ws_connections_active", "The same as websocket_active_connections")?,
            ],
            limit: gauge("websocket_connection_limit", "WebSockets that this pod has room for")?,
            ratio: number("websocket_capacity_ratio", "Open WebSockets over the limit")?,
            open_fds: gauge("process_open_fds", "Files that this process has open")?,
            max_fds: gauge("process_max_fds", "Files that this process may have open")?,
            drain_started: number(
                "websocket_drain_started_timestamp_seconds",
                "When the drain began, in seconds since 1970; 0 before",
            )?,
            connections: counter("websocket_connections_total", "WebSockets accepted")?,
            refused: counters("websocket_connections_refused_total", "WebSockets refused, by reason", &REFUSALS)?,
            closed: counters("websocket_closed_total", "WebSockets that ended, by reason", &ENDS)?,
            received: counter("websocket_messages_received_total", "Messages of clients")?,
            sent: counter("websocket_messages_sent_total", "Messages written to clients")?,
            dropped: counter("websocket_messages_dropped_total", "Messages not sent because a client was slow")?,
            backlog: gauge("websocket_send_queue_messages", "Messages queued for all sockets")?,
            draining: gauge("websocket_draining", "1 once the pod drains")?,
            redis_connected: gauge("chat_redis_connected", "1 while the chat has its Redis")?,
            published: counter("chat_messages_published_total", "Published chat messages of this pod's clients")?,
            delivered: counter("chat_messages_delivered_total", "Chat messages delivered to sockets of this pod")?,
            registry,
        };
        Ok(metrics)
    }

    pub(super) fn limit(&self, limit: usize) {
        self.limit.set(limit as i64);
    }

    pub(super) fn active(&self, active: usize, limit: usize) {
        self.active.iter().for_each(|gauge| gauge.set(active as i64));
        self.ratio.set(active as f64 / limit as f64);
    }

    pub(super) fn drain_started(&self) {
        self.draining.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.drain_started.set(now.as_secs_f64());
    }

    /// All metrics in Prometheus' text format.
    pub(super) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_fds.set(limit.and_then(|files| i64::try_from(files).ok()).unwrap_or(i64::MAX));
        // One of them is the descriptor that reads this folder.
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1));
        self.open_fds.set(open as i64);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn known<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> prometheus::Result<T> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
