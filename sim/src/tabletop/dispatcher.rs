//! What a dispatcher hears and what it orders: the words between the stage and the designs. Slotkeeper's own answer is in
//! `ours.rs`, the one of least effort in `naive.rs`.

use slotkeeper_core::Decision;
use slotkeeper_core::Spare;

/// Something a dispatcher gets to know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News<'a> {
    /// The process starts for the first time.
    Started,
    /// A visitor asks for a slot, or shows that it still waits. `last`: the ordinal it had.
    Visit {
        guest: u32,
        last: Option<u32>,
    },
    /// Its first stream opens; its last one has closed.
    Attach {
        guest: u32,
    },
    Detach {
        guest: u32,
    },
    /// It has given up waiting, and closed the page.
    Close {
        guest: u32,
    },
    /// These wait or play on.
    Active {
        guests: &'a [u32],
    },
    Pod {
        ordinal: u32,
        uid: u64,
        phase: Phase,
    },
    /// What the cluster has been told.
    Scale {
        start: u32,
        replicas: u32,
        decided: Decision,
    },
    /// A scaler has read the number.
    Served,
    /// The pool's largest size has been changed.
    Max {
        pods: u32,
    },
    /// The schedule has another number of spare slots now.
    Spare {
        slots: Spare,
    },
    /// The process has started anew.
    Restarted,
    /// Its own alarm.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Unready,
    Terminating,
    /// It crashes again and again.
    Failed,
    Gone,
}

/// What a dispatcher wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The visitor has a slot.
    Seat {
        guest: u32,
        ordinal: u32,
        uid: u64,
    },
    /// There is no room in the line: come again later.
    Refuse {
        guest: u32,
    },
    /// The session is over.
    Release {
        guest: u32,
        why: &'static str,
    },
    /// The slot is lost, the visitor waits again.
    Requeue {
        guest: u32,
    },
    /// Its streams are to be closed: the pod goes.
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

/// What scalers read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gauge {
    pub(crate) metric: f64,
    pub(crate) active: bool,
}

/// One design of a dispatcher.
pub(crate) trait Dispatcher {
    fn hear(&mut self, now: u64, news: News<'_>) -> Vec<Order>;

    /// When it wants to hear a `Tick`.
    fn alarm(&self, now: u64) -> Option<u64>;

    fn gauge(&self) -> Gauge;

    /// How many pods it wants.
    fn desired(&self) -> u32;

    /// A visitor whose pod went away gets another slot. (Otherwise the visitor finds a broken page, and goes.)
    fn moves_guests(&self) -> bool;
}
