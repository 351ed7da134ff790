//! What a durable journal counts. The same for all of them, so that a dashboard need not know which one it is.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

#[derive(Clone)]
pub struct Figures {
    /// Seconds from having a batch to its being durable.
    pub appends: Histogram,
    /// Entries appended by this replica.
    pub entries: IntCounter,
    /// What went wrong, by step.
    pub errors: IntCounterVec,
    /// How large it is, in the journal's own unit.
    pub size: IntGauge,
    /// The position of the newest checkpoint.
    pub kept: IntGauge,
}

/// A solid disk takes half a millisecond, a busy network disk tens of them.
const BUCKETS: [f64; 13] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Figures {
    /// `unit`: what its size is counted in (`bytes`, `entries`).
    ///
    /// # Errors
    /// When the unit cannot be part of a metric's name.
    pub fn new(unit: &str) -> Result<Figures, prometheus::Error> {
        let appends = HistogramOpts::new(
            "slotkeeper_journal_append_seconds",
            "From having a batch of entries to its being durable, in seconds.",
        );
        let (size, help) = (format!("slotkeeper_journal_size_{unit}"), format!("How large the journal is, in {unit}."));
        Ok(Figures {
            appends: Histogram::with_opts(appends.buckets(BUCKETS.to_vec()))?,
            entries: IntCounter::new("slotkeeper_journal_entries_total", "Entries written by this replica.")?,
            errors: IntCounterVec::new(
                Opts::new("slotkeeper_journal_errors_total", "What the journal could not do at once, by step."),
                &["step"],
            )?,
            size: IntGauge::new(size, help)?,
            kept: IntGauge::new("slotkeeper_journal_kept_position", "The position of the newest checkpoint.")?,
        })
    }

    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.appends.clone()),
            Box::new(self.entries.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.size.clone()),
            Box::new(self.kept.clone()),
        ]
    }
}
