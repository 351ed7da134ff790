//! The only writer of the Fleet: takes orders, writes them to the journal, reads them back in the journal's order,
//! applies them, and hands on what follows. Nobody else changes the state; everybody may read it (`view.rs`).

mod desk;

use crate::journal::{Append, Follow, Journal, JournalError, Keep, News, Patience};
use crate::outside::{Ids, duration, now};
use crate::view::View;
use desk::{Desk, Order, Owed};
use slotkeeper_core::{Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, planted};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Where orders go in.
#[derive(Clone)]
pub struct Driver {
    orders: mpsc::UnboundedSender<Order>,
    me: Arc<AtomicU64>,
    owed: Arc<AtomicU64>,
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
        let _ = self.orders.send(self.order(pool, command, None));
    }

    /// Writes, and returns when the entry has been applied here: what the view says then is the answer to it.
    ///
    /// # Errors
    /// [`Ended`] when the dispatcher stops first.
    pub async fn tell(&self, pool: &PoolId, command: Command) -> Result<(), Ended> {
        let (sender, receiver) = oneshot::channel();
        self.orders.send(self.order(pool, command, Some(sender))).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }

    fn order(&self, pool: &PoolId, command: Command, applied: Option<oneshot::Sender<()>>) -> Order {
        Order { pool: pool.clone(), command, applied, _owed: Owed::one(&self.owed) }
    }

    /// Entries that have been asked for, and not been read back.
    #[must_use]
    pub fn owed(&self) -> u64 {
        self.owed.load(Ordering::Relaxed)
    }

    /// This life of this process. A replica that was silent for too long has another one afterwards.
    #[must_use]
    pub fn me(&self) -> ReplicaId {
        ReplicaId(self.me.load(Ordering::Acquire))
    }
}

/// What follows from what has been read, in order, before anybody who waits for an entry is told: whoever has read an
/// answer can rely on its consequences having been taken note of here.
pub trait Aftermath: Send + Sync {
    fn effect(&self, pool: &PoolId, effect: &Effect, from: ReplicaId);
    /// The fleet has given this replica up: whatever it had attached is attached no more. It goes on under a new name.
    /// `lost`: because entries are lost that had been read here; others that it wrote may be lost as well. What is returned
    /// it says before anything else.
    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)>;
}

/// The two tasks behind a [`Driver`]; they run until the journal ends.
pub struct Engine {
    orders: mpsc::UnboundedReceiver<Order>,
    /// For the ticks.
    driver: Driver,
    journal: Journal,
    view: watch::Sender<View>,
    /// Names of further lives.
    ids: Ids,
}

fn locked(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Errors
/// When there is no randomness to name this life with.
pub fn new(journal: Journal, ids: &Ids) -> std::io::Result<(Driver, Engine, watch::Receiver<View>)> {
    let me = Arc::new(AtomicU64::new(ids.draw()?));
    // Names of replicas are not secrets.
    let ids = Ids::seeded(ids.draw()?);
    let (sender, receiver) = mpsc::unbounded_channel();
    let (view, reader) = watch::channel(View::new(Fleet::new()));
    let driver = Driver { orders: sender, me, owed: Arc::default() };
    Ok((driver.clone(), Engine { orders: receiver, driver, journal, view, ids }, reader))
}

impl Engine {
    /// Runs until the journal ends.
    pub async fn run(self, aftermath: impl Aftermath) -> JournalError {
        let Engine { orders, driver, journal, view, ids } = self;
        let Journal { append, follow, keep, shared, patience, .. } = journal;
        let desk = Mutex::new(Desk::new(driver.me()));
        // One state at a time: while one is being kept, others need not be.
        let (states, due) = mpsc::channel(1);
        let every = keep.as_ref().map_or(u64::MAX, |keep| keep.every());
        let reader = Reader {
            view,
            driver,
            desk: &desk,
            aftermath,
            ids,
            shared,
            patience,
            states,
            every,
            caught_up: false,
            assured: None,
            slowest: LEAST_PAUSE,
        };
        // A large state takes a while to write down: nobody waits for it.
        let mut keeper = JoinSet::new();
        keeper.spawn(keep_states(keep, due));
        tokio::select! {
            biased;
            error = reader.run(follow) => error,
            error = write(append, orders, &desk) => error,
            Some(Err(ended)) = keeper.join_next() => match ended.try_into_panic() {
                Ok(bug) => std::panic::resume_unwind(bug),
                // The runtime itself ends.
                Err(_) => JournalError::Closed,
            },
        }
    }
}

async fn write(
    mut journal: Box<dyn Append>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    desk: &Mutex<Desk>,
) -> JournalError {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        if orders.recv_many(&mut batch, BATCH).await == 0 {
            return JournalError::Closed;
        }
        let drafts = locked(desk).draft(&mut batch);
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

/// What cannot be kept makes the journal longer, and nothing worse.
async fn keep_states(keep: Option<Box<dyn Keep>>, mut due: mpsc::Receiver<Fleet>) {
    let Some(mut keep) = keep else { return std::future::pending().await };
    while let Some(fleet) = due.recv().await {
        let position = fleet.applied();
        fault_point!(DriverBeforeCheckpoint, dropped => continue);
        match keep.keep(fleet).await {
            Ok(()) => tracing::debug!(position, "a checkpoint is kept"),
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::warn!(position, "the state could not be kept, so the journal grows: {error:#}");
            }
        }
    }
}

struct Reader<'a, A> {
    view: watch::Sender<View>,
    driver: Driver,
    desk: &'a Mutex<Desk>,
    aftermath: A,
    ids: Ids,
    shared: bool,
    patience: Patience,
    /// Where states to be kept go, and after how many entries.
    states: mpsc::Sender<Fleet>,
    every: u64,
    /// What this replica has to say itself has been read: from now on things happen, before they were remembered.
    caught_up: bool,
    /// The last lapse of which this replica has said that it has missed nothing.
    assured: Option<u64>,
    /// The shortest pause for now.
    slowest: Duration,
}

