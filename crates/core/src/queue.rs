//! The line of waiting sessions: who is next, and how many are ahead. First come, first served, within priority classes;
//! whoever lost a pod stands before everybody.
//!
//! A sorted deque: joining at the end and leaving at the front are O(1), a position is a binary search. Leaving from
//! the middle moves the shorter side; `queue_limit` bounds it.

use crate::ids::SessionId;
use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

/// A place in the line. Smaller is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    /// 0 for who lost a pod, else 1 + the priority class.
    lane: u16,
    number: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    line: VecDeque<(Turn, SessionId)>,
    next: u64,
}

impl Turn {
    /// Not behind any other.
    pub(crate) const FIRST: Turn = Turn { lane: 0, number: 0 };
}

impl Queue {
    /// Joins behind everybody of the same class.
    pub(crate) fn join(&mut self, session: SessionId, class: u8) -> Turn {
        planted!(IgnorePriority => self.enter(session, 1));
        self.enter(session, u16::from(class) + 1)
    }

    /// Joins in front of every class, behind those who already lost a pod.
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

    /// How many stand before this turn.
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
