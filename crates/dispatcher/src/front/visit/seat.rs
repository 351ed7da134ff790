//! The right to send one session's bytes to one incarnation, and its end: streams are notified and close with a close code;
//! bodies that are not being polled are cut.

use crate::engine::view::Limit;
use crate::front::forward::pace::Late;
use crate::front::forward::upstreams::Upstream;
use crate::io::now;
use slotkeeper_core::{Incarnation, Ordinal, SessionId, planted};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The right to send this session's bytes to one incarnation.
pub struct Seat {
    pub pod: Ordinal,
    pub incarnation: Incarnation,
    pub upstream: Arc<Upstream>,
    /// The client has done something since the last batch of activity was sent.
    active: AtomicBool,
    /// Requests whose response has not begun.
    unanswered: AtomicUsize,
    ending: Mutex<Option<StartedEnding>>,
    ended: Notify,
    /// Bodies in transit: one that is not polled cannot notice the end, so it is cut.
    bodies: Mutex<Vec<Weak<dyn Cut>>>,
    limit: Limit,
}

/// A request that waits for its response.
pub struct Awaits(Arc<Seat>);

impl Drop for Awaits {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something that moves bytes and can be made to stop, even while it is not polled.
pub trait Cut: Send + Sync {
    fn cut(&self);
    /// Which part of it has not moved for this long.
    fn stalled(&self, stall: Duration) -> Option<Late>;
}

/// Why and how streams are to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub code: u16,
    pub reason: &'static str,
    /// Each stream first waits for its share of this time, so that not all close at once.
    pub spread: Duration,
}

/// An ending, and when streams were notified of it.
#[derive(Clone, Copy)]
struct StartedEnding {
    ending: Ending,
    at: Instant,
}

/// Close codes: going away, service restart (RFC 6455 §7.4.1 and the IANA registry), and our own: the session is over.
pub const GOING_AWAY: u16 = 1001;
pub const RESTART: u16 = 1012;
pub const SESSION_OVER: u16 = 4001;

/// The share (of 1000) of a spread that a session's WebSockets wait before they close. Ids are random, so the shares are
/// uniform.
#[must_use]
pub fn share(session: SessionId) -> u32 {
    (session.0 >> 64) as u32 % 1000
}

impl Seat {
    pub fn mark_active(&self) {
        self.active.store(true, Ordering::Relaxed);
    }

    pub(crate) fn new(
        pod: Ordinal,
        incarnation: Incarnation,
        upstream: Arc<Upstream>,
        limit: Limit,
        active: bool,
    ) -> Arc<Seat> {
        Arc::new(Seat {
            pod,
            incarnation,
            upstream,
            active: AtomicBool::new(active),
            unanswered: AtomicUsize::new(0),
            ending: Mutex::default(),
            ended: Notify::new(),
            bodies: Mutex::default(),
            limit,
        })
    }

    /// The fleet may give the slot to another session at any moment: nothing more goes to the pod.
    #[must_use]
    pub fn is_void(&self) -> bool {
        planted!(SilenceKeepsStreams => false);
        self.limit.has_passed()
    }

    /// Returns whether the client has done something since the last call, or waits for a response.
    pub(super) fn take_active(&self) -> bool {
        self.active.swap(false, Ordering::Relaxed) || self.unanswered.load(Ordering::Relaxed) > 0
    }

    /// Registers a request that waits for its response, until the returned value is dropped.
    #[must_use]
    pub fn awaits(self: &Arc<Self>) -> Awaits {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Awaits(self.clone())
    }

