//! The results of queries: where a session is, and a pool in numbers.

use crate::entry::Why;
use crate::ids::{Incarnation, Ordinal};
use crate::scale::{Asked, Span};
use crate::time::Millis;
use serde::Serialize;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Never seen, released, or turned away because the queue was full.
    Unknown,
    /// In the queue, behind `ahead` other sessions; `estimate` is `None` if there is no basis for one.
    Queued {
        /// Number of sessions that are placed before it.
        ahead: usize,
        /// How long it will probably wait, learned from releases and cold starts.
        estimate: Option<Millis>,
    },
    /// It has a slot in this incarnation.
    At {
        /// The pod's ordinal.
        pod: Ordinal,
        /// The life of the pod in which it has the slot, with its address.
        incarnation: &'a Incarnation,
    },
    /// It has ended, and its last streams are being closed.
    Ending {
        /// Why it has ended.
        why: Why,
    },
}

/// One pool in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Sessions in the queue.
    pub queued: u64,
    /// Sessions with a slot and without a stream.
    pub held: u64,
    /// Sessions with a slot and at least one stream.
    pub taken: u64,
    /// Sessions that have ended, and whose slot is not free yet.
    pub ending: u64,
    /// Slots in which a session could be placed now.
    pub free_slots: u64,
    /// Slots held, taken or ending.
    pub busy_slots: u64,
    /// Ordinals with an incarnation.
    pub pods: u32,
    /// Pods that are ready, whether sessions may be placed in them or not.
    pub ready: u32,
    /// Pods that are not counted on: crash-looping, stuck, cordoned.
    pub unusable: u32,
    /// Pods that crash-loop, or have not been ready for `stuck_after`, cordoned or not.
    pub failing: u32,
    /// Pods that are outside `desired`, or inside again but not yet certain to stay.
    pub retiring: u32,
    /// Pods that are being deleted but still exist.
    pub terminating: u32,
    /// Pods inside `desired` that are being emptied one after the other, and removed when they are empty.
    pub leaving: u32,
    /// The ordinals that demand requires now.
    pub needed: Span,
    /// The ordinals that the pool should run: `needed`, but it shrinks only after the cooldown.
    pub desired: Span,
    /// The demands of which `needed` is the largest.
    pub asked: Asked,
    /// WebSocket messages, if a target uses them.
    pub messages_per_second: u64,
    /// The sum of the pods' own gauge in thousandths, if a target uses it and a replica has read it within the window.
    pub gauge: Option<u64>,
    /// Whether a violated invariant has stopped placing.
    pub frozen: bool,
}

impl Census {
    /// Whether the pool has sessions: waiting, in slots, or ending.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.queued + self.busy_slots > 0
    }
}
