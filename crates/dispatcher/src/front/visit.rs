//! The sessions that have requests or tunnels at this replica. A request enters and gets a [`Seat`] (attach first). Its
//! [`InFlight`] detaches on drop: with the last upgraded connection, or `linger` after the last request of a session that
//! never upgraded. No byte reaches a pod without a seat, and a seat exists only after this replica has read its own `Attach`
//! back (law 4).

mod in_flight;
mod seat;

pub use in_flight::InFlight;
pub use seat::{Cut, Ending, GOING_AWAY, RESTART, SESSION_OVER, Seat, share};

use crate::engine::{Driver, Ended};
use crate::front::error::Fault;
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use crate::metrics::Counted;
use http::HeaderValue;
use slotkeeper_core::planted;
use slotkeeper_core::{Command, Fleet, Incarnation, Place, PoolId, SessionId, Shrink, State, Uid, Why};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The sessions of one pool at this replica.
#[derive(Default)]
pub struct Visits {
    table: Mutex<Table>,
    /// Waiting sessions whose heartbeat is due in the next batch.
    waiting: Mutex<BTreeSet<SessionId>>,
    /// Sessions whose activity was reported, and until when they are busy.
    busy: Mutex<BTreeMap<SessionId, Instant>>,
    /// When an entry for a newcomer was last written although the queue was full.
    full: Mutex<Option<Instant>>,
}

/// Ids are random and verified, so a client cannot provoke collisions. The default hasher without a random seed makes two
/// runs of one simulation iterate in the same order.
type Table = HashMap<SessionId, Arc<Visitor>, BuildHasherDefault<DefaultHasher>>;

/// One session, as far as it concerns this replica.
pub struct Visitor {
    session: SessionId,
    pub name: String,
    /// Held while attaching: one attach at a time.
    gate: tokio::sync::Mutex<()>,
    /// Notified when the seat is vacated.
    vacated: Notify,
    /// The token with which its pod reports activity, made on first use.
    report: OnceLock<HeaderValue>,
    /// The client cannot return: the session ends with its last stream.
    one_way: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Open requests and tunnels, with or without a seat.
    users: usize,
    seat: Option<Taken>,
}

/// The session is attached to this replica.
struct Taken {
    seat: Arc<Seat>,
    streams: usize,
    upgraded: bool,
    last: Instant,
    _counted: Counted,
}

impl Taken {
    /// Whether the session has no stream here and no next request is expected.
    fn has_lingered(&self, pool: &Pool, unready: &BTreeSet<Uid>) -> bool {
        planted!(LingerWithoutEnd => false);
        let lingered = now().duration_since(self.last) >= pool.config.linger;
        self.streams == 0 && (lingered || unready.contains(&self.seat.incarnation.uid))
    }
}

const STOPPING: &str = "dispatcher_restarting";

const MOVED: Ending = Ending { code: GOING_AWAY, reason: "pod_lost", spread: Duration::ZERO };

const CUT_OFF: Ending = Ending { code: RESTART, reason: "dispatcher_cut_off", spread: Duration::ZERO };

/// How long streams may take to end after their close frames have been sent.
pub(crate) const FAREWELL: Duration = Duration::from_secs(3);

/// How long a session that was notified to leave a pod may take before its next stream goes to that pod anyway.
const LEAVING: Duration = Duration::from_secs(3);

/// The limit for attempts of an attach whose session keeps moving to another pod.
const ATTEMPTS: usize = 3;

/// Why there is no seat.
#[derive(Debug)]
pub enum NoSeat {
    Queued,
    /// The queue is full as well.
    Full,
    Ending(Why),
    TooManyStreams,
    Stopping,
    /// Nothing has been read from the journal for too long.
    CutOff,
}

impl From<Ended> for NoSeat {
    fn from(_: Ended) -> NoSeat {
        NoSeat::Stopping
    }
}

