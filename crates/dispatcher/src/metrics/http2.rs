//! Metrics of the protocol that visitors speak: requests by version, and the connections of HTTP/2.

use super::{counters, register};
use http::Version;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

/// How a connection with HTTP/2 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By the visitor, or in order.
    Closed,
    /// Without requests for too long.
    Idle,
    /// A head, or the beginning of the connection, took too long.
    Slow,
    /// The visitor violated the protocol or one of the library's limits, or the network failed.
    Error,
    /// Too many frames without use.
    Flood,
    /// Too many requests cancelled.
    Resets,
}

impl Ended {
    const ALL: [Ended; 6] = [Ended::Closed, Ended::Idle, Ended::Slow, Ended::Error, Ended::Flood, Ended::Resets];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::Idle => "idle",
            Ended::Slow => "slow",
            Ended::Error => "error",
            Ended::Flood => "flood",
            Ended::Resets => "resets",
        }
    }
}

/// The versions of HTTP.
const VERSIONS: [&str; 3] = ["1.0", "1.1", "2"];

pub struct HttpMetrics {
    requests: [IntCounter; VERSIONS.len()],
    /// Open connections with HTTP/2.
    pub connections: IntGauge,
    ended: IntCounterVec,
    /// Streams that visitors have reset.
    pub resets_received: IntCounter,
    /// Streams that were reset here.
    pub resets_sent: IntCounter,
}

impl HttpMetrics {
    pub(super) fn new(registry: &Registry) -> Result<HttpMetrics, prometheus::Error> {
        let requests = counters(
            registry,
            "slotkeeper_http_requests_total",
            "Requests from visitors by the version of HTTP: 1.0, 1.1, 2. A WebSocket is one.",
            &["version"],
        )?;
        let ended = counters(
            registry,
            "slotkeeper_http2_connections_ended_total",
            "HTTP/2 connections of visitors that have ended: closed (in order), idle (no requests), slow (a head took too long), error (of the protocol or network, or a limit of the library), flood (too many frames without use), resets (too many requests cancelled).",
            &["why"],
        )?;
        for why in Ended::ALL {
            ended.with_label_values(&[why.word()]);
        }
        let resets = counters(
            registry,
            "slotkeeper_http2_streams_reset_total",
            "Streams of HTTP/2 that were reset: by the visitor (a cancelled request), or by the dispatcher (refused over max_streams, invalid, or its response broke off).",
            &["by"],
        )?;
        Ok(HttpMetrics {
            requests: VERSIONS.map(|version| requests.with_label_values(&[version])),
            connections: register(
                registry,
                IntGauge::new("slotkeeper_http2_connections", "Open connections of visitors that speak HTTP/2.")?,
            )?,
            ended,
            resets_received: resets.with_label_values(&["visitor"]),
            resets_sent: resets.with_label_values(&["dispatcher"]),
        })
    }

    /// Counts a request.
    pub fn request(&self, version: Version) {
        let [old, usual, new] = &self.requests;
        match version {
            Version::HTTP_2 => new.inc(),
            Version::HTTP_11 => usual.inc(),
            _ => old.inc(),
        }
    }

    pub fn ended(&self, why: Ended) {
        self.ended.with_label_values(&[why.word()]).inc();
    }
}