impl<A: Aftermath> Reader<'_, A> {
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
                news = journal.next() => match news {
                    Ok(News::Entries(entries)) => {
                        fault_point!(DriverBeforeApply);
                        match self.take(&entries) {
                            Ok(at) => alarm = at,
                            Err(error) => return error,
                        }
                    }
                    Ok(News::State(fleet)) => alarm = self.start_over(*fleet),
                    Err(error) => return error,
                },
                () = ring => {
                    alarm = None;
                    self.tick();
                }
            }
        }
    }

    /// To whichever pool: time passes for all of them.
    fn tick(&self) {
        self.driver.post(&"".into(), Command::Tick);
    }

    /// The state is this, whatever was known before.
    fn start_over(&mut self, fleet: Fleet) -> Option<Instant> {
        // At the beginning nothing has been read that could be lost.
        let lost = self.view.borrow().fleet.applied() > 0;
        tracing::info!(
            position = fleet.applied(),
            sessions = fleet.population(),
            "the journal starts from a checkpoint"
        );
        (self.caught_up, self.assured) = (false, None);
        self.patience.at_least(fleet.patience());
        if lost {
            // First: the state may know the old name, and must not pass for one that has been read to the end.
            tracing::warn!("entries that were read here are lost: this replica starts anew");
            self.begin_again(true);
        }
        self.view.send_modify(|view| {
            view.fleet = fleet;
            view.heard = now();
        });
        None
    }

    /// Applies what the journal says; returns when to wake up next.
    fn take(&mut self, entries: &[Entry]) -> Result<Option<Instant>, JournalError> {
        let me = self.driver.me();
        let mut effects: Vec<(PoolId, Effect, ReplicaId)> = Vec::new();
        let (mut settled, mut wake, mut over) = (Vec::new(), None, false);
        let Reader { slowest, caught_up, states, every, .. } = self;
        let shared = self.shared;
        self.view.send_modify(|view| {
            let before = view.fleet.alive();
            let mut accepted = None;
            for entry in entries {
                tracing::trace!(?entry, "applied");
                let follows = apply(view, entry);
                // What the fleet did not take (this life was over) was said in vain.
                let taken = view.fleet.replica(me) == Some(entry.number) || entry.command == Command::Farewell;
                if entry.from == me && taken {
                    accepted = Some(entry.number);
                    *caught_up = true;
                }
                if *caught_up {
                    effects.extend(follows.into_iter().map(|(pool, effect)| (pool, effect, entry.from)));
                }
                // Of those who share a journal, the one that wrote this entry does it.
                if is_worth_keeping(&view.fleet, *every) && (entry.from == me || !shared) {
                    let _ = states.try_send(state(view));
                }
            }
            let mut desk = locked(self.desk);
            settled = desk.settle(accepted);
            over = desk.born.is_some() && !desk.left && view.fleet.replica(me).is_none();
            view.heard = now();
            let young = desk.born.is_none_or(|at| view.heard < at + duration(view.fleet.silence()));
            let trust = if young { trust(&view.fleet).min(YOUNG_TRUST) } else { trust(&view.fleet) };
            view.trusted = self.shared.then(|| desk.heard_of + trust);
            if let Some(trusted) = view.trusted {
                // Half of what `trust` leaves of the time until the fleet gives slots away.
                let margin = if young { Duration::from_millis(500) } else { duration(view.fleet.silence()) / 4 };
                view.limit.set(trusted + margin);
            }
            view.fresh = self.shared.then(|| desk.heard_of + duration(view.fleet.silence()));
            let third = duration(Millis(view.fleet.silence().0 / 3));
            *slowest = if view.fleet.alive() > before { LEAST_PAUSE } else { (*slowest * 2).min(third) };
            wake = view.fleet.next_deadline().map(|(at, reason)| {
                let until = duration(at.since(view.fleet.now())).min(third).max(*slowest);
                (view.heard + until, reason)
            });
            if self.shared && desk.pending.is_empty() {
                // Whoever shares a journal shows that it lives, whatever else is going on.
                let often = if young { YOUNG_TRUST / 4 } else { third };
                let sign = (desk.proven + often, "sign of life");
                wake = Some(wake.map_or(sign, |wake| wake.min(sign)));
            }
        });
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
                "entries may be lost, but none that were read here: nobody is placed until all have said so"
            );
            self.driver.post(&"".into(), Command::Whole { lapse });
        }
        if semantics > Entry::SEMANTICS {
            let what = format!(
                "the journal has gone over to semantics {semantics}, and this version of slotkeeper knows only {}: \
                 it must not go on; run the version that the others run",
                Entry::SEMANTICS
            );
            return Err(JournalError::Unreadable(what));
        }
        for (pool, effect, from) in &effects {
            self.aftermath.effect(pool, effect, *from);
        }
        if over {
            tracing::warn!("this replica was silent for too long, and has been given up: it starts anew");
            self.begin_again(false);
        }
        for applied in settled.into_iter().filter_map(|p| p.order.applied) {
            let _ = applied.send(());
        }
        if let Some((at, reason)) = &wake {
            let in_ms = at.saturating_duration_since(now()).as_millis() as u64;
            tracing::trace!(reason, in_ms, "will wake up");
        }
        Ok(wake.map(|(at, _)| at))
    }

    /// Under a new name: the fleet has given this replica up, or has forgotten what it said.
    fn begin_again(&self, lost: bool) {
        let Ok(name) = self.ids.draw() else { return };
        self.driver.me.store(name, Ordering::Release);
        let first =
            self.aftermath.new_life(lost).into_iter().map(|(pool, command)| self.driver.order(&pool, command, None));
        let first = first.collect();
        locked(self.desk).begin(ReplicaId(name), first);
        self.tick();
    }
}

