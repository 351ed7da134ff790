//! The visitors this replica has at hand. A request enters, gets a [`Seat`] (attach first), and its [`Stream`] detaches
//! on drop: with the last upgraded connection, or `linger` after the last request of a session that never upgraded.
//! No byte reaches a pod without a seat, and a seat exists only after this replica has read its own `Attach` back (law 4).

mod seat;

pub use seat::{Cut, Ending, GOING_AWAY, RESTART, SESSION_OVER, Seat, share};

use crate::activity::{Counts, token};
use crate::dispatcher::{Dispatcher, Pool};
use crate::driver::{Driver, Ended};
use crate::error::Fault;
use crate::metrics::Counted;
use crate::outside::now;
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

/// The visitors of one pool.
#[derive(Default)]
pub struct Visits {
    table: Mutex<Table>,
    /// Signs of life of who waits, until the next batch.
    waiting: Mutex<BTreeSet<SessionId>>,
    /// Sessions whose activity was reported, and until when they are busy.
    busy: Mutex<BTreeMap<SessionId, Instant>>,
    /// When somebody was last told that even the line was full.
    full: Mutex<Option<Instant>>,
}

/// Ids are random and verified: nobody can choose them to collide. Without a hasher of its own, two runs of one
/// simulation go through it in the same order.
type Table = HashMap<SessionId, Arc<Visitor>, BuildHasherDefault<DefaultHasher>>;

/// One session, as far as this replica has anything of it.
pub struct Visitor {
    session: SessionId,
    pub name: String,
    /// One attach at a time.
    gate: tokio::sync::Mutex<()>,
    /// There is no seat any more.
    vacated: Notify,
    /// By which its pod reports activity, once it is needed.
    report: OnceLock<HeaderValue>,
    /// Its client cannot return: the session ends with its last stream.
    one_way: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Requests and tunnels at work, seated or not.
    users: usize,
    seat: Option<Taken>,
}

/// This replica has the session attached.
struct Taken {
    seat: Arc<Seat>,
    streams: usize,
    upgraded: bool,
    last: Instant,
    _counted: Counted,
}

impl Taken {
    /// Nothing of the session is at work here, and nothing is expected.
    fn has_lingered(&self, pool: &Pool, unready: &BTreeSet<Uid>) -> bool {
        planted!(LingerWithoutEnd => false);
        let lingered = now().duration_since(self.last) >= pool.config.linger;
        self.streams == 0 && (lingered || unready.contains(&self.seat.incarnation.uid))
    }
}

const STOPPING: &str = "dispatcher_restarting";

const MOVED: Ending = Ending { code: GOING_AWAY, reason: "pod_lost", spread: Duration::ZERO };

const CUT_OFF: Ending = Ending { code: RESTART, reason: "dispatcher_cut_off", spread: Duration::ZERO };

/// How long a session that has been told to leave a pod may take, before its next stream goes there all the same.
const LEAVING: Duration = Duration::from_secs(3);

/// An attach that keeps missing its session gives up after this many.
const ATTEMPTS: usize = 3;

/// Why there is no seat.
#[derive(Debug)]
pub enum NoSeat {
    Queued,
    /// Even the queue is full.
    Full,
    Ending(Why),
    TooManyStreams,
    Stopping,
    /// The journal has not been heard of for too long.
    CutOff,
}

impl From<Ended> for NoSeat {
    fn from(_: Ended) -> NoSeat {
        NoSeat::Stopping
    }
}

