//! Metrics of this process: its listeners, its limits, its reloads.

use super::{counters, register};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

pub struct ProcessMetrics {
    accept_errors: IntCounterVec,
    /// Connections from visitors allowed at once.
    pub connections_limit: IntGauge,
    /// How often a new connection had to wait because of that limit.
    pub connections_waited: IntCounter,
    reloads: IntCounterVec,
}

impl ProcessMetrics {
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
                    "How often a new connection had to wait because the maximum was in use.",
                )?,
            )?,
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
        })
    }

    #[must_use]
    pub fn reloads(&self, outcome: &str) -> IntCounter {
        self.reloads.with_label_values(&[outcome])
    }

    /// `listener`: `visitors`, `admin` or `keda`.
    #[must_use]
    pub fn accept_errors(&self, listener: &str) -> IntCounter {
        self.accept_errors.with_label_values(&[listener])
    }
}
