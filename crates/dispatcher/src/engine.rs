//! The only writer of the Fleet: takes commands, writes them to the journal, reads them back in the journal's order,
//! applies them, and passes on their effects. No other module changes the state; any may read it (`view.rs`).

mod outbox;
mod spare;
pub mod view;

use crate::engine::view::View;
use crate::io::{Ids, duration, now};
use crate::journal::{Append, Follow, Journal, JournalError, Keep, Patience, ReadResult};
use outbox::{Order, Outbox, Owed};
use slotkeeper_core::{Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, planted};
use spare::Spare;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The handle that commands are submitted through.
#[derive(Clone)]
pub struct Driver {
    orders: mpsc::UnboundedSender<Order>,
    me: Arc<AtomicU64>,
    owed: Arc<AtomicU64>,
}

/// The dispatcher is stopping: nothing more is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dispatcher is stopping: nothing more is written to the journal")]
pub struct Ended;

/// Entries written at a time.
const BATCH: usize = 256;

impl Driver {
    /// Writes without waiting.
    pub fn post(&self, pool: &PoolId, command: Command) {
        // The receiver is dropped only when the process ends, and then no caller needs the result.
        let _ = self.orders.send(self.order(pool, command, None));
    }

    /// Writes, and returns when the entry has been applied here: the view then shows the result.
    ///
    /// # Errors
    /// [`Ended`] when the dispatcher stops first.
    pub async fn write(&self, pool: &PoolId, command: Command) -> Result<(), Ended> {
        let (sender, receiver) = oneshot::channel();
        self.orders.send(self.order(pool, command, Some(sender))).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }

    fn order(&self, pool: &PoolId, command: Command, applied: Option<oneshot::Sender<()>>) -> Order {
        Order { pool: pool.clone(), command, applied, _owed: Owed::one(&self.owed) }
    }

    /// The number of entries that have been submitted and not been read back yet.
    #[must_use]
    pub fn owed(&self) -> u64 {
        self.owed.load(Ordering::Relaxed)
    }

    /// The replica id that this process uses now. A replica that the fleet has given up continues under a new one.
    #[must_use]
    pub fn me(&self) -> ReplicaId {
        ReplicaId(self.me.load(Ordering::Acquire))
    }
}

/// Receives the effects of the entries read, in order and before any caller of [`Driver::write`] returns: when `write` has
/// returned, the effects of its entry have been recorded here.
pub trait EffectSink: Send + Sync {
    /// An effect of an entry that the replica `from` wrote.
    fn effect(&self, pool: &PoolId, effect: &Effect, from: ReplicaId);
    /// The fleet has given this replica up: everything it had attached is detached. It continues under a new replica id.
    /// `lost`: entries that it had read are lost; others that it wrote may be lost as well. The returned commands are written
    /// before anything else.
    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)>;
}

impl<S: EffectSink + ?Sized> EffectSink for Arc<S> {
    fn effect(&self, pool: &PoolId, effect: &Effect, from: ReplicaId) {
        (**self).effect(pool, effect, from);
    }

    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)> {
        (**self).new_life(lost)
    }
}

/// The two tasks behind a [`Driver`]; they run until the journal ends.
pub struct Engine {
    orders: mpsc::UnboundedReceiver<Order>,
    /// To submit ticks.
    driver: Driver,
    journal: Journal,
    view: watch::Sender<View>,
    /// For new replica ids.
    ids: Ids,
}

fn locked(outbox: &Mutex<Outbox>) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Errors
/// When there is no randomness for a replica id.
pub fn new(journal: Journal, ids: &Ids) -> std::io::Result<(Driver, Engine, watch::Receiver<View>)> {
    let me = Arc::new(AtomicU64::new(ids.draw()?));
    // Replica ids are not secrets, so a seeded generator is enough.
    let ids = Ids::seeded(ids.draw()?);
    let (sender, receiver) = mpsc::unbounded_channel();
    let (view, reader) = watch::channel(View::new(Fleet::new()));
    let driver = Driver { orders: sender, me, owed: Arc::default() };
    Ok((driver.clone(), Engine { orders: receiver, driver, journal, view, ids }, reader))
}

