//! Which sessions ended lately, and why: so that a visitor sees the reason, and a forgotten tab does not take a new slot by
//! itself. Bounded, and best effort: after a restart, sessions that are forgotten here simply join again.

use crate::io::now;
use slotkeeper_core::{SessionId, Why, planted};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const MOST: usize = 10_000;
const KEPT: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct RecentlyEnded(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    why: HashMap<SessionId, (Why, Instant)>,
    order: VecDeque<(Instant, SessionId)>,
    /// Sessions that this replica ends itself, and whose visitors may join again without being asked.
    unnoted: BTreeSet<SessionId>,
}

impl RecentlyEnded {
    pub fn note(&self, session: SessionId, why: Why) {
        planted!(ReasonForgotten => ());
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.unnoted.contains(&session) {
            return;
        }
        let at = now();
        while inner.order.len() >= MOST || inner.order.front().is_some_and(|(t, _)| at.duration_since(*t) > KEPT) {
            let Some((noted, old)) = inner.order.pop_front() else { break };
            if inner.why.get(&old).is_some_and(|(_, t)| *t == noted) {
                inner.why.remove(&old);
            }
        }
        inner.why.insert(session, (why, at));
        inner.order.push_back((at, session));
    }

    /// Until [`RecentlyEnded::note_again`], an end of this session is not noted.
    pub fn leave_unnoted(&self, session: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unnoted.insert(session);
    }

    pub fn note_again(&self, session: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unnoted.remove(&session);
    }

    #[must_use]
    pub fn of(&self, session: SessionId) -> Option<Why> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.why.get(&session).filter(|(_, at)| now().duration_since(*at) <= KEPT).map(|(why, _)| *why)
    }

    pub fn forget(&self, session: SessionId) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.why.is_empty() {
            inner.why.remove(&session);
        }
    }
}

/// Whether a new session after this reason requires an act of the visitor, not only a reload of the page.
#[must_use]
pub fn is_final(why: Why) -> bool {
    match why {
        Why::Idle | Why::TimeUp | Why::Left | Why::Kicked | Why::PoolRemoved => true,
        Why::LeftQueue | Why::NoShow | Why::Disconnected | Why::PodLost => false,
    }
}
