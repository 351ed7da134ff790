//! The dispatchers' journals: that in a file, on `disk`, or the client of the one on the network (`redis`). And the traps
//! that kill a dispatcher in the midst of writing to the latter.

use super::disk::{self, Disk};
use super::redis::PORT;
use serde::Deserialize;
use slotkeeper::journal::redis::{OpenError, RedisJournal};
use slotkeeper::journal::{Journal, JournalError, Keep, file};
use slotkeeper::outside::{BoxFuture, Clock, Net};
use slotkeeper_core::{Command, Entry, Fleet, PoolId, ReplicaId, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries between two states that are kept: few, so that there are many.
const EVERY: u64 = 32;
/// The journal of the only dispatcher: the file journal itself, on a simulated disk.
///
/// # Errors
/// Those of [`file::open`].
pub fn own(disk: &Disk, clock: Clock) -> Result<Journal, file::OpenError> {
    let mut journal = file::open_on(file::disk::Disk::of(disk.mount()), &disk::folder(), clock)?;
    disk.opened();
    journal.keep = journal.keep.map(|keep| Box::new(Often(keep)) as Box<dyn Keep>);
    Ok(journal)
}

/// The journal of several: the real client, over the simulated network, to `redis`.
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

/// Keeps states more often than it would.
struct Often(Box<dyn Keep>);

impl Keep for Often {
    fn every(&self) -> u64 {
        EVERY
    }

    fn keep(&mut self, fleet: Fleet) -> BoxFuture<'_, Result<(), JournalError>> {
        self.0.keep(fleet)
    }
}

/// A draft as the journal on the network has it.
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

/// When a dispatcher is killed: of the entries it is writing the journal has taken none, some, or all, and it has not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    Midst,
    After,
}

/// Wait for dispatchers to write.
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

    /// A dispatcher is writing. What to do before it dies, if it is to.
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

    /// Who is to be killed now.
    pub fn caught(&self) -> Vec<usize> {
        std::mem::take(&mut self.locked().caught)
    }
}
