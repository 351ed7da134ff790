//! The ordered journal: where entries get their order and their time. What is behind it is nobody else's business.

pub mod figures;
pub mod file;
pub mod memory;
pub mod redis;

use crate::config::{Config, JournalConfig};
use crate::outside::{BoxFuture, Clock, Net};
use anyhow::Context as _;
use prometheus::core::Collector;
use slotkeeper_core::{Command, Entry, Fleet, Millis, PoolId, ReplicaId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All ends of one journal, for one replica.
pub struct Journal {
    pub append: Box<dyn Append>,
    pub follow: Box<dyn Follow>,
    /// `None`: nothing outlives the process, so nothing is kept.
    pub keep: Option<Box<dyn Keep>>,
    /// Other replicas write to it, too: whoever is cut off from it must not rely on what it read last (law 5).
    pub shared: bool,
    /// How long nobody is placed should entries turn out to be lost.
    pub patience: Patience,
    /// Where it is on this machine's disk, if it is: what else has to outlive the process can be kept there.
    pub folder: Option<PathBuf>,
    /// What it counts, for the metrics.
    pub figures: Vec<Box<dyn Collector>>,
}

/// The journal that is configured.
///
/// # Errors
/// A folder that cannot be used or read, a certificate that cannot be read.
pub fn open(config: &Config, net: &Arc<dyn Net>, clock: Clock) -> anyhow::Result<Journal> {
    const WHERE: &str = "the journal (journal.at in the configuration, or --journal)";
    Ok(match &config.journal {
        JournalConfig::Memory => memory::open(clock),
        JournalConfig::File(folder) => file::open(folder, clock).context(WHERE)?,
        JournalConfig::Redis(redis) => redis::open(redis, net.clone()).context(WHERE)?,
    })
}

impl Journal {
    /// One that keeps no states.
    #[must_use]
    pub fn new(append: Box<dyn Append>, follow: Box<dyn Follow>, shared: bool) -> Journal {
        Journal { append, follow, keep: None, shared, patience: Patience::default(), folder: None, figures: Vec::new() }
    }
}

/// The longest `silence` and `grace` together that this replica has ever known: for so long others may keep streams
/// that a journal with a hole in it says nothing of.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    pub fn at_least(&self, patience: Millis) {
        self.0.fetch_max(patience.0, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

/// What a replica wants to write; order and time are the journal's.
#[derive(Clone, Debug)]
pub struct Draft {
    pub from: ReplicaId,
    pub number: u64,
    pub pool: PoolId,
    pub command: Command,
}

/// Writing: one append in flight, a batch at a time.
pub trait Append: Send {
    /// Returns when the whole batch has its place in the order (and is as durable as this journal gets). What is in the
    /// way of that and may pass (a full disk, a network, a restart of whatever keeps it) is waited out here, with a
    /// warning; it may be written twice then: the fleet knows repetitions by their numbers.
    ///
    /// # Errors
    /// What will not pass: the dispatcher ends.
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// Reading: every entry once, in order, one's own included.
pub trait Follow: Send {
    /// What comes next; waits until there is something. Safe to cancel: nothing is lost.
    ///
    /// # Errors
    /// What will not pass: an entry or a checkpoint that this version cannot read, say.
    fn next(&mut self) -> BoxFuture<'_, Result<News, JournalError>>;
}

/// What a journal has to say.
#[derive(Debug)]
pub enum News {
    /// The state is this, whatever was known before; entries go on after it. First of all, where a checkpoint has been
    /// kept; and again (from the newest checkpoint, or empty) when entries that had been read here turn out to be lost.
    State(Box<Fleet>),
    /// Never empty.
    Entries(Vec<Entry>),
}

/// Keeping states, so that the entries that led to them can be forgotten.
pub trait Keep: Send {
    /// After how many entries a state is worth keeping. (More, where there are many sessions: a state is as large as they are.)
    fn every(&self) -> u64 {
        4096
    }

    /// Keeps this state (its position is [`Fleet::applied`]). An older one than what is kept already is ignored.
    ///
    /// # Errors
    /// It could not be kept; the journal goes on, and grows.
    fn keep(&mut self, fleet: Fleet) -> BoxFuture<'_, Result<(), JournalError>>;
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("the journal is closed")]
    Closed,
    #[error("{0}")]
    Unreadable(String),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}