impl Engine {
    /// Runs until the journal ends.
    pub async fn run(self, sink: impl EffectSink) -> JournalError {
        let Engine { orders, driver, journal, view, ids } = self;
        let Journal { append, follow, keep, shared, patience, .. } = journal;
        let outbox = Mutex::new(Outbox::new(driver.me()));
        // One checkpoint at a time: states that become due while one is being written are skipped.
        let (states, due) = mpsc::channel(1);
        let spare = Spare::of(&view.borrow().fleet);
        let every = keep.as_ref().map_or(u64::MAX, |keep| keep.every());
        let applier = Applier {
            view,
            spare,
            driver,
            outbox: &outbox,
            sink,
            ids,
            shared,
            patience,
            states,
            every,
            caught_up: false,
            assured: None,
            slowest: LEAST_PAUSE,
        };
        // In a task of its own: writing a large checkpoint takes a while and must not hold up entries.
        let mut keeper = JoinSet::new();
        keeper.spawn(keep_states(keep, due));
        tokio::select! {
            biased;
            error = applier.run(follow) => error,
            error = append_batches(append, orders, &outbox) => error,
            Some(Err(ended)) = keeper.join_next() => match ended.try_into_panic() {
                Ok(bug) => std::panic::resume_unwind(bug),
                // The task was cancelled: the runtime is shutting down.
                Err(_) => JournalError::Closed,
            },
        }
    }
}

async fn append_batches(
    mut journal: Box<dyn Append>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    outbox: &Mutex<Outbox>,
) -> JournalError {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        if orders.recv_many(&mut batch, BATCH).await == 0 {
            return JournalError::Closed;
        }
        let drafts = locked(outbox).draft(&mut batch);
        if drafts.is_empty() {
            continue;
        }
        fault_point!(DriverBeforeAppend);
        if let Err(error) = journal.append(drafts).await {
            return error;
        }
        fault_point!(DriverAfterAppend);
    }
}

/// Writes checkpoints. If one fails, the journal grows until the next one succeeds.
async fn keep_states(keep: Option<Box<dyn Keep>>, mut due: mpsc::Receiver<Arc<Fleet>>) {
    let Some(mut keep) = keep else { return std::future::pending().await };
    while let Some(fleet) = due.recv().await {
        let position = fleet.applied();
        fault_point!(DriverBeforeCheckpoint, dropped => continue);
        match keep.keep(fleet).await {
            Ok(()) => tracing::debug!(position, "checkpoint written"),
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::warn!(position, "checkpoint failed, so the journal grows: {error:#}");
            }
        }
    }
}

struct Applier<'a, A> {
    view: watch::Sender<View>,
    spare: Spare,
    driver: Driver,
    outbox: &'a Mutex<Outbox>,
    sink: A,
    ids: Ids,
    shared: bool,
    patience: Patience,
    /// Takes the states for checkpoints, one every `every` entries.
    states: mpsc::Sender<Arc<Fleet>>,
    every: u64,
    /// An entry of this replica has been read back: from now on effects are executed; those of earlier entries are not.
    caught_up: bool,
    /// The last lapse for which this replica has written `Whole`.
    assured: Option<u64>,
    /// The current minimum pause between two ticks.
    slowest: Duration,
}

