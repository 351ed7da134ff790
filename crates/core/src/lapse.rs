//! Entries may be lost. A replica may have acted on them and keep streams that the journal does not know, so until all such
//! streams are closed, no session is placed or newly admitted, no pod is removed, and the pools' clocks stand still. This file
//! decides when that ends; its consequences are in the fleet and its pools (see `Fleet::is_quiet`).

use crate::ids::ReplicaId;
use crate::time::{Millis, Time};
use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

/// Its times are on the clock by which replicas are given up (`Fleet::alive`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lapse {
    /// The journal position of the entry that began it.
    pub(crate) position: u64,
    /// By then every replica has closed such streams.
    until: Time,
    /// By then even replicas unknown to the journal have closed them. The lapse ends then if `doubted` is empty.
    earliest: Time,
    /// Replicas that may have read lost entries, and have not yet reported that they have not.
    doubted: BTreeSet<ReplicaId>,
}

impl Lapse {
    pub(crate) fn new(
        position: u64,
        now: Time,
        patience: Millis,
        youth: Millis,
        doubted: BTreeSet<ReplicaId>,
    ) -> Lapse {
        let until = now + patience;
        // Without a known replica, many entries may be lost, or all.
        let earliest = if doubted.is_empty() { until } else { now + youth.min(patience) };
        Lapse { position, until, earliest, doubted }
    }

    /// If another lapse is still in progress, also waits for what that one waits for.
    pub(crate) fn after(mut self, before: Option<Lapse>) -> Lapse {
        if let Some(before) = before {
            self.until = self.until.max(before.until);
            self.earliest = self.earliest.max(before.earliest);
            self.doubted.extend(before.doubted);
        }
        self
    }

    /// The replica has missed nothing, or has reported that its streams are closed. (A silent one may have closed them later
    /// than assumed.)
    pub(crate) fn trust(&mut self, replica: ReplicaId) {
        self.doubted.remove(&replica);
    }

    pub(crate) fn doubts(&self, replica: ReplicaId) -> bool {
        self.doubted.contains(&replica)
    }

    pub(crate) fn ends(&self) -> Time {
        planted!(LapseTooShort => self.earliest.min(self.until));
        if self.doubted.is_empty() { self.earliest.min(self.until) } else { self.until }
    }

    /// Whether something may have happened that is forgotten now: no replica was known, or one has not reported that it missed
    /// nothing.
    pub(crate) fn is_loss(&self) -> bool {
        self.ends() == self.until
    }
}
