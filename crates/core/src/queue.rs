//! The waiting sessions: which is next, and how many are ahead of one. First come, first served, within priority classes;
//! sessions that lost a pod come before all others.
//!
//! A sorted deque: joining at the end and leaving at the front are O(1), a position is a binary search. Leaving from
//! the middle moves the shorter side; `queue_limit` bounds it.

use crate::ids::SessionId;
use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

/// A place in the queue. Smaller is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    /// 0 for a session that lost its pod, otherwise 1 + the priority class.
    lane: u16,
    number: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    line: VecDeque<(Turn, SessionId)>,
    next: u64,
}

impl Turn {
    /// Not behind any other turn.
    pub(crate) const FIRST: Turn = Turn { lane: 0, number: 0 };
}

impl Queue {
    /// Adds the session behind all others of the same class.
    pub(crate) fn join(&mut self, session: SessionId, class: u8) -> Turn {
        planted!(IgnorePriority => self.enter(session, 1));
        self.enter(session, u16::from(class) + 1)
    }

    /// Adds the session in front of all classes, behind sessions that lost a pod earlier.
    pub(crate) fn rejoin(&mut self, session: SessionId) -> Turn {
        planted!(LostPodGoesLast => self.enter(session, u16::MAX));
        self.enter(session, 0)
    }

    fn enter(&mut self, session: SessionId, lane: u16) -> Turn {
        let turn = Turn { lane, number: self.next };
        self.next += 1;
        let at = self.line.partition_point(|(t, _)| *t < turn);
        self.line.insert(at, (turn, session));
        turn
    }

    pub(crate) fn leave(&mut self, turn: Turn) {
        if let Ok(at) = self.line.binary_search_by_key(&turn, |(t, _)| *t) {
            self.line.remove(at);
        }
    }

    pub(crate) fn first(&self) -> Option<SessionId> {
        planted!(LastComeFirstServed => self.line.back().map(|(_, s)| *s));
        self.line.front().map(|(_, s)| *s)
    }

    /// The number of sessions before this turn.
    pub(crate) fn ahead(&self, turn: Turn) -> usize {
        self.line.partition_point(|(t, _)| *t < turn)
    }

    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Turn, SessionId)> {
        self.line.iter()
    }
}
