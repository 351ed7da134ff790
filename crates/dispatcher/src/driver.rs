//! The only writer of the Fleet: takes orders, writes them to the journal, reads them back in the journal's order,
//! applies them, and hands on what follows. Nobody else changes the state; everybody may read it (`view.rs`).

use crate::journal::{Append, Draft, Follow, Journal, JournalError};
use crate::outside::{Ids, duration, now};
use crate::view::View;
use slotkeeper_core::{Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, Time};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Where orders go in.
#[derive(Clone)]
pub struct Driver {
    orders: mpsc::UnboundedSender<Order>,
    me: ReplicaId,
}

struct Order {
    pool: PoolId,
    command: Command,
    /// Told when the entry has been applied here.
    applied: Option<oneshot::Sender<()>>,
}

/// The dispatcher is ending: nothing is written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal takes nothing any more")]
pub struct Ended;

/// Entries written at a time.
const BATCH: usize = 256;

impl Driver {
    /// Writes without waiting.
    pub fn post(&self, pool: &PoolId, command: Command) {
        // The receiver lives as long as the process; at its end nobody needs the answer.
        let _ = self.orders.send(Order { pool: pool.clone(), command, applied: None });
    }

    /// Writes, and returns when the entry has been applied here: what the view says then is the answer to it.
    ///
    /// # Errors
    /// [`Ended`] when the dispatcher stops first.
    pub async fn tell(&self, pool: &PoolId, command: Command) -> Result<(), Ended> {
        let (sender, receiver) = oneshot::channel();
        let order = Order { pool: pool.clone(), command, applied: Some(sender) };
        self.orders.send(order).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }

    /// This life of this process.
    #[must_use]
    pub fn me(&self) -> ReplicaId {
        self.me
    }
}

/// The two tasks behind a [`Driver`]; they run until the journal ends.
pub struct Engine {
    orders: mpsc::UnboundedReceiver<Order>,
    /// For the ticks.
    driver: Driver,
    journal: Journal,
    view: watch::Sender<View>,
}

/// Own entries on their way: the order they were written in is the order they come back in.
type Pending = Arc<Mutex<VecDeque<(u64, Option<oneshot::Sender<()>>)>>>;

/// # Errors
/// When there is no randomness to name this life with.
pub fn new(journal: Journal, ids: &Ids) -> std::io::Result<(Driver, Engine, watch::Receiver<View>)> {
    let me = ReplicaId(ids.draw()?);
    let (sender, receiver) = mpsc::unbounded_channel();
    let (view, reader) = watch::channel(View { fleet: Fleet::new(), heard: now() });
    let driver = Driver { orders: sender, me };
    Ok((driver.clone(), Engine { orders: receiver, driver, journal, view }, reader))
}

impl Engine {
    /// Runs until the journal ends. `aftermath` is called for every effect, in order, before anybody who waits for the
    /// entry is told: whoever has read an answer can rely on its consequences having been taken note of here.
    pub async fn run(self, aftermath: impl Fn(&PoolId, &Effect, ReplicaId) + Send + Sync) -> JournalError {
        let pending = Pending::default();
        let Journal { append, follow } = self.journal;
        let write = write(append, self.orders, self.driver.me(), pending.clone());
        let read = read(follow, self.view, self.driver, pending, aftermath);
        tokio::select! {
            biased;
            error = read => error,
            error = write => error,
        }
    }
}

async fn write(
    mut journal: Box<dyn Append>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    me: ReplicaId,
    pending: Pending,
) -> JournalError {
    let (mut number, mut batch) = (0, Vec::with_capacity(BATCH));
    loop {
        if orders.recv_many(&mut batch, BATCH).await == 0 {
            return JournalError::Closed;
        }
        let mut drafts = Vec::with_capacity(batch.len());
        {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            for Order { pool, command, applied } in batch.drain(..) {
                number += 1;
                pending.push_back((number, applied));
                drafts.push(Draft { from: me, number, pool, command });
            }
        }
        if let Err(error) = journal.append(drafts).await {
            return error;
        }
    }
}

async fn read(
    mut journal: Box<dyn Follow>,
    view: watch::Sender<View>,
    driver: Driver,
    pending: Pending,
    aftermath: impl Fn(&PoolId, &Effect, ReplicaId),
) -> JournalError {
    let mut alarm: Option<tokio::time::Instant> = None;
    loop {
        let ring = async {
            match alarm {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            entries = journal.next() => match entries {
                Ok(entries) => alarm = take(&entries, &view, driver.me(), &pending, &aftermath),
                Err(error) => return error,
            },
            () = ring => {
                alarm = None;
                // To whichever pool: time passes for all of them.
                driver.post(&"".into(), Command::Tick);
            }
        }
    }
}

/// Applies what the journal says; returns when to wake up next.
fn take(
    entries: &[Entry],
    view: &watch::Sender<View>,
    me: ReplicaId,
    pending: &Pending,
    aftermath: &impl Fn(&PoolId, &Effect, ReplicaId),
) -> Option<tokio::time::Instant> {
    let mut effects: Vec<(PoolId, Effect, ReplicaId)> = Vec::new();
    let mut wake = None;
    view.send_modify(|view| {
        for entry in entries {
            tracing::trace!(?entry, "applied");
            effects.extend(view.fleet.apply(entry).into_iter().map(|(pool, effect)| (pool, effect, entry.from)));
        }
        view.heard = now();
        wake = view.fleet.next_deadline().map(|(at, reason)| (view.heard + pause(&view.fleet, at), reason));
    });
    for (pool, effect, from) in &effects {
        aftermath(pool, effect, *from);
    }
    let last_own = entries.iter().rev().find(|e| e.from == me).map(|e| e.number);
    if let Some(last) = last_own {
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        while pending.front().is_some_and(|(n, _)| *n <= last) {
            if let Some((_, Some(applied))) = pending.pop_front() {
                let _ = applied.send(());
            }
        }
    }
    if let Some((at, reason)) = &wake {
        tracing::trace!(reason, at = ?at, "will wake up");
    }
    wake.map(|(at, _)| at)
}

/// How long to sleep: until the deadline, but never so long that the fleet would take the silence for an outage.
fn pause(fleet: &Fleet, deadline: Time) -> Duration {
    let silence = fleet.pools().filter_map(|p| fleet.rules(p)).map(|r| r.silence).max().unwrap_or(Millis::secs(60));
    duration(deadline.since(fleet.now())).min(duration(Millis(silence.0 / 3))).max(Duration::from_millis(1))
}
