//! The dispatchers' journals: the file journal on `disk`, or the client of the shared one on the network (`redis`).
//! Also the traps that kill a dispatcher while it writes to the shared one.

use super::disk::{self, Disk};
use super::redis::PORT;
use serde::Deserialize;
use slotkeeper::io::{BoxFuture, Clock, Net};
use slotkeeper::journal::redis::{OpenError, RedisJournal};
use slotkeeper::journal::{Journal, JournalError, Keep, file};
use slotkeeper_core::{Command, Entry, Fleet, PoolId, ReplicaId, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of entries between two checkpoints: low, so that there are many checkpoints.
const EVERY: u64 = 32;
/// Opens the journal of a single dispatcher: the real file journal, on a simulated disk.
///
/// # Errors
/// Those of [`file::open`].
pub fn own(disk: &Disk, clock: Clock) -> Result<Journal, file::OpenError> {
    let mut journal = file::open_on(file::disk::Disk::of(disk.mount()), &disk::folder(), clock)?;
    disk.opened();
    journal.keep = journal.keep.map(|keep| Box::new(Often(keep)) as Box<dyn Keep>);
    Ok(journal)
}

/// Opens the journal of several dispatchers: the real client, over the simulated network, to `redis`.
///
/// # Errors
/// None that a world could cause.
pub fn shared(at: IpAddr, net: Arc<dyn Net>) -> Result<Journal, OpenError> {
    let address = RedisJournal {
        host: at.to_string(),
        port: PORT,
        database: 0,
        username: None,
        password: None,
        tls: None,
        name: "slotkeeper".into(),
    };
    let mut journal = slotkeeper::journal::redis::open(&address, net)?;
    journal.keep = journal.keep.map(|keep| Box::new(Often(keep)) as Box<dyn Keep>);
    Ok(journal)
}

/// Writes checkpoints more often than the journal would.
struct Often(Box<dyn Keep>);

impl Keep for Often {
    fn every(&self) -> u64 {
        EVERY
    }

    fn keep(&mut self, fleet: Arc<Fleet>) -> BoxFuture<'_, Result<(), JournalError>> {
        self.0.keep(fleet)
    }
}

/// Converts a draft to an entry, as the shared journal does.
pub fn entry(at: u64, draft: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Written {
        from: ReplicaId,
        number: u64,
        pool: PoolId,
        command: Command,
    }
    let Written { from, number, pool, command } = serde_json::from_slice(draft).ok()?;
    Some(Entry { at: Time(at), from, number, pool, command })
}

/// When a dispatcher is killed: the journal has taken none, some, or all of the entries it is writing, and it has not
/// received the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    Midst,
    After,
}

/// Traps that are triggered when a dispatcher writes.
#[derive(Clone, Default)]
pub struct Traps(Arc<Mutex<Set>>);

#[derive(Default)]
struct Set {
    waiting: BTreeMap<usize, When>,
    caught: Vec<usize>,
}

impl Traps {
    fn locked(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, host: usize, when: When) {
        self.locked().waiting.insert(host, when);
    }

    pub fn remove(&self, host: usize) {
        self.locked().waiting.remove(&host);
    }

    /// A dispatcher is writing. Returns what is to be written before it is killed, if it has a trap.
    pub fn springs(&self, host: usize) -> Option<When> {
        let mut set = self.locked();
        let when = set.waiting.remove(&host)?;
        set.caught.push(host);
        Some(when)
    }

    /// This dispatcher is to be killed now.
    pub fn catch(&self, host: usize) {
        self.locked().caught.push(host);
    }

    /// Returns the dispatchers that are to be killed now.
    pub fn caught(&self) -> Vec<usize> {
        std::mem::take(&mut self.locked().caught)
    }
}
