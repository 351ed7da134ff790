//! The sessions that have requests or tunnels at this replica. A request enters and gets a [`Seat`] (attach first). Its
//! [`Stream`] detaches on drop: with the last upgraded connection, or `linger` after the last request of a session that
//! never upgraded. No byte reaches a pod without a seat, and a seat exists only after this replica has read its own `Attach`
//! back (law 4).

mod seat;

pub use seat::{Cut, Ending, GOING_AWAY, RESTART, SESSION_OVER, Seat, share};

use crate::engine::{Driver, Ended};
use crate::front::activity::{Counts, token};
use crate::front::error::{Fault, RequestError};
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use crate::metrics::Counted;
use http::HeaderValue;
use slotkeeper_core::planted;
use slotkeeper_core::{Command, Fleet, Incarnation, Ordinal, Place, PoolId, SessionId, Shrink, State, Uid, Why};
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

/// Waits for the journal, but at most [`JOURNAL_PATIENCE`]: visitors do not wait for one that does not respond.
pub(crate) async fn answered(tell: impl Future<Output = Result<(), Ended>>) -> Result<(), NoSeat> {
    match tokio::time::timeout(JOURNAL_PATIENCE, tell).await {
        Ok(told) => Ok(told?),
        Err(_) => Err(NoSeat::CutOff),
    }
}