    /// Notifies its streams to end. A more urgent ending replaces an earlier one. Returns true if this one was new.
    pub(super) fn end(self: &Arc<Self>, ending: Ending) -> bool {
        let started = StartedEnding { ending, at: now() };
        {
            let mut before = super::locked(&self.ending);
            if before.is_some_and(|before| !started.is_more_urgent(before)) {
                return false;
            }
            *before = Some(started);
        }
        self.ended.notify_waiters();
        let seat = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ending.spread).await;
            let bodies = std::mem::take(&mut *super::locked(&seat.bodies));
            bodies.iter().filter_map(Weak::upgrade).for_each(|body| body.cut());
        });
        true
    }

    /// Registers a body that takes more than a moment: it is cut when the seat ends, after the whole spread.
    pub fn watch(&self, body: Weak<dyn Cut>) {
        planted!(BodyNotCut => drop(body));
        let mut bodies = super::locked(&self.bodies);
        if super::locked(&self.ending).is_some_and(|started| started.share(1000) <= now()) {
            drop(bodies);
            if let Some(body) = body.upgrade() {
                body.cut();
            }
            return;
        }
        if bodies.len() == bodies.capacity() {
            bodies.retain(|b| b.strong_count() > 0);
        }
        bodies.push(body);
    }

    /// Cuts bodies of which no byte has moved for this long, and returns which part of each had stalled.
    pub(super) fn cut_stalled(&self, stall: Duration) -> Vec<Late> {
        let stalled: Vec<_> = {
            let bodies = super::locked(&self.bodies);
            let bodies = bodies.iter().filter_map(Weak::upgrade);
            bodies.filter_map(|body| body.stalled(stall).map(|late| (body, late))).collect()
        };
        stalled
            .into_iter()
            .map(|(body, late)| {
                body.cut();
                late
            })
            .collect()
    }

    /// Whether the pod is terminating and this session's share of the drain time is over: new streams belong on another pod.
    pub(super) fn is_left(&self, session: SessionId) -> bool {
        let started = *super::locked(&self.ending);
        started.is_some_and(|started| started.ending.code == GOING_AWAY && started.share(share(session)) <= now())
    }

    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        super::locked(&self.ending).map(|started| started.ending)
    }

    /// Waits until streams are to be closed and `share` (of 1000) of the spread has passed.
    pub async fn over(&self, share: u32) -> Ending {
        loop {
            let changed = self.ended.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let started = *super::locked(&self.ending);
            let due = async {
                match started {
                    Some(started) => {
                        tokio::time::sleep_until(started.share(share)).await;
                        started.ending
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {} // the first ending, or a more urgent one: check again
                ending = due => return ending,
            }
        }
    }
}

impl StartedEnding {
    fn is_more_urgent(self, than: StartedEnding) -> bool {
        let over = |t: StartedEnding| t.ending.code == SESSION_OVER;
        self.ending.spread < than.ending.spread || self.ending.spread == than.ending.spread && over(self) && !over(than)
    }

    /// When this share (of 1000) of the spread has passed.
    fn share(self, share: u32) -> Instant {
        planted!(DrainNotSpread => self.at);
        self.at + self.ending.spread * share / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeptConnections;
    use crate::front::forward::Upstreams;
    use prometheus::IntCounter;

    #[tokio::test(start_paused = true)]
    async fn streams_close_over_the_whole_spread_and_a_more_urgent_ending_closes_them_at_once() {
        let incarnation = Incarnation { uid: "u".into(), address: ([10, 0, 0, 1], 80).into() };
        let pods = Upstreams::new(KeptConnections::new(false), 100, IntCounter::new("repeated", "repeated").unwrap());
        let seat = Seat::new(Ordinal(0), incarnation.clone(), pods.upstream(&incarnation), Limit::new(), true);
        let spread = Duration::from_secs(10);
        let draining = Ending { code: GOING_AWAY, reason: "pod_draining", spread };
        let notified = now();
        assert!(seat.end(draining));
        assert!(!seat.end(draining), "it was already sent");
        for share in [0, 250, 999] {
            assert_eq!(seat.over(share).await, draining);
            assert!(now().duration_since(notified) >= spread * share / 1000, "{share}");
        }
        let other = Seat::new(Ordinal(0), incarnation.clone(), pods.upstream(&incarnation), Limit::new(), true);
        let ended = Ending { code: SESSION_OVER, reason: "kicked", spread: Duration::ZERO };
        assert!(other.end(draining) && other.end(ended));
        let notified = now();
        assert_eq!(other.over(999).await, ended);
        assert!(now().duration_since(notified) < spread);
    }
}
