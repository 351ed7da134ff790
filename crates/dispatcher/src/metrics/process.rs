//! Metrics of this process: its listeners, its limits, its reloads.

use super::http2::HttpMetrics;
use super::tls::TlsMetrics;
use super::{counters, register};
use crate::io::lines::Fates;
use crate::io::proxy::ProxyHeaders;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

pub struct ProcessMetrics {
    accept_errors: IntCounterVec,
    /// Connections from visitors allowed at once.
    pub connections_limit: IntGauge,
    /// Number of times that a new connection had to wait because of that limit.
    pub connections_waited: IntCounter,
    reloads: IntCounterVec,
    admin_refused: IntCounterVec,
    proxy_headers: IntCounterVec,
    /// Lines of the access log.
    pub access_log: Fates,
    pub tls: TlsMetrics,
    pub http: HttpMetrics,
}

/// Why the admin listener refused a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A new connection, or an idle one for a new one.
    Connection,
    Token,
    /// A web page sent it.
    Page,
    Body,
}

impl Refused {
    const ALL: [Refused; 4] = [Refused::Connection, Refused::Token, Refused::Page, Refused::Body];

    fn word(self) -> &'static str {
        match self {
            Refused::Connection => "connection",
            Refused::Token => "token",
            Refused::Page => "page",
            Refused::Body => "body",
        }
    }
}

impl ProcessMetrics {
    /// The counters of PROXY headers, which exist from then on.
    #[must_use]
    pub fn proxy_headers(&self) -> ProxyHeaders {
        ProxyHeaders::new(|outcome| self.proxy_headers.with_label_values(&[outcome]))
    }

    pub(super) fn new(registry: &Registry) -> Result<ProcessMetrics, prometheus::Error> {
        Ok(ProcessMetrics {
            accept_errors: counters(
                registry,
                "slotkeeper_accept_errors_total",
                "Connections that could not be accepted (no free file descriptor, for example), by listener: visitors, admin, keda.",
                &["listener"],
            )?,
            connections_limit: register(
                registry,
                IntGauge::new(
                    "slotkeeper_connections_limit",
                    "Maximum of concurrent connections from visitors: limits.connections, or fewer because of the limit of open files.",
                )?,
            )?,
            connections_waited: register(
                registry,
                IntCounter::new(
                    "slotkeeper_connections_waited_total",
                    "Number of times that a new connection had to wait because the maximum was in use.",
                )?,
            )?,
            proxy_headers: counters(
                registry,
                "slotkeeper_proxy_headers_total",
                "Connections of visitors on listeners with PROXY protocol, by outcome: addresses, local (a health check of the proxy), unknown (the proxy does not know its client); refused: untrusted (not in trusted_proxies), timeout, closed, malformed.",
                &["outcome"],
            )?,
            access_log: {
                let lines = counters(
                    registry,
                    "slotkeeper_access_log_lines_total",
                    "Lines of the access log: written, dropped (the queue was full, or the output failed).",
                    &["outcome"],
                )?;
                let [written, dropped] = ["written", "dropped"].map(|outcome| lines.with_label_values(&[outcome]));
                Fates { written, dropped }
            },
            reloads: {
                let reloads = counters(
                    registry,
                    "slotkeeper_reloads_total",
                    "Reloads of the configuration (SIGHUP): applied, in_part (some of it needs a restart), refused (it has errors).",
                    &["outcome"],
                )?;
                for outcome in ["applied", "in_part", "refused"] {
                    reloads.with_label_values(&[outcome]);
                }
                reloads
            },
            admin_refused: {
                let refused = counters(
                    registry,
                    "slotkeeper_admin_refused_total",
                    "Refused by the admin listener: connection (over the limit: the new one, or an idle one for it), token (no valid one), page (sent by a web page), body (too large).",
                    &["why"],
                )?;
                for why in Refused::ALL {
                    refused.with_label_values(&[why.word()]);
                }
                refused
            },
            tls: TlsMetrics::new(registry)?,
            http: HttpMetrics::new(registry)?,
        })
    }

    #[must_use]
    pub fn reloads(&self, outcome: &str) -> IntCounter {
        self.reloads.with_label_values(&[outcome])
    }

    pub fn admin_refused(&self, why: Refused) {
        self.admin_refused.with_label_values(&[why.word()]).inc();
    }

    /// `listener`: `visitors`, `admin` or `keda`.
    #[must_use]
    pub fn accept_errors(&self, listener: &str) -> IntCounter {
        self.accept_errors.with_label_values(&[listener])
    }
}