const JOURNAL_PATIENCE: Duration = Duration::from_secs(10);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Visits {
    /// Begins a request or tunnel of this session.
    pub fn enter(pool: &Arc<Pool>, dispatcher: &Arc<Dispatcher>, session: SessionId) -> Stream {
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
        Stream {
            dispatcher: dispatcher.clone(),
            pool: pool.clone(),
            visitor: visitor.clone(),
            seat: None,
            counts: Counts::ALL,
            passive: false,
            upgraded: AtomicBool::new(false),
        }
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
        answered(dispatcher.driver.tell(&pool.config.id, visit)).await?;
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
        let told = taken.seat.end(ending);
        if taken.streams == 0 {
            self.detach(&mut inner, pool, driver);
        }
        let idle = inner.users == 0 && inner.seat.is_none();
        drop(inner);
        if idle {
            pool.visits.tidy(self.session);
        }
        told
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

/// One request in flight or tunnel of a session. Dropping it ends the stream.
pub struct Stream {
    dispatcher: Arc<Dispatcher>,
    pool: Arc<Pool>,
    pub visitor: Arc<Visitor>,
    seat: Option<Arc<Seat>>,
    /// Which of its events count as activity.
    counts: Counts,
    /// The request does not use the pool, so it does not keep the session present either.
    passive: bool,
    /// It has become a tunnel.
    upgraded: AtomicBool,
}

impl Stream {
    /// Gets a seat: at once if this replica has the session attached, else through the journal.
    ///
    /// # Errors
    /// [`NoSeat`] gives the reason.
    pub async fn seat(&mut self, hint: Option<Ordinal>, class: u8) -> Result<Arc<Seat>, NoSeat> {
        self.until_vacated().await;
        if let Some(seat) = self.sit()? {
            return Ok(seat);
        }
        let visitor = self.visitor.clone();
        let _gate = visitor.gate.lock().await;
        if let Some(seat) = self.sit()? {
            return Ok(seat);
        }
        self.attach(hint, class).await
    }

    /// If this session was notified to leave a terminating pod, waits a moment until its last streams there have closed: a
    /// client that reconnects at once belongs on another pod.
    async fn until_vacated(&self) {
        let visitor = &self.visitor;
        let is_left = || locked(&visitor.inner).seat.as_ref().is_some_and(|t| t.seat.is_left(visitor.session));
        if !is_left() {
            return;
        }
        let vacated = async {
            loop {
                let changed = visitor.vacated.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if !is_left() {
                    return;
                }
                changed.await;
            }
        };
        // If some other stream takes longer, the session is still at that pod.
        let _ = tokio::time::timeout(LEAVING, vacated).await;
    }

    /// Returns the seat that this replica already has.
    fn sit(&mut self) -> Result<Option<Arc<Seat>>, NoSeat> {
        if self.dispatcher.has_left() {
            return Err(NoSeat::Stopping);
        }
        if self.dispatcher.view.borrow().is_cut_off() {
            return Err(NoSeat::CutOff);
        }
        let limit = self.dispatcher.config.limits.streams_per_session;
        let mut inner = locked(&self.visitor.inner);
        let users = inner.users;
        let Some(taken) = inner.seat.as_mut() else { return Ok(None) };
        if is_too_many(users, limit) {
            return Err(NoSeat::TooManyStreams);
        }
        if let Some(ending) = taken.seat.ending()
            && ending.code == SESSION_OVER
        {
            return Ok(None);
        }
        taken.streams += 1;
        if self.counts.requests {
            taken.seat.mark_active();
        }
        let seat = taken.seat.clone();
        drop(inner);
        self.sit_on(seat.clone());
        Ok(Some(seat))
    }

    async fn attach(&mut self, hint: Option<Ordinal>, class: u8) -> Result<Arc<Seat>, NoSeat> {
        let (pool, session) = (self.pool.config.id.clone(), self.visitor.session);
        let driver = self.dispatcher.driver.clone();
        let mut place = self.place();
        if matches!(place, Err(NoSeat::Full)) {
            // Unknown is not new (law 3): the fleet's state after this entry decides.
            Visits::ask(&self.pool, &self.dispatcher, Command::Visit { session, hint, class }).await?;
            place = self.place();
        }
        if let Err(no_seat) = place {
            if matches!(no_seat, NoSeat::Queued) {
                // A request of a waiting session is a heartbeat; batched, because there may be many.
                self.pool.visits.still_waits(session);
            }
            return Err(no_seat);
        }
        for _ in 0..ATTEMPTS {
            let mut attaching = Attaching { stream: self, done: false };
            write_attach(&driver, &pool, Command::Attach { session }).await?;
            fault_point!(VisitAfterAttach, dropped => return Err(NoSeat::Queued));
            if let Some((pod, incarnation)) = attaching.stream.attached()? {
                attaching.done = true;
                drop(attaching);
                return self.take(pod, incarnation);
            }
            // The entry itself has moved the session to another pod: attach again.
        }
        Err(NoSeat::Queued)
    }

    /// Where the fleet has the session, as of the entries that this replica has read.
    fn place(&self) -> Result<(Ordinal, Incarnation), NoSeat> {
        let view = self.dispatcher.view.borrow();
        match view.fleet.place(&self.pool.config.id, self.visitor.session) {
            Place::At { pod, incarnation } => Ok((pod, incarnation.clone())),
            Place::Queued { .. } => Err(NoSeat::Queued),
            Place::Unknown => Err(NoSeat::Full),
            Place::Ending { why } => Err(NoSeat::Ending(why)),
        }
    }

    /// Where the session is attached to this replica; `None` if it has a slot but no attach of this replica.
    fn attached(&self) -> Result<Option<(Ordinal, Incarnation)>, NoSeat> {
        planted!(ForwardBeforeAttach => self.place().map(Some));
        if self.dispatcher.has_left() {
            return Err(NoSeat::Stopping);
        }
        if self.pool.is_being_removed() {
            return Err(NoSeat::Ending(Why::PoolRemoved));
        }
        let place = self.place()?;
        let view = self.dispatcher.view.borrow();
        if view.is_cut_off() {
            // The attach was read back so late that it may no longer be valid.
            return Err(NoSeat::CutOff);
        }
        let session = view.fleet.session(&self.pool.config.id, self.visitor.session);
        let me = self.dispatcher.driver.me();
        let ours = session.is_some_and(|s| matches!(&s.state, State::Taken { by, .. } if by.contains(&me)));
        Ok(ours.then_some(place))
    }

    /// The attach has been read back: from here on bytes may go to the pod.
    fn take(&mut self, pod: Ordinal, incarnation: Incarnation) -> Result<Arc<Seat>, NoSeat> {
        let upstream = self.pool.pods.upstream(&incarnation);
        let limit = self.dispatcher.view.borrow().limit.clone();
        let seat = Seat::new(pod, incarnation, upstream, limit, self.counts.requests);
        let counted = Counted::one(&self.pool.metrics.attached);
        let taken = Taken { seat: seat.clone(), streams: 1, upgraded: false, last: now(), _counted: counted };
        locked(&self.visitor.inner).seat = Some(taken);
        // An entry that was read after the check and before this seat existed found no seat to end: check again.
        match self.attached() {
            Ok(Some((_, there))) if there.uid == seat.incarnation.uid => {}
            Err(NoSeat::Ending(why)) => {
                self.sit_on(seat.clone());
                seat.end(Ending { code: SESSION_OVER, reason: why.word(), spread: Duration::ZERO });
                return Err(NoSeat::Ending(why));
            }
            moved => {
                // If the session is still attached, the attach has no stream: detach it.
                let session = self.visitor.session;
                self.dispatcher.driver.post(&self.pool.config.id, Command::Detach { session });
                locked(&self.visitor.inner).seat = None;
                // Another request may have taken this seat meanwhile.
                seat.end(Ending { code: GOING_AWAY, reason: "pod_lost", spread: Duration::ZERO });
                return Err(moved.err().unwrap_or(NoSeat::Queued));
            }
        }
        if *self.dispatcher.stopping.borrow() {
            seat.end(Ending { code: RESTART, reason: STOPPING, spread: self.dispatcher.config.drain });
        }
        self.sit_on(seat.clone());
        Ok(seat)
    }

    fn sit_on(&mut self, seat: Arc<Seat>) {
        self.seat = Some(seat);
        self.pool.metrics.open_requests.inc();
    }

    /// Whether the session has more open streams than allowed.
    #[must_use]
    pub fn is_one_too_many(&self) -> bool {
        is_too_many(locked(&self.visitor.inner).users, self.dispatcher.config.limits.streams_per_session)
    }

    /// Sets which events count as activity. `passive`: the request does not use the pool.
    pub fn counts_as(&mut self, counts: Counts, passive: bool) {
        (self.counts, self.passive) = (counts, passive);
    }

    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Counts and logs a failure after the head of the response was passed on.
    pub fn report(&self, pod: Ordinal, error: &RequestError) {
        self.pool.repeats.log(&self.pool.config.id.0, Some(pod), error);
        self.pool.metrics.fault(error.fault);
    }

    /// Whether this stream keeps the session present for `linger`. A passive one does only if streams at other replicas keep
    /// it present anyway.
    fn renews_presence(&self) -> bool {
        if !self.passive {
            return true;
        }
        let me = self.dispatcher.driver.me();
        let view = self.dispatcher.view.borrow();
        let state = view.fleet.session(&self.pool.config.id, self.visitor.session).map(|s| &s.state);
        matches!(state, Some(State::Taken { by, .. }) if by.iter().any(|replica| *replica != me))
    }

    /// The token with which the session's pod reports activity, if the pool counts activity.
    #[must_use]
    pub fn report_token(&self) -> Option<HeaderValue> {
        let (pool, session) = (&self.pool.config.id, self.visitor.session);
        self.pool.rules(&self.dispatcher.view.borrow().fleet).idle?;
        let make = || HeaderValue::from_str(&token(&self.dispatcher.keys, pool, session)).ok();
        if let Some(known) = self.visitor.report.get() {
            return Some(known.clone());
        }
        let made = make()?;
        Some(self.visitor.report.get_or_init(|| made).clone())
    }

    /// The client cannot return the cookie: the session ends with its last stream.
    pub fn ends_with_its_streams(&self) {
        self.visitor.one_way.store(true, Ordering::Relaxed);
    }

    /// The request has become a tunnel: from now on the session is detached when its last stream ends.
    pub fn mark_upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
        self.pool.metrics.open_requests.dec();
        if let (Some(seat), Some(taken)) = (&self.seat, locked(&self.visitor.inner).seat.as_mut())
            && Arc::ptr_eq(seat, &taken.seat)
        {
            taken.upgraded = true;
        }
    }

    #[must_use]
    pub fn session(&self) -> SessionId {
        self.visitor.session
    }

    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

fn is_too_many(users: usize, limit: usize) -> bool {
    planted!(StreamsUnlimited => false);
    users > limit
}

impl Drop for Stream {
    fn drop(&mut self) {
        let renews = self.renews_presence();
        if self.seat.is_some() && !*self.upgraded.get_mut() {
            self.pool.metrics.open_requests.dec();
        }
        let mut inner = locked(&self.visitor.inner);
        inner.users -= 1;
        if let (Some(seat), Some(taken)) = (&self.seat, inner.seat.as_mut())
            && Arc::ptr_eq(seat, &taken.seat)
        {
            taken.streams -= 1;
            if renews {
                taken.last = now();
            }
            if taken.streams == 0 && (taken.upgraded || seat.ending().is_some()) {
                self.visitor.detach(&mut inner, &self.pool, &self.dispatcher.driver);
            }
        }
        let idle = inner.users == 0 && inner.seat.is_none();
        drop(inner);
        if idle {
            self.pool.visits.tidy(self.visitor.session);
        }
    }
}

/// Returns when the attach has been read back.
async fn write_attach(driver: &Driver, pool: &PoolId, attach: Command) -> Result<(), NoSeat> {
    planted!(ForwardBeforeAttach => {
        driver.post(pool, attach);
        Ok(())
    });
    answered(driver.tell(pool, attach)).await
}

/// An attach that has been written but not yet read back. Dropped half-way (the visitor left), it is detached again.
struct Attaching<'a> {
    stream: &'a Stream,
    done: bool,
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        planted!(AbandonAttach => ());
        if !self.done {
            let session = self.stream.visitor.session;
            self.stream.dispatcher.driver.post(&self.stream.pool.config.id, Command::Detach { session });
        }
    }
}
