//! The interface between the stage and the designs: a dispatcher's inputs and orders. Slotkeeper's implementation is
//! in `ours.rs`, the least-effort one in `naive.rs`.

use slotkeeper_core::Decision;
use slotkeeper_core::Spare;

/// An event that a dispatcher receives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News<'a> {
    /// The process starts for the first time.
    Started,
    /// A visitor requests a slot, or shows that it still waits. `last`: the ordinal that it had.
    Visit {
        guest: u32,
        last: Option<u32>,
    },
    /// The visitor's first stream opens; for `Detach`, its last stream has closed.
    Attach {
        guest: u32,
    },
    Detach {
        guest: u32,
    },
    /// The visitor has given up waiting, and closed the page.
    Close {
        guest: u32,
    },
    /// These visitors still wait or play.
    Active {
        guests: &'a [u32],
    },
    Pod {
        ordinal: u32,
        uid: u64,
        phase: Phase,
    },
    /// The written scale.
    Scale {
        start: u32,
        replicas: u32,
        decided: Decision,
    },
    /// A scaler has read the metric.
    Served,
    /// The pool's maximum size has changed.
    Max {
        pods: u32,
    },
    /// The schedule's number of spare slots has changed.
    Spare {
        slots: Spare,
    },
    /// The process has restarted.
    Restarted,
    /// The dispatcher's own alarm is due.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Unready,
    Terminating,
    /// The pod crashes repeatedly.
    Failed,
    Gone,
}

/// A dispatcher's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The visitor gets a slot.
    Seat {
        guest: u32,
        ordinal: u32,
        uid: u64,
    },
    /// The queue is full: the visitor has to retry later.
    Refuse {
        guest: u32,
    },
    /// The session has ended.
    Release {
        guest: u32,
        why: &'static str,
    },
    /// The session loses its slot and waits again.
    Requeue {
        guest: u32,
    },
    /// The pod's streams are to be closed, because it ends.
    Drain {
        ordinal: u32,
        uid: u64,
    },
    Scale {
        start: u32,
        replicas: u32,
        decided: Decision,
    },
    Recycle {
        ordinal: u32,
        uid: u64,
    },
}

/// The values that scalers read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gauge {
    pub(crate) metric: f64,
    pub(crate) active: bool,
}

/// One design of a dispatcher.
pub(crate) trait Dispatcher {
    fn hear(&mut self, now: u64, news: News<'_>) -> Vec<Order>;

    /// Returns when the dispatcher needs a `Tick`.
    fn alarm(&self, now: u64) -> Option<u64>;

    fn gauge(&self) -> Gauge;

    /// Returns how many pods the dispatcher wants.
    fn desired(&self) -> u32;

    /// Reports whether a visitor whose pod ended gets another slot. (Otherwise the visitor gets a broken page, and
    /// leaves.)
    fn moves_guests(&self) -> bool;
}
