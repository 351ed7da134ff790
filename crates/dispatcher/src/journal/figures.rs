//! What a journal that outlives the process counts.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

const SECONDS_OF_APPEND: &[f64] =
    &[0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Cheap to clone: all clones count into the same figures.
#[derive(Clone)]
pub struct Figures {
    pub appends: Histogram,
    pub entries: IntCounter,
    pub errors: IntCounterVec,
    /// The position of the newest state that was kept here.
    pub kept: IntGauge,
    pub lapses: IntCounter,
}

impl Figures {
    /// # Errors
    /// None, as long as the names below are names.
    pub fn new() -> Result<Figures, prometheus::Error> {
        let appends = HistogramOpts::new(
            "slotkeeper_journal_append_seconds",
            "From handing a batch to the journal until it has its place there, trouble on the way included.",
        );
        Ok(Figures {
            appends: Histogram::with_opts(appends.buckets(SECONDS_OF_APPEND.to_vec()))?,
            entries: IntCounter::new("slotkeeper_journal_entries_total", "Entries that this replica has written.")?,
            errors: IntCounterVec::new(
                Opts::new("slotkeeper_journal_errors_total", "Trouble with the journal, by what it is."),
                &["step"],
            )?,
            kept: IntGauge::new(
                "slotkeeper_journal_kept_position",
                "The position of the newest state that this replica has kept.",
            )?,
            lapses: IntCounter::new(
                "slotkeeper_journal_lapses_total",
                "Times that this replica found that entries may be lost, and wrote so.",
            )?,
        })
    }

    /// For the metrics.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let Figures { appends, entries, errors, kept, lapses } = self.clone();
        vec![Box::new(appends), Box::new(entries), Box::new(errors), Box::new(kept), Box::new(lapses)]
    }
}