fn apply(view: &mut View, entry: &Entry) -> Vec<(PoolId, Effect)> {
    planted!(LocalDeadline => apply_at_local_time(view, entry));
    planted!(WrongPosition => apply_and_remember(view, entry));
    view.fleet.apply(entry)
}

#[cfg(feature = "planted")]
fn apply_at_local_time(view: &mut View, entry: &Entry) -> Vec<(PoolId, Effect)> {
    let at = slotkeeper_core::Time(view.fleet.journal().0 + view.age().0);
    let at = if view.fleet.applied() > 0 { at } else { entry.at };
    view.heard = now();
    view.fleet.apply(&Entry { at, ..entry.clone() })
}

#[cfg(feature = "planted")]
fn apply_and_remember(view: &mut View, entry: &Entry) -> Vec<(PoolId, Effect)> {
    view.former = Some(view.fleet.clone());
    view.fleet.apply(entry)
}

/// The state for a checkpoint.
fn state(view: &View) -> Fleet {
    planted!(WrongPosition => view.former.clone().unwrap_or_default().at_the_position_of(&view.fleet));
    view.fleet.clone()
}

/// Once in `every` entries, or in as many as there are sessions.
fn is_worth_keeping(fleet: &Fleet, every: u64) -> bool {
    let every = every.max((fleet.population() as u64).next_power_of_two());
    fleet.applied().is_multiple_of(every)
}

/// How long this replica may rely on its seats after the last sign of life that is known to have arrived: the fleet gives
/// them away after `silence` and `grace` (law 5), and a step of the journal's clock may pass for half a `silence`.
fn trust(fleet: &Fleet) -> Duration {
    planted!(TrustTooLong => duration(Millis(fleet.patience().0 * 2)));
    duration(Millis(fleet.patience().0.saturating_sub(fleet.silence().0 / 2)))
}

/// ... and as long as all that is known of it may be lost together with its first word ([`Fleet::YOUTH`]), less a margin.
const YOUNG_TRUST: Duration = Duration::from_millis(Fleet::YOUTH.0 - 1000);

/// Between two ticks. Longer while the journal's clock stands: a tick that moves nothing need not be repeated at once.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
