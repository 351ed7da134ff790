//! Entries may be lost. Somebody may have acted on them who keeps streams that nobody knows of, so nobody is placed or let in
//! anew, nothing is taken away, and the pools' clocks stand, until that cannot be so any more. What follows for the fleet and its
//! pools is there (`Fleet::is_quiet`); here is when it is over.

use crate::ids::ReplicaId;
use crate::time::{Millis, Time};
use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

/// On the clock by which replicas are given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lapse {
    /// Of the entry that said so.
    pub(crate) position: u64,
    /// By then everybody has closed such streams.
    until: Time,
    /// By then even those have of whom no word has reached us; if nobody is doubted, that is all.
    earliest: Time,
    /// Who may have read what is lost, and has not said yet that it has not.
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
        // With nobody to ask it may be much that is lost, or everything.
        let earliest = if doubted.is_empty() { until } else { now + youth.min(patience) };
        Lapse { position, until, earliest, doubted }
    }

    /// It came while another one lasted: what that one was to wait for is waited for.
    pub(crate) fn after(mut self, before: Option<Lapse>) -> Lapse {
        if let Some(before) = before {
            self.until = self.until.max(before.until);
            self.earliest = self.earliest.max(before.earliest);
            self.doubted.extend(before.doubted);
        }
        self
    }

    /// It has missed nothing, or has closed all its streams and said so. (Who is silent may have closed them later than we think.)
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

    /// Nobody could say that nothing has happened that is forgotten now.
    pub(crate) fn is_loss(&self) -> bool {
        self.ends() == self.until
    }
}