impl<A: EffectSink> Applier<'_, A> {
    async fn run(mut self, mut journal: Box<dyn Follow>) -> JournalError {
        let mut alarm: Option<Instant> = None;
        loop {
            let ring = async {
                match alarm {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                read = journal.next() => match read {
                    Ok(ReadResult::Entries(entries)) => {
                        fault_point!(DriverBeforeApply);
                        match self.take(entries) {
                            Ok(at) => alarm = at,
                            Err(error) => return error,
                        }
                    }
                    Ok(ReadResult::State(fleet)) => alarm = self.start_over(*fleet),
                    Err(error) => return error,
                },
                () = ring => {
                    alarm = None;
                    self.tick();
                }
            }
        }
    }

    /// Submits a tick. Its pool does not matter: time passes for all pools.
    fn tick(&self) {
        self.driver.post(&"".into(), Command::Tick);
    }

    /// Replaces the state, whatever was known before.
    fn start_over(&mut self, mut fleet: Fleet) -> Option<Instant> {
        // At the start, nothing has been read that could be lost.
        let lost = self.view.borrow().fleet.applied() > 0;
        tracing::info!(
            position = fleet.applied(),
            sessions = fleet.population(),
            "the journal starts from a checkpoint"
        );
        (self.caught_up, self.assured) = (false, None);
        self.patience.at_least(fleet.patience());
        if lost {
            // First: if the checkpoint contained the current replica id, it would count as read to the end.
            tracing::warn!("entries that this replica had read are lost: starting again under a new replica id");
            self.begin_again(true);
        }
        self.spare = Spare::of(&fleet);
        self.view.send_modify(|view| {
            std::mem::swap(&mut view.fleet, &mut fleet);
            view.heard = now();
        });
        // The former state is dropped here, without the lock: that takes a while if it was large.
        None
    }

    /// Applies entries; returns when to wake up next.
    fn take(&mut self, entries: Vec<Entry>) -> Result<Option<Instant>, JournalError> {
        let me = self.driver.me();
        let before = self.view.borrow().fleet.alive();
        let entries = self.as_read(entries);
        let mut batch = Batch::new(me, self);
        // To the spare copy, without the lock that readers wait for, unless it is lent.
        let is_ahead = self.spare.current().map(|fleet| batch.apply(fleet, &entries)).is_some();
        let (mut settled, mut wake, mut over) = (Vec::new(), None, false);
        self.view.send_modify(|view| {
            if is_ahead {
                self.spare.exchange(&mut view.fleet);
            } else {
                batch.apply(&mut view.fleet, &entries);
            }
            let mut outbox = locked(self.outbox);
            settled = outbox.settle(batch.accepted);
            over = outbox.born.is_some() && !outbox.left && view.fleet.replica(me).is_none();
            view.heard = now();
            let young = outbox.born.is_none_or(|at| view.heard < at + duration(view.fleet.silence()));
            let trust = if young { trust(&view.fleet).min(YOUNG_TRUST) } else { trust(&view.fleet) };
            view.trusted = self.shared.then(|| outbox.heard_of + trust);
            if let Some(trusted) = view.trusted {
                // Half of the time between the end of `trust` and the moment at which the fleet reassigns the slots.
                let margin = if young { Duration::from_millis(500) } else { duration(view.fleet.silence()) / 4 };
                view.limit.set(trusted + margin);
            }
            view.fresh = self.shared.then(|| outbox.heard_of + duration(view.fleet.silence()));
            let third = duration(Millis(view.fleet.silence().0 / 3));
            self.slowest = if view.fleet.alive() > before { LEAST_PAUSE } else { (self.slowest * 2).min(third) };
            wake = view.fleet.next_deadline().map(|(at, reason)| {
                let until = duration(at.since(view.fleet.now())).min(third).max(self.slowest);
                (view.heard + until, reason)
            });
            if self.shared && outbox.pending.is_empty() {
                // A replica on a shared journal sends heartbeats even when nothing else is due.
                let often = if young { YOUNG_TRUST / 4 } else { third };
                let sign = (outbox.proven + often, "heartbeat");
                wake = Some(wake.map_or(sign, |wake| wake.min(sign)));
            }
        });
        self.spare.remember(entries);
        self.caught_up = batch.caught_up;
        self.confirm(me)?;
        for (pool, effect, from) in &batch.effects {
            self.sink.effect(pool, effect, *from);
        }
        if over {
            tracing::warn!("this replica was silent for too long and was given up: continuing under a new replica id");
            self.begin_again(false);
        }
        for applied in settled.into_iter().filter_map(|p| p.order.applied) {
            let _ = applied.send(());
        }
        if let Some(position) = batch.checkpoint
            && let Ok(place) = self.states.try_reserve()
            && let Some(state) = self.spare.lend(position)
        {
            place.send(state);
        }
        // After the callers have been notified, so that none of them waits for it.
        let _ = self.spare.current();
        if let Some((at, reason)) = &wake {
            let in_ms = at.saturating_duration_since(now()).as_millis() as u64;
            tracing::trace!(reason, in_ms, "will wake up");
        }
        Ok(wake.map(|(at, _)| at))
    }

    /// The entries as this replica applies them.
    fn as_read(&self, entries: Vec<Entry>) -> Vec<Entry> {
        planted!(LocalDeadline => self.at_local_time(entries));
        entries
    }

    #[cfg(feature = "planted")]
    fn at_local_time(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let view = self.view.borrow();
        if view.fleet.applied() > 0 {
            let at = slotkeeper_core::Time(view.fleet.journal().0 + view.age().0);
            entries.iter_mut().for_each(|entry| entry.at = at);
        }
        entries
    }

    /// Confirms in a lapse that this replica missed no entry. An error if it must not read on.
    fn confirm(&mut self, me: ReplicaId) -> Result<(), JournalError> {
        let (semantics, doubt) = {
            let view = self.view.borrow();
            self.patience.at_least(view.fleet.patience());
            (view.fleet.semantics(), view.fleet.doubts(me).filter(|_| self.caught_up))
        };
        if let Some(lapse) = doubt
            && self.assured != doubt
        {
            self.assured = doubt;
            tracing::warn!(
                "entries may be lost, but none that this replica has read: no session is placed until all replicas have confirmed this"
            );
            self.driver.post(&"".into(), Command::Whole { lapse });
        }
        if semantics > Entry::SEMANTICS {
            let what = format!(
                "the journal has switched to semantics {semantics}, and this version of slotkeeper knows only {}: \
                 it must not continue; run the version that the other replicas run",
                Entry::SEMANTICS
            );
            return Err(JournalError::Unreadable(what));
        }
        Ok(())
    }

    /// Continues under a new replica id: the fleet has given this replica up, or entries of this replica are lost.
    fn begin_again(&self, lost: bool) {
        let Ok(name) = self.ids.draw() else { return };
        self.driver.me.store(name, Ordering::Release);
        let first = self.sink.new_life(lost).into_iter().map(|(pool, command)| self.driver.order(&pool, command, None));
        let first = first.collect();
        locked(self.outbox).begin(ReplicaId(name), first);
        self.tick();
    }
}

