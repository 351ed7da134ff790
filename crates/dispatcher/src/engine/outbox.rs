//! The outbox of a replica: commands that it has submitted and not read back yet, numbered per replica id.

use crate::io::{latest, now};
use crate::journal::Draft;
use slotkeeper_core::{Command, Entry, PoolId, ReplicaId, planted};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) struct Order {
    pub(super) pool: PoolId,
    pub(super) command: Command,
    /// Resolved when the entry has been applied here.
    pub(super) applied: Option<oneshot::Sender<()>>,
    pub(super) _owed: Owed,
}

/// Counts an order as owed until it is dropped: read back, or given up.
pub(super) struct Owed(Arc<AtomicU64>);

impl Owed {
    /// Adds one to the counter of all owed orders.
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

/// The entries of the current replica id that have not been read back.
pub(super) struct Outbox {
    pub(super) me: ReplicaId,
    /// The last number used under this replica id.
    pub(super) number: u64,
    /// In the order in which they were written, and in which they are read back.
    pub(super) pending: VecDeque<Pending>,
    /// Orders that were not read back under the previous replica id: they are written under the new one, before anything else.
    pub(super) again: Vec<Order>,
    /// When this replica's last entry that has been read back was sent: the fleet counts its silence from a later moment.
    pub(super) proven: Instant,
    /// The same on the [latest](crate::io::latest) clock.
    pub(super) heard_of: Instant,
    /// When the first entry under this replica id was read back, if one has been.
    pub(super) born: Option<Instant>,
    /// `Farewell` has been written: nothing follows.
    pub(super) left: bool,
}

pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) sent: Instant,
    sent_latest: Instant,
    pub(super) order: Order,
}

impl Outbox {
    pub(super) fn new(me: ReplicaId) -> Outbox {
        Outbox {
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

    /// Numbers the orders. Each replica id starts with a `Hello` (the semantics it knows), followed by the orders left
    /// over from the previous one.
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
                // The request has been dropped meanwhile: its session would not claim a slot.
                continue;
            }
            self.left = matches!(order.command, Command::Farewell);
            self.number += 1;
            drafts.push(Draft { from, number: self.number, pool: order.pool.clone(), command: order.command.clone() });
            self.pending.push_back(Pending { number: self.number, sent, sent_latest, order });
        }
        drafts
    }

    /// Removes and returns the entries read back up to this number, so that their callers can be notified.
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

    /// The orders that were not read back under the previous replica id.
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

    /// Starts again under a new replica id: pending orders had no effect and are written again.
    pub(super) fn begin(&mut self, me: ReplicaId, mut first: Vec<Order>) {
        first.extend(self.unsaid());
        self.again = first;
        (self.me, self.number, self.born) = (me, 0, None);
    }
}
