//! What a journal that outlives the process counts: mostly the same for all of them, so that a dashboard need not know
//! which one it is.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

/// Cheap to clone: all clones count into the same figures.
#[derive(Clone)]
pub struct Figures {
    pub appends: Histogram,
    pub entries: IntCounter,
    pub errors: IntCounterVec,
    /// The position of the newest checkpoint that this replica has kept.
    pub kept: IntGauge,
    /// Of a folder.
    pub size: IntGauge,
    /// Of a server.
    pub lapses: IntCounter,
}

/// Seconds. A solid disk takes half a millisecond, a busy network disk tens of them.
const BUCKETS: [f64; 16] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

impl Figures {
    /// # Errors
    /// None, as long as the names below are names.
    pub fn new() -> Result<Figures, prometheus::Error> {
        let appends = HistogramOpts::new(
            "slotkeeper_journal_append_seconds",
            "From handing a batch of entries to the journal until it has its place there, trouble on the way included.",
        );
        Ok(Figures {
            appends: Histogram::with_opts(appends.buckets(BUCKETS.to_vec()))?,
            entries: IntCounter::new("slotkeeper_journal_entries_total", "Entries written by this replica.")?,
            errors: IntCounterVec::new(
                Opts::new("slotkeeper_journal_errors_total", "What the journal could not do at once, by what it was."),
                &["step"],
            )?,
            kept: IntGauge::new(
                "slotkeeper_journal_kept_position",
                "The position of the newest checkpoint that this replica has kept.",
            )?,
            size: IntGauge::new("slotkeeper_journal_size_bytes", "How large the journal's folder is.")?,
            lapses: IntCounter::new(
                "slotkeeper_journal_lapses_total",
                "How often this replica found that entries may be lost, and wrote so.",
            )?,
        })
    }

    #[must_use]
    pub fn of_folder(&self) -> Vec<Box<dyn Collector>> {
        let mut all = self.of_all();
        all.push(Box::new(self.size.clone()));
        all
    }

    #[must_use]
    pub fn of_server(&self) -> Vec<Box<dyn Collector>> {
        let mut all = self.of_all();
        all.push(Box::new(self.lapses.clone()));
        all
    }

    fn of_all(&self) -> Vec<Box<dyn Collector>> {
        let Figures { appends, entries, errors, kept, .. } = self.clone();
        vec![Box::new(appends), Box::new(entries), Box::new(errors), Box::new(kept)]
    }
}
