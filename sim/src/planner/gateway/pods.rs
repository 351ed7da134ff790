//! One pod of a gateway: its connections, and how fast it accepts more. The stage decides when it starts and ends.

use super::Limits;
use std::collections::BTreeSet;

/// One incarnation.
pub(super) struct Pod {
    pub(super) uid: u64,
    pub(super) state: State,
    /// The connected clients.
    pub(super) open: BTreeSet<u32>,
    /// While set, the pod is being drained, and its connections are closed by this time.
    pub(super) drained: Option<u64>,
    /// Connects waiting to be accepted.
    queued: u32,
    /// When all waiting connects will have been accepted, in microseconds.
    free: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    Ready,
    /// Deleted, but still serving (`preStop`).
    Leaving,
    /// Deleted; accepts no more clients.
    Closing,
    Gone,
}

impl Pod {
    pub(super) fn new(uid: u64) -> Pod {
        Pod { uid, state: State::Starting, open: BTreeSet::new(), drained: None, queued: 0, free: 0 }
    }

    /// A connect arrives. Returns when it is accepted; `None` if it is refused.
    pub(super) fn connect(&mut self, now: u64, limits: Limits) -> Option<u64> {
        if !matches!(self.state, State::Ready | State::Leaving) {
            return None;
        }
        let full = self.open.len() as u64 + u64::from(self.queued) >= u64::from(limits.connections);
        if full || self.queued >= limits.backlog.max(1) {
            return None;
        }
        self.queued += 1;
        self.free = self.free.max(now * 1000) + 1_000_000 / u64::from(limits.accepts.max(1));
        Some(self.free.div_ceil(1000))
    }

    /// Accepts a waiting connect, unless the process has ended or is closing.
    pub(super) fn accept(&mut self, client: u32) -> bool {
        self.queued = self.queued.saturating_sub(1);
        let serves = matches!(self.state, State::Ready | State::Leaving);
        if serves {
            self.open.insert(client);
        }
        serves
    }

    pub(super) fn is_deleted(&self) -> bool {
        matches!(self.state, State::Leaving | State::Closing | State::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pod, State};
    use crate::planner::gateway::Limits;

    #[test]
    fn a_pod_accepts_at_its_rate_and_refuses_the_excess() {
        let limits = Limits { connections: 5, accepts: 100, backlog: 3 };
        let mut pod = Pod::new(1);
        assert_eq!(pod.connect(0, limits), None, "it is not ready");
        pod.state = State::Ready;
        let accepted: Vec<_> = (0..4).map(|_| pod.connect(1000, limits)).collect();
        assert_eq!(accepted, [Some(1010), Some(1020), Some(1030), None], "three may wait");
        assert!((0..3).all(|client| pod.accept(client)));
        assert_eq!(pod.connect(2000, limits), Some(2010));
        assert!(pod.accept(3));
        assert_eq!(pod.connect(2020, limits), Some(2030));
        assert_eq!(pod.connect(2020, limits), None, "five, including waiting connects");
        pod.state = State::Closing;
        assert!(!pod.accept(4));
    }
}
