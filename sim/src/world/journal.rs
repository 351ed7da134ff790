//! The journal of a dispatcher alone, as a file is one: what it has taken is durable, states are kept, and what led to them
//! is forgotten. (Several dispatchers write to `redis`.) And the traps that kill a dispatcher in the midst of writing.

use super::redis::PORT;
use super::truth::Truth;
use serde::Deserialize;
use slotkeeper::journal::redis::{OpenError, RedisJournal};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, Keep, News};
use slotkeeper::outside::{BoxFuture, Net};
use slotkeeper_core::{Command, Entry, Fleet, PoolId, ReplicaId, Time};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Entries between two states that are kept: few, so that there are many.
const EVERY: u64 = 32;
/// Entries read at a time.
const BATCH: usize = 256;

/// All entries since the last state but one, in their order.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
    more: Arc<Notify>,
    truth: Truth,
    traps: Traps,
}

#[derive(Default)]
struct Inner {
    /// The position before the first of the entries.
    forgotten: u64,
    entries: VecDeque<Entry>,
    /// The newest state, and its position.
    kept: Option<(u64, String)>,
    last: Time,
    /// Its own clock's deviation, in milliseconds.
    step: i64,
}

impl Log {
    pub fn new(truth: Truth, traps: Traps) -> Log {
        Log { inner: Arc::default(), more: Arc::new(Notify::new()), truth, traps }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal's clock is wrong by this from now on.
    pub fn step_clock(&self, by: i64) {
        self.locked().step = by;
    }

    /// The one place where entries get their order and their time.
    fn append(&self, drafts: impl IntoIterator<Item = Draft>) {
        let mut inner = self.locked();
        let clock = (self.truth.wall().0 as i64 + inner.step) as u64;
        // As every journal does: its time never goes back.
        inner.last = inner.last.max(Time(clock));
        for Draft { from, number, pool, command } in drafts {
            let entry = Entry { at: inner.last, from, number, pool, command };
            self.truth.journalled(inner.forgotten + inner.entries.len() as u64 + 1, &entry);
            inner.entries.push_back(entry);
        }
        drop(inner);
        self.more.notify_waiters();
    }

    fn after(&self, position: u64) -> Vec<Entry> {
        let inner = self.locked();
        let known = position.saturating_sub(inner.forgotten) as usize;
        inner.entries.iter().skip(known).take(BATCH).cloned().collect()
    }

    async fn wait(&self, position: u64) -> Vec<Entry> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let entries = self.after(position);
            if !entries.is_empty() {
                return entries;
            }
            more.await;
        }
    }
}

/// The journal of the only dispatcher. `sync`: how long a write takes to be durable.
pub fn own(log: &Log, host: usize, sync: Duration) -> Journal {
    let mut journal = Journal::new(
        Box::new(OwnAppend { log: log.clone(), host, sync }),
        Box::new(OwnFollow { log: log.clone(), read: None }),
        false,
    );
    journal.keep = Some(Box::new(OwnKeep { log: log.clone(), sync }));
    journal
}

struct OwnAppend {
    log: Log,
    host: usize,
    sync: Duration,
}

impl Append for OwnAppend {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            #[cfg(feature = "faultpoints")]
            slotkeeper::faultpoints::pass(slotkeeper::faultpoints::Point::FileBeforeSync).await;
            tokio::time::sleep(self.sync).await;
            if let Some(draft) = batch.first() {
                self.log.truth.lives_as(self.host, draft.from);
            }
            let taken = match self.log.traps.springs(self.host) {
                None => {
                    self.log.append(batch);
                    #[cfg(feature = "faultpoints")]
                    slotkeeper::faultpoints::pass(slotkeeper::faultpoints::Point::FileAfterSync).await;
                    return Ok(());
                }
                Some(When::Before) => 0,
                Some(When::Midst) => batch.len() / 2,
                Some(When::After) => batch.len(),
            };
            self.log.append(batch.into_iter().take(taken));
            std::future::pending().await
        })
    }
}

struct OwnFollow {
    log: Log,
    /// The position up to which it has read.
    read: Option<u64>,
}

impl Follow for OwnFollow {
    fn next(&mut self) -> BoxFuture<'_, Result<News, JournalError>> {
        Box::pin(async move {
            let Some(read) = self.read else {
                let kept = self.log.locked().kept.clone();
                self.read = Some(kept.as_ref().map_or(0, |(position, _)| *position));
                let Some((_, state)) = kept else { return self.entries(0).await };
                let fleet: Fleet = serde_json::from_str(&state).map_err(|e| JournalError::Unreadable(e.to_string()))?;
                self.log.truth.count("checkpoint restored");
                return Ok(News::State(Box::new(fleet)));
            };
            self.entries(read).await
        })
    }
}

impl OwnFollow {
    async fn entries(&mut self, read: u64) -> Result<News, JournalError> {
        let entries = self.log.wait(read).await;
        self.read = Some(read + entries.len() as u64);
        Ok(News::Entries(entries))
    }
}

struct OwnKeep {
    log: Log,
    sync: Duration,
}

impl Keep for OwnKeep {
    fn every(&self) -> u64 {
        EVERY
    }

    fn keep(&mut self, fleet: Fleet) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            tokio::time::sleep(self.sync).await;
            let state = serde_json::to_string(&fleet).map_err(|e| JournalError::Unreadable(e.to_string()))?;
            self.log.truth.kept(fleet.applied(), state.as_bytes());
            let mut inner = self.log.locked();
            let before = inner.kept.replace((fleet.applied(), state)).map_or(0, |(position, _)| position);
            // As long as the newest could be unreadable, the one before it is of use.
            let forgotten = before.saturating_sub(inner.forgotten) as usize;
            inner.entries.drain(..forgotten);
            inner.forgotten += forgotten as u64;
            Ok(())
        })
    }
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

    /// Who is to be killed now.
    pub fn caught(&self) -> Vec<usize> {
        std::mem::take(&mut self.locked().caught)
    }
}
