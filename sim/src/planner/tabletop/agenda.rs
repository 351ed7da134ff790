//! The event queue: events ordered by time, events of the same moment by kind (`Rank`), and events of the same kind
//! by insertion.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The order of events at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Pods,
    Controller,
    Faults,
    Visitors,
    Dispatcher,
    Keda,
    Push,
    Hpa,
    Scrape,
}

#[derive(Clone, Debug)]
struct Item<E> {
    at: u64,
    rank: Rank,
    noted: u64,
    event: E,
}

impl<E> Item<E> {
    fn key(&self) -> (u64, Rank, u64) {
        (self.at, self.rank, self.noted)
    }
}

impl<E> PartialEq for Item<E> {
    fn eq(&self, other: &Item<E>) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Item<E> {}

impl<E> PartialOrd for Item<E> {
    fn partial_cmp(&self, other: &Item<E>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Item<E> {
    fn cmp(&self, other: &Item<E>) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The event queue.
#[derive(Clone, Debug)]
pub(crate) struct Agenda<E> {
    items: BinaryHeap<Reverse<Item<E>>>,
    noted: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Agenda<E> {
        Agenda { items: BinaryHeap::new(), noted: 0 }
    }

    pub(crate) fn note(&mut self, at: u64, rank: Rank, event: E) {
        self.items.push(Reverse(Item { at, rank, noted: self.noted, event }));
        self.noted += 1;
    }

    /// Returns the next event, unless it is later than `end`.
    pub(crate) fn next(&mut self, end: u64) -> Option<(u64, E)> {
        if self.items.peek().is_none_or(|Reverse(item)| item.at > end) {
            return None;
        }
        self.items.pop().map(|Reverse(item)| (item.at, item.event))
    }
}