/// Waits for the journal, but at most [`JOURNAL_TIMEOUT`]: visitors do not wait for one that does not respond.
pub(crate) async fn answered(write: impl Future<Output = Result<(), Ended>>) -> Result<(), NoSeat> {
    match tokio::time::timeout(JOURNAL_TIMEOUT, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(NoSeat::CutOff),
    }
}

const JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Visits {
    /// Begins a request or tunnel of this session.
    pub fn enter(pool: &Arc<Pool>, dispatcher: &Arc<Dispatcher>, session: SessionId) -> InFlight {
        let mut table = locked(&pool.visits.table);
        let visitor = table.entry(session).or_insert_with(|| {
            Arc::new(Visitor {
                session,
                name: crate::front::cookie::public_name(session),
                gate: tokio::sync::Mutex::new(()),
                vacated: Notify::new(),
                report: OnceLock::new(),
                one_way: AtomicBool::new(false),
                inner: Mutex::new(Inner { users: 0, seat: None }),
            })
        });
        locked(&visitor.inner).users += 1;
        InFlight::new(dispatcher.clone(), pool.clone(), visitor.clone())
    }

    /// The session has ended: closes its streams. The last of them detaches it; if there is none, this does.
    pub fn end(&self, pool: &Pool, driver: &Driver, session: SessionId, why: Why) {
        planted!(ReleaseKeepsStreams => ());
        let visitor = locked(&self.table).get(&session).cloned();
        if let Some(visitor) = visitor {
            visitor.close(pool, driver, Ending { code: SESSION_OVER, reason: why.word(), spread: Duration::ZERO });
        }
    }

    /// The fleet has dissolved the attach itself (the pod is lost): closes the streams, and writes no detach.
    pub fn forget(&self, session: SessionId) {
        planted!(RequeueKeepsStreams => ());
        let visitor = locked(&self.table).get(&session).cloned();
        if let Some(visitor) = visitor {
            visitor.forget(Ending { code: GOING_AWAY, reason: "pod_lost", spread: Duration::ZERO });
            self.tidy(session);
        }
    }

    /// The fleet has given this replica up and dissolved all its attaches: closes all streams.
    pub fn forget_all(&self) {
        for visitor in self.all() {
            visitor.forget(CUT_OFF);
            self.tidy(visitor.session);
        }
    }

    /// These slots may soon be given to other sessions: closes every stream at once.
    pub fn cut_off(&self, pool: &Pool, driver: &Driver) {
        for visitor in self.all() {
            visitor.close(pool, driver, CUT_OFF);
        }
    }

    /// The incarnation is terminating: closes all its streams, spread over this time. Returns the number of sessions that
    /// had not been notified before.
    pub fn drain(&self, pool: &Pool, driver: &Driver, uid: &Uid, spread: Duration) -> usize {
        let ending = Ending { code: GOING_AWAY, reason: "pod_draining", spread };
        self.all().filter(|v| v.sits_in(uid) && v.close(pool, driver, ending)).count()
    }

    /// The dispatcher is ending: closes every stream.
    pub fn stop(&self, pool: &Pool, driver: &Driver, spread: Duration) {
        let ending = Ending { code: RESTART, reason: STOPPING, spread };
        for visitor in self.all() {
            visitor.close(pool, driver, ending);
        }
    }

    /// Cuts all remaining streams of a pool that is being removed, and detaches its sessions: the time to drain is over.
    pub fn cut(&self, pool: &Pool, driver: &Driver) {
        let ending = Ending { code: SESSION_OVER, reason: Why::PoolRemoved.word(), spread: Duration::ZERO };
        for visitor in self.all() {
            let mut inner = locked(&visitor.inner);
            if let Some(taken) = &inner.seat {
                taken.seat.end(ending);
                visitor.detach(&mut inner, pool, driver);
            }
            drop(inner);
            self.tidy(visitor.session);
        }
    }

    /// Nothing of any session is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        locked(&self.table).is_empty()
    }

    fn all(&self) -> impl Iterator<Item = Arc<Visitor>> + use<> {
        let all: Vec<_> = locked(&self.table).values().cloned().collect();
        all.into_iter()
    }

    /// Writes an entry for a session that this replica does not know. While the queue is full, at most one a second.
    ///
    /// # Errors
    /// If the dispatcher stops first, or the journal does not respond.
    pub async fn ask(pool: &Pool, dispatcher: &Dispatcher, visit: Command) -> Result<(), NoSeat> {
        if dispatcher.view.borrow().is_cut_off() {
            return Err(NoSeat::CutOff);
        }
        let is_full = || dispatcher.view.borrow().fleet.is_full(&pool.config.id);
        let asked = *locked(&pool.visits.full);
        if is_full() && asked.is_some_and(|at| now().duration_since(at) < Duration::from_secs(1)) {
            return Ok(());
        }
        answered(dispatcher.driver.write(&pool.config.id, visit)).await?;
        if is_full() {
            *locked(&pool.visits.full) = Some(now());
        }
        Ok(())
    }

    /// Whether the session has a request or tunnel at this replica.
    #[must_use]
    pub fn is_here(&self, session: SessionId) -> bool {
        locked(&self.table).get(&session).is_some_and(|visitor| locked(&visitor.inner).users > 0)
    }

    /// Notes a waiting session's heartbeat.
    pub fn still_waits(&self, session: SessionId) {
        planted!(SignsNotSent => ());
        locked(&self.waiting).insert(session);
    }

    /// Marks a session as active now and for this long. Replaces an earlier report.
    pub fn reported(&self, session: SessionId, busy: Duration) {
        locked(&self.busy).insert(session, now() + busy);
    }

    /// Returns the sessions that were reported as active and have a slot.
    fn take_busy(&self, fleet: &Fleet, pool: &PoolId) -> Vec<SessionId> {
        let mut busy = locked(&self.busy);
        busy.retain(|session, _| matches!(fleet.place(pool, *session), Place::At { .. }));
        let active = busy.keys().copied().collect();
        let at = now();
        busy.retain(|_, until| at < *until);
        active
    }

    /// Once a second: sends heartbeats and activity in one batch, and detaches sessions that have lingered.
    pub fn sweep(pool: &Arc<Pool>, dispatcher: &Dispatcher) {
        let mut signs: Vec<SessionId> = std::mem::take(&mut *locked(&pool.visits.waiting)).into_iter().collect();
        if !signs.is_empty() {
            // A session that has a slot and still polls the waiting room is not active at its pod by that.
            let view = dispatcher.view.borrow();
            let waits = |s: &SessionId| matches!(view.fleet.place(&pool.config.id, *s), Place::Queued { .. });
            signs.retain(waits);
        }
        let counts_activity = pool.rules(&dispatcher.view.borrow().fleet).idle.is_some();
        let busy = pool.visits.take_busy(&dispatcher.view.borrow().fleet, &pool.config.id);
        if counts_activity {
            signs.extend(&busy);
        }
        let unready = unready(pool, dispatcher);
        for visitor in pool.visits.all() {
            if let Some(stall) = pool.config.stall {
                visitor.cut_stalled(pool, stall);
            }
            let mut inner = locked(&visitor.inner);
            let Some(taken) = &inner.seat else { continue };
            if taken.seat.take_active() && counts_activity && !busy.contains(&visitor.session) {
                signs.push(visitor.session);
            }
            let elsewhere = has_another_address(pool, dispatcher, visitor.session, &taken.seat.incarnation);
            if elsewhere && taken.seat.ending().is_none() {
                drop(inner);
                visitor.close(pool, &dispatcher.driver, MOVED);
                continue;
            }
            if taken.has_lingered(pool, &unready) {
                visitor.detach(&mut inner, pool, &dispatcher.driver);
                drop(inner);
                pool.visits.tidy(visitor.session);
            }
        }
        if !signs.is_empty() {
            dispatcher.driver.post(&pool.config.id, Command::Active { sessions: signs });
        }
    }

    /// Removes a session that has neither streams nor a seat here.
    fn tidy(&self, session: SessionId) {
        let mut table = locked(&self.table);
        let idle = table.get(&session).is_some_and(|v| {
            let inner = locked(&v.inner);
            inner.users == 0 && inner.seat.is_none()
        });
        if idle {
            table.remove(&session);
        }
    }
}

