//! The ordered journal: where entries get their order and their time. What is behind it is nobody else's business.

pub mod memory;

use crate::outside::BoxFuture;
use slotkeeper_core::{Command, Entry, PoolId, ReplicaId};

/// Both ends of one journal, for one replica.
pub struct Journal {
    pub append: Box<dyn Append>,
    pub follow: Box<dyn Follow>,
    /// Other replicas write to it, too: whoever is cut off from it must not rely on what it read last (law 5).
    pub shared: bool,
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
    /// Returns when the whole batch has its place in the order (and is as durable as this journal gets).
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// Reading: every entry once, in order, one's own included.
pub trait Follow: Send {
    /// The next entries; waits until there is at least one. Safe to cancel: nothing is lost.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>>;
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("the journal is closed")]
    Closed,
}
