//! The counters of a pool of local processes, for `/metrics`.

use super::child::End;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};
use slotkeeper_core::PoolId;

/// A field is `None` only if the name of its metric or label is invalid, which these are not.
pub(super) struct ProcessMetrics {
    failures: Option<IntCounterVec>,
    suppressed: Option<IntCounter>,
}

/// The causes of unexpected ends.
const CAUSES: [&str; 4] = ["ended", "hung", "supervisor_killed", "not_started"];

impl ProcessMetrics {
    pub(super) fn new(pool: &PoolId) -> ProcessMetrics {
        let help = "Pods that could not be started or ended unexpectedly, by cause.";
        let failures = Opts::new("slotkeeper_process_failures_total", help).const_label("pool", &*pool.0);
        let failures = IntCounterVec::new(failures, &["cause"]).ok();
        for cause in CAUSES {
            // Present from the start, so that the first failure is an increase.
            failures.iter().for_each(|counter| drop(counter.with_label_values(&[cause])));
        }
        let help = "Lines of pods' output that were suppressed (log_lines_per_second).";
        let suppressed = Opts::new("slotkeeper_process_lines_suppressed_total", help).const_label("pool", &*pool.0);
        ProcessMetrics { failures, suppressed: IntCounter::with_opts(suppressed).ok() }
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let failures = self.failures.iter().map(|c| Box::new(c.clone()) as Box<dyn Collector>);
        failures.chain(self.suppressed.iter().map(|c| Box::new(c.clone()) as Box<dyn Collector>)).collect()
    }

    /// Counts a failure. `None`: the pod was not started.
    pub(super) fn failed(&self, end: Option<&End>) {
        let cause = match end {
            None => CAUSES[3],
            Some(End::Status(_) | End::Before) => CAUSES[0],
            Some(End::Hung(_)) => CAUSES[1],
            Some(End::Unsupervised) => CAUSES[2],
        };
        if let Some(counter) = &self.failures {
            counter.with_label_values(&[cause]).inc();
        }
    }

    pub(super) fn suppressed(&self) -> Option<IntCounter> {
        self.suppressed.clone()
    }
}