/// Whether the pod now has another address: the old one may already belong to another pod.
fn has_another_address(pool: &Pool, dispatcher: &Dispatcher, session: SessionId, seat: &Incarnation) -> bool {
    let view = dispatcher.view.borrow();
    let Some(State::Taken { pod, .. }) = view.fleet.session(&pool.config.id, session).map(|s| &s.state) else {
        return false;
    };
    let life = view.fleet.pod(&pool.config.id, *pod).and_then(|pod| pod.life.as_ref()?.incarnation.as_ref());
    life.is_some_and(|life| life.uid == seat.uid && life.address != seat.address)
}

/// Pods from which idle sessions are detached at once, without linger: they are not ready, and the pool's sessions may move.
fn unready(pool: &Pool, dispatcher: &Dispatcher) -> BTreeSet<Uid> {
    let view = dispatcher.view.borrow();
    if pool.rules(&view.fleet).shrink != Shrink::Move {
        return BTreeSet::new();
    }
    let pods = view.fleet.pods(&pool.config.id).filter(|(_, pod)| !pod.is_ready());
    pods.filter_map(|(_, pod)| Some(pod.life.as_ref()?.uid.clone())).collect()
}

impl Visitor {
    fn sits_in(&self, uid: &Uid) -> bool {
        locked(&self.inner).seat.as_ref().is_some_and(|t| t.seat.incarnation.uid == *uid)
    }

