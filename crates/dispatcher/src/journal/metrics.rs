//! The metrics of journals that outlive the process: mostly the same for all of them, so that a dashboard need not know
//! which one is in use.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

/// Cheap to clone: all clones share the same metrics.
#[derive(Clone)]
pub(crate) struct JournalMetrics {
    /// How long appends take, in seconds.
    pub(crate) appends: Histogram,
    /// Written entries.
    pub(crate) entries: IntCounter,
    /// Failed attempts, by the step that failed.
    pub(crate) errors: IntCounterVec,
    /// The position of the newest checkpoint that this replica has written.
    pub(crate) kept: IntGauge,
    /// Only of a folder.
    pub(crate) size: IntGauge,
    /// Only of a server.
    pub(crate) lapses: IntCounter,
}

/// Seconds. A solid-state disk takes half a millisecond, a busy network disk tens of milliseconds.
const BUCKETS: [f64; 16] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

impl JournalMetrics {
    /// # Errors
    /// None: the names below are valid.
    pub(crate) fn new() -> Result<JournalMetrics, prometheus::Error> {
        let appends = HistogramOpts::new(
            "slotkeeper_journal_append_seconds",
            "Time from submitting a batch of entries to the journal until its position is assigned, retries included.",
        );
        Ok(JournalMetrics {
            appends: Histogram::with_opts(appends.buckets(BUCKETS.to_vec()))?,
            entries: IntCounter::new("slotkeeper_journal_entries_total", "Entries written by this replica.")?,
            errors: IntCounterVec::new(
                Opts::new("slotkeeper_journal_errors_total", "Failed attempts of journal operations, by step."),
                &["step"],
            )?,
            kept: IntGauge::new(
                "slotkeeper_journal_kept_position",
                "The position of the newest checkpoint that this replica has written.",
            )?,
            size: IntGauge::new("slotkeeper_journal_size_bytes", "Size of the journal's folder.")?,
            lapses: IntCounter::new(
                "slotkeeper_journal_lapses_total",
                "Number of times that this replica found that entries may be lost, and wrote a lapse.",
            )?,
        })
    }

    /// Returns the metrics of a journal in a folder.
    #[must_use]
    pub(crate) fn of_folder(&self) -> Vec<Box<dyn Collector>> {
        let mut all = self.of_all();
        all.push(Box::new(self.size.clone()));
        all
    }

    /// Returns the metrics of a journal in Redis.
    #[must_use]
    pub(crate) fn of_server(&self) -> Vec<Box<dyn Collector>> {
        let mut all = self.of_all();
        all.push(Box::new(self.lapses.clone()));
        all
    }

    fn of_all(&self) -> Vec<Box<dyn Collector>> {
        let JournalMetrics { appends, entries, errors, kept, .. } = self.clone();
        vec![Box::new(appends), Box::new(entries), Box::new(errors), Box::new(kept)]
    }
}
