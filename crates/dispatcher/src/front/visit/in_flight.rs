//! One request in flight or tunnel of a session: gets a seat, through the journal if this replica has none. The last one to be
//! dropped detaches the session if it was upgraded or its seat is ending; otherwise `Visits::sweep` does, after `linger`.

use super::seat::{Ending, GOING_AWAY, RESTART, SESSION_OVER, Seat};
use super::{ATTEMPTS, LEAVING, NoSeat, STOPPING, Taken, Visitor, Visits, answered, locked};
use crate::engine::Driver;
use crate::front::access_log::Record;
use crate::front::activity::{Counts, token};
use crate::front::error::RequestError;
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use crate::metrics::Counted;
use http::HeaderValue;
use slotkeeper_core::{Command, Incarnation, Ordinal, Place, PoolId, SessionId, State, Why, planted};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One request in flight or tunnel of a session. Dropping it ends the stream.
pub struct InFlight {
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
    /// Its record in the access log.
    record: Option<Arc<Record>>,
}

impl InFlight {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, pool: Arc<Pool>, visitor: Arc<Visitor>) -> InFlight {
        InFlight {
            dispatcher,
            pool,
            visitor,
            seat: None,
            counts: Counts::ALL,
            passive: false,
            upgraded: AtomicBool::new(false),
            record: None,
        }
    }

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
        let upstream = self.pool.upstreams.upstream(&incarnation);
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

    /// Sets its record in the access log.
    pub fn is_recorded(&mut self, record: Option<Arc<Record>>) {
        self.record = record;
    }

    /// Its record in the access log.
    #[must_use]
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.record.as_ref()
    }

    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Counts and logs a failure after the head of the response was passed on.
    pub fn report(&self, pod: Ordinal, error: &RequestError) {
        self.pool.repeats.log(&self.pool.config.id.0, Some(pod), error);
        self.pool.metrics.fault(error.fault);
        if let Some(record) = &self.record {
            record.failed(error);
        }
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

impl Drop for InFlight {
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
    answered(driver.write(pool, attach)).await
}

/// An attach that has been written but not yet read back. Dropped half-way (the visitor left), it is detached again.
struct Attaching<'a> {
    stream: &'a InFlight,
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
