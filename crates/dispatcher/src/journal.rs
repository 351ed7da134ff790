//! The ordered journal: it gives entries their order and their time. The rest of the program does not depend on where it
//! is stored.

pub mod file;
pub mod memory;
pub(crate) mod metrics;
pub mod redis;

use crate::config::{Config, JournalConfig};
use crate::io::{BoxFuture, Clock, Net};
use anyhow::Context as _;
use prometheus::core::Collector;
use slotkeeper_core::{Command, Entry, Fleet, Millis, PoolId, ReplicaId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One replica's access to a journal: writing, reading, checkpoints.
pub struct Journal {
    /// Writes entries.
    pub append: Box<dyn Append>,
    /// Reads them back, and those of other replicas.
    pub follow: Box<dyn Follow>,
    /// `None`: no checkpoints, because nothing of the journal outlives the process.
    pub keep: Option<Box<dyn Keep>>,
    /// Other replicas write to it, too: a replica that is cut off from it must not rely on what it read last (law 5).
    pub shared: bool,
    /// How long no session is placed if entries turn out to be lost.
    pub patience: Patience,
    /// Its folder on this machine's disk, if it has one: other data that must outlive the process can be stored there.
    pub folder: Option<PathBuf>,
    /// Its metrics.
    pub collectors: Vec<Box<dyn Collector>>,
}

/// Opens the configured journal.
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
    /// A journal without checkpoints.
    #[must_use]
    pub fn new(append: Box<dyn Append>, follow: Box<dyn Follow>, shared: bool) -> Journal {
        Journal {
            append,
            follow,
            keep: None,
            shared,
            patience: Patience::default(),
            folder: None,
            collectors: Vec::new(),
        }
    }
}

/// The largest sum of `silence` and `grace` that this replica has ever known: for that long, other replicas may keep streams
/// that a journal with lost entries does not contain.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// Records that this sum has been in force.
    pub fn at_least(&self, patience: Millis) {
        self.0.fetch_max(patience.0, Ordering::Relaxed);
    }

    /// Returns the largest recorded sum.
    #[must_use]
    pub fn get(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

/// An entry to be written; the journal adds its order and its time.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The replica that writes it.
    pub from: ReplicaId,
    /// Counts the replica's entries, from 1. By it the fleet recognises repetitions.
    pub number: u64,
    /// The pool that the command concerns; empty for commands that concern the replica or the whole fleet.
    pub pool: PoolId,
    /// What it reports or requests.
    pub command: Command,
}

/// Writing: one append in flight, a batch at a time.
pub trait Append: Send {
    /// Returns when the whole batch has its place in the order (and is as durable as this journal gets). Temporary failures
    /// (a full disk, the network, a restart of the server) are retried here, with a warning; the batch may then be written
    /// twice: the fleet recognises repetitions by their numbers.
    ///
    /// # Errors
    /// Permanent failures: the dispatcher ends.
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// Reading: every entry once, in order, including those of this replica.
pub trait Follow: Send {
    /// Waits for the next entries or the next state. Safe to cancel: nothing is lost.
    ///
    /// # Errors
    /// Permanent failures: for example, an entry or a checkpoint that this version cannot read.
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>>;
}

/// The result of a read from a journal.
#[derive(Debug)]
pub enum ReadResult {
    /// Replaces the state, whatever was known before; entries continue after it. Comes first if there is a checkpoint; and
    /// again (from the newest checkpoint, or empty) when entries that this replica had read turn out to be lost.
    State(Box<Fleet>),
    /// Never empty.
    Entries(Vec<Entry>),
}

/// Writes checkpoints, so that the entries before them can be removed.
pub trait Keep: Send {
    /// The number of entries between two checkpoints. (More if there are more sessions: the size of a checkpoint grows
    /// with them.)
    fn every(&self) -> u64 {
        4096
    }

    /// Writes this state as a checkpoint (its position is [`Fleet::applied`]). A state older than the newest checkpoint is
    /// ignored. The state is lent: as long as it is not dropped, entries are applied at the readers' cost.
    ///
    /// # Errors
    /// The checkpoint could not be written; the journal continues to work, and grows.
    fn keep(&mut self, fleet: Arc<Fleet>) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// Why a journal does not work any more. The dispatcher ends with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The other side, in this process, has ended.
    #[error("the journal is closed")]
    Closed,
    /// An entry or a checkpoint is damaged, or of a version that this program does not know.
    #[error("{0}")]
    Unreadable(String),
    /// The operating system refuses an operation on the journal's folder.
    #[error("{what}")]
    Io {
        /// The operation and the file.
        what: String,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
}