    /// Cuts bodies of which no byte has moved for this long.
    fn cut_stalled(&self, pool: &Pool, stall: Duration) {
        // Cutting a body ends its stream, which locks the visitor: so the seat is cloned first.
        let seat = locked(&self.inner).seat.as_ref().map(|taken| taken.seat.clone());
        let Some(seat) = seat else { return };
        for late in seat.cut_stalled(stall) {
            pool.metrics.late(late);
            let (pod, what, stall_seconds) = (seat.pod.0, late.word(), stall.as_secs_f64());
            match late.fault() {
                Fault::Visitor => {
                    tracing::debug!(pool = %pool.config.id, pod, what, stall_seconds, "body stalled: stream cut");
                }
                Fault::Pod | Fault::Us => {
                    tracing::info!(pool = %pool.config.id, pod, what, stall_seconds, "body stalled: stream cut");
                }
            }
        }
    }

    fn forget(&self, ending: Ending) {
        if let Some(taken) = locked(&self.inner).seat.take() {
            taken.seat.end(ending);
            self.vacated.notify_waiters();
        }
    }

    /// Closes its streams. Returns true if they had not been notified (as urgently) before.
    fn close(&self, pool: &Pool, driver: &Driver, ending: Ending) -> bool {
        let mut inner = locked(&self.inner);
        let Some(taken) = &inner.seat else { return false };
        let notified = taken.seat.end(ending);
        if taken.streams == 0 {
            self.detach(&mut inner, pool, driver);
        }
        let idle = inner.users == 0 && inner.seat.is_none();
        drop(inner);
        if idle {
            pool.visits.tidy(self.session);
        }
        notified
    }

    fn detach(&self, inner: &mut Inner, pool: &Pool, driver: &Driver) {
        // Posted while the visitor is locked: a following attach is written after it.
        let was_there = inner.seat.take().is_some();
        self.vacated.notify_waiters();
        if was_there {
            self.post_detach(pool, driver);
            if self.one_way.load(Ordering::Relaxed) {
                driver.post(&pool.config.id, Command::Leave { session: self.session });
            }
        }
    }

    fn post_detach(&self, pool: &Pool, driver: &Driver) {
        planted!(DropLastDetach => ());
        driver.post(&pool.config.id, Command::Detach { session: self.session });
    }
}
