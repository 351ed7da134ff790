//! Which decision a size carries out, and which written size an order may overwrite. Nothing else orders the writes of several
//! dispatchers: there is no leader.
//!
//! Within one timeline the later position wins. Positions of different timelines cannot be compared: a position of lost entries
//! may be higher than any that follows. So an order may overwrite a size of another timeline only if that is the timeline of
//! the size that its fleet had read last when it decided. Once the cluster carries a size of the present timeline, no order
//! of an earlier one can take effect any more: its fleet had never read a size of this timeline. See `docs/lapse.md`.

use crate::ids::Timeline;
use serde::{Deserialize, Serialize};

/// The entry that decided a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Decision {
    /// The timeline of the position: positions of different timelines cannot be compared.
    pub timeline: Timeline,
    /// The journal position of the entry.
    pub position: u64,
}

impl Decision {
    /// Whether an order of this decision may overwrite a size that carries `written`. `over`: the timeline of the size that the
    /// fleet had read when it issued the order.
    #[must_use]
    pub fn may_overwrite(self, written: Decision, over: Timeline) -> bool {
        planted!(TimelinesIgnored => written.position <= self.position);
        if written.timeline == self.timeline { written.position <= self.position } else { written.timeline == over }
    }

    /// Whether a size that carries this decision proves that orders issued before `other` have no effect any more.
    #[must_use]
    pub fn covers(self, other: Decision) -> bool {
        self.timeline == other.timeline && self.position >= other.position
    }
}