/// Applies entries to a copy of the fleet, and collects what follows.
struct Batch {
    me: ReplicaId,
    shared: bool,
    every: u64,
    caught_up: bool,
    effects: Vec<(PoolId, Effect, ReplicaId)>,
    /// The number of the last entry of this replica that the fleet did not ignore.
    accepted: Option<u64>,
    /// The position of the first checkpoint that became due.
    checkpoint: Option<u64>,
}

impl Batch {
    fn new<A>(me: ReplicaId, applier: &Applier<'_, A>) -> Batch {
        let Applier { shared, every, caught_up, .. } = *applier;
        Batch { me, shared, every, caught_up, effects: Vec::new(), accepted: None, checkpoint: None }
    }

    fn apply(&mut self, fleet: &mut Fleet, entries: &[Entry]) {
        for entry in entries {
            tracing::trace!(?entry, "applied");
            let follows = fleet.apply(entry);
            // Entries that the fleet ignored (it had already given this replica up) have no effect.
            let taken = fleet.replica(self.me) == Some(entry.number) || entry.command == Command::Farewell;
            if entry.from == self.me && taken {
                self.accepted = Some(entry.number);
                self.caught_up = true;
            }
            if self.caught_up {
                self.effects.extend(follows.into_iter().map(|(pool, effect)| (pool, effect, entry.from)));
            }
            // In a shared journal, the replica that wrote this entry writes the checkpoint.
            if is_worth_keeping(fleet, self.every) && (entry.from == self.me || !self.shared) {
                self.checkpoint.get_or_insert(fleet.applied());
            }
        }
    }
}

/// True once in `every` entries, or, if that is more, once in as many entries as there are sessions (rounded up to a power
/// of two).
fn is_worth_keeping(fleet: &Fleet, every: u64) -> bool {
    let every = every.max((fleet.population() as u64).next_power_of_two());
    fleet.applied().is_multiple_of(every)
}

/// How long this replica may rely on its seats after sending the last heartbeat known to be in the journal: the fleet reassigns
/// them after `silence` plus `grace` (law 5), and one step of the journal's clock may count as much as half a `silence`.
fn trust(fleet: &Fleet) -> Duration {
    planted!(TrustTooLong => duration(Millis(fleet.patience().0 * 2)));
    duration(Millis(fleet.patience().0.saturating_sub(fleet.silence().0 / 2)))
}

/// The same for a replica whose first entry may still be lost together with everything it wrote since ([`Fleet::YOUTH`]),
/// less a margin.
const YOUNG_TRUST: Duration = Duration::from_millis(Fleet::YOUTH.0 - 1000);

/// The minimum pause between two ticks. It doubles while the journal's clock stands still: a tick that moves nothing need not
/// be repeated at once.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
