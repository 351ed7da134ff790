//! What a replica has asked the journal for and has not read back yet: numbered, life for life.

use crate::journal::Draft;
use crate::outside::{latest, now};
use slotkeeper_core::{Command, Entry, PoolId, ReplicaId, planted};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) struct Order {
    pub(super) pool: PoolId,
    pub(super) command: Command,
    /// Told when the entry has been applied here.
    pub(super) applied: Option<oneshot::Sender<()>>,
    pub(super) _owed: Owed,
}

/// Counts an order until it has been read back, or given up.
pub(super) struct Owed(Arc<AtomicU64>);

impl Owed {
    /// One more, of so many.
    pub(super) fn one(all: &Arc<AtomicU64>) -> Owed {
        all.fetch_add(1, Ordering::Relaxed);
        Owed(all.clone())
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// This life's entries that have not been read back.
pub(super) struct Desk {
    pub(super) me: ReplicaId,
    /// The last number of this life.
    pub(super) number: u64,
    /// In the order they were written in, which is the order they come back in.
    pub(super) pending: VecDeque<Pending>,
    /// What a life that is over could not say any more: the next one does, before anything else.
    pub(super) again: Vec<Order>,
    /// When the last entry of ours that has been read back was sent: the fleet counts our silence from a later moment.
    pub(super) proven: Instant,
    /// The same on the [latest](crate::outside::latest) clock.
    pub(super) heard_of: Instant,
    /// When the first entry of this life was read back, if one has been.
    pub(super) born: Option<Instant>,
    /// It has said farewell: nothing follows.
    pub(super) left: bool,
}

pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) sent: Instant,
    sent_latest: Instant,
    pub(super) order: Order,
}

impl Desk {
    pub(super) fn new(me: ReplicaId) -> Desk {
        Desk {
            me,
            number: 0,
            pending: VecDeque::new(),
            again: Vec::new(),
            proven: now(),
            heard_of: latest(),
            born: None,
            left: false,
        }
    }

    /// Numbers the orders. First of all each life says what it knows, then what an earlier one could not say.
    pub(super) fn draft(&mut self, batch: &mut Vec<Order>) -> Vec<Draft> {
        let hello = (self.number == 0 && !self.left).then(|| {
            let hello = Command::Hello { speaks: Entry::SEMANTICS };
            Order { pool: "".into(), command: hello, applied: None, _owed: Owed::one(&Arc::default()) }
        });
        let orders = hello.into_iter().chain(std::mem::take(&mut self.again)).chain(batch.drain(..));
        let (sent, sent_latest, from) = (now(), latest(), self.me);
        let mut drafts = Vec::new();
        for order in orders {
            if self.left {
                break;
            }
            if matches!(order.command, Command::Visit { .. })
                && order.applied.as_ref().is_some_and(oneshot::Sender::is_closed)
            {
                // The visitor has gone meanwhile: nobody would claim the slot.
                continue;
            }
            self.left = matches!(order.command, Command::Farewell);
            self.number += 1;
            drafts.push(Draft { from, number: self.number, pool: order.pool.clone(), command: order.command.clone() });
            self.pending.push_back(Pending { number: self.number, sent, sent_latest, order });
        }
        drafts
    }

    /// Takes what has come back up to this number; whoever waits for it can be told.
    pub(super) fn settle(&mut self, accepted: Option<u64>) -> Vec<Pending> {
        let Some(accepted) = accepted else { return Vec::new() };
        let count = self.pending.iter().take_while(|p| p.number <= accepted).count();
        let settled: Vec<Pending> = self.pending.drain(..count).collect();
        if let Some(newest) = settled.last() {
            self.proven = newest.sent;
            self.heard_of = newest.sent_latest;
            self.born.get_or_insert_with(now);
        }
        settled
    }

    /// What the life that is over has not got through.
    fn unsaid(&mut self) -> Vec<Order> {
        planted!(PendingForgotten => self.forget_pending());
        let pending = self.pending.drain(..).map(|p| p.order);
        std::mem::take(&mut self.again).into_iter().chain(pending).collect()
    }

    #[cfg(feature = "planted")]
    fn forget_pending(&mut self) -> Vec<Order> {
        self.pending.clear();
        Vec::new()
    }

    /// Begins a new life: what is pending was said in vain, and is said again.
    pub(super) fn begin(&mut self, me: ReplicaId, mut first: Vec<Order>) {
        first.extend(self.unsaid());
        self.again = first;
        (self.me, self.number, self.born) = (me, 0, None);
    }
}