/// A visitor does not wait for a journal that does not answer.
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
    /// A request or tunnel of this session begins.
    pub fn enter(pool: &Arc<Pool>, dispatcher: &Arc<Dispatcher>, session: SessionId) -> Stream {
        let mut table = locked(&pool.visits.table);
        let visitor = table.entry(session).or_insert_with(|| {
            Arc::new(Visitor {
                session,
                name: crate::cookie::public_name(session),
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

    /// The session is over: its streams are told. The last of them detaches it; if there is none, this does.
    pub fn end(&self, pool: &Pool, driver: &Driver, session: SessionId, why: Why) {
        planted!(ReleaseKeepsStreams => ());
        let visitor = locked(&self.table).get(&session).cloned();
        if let Some(visitor) = visitor {
            visitor.close(pool, driver, Ending { code: SESSION_OVER, reason: why.word(), spread: Duration::ZERO });
        }
    }

    /// The fleet has dissolved the attach itself (the pod is lost): nothing is to be detached.
    pub fn forget(&self, session: SessionId) {
        planted!(RequeueKeepsStreams => ());
        let visitor = locked(&self.table).get(&session).cloned();
        if let Some(visitor) = visitor {
            visitor.forget(Ending { code: GOING_AWAY, reason: "pod_lost", spread: Duration::ZERO });
            self.tidy(session);
        }
    }

    /// The fleet has given this replica up, and dissolved all its attaches.
    pub fn forget_all(&self) {
        for visitor in self.all() {
            visitor.forget(CUT_OFF);
            self.tidy(visitor.session);
        }
    }

    /// Others may get these slots soon: every stream is closed at once.
    pub fn cut_off(&self, pool: &Pool, driver: &Driver) {
        for visitor in self.all() {
            visitor.close(pool, driver, CUT_OFF);
        }
    }

    /// The incarnation goes away: all its streams are told, to close over this time.
    /// How many had not been told before.
    pub fn drain(&self, pool: &Pool, driver: &Driver, uid: &Uid, spread: Duration) -> usize {
        let ending = Ending { code: GOING_AWAY, reason: "pod_draining", spread };
        self.all().filter(|v| v.sits_in(uid) && v.close(pool, driver, ending)).count()
    }

    /// The dispatcher ends: every stream is told.
    pub fn stop(&self, pool: &Pool, driver: &Driver, spread: Duration) {
        let ending = Ending { code: RESTART, reason: STOPPING, spread };
        for visitor in self.all() {
            visitor.close(pool, driver, ending);
        }
    }

    /// The pool is removed, and the time to drain is over: what still streams is cut, and its sessions are detached.
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

    /// Asks for a session this replica does not know. While the line is full, one request a second is worth an entry.
    ///
    /// # Errors
    /// When the dispatcher stops first, or the journal does not answer.
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

    /// The session has a request or tunnel at this replica.
    #[must_use]
    pub fn is_here(&self, session: SessionId) -> bool {
        locked(&self.table).get(&session).is_some_and(|visitor| locked(&visitor.inner).users > 0)
    }

    /// A waiting session is still there.
    pub fn still_waits(&self, session: SessionId) {
        planted!(SignsNotSent => ());
        locked(&self.waiting).insert(session);
    }

    /// A session is active now, and until then. What was reported before counts no more.
    pub fn reported(&self, session: SessionId, busy: Duration) {
        locked(&self.busy).insert(session, now() + busy);
    }

    /// Sessions that are active because it was reported, and have a slot.
    fn take_busy(&self, fleet: &Fleet, pool: &PoolId) -> Vec<SessionId> {
        let mut busy = locked(&self.busy);
        busy.retain(|session, _| matches!(fleet.place(pool, *session), Place::At { .. }));
        let active = busy.keys().copied().collect();
        let at = now();
        busy.retain(|_, until| at < *until);
        active
    }

    /// Once a second: signs of life in one batch, and the end of who lingered.
    pub fn sweep(pool: &Arc<Pool>, dispatcher: &Dispatcher) {
        let mut signs: Vec<SessionId> = std::mem::take(&mut *locked(&pool.visits.waiting)).into_iter().collect();
        if !signs.is_empty() {
            // Who has a slot and still watches the waiting room does nothing at the pod by that.
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

    /// Forgets a visitor nothing is left of.
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

/// The pod is at another address by now: this one may be somebody else's.
fn has_another_address(pool: &Pool, dispatcher: &Dispatcher, session: SessionId, seat: &Incarnation) -> bool {
    let view = dispatcher.view.borrow();
    let Some(State::Taken { pod, .. }) = view.fleet.session(&pool.config.id, session).map(|s| &s.state) else {
        return false;
    };
    let life = view.fleet.pod(&pool.config.id, *pod).and_then(|pod| pod.life.as_ref()?.incarnation.as_ref());
    life.is_some_and(|life| life.uid == seat.uid && life.address != seat.address)
}

/// Pods where nobody who could be elsewhere waits for the next request.
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

    /// Cuts bodies of which nothing has moved for this long.
    fn cut_stalled(&self, pool: &Pool, stall: Duration) {
        // A body that is cut ends its stream, which locks the visitor.
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

    /// True if its streams had not been told (as urgently) before.
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
        // Posted while the visitor is locked: an attach that follows is written after it.
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
    /// What of it counts as activity.
    counts: Counts,
    /// It does not use the pool: it does not keep the session present either.
    passive: bool,
    /// It is no request any more.
    upgraded: AtomicBool,
}

impl Stream {
    /// Gets a seat: at once if this replica has the session attached, else by the journal.
    ///
    /// # Errors
    /// [`NoSeat`] says why there is none now.
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

    /// The pod goes away, and this session has been told: its last streams there are given the moment they need to close,
    /// for whoever comes back at once belongs elsewhere.
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
        // Something else of it takes longer: then it is still there.
        let _ = tokio::time::timeout(LEAVING, vacated).await;
    }

    /// The seat this replica already has.
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
            // Unknown is not new (law 3): the answer is what the fleet says after this entry.
            Visits::ask(&self.pool, &self.dispatcher, Command::Visit { session, hint, class }).await?;
            place = self.place();
        }
        if let Err(no_seat) = place {
            if matches!(no_seat, NoSeat::Queued) {
                // A request of a waiting session is a sign of life; batched, for there may be many.
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
            // The entry itself has moved the session to another pod: once more.
        }
        Err(NoSeat::Queued)
    }

    /// Where the fleet has the session, as of the entries read here.
    fn place(&self) -> Result<(Ordinal, Incarnation), NoSeat> {
        let view = self.dispatcher.view.borrow();
        match view.fleet.place(&self.pool.config.id, self.visitor.session) {
            Place::At { pod, incarnation } => Ok((pod, incarnation.clone())),
            Place::Queued { .. } => Err(NoSeat::Queued),
            Place::Unknown => Err(NoSeat::Full),
            Place::Ending { why } => Err(NoSeat::Ending(why)),
        }
    }

    /// Where this replica has it attached; `None` if it has a slot but not by an attach of ours.
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
            // It was read back, but so late that it may be true no more.
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
        // An entry read between that answer and this seat found no seat to end: look once more.
        match self.attached() {
            Ok(Some((_, there))) if there.uid == seat.incarnation.uid => {}
            Err(NoSeat::Ending(why)) => {
                self.sit_on(seat.clone());
                seat.end(Ending { code: SESSION_OVER, reason: why.word(), spread: Duration::ZERO });
                return Err(NoSeat::Ending(why));
            }
            moved => {
                // If it is still attached, it is so for nobody.
                let session = self.visitor.session;
                self.dispatcher.driver.post(&self.pool.config.id, Command::Detach { session });
                locked(&self.visitor.inner).seat = None;
                // Another request may have sat down on it meanwhile.
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

    /// The session has more at work than it may.
    #[must_use]
    pub fn is_one_too_many(&self) -> bool {
        is_too_many(locked(&self.visitor.inner).users, self.dispatcher.config.limits.streams_per_session)
    }

    /// What of it counts as activity. `passive`: it does not use the pool.
    pub fn counts_as(&mut self, counts: Counts, passive: bool) {
        (self.counts, self.passive) = (counts, passive);
    }

    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the session is present for a while because of this. Streams elsewhere keep it present anyway.
    fn renews_presence(&self) -> bool {
        if !self.passive {
            return true;
        }
        let me = self.dispatcher.driver.me();
        let view = self.dispatcher.view.borrow();
        let state = view.fleet.session(&self.pool.config.id, self.visitor.session).map(|s| &s.state);
        matches!(state, Some(State::Taken { by, .. }) if by.iter().any(|replica| *replica != me))
    }

    /// By which the session's pod reports activity, where that matters.
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

    /// The client cannot return with the cookie: the session ends with its last stream.
    pub fn ends_with_its_streams(&self) {
        self.visitor.one_way.store(true, Ordering::Relaxed);
    }

    /// It has become a tunnel: from now on the session's last one decides when it is detached.
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

/// Returns when it has been read back.
async fn write_attach(driver: &Driver, pool: &PoolId, attach: Command) -> Result<(), NoSeat> {
    planted!(ForwardBeforeAttach => {
        driver.post(pool, attach);
        Ok(())
    });
    answered(driver.tell(pool, attach)).await
}

/// An attach that has been written but not yet read back: given up half-way (the visitor went), it is detached.
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
