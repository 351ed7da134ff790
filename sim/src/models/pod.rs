//! The life of one pod and its kubelet, as other components see it: created, ready after its start-up time, crashing,
//! terminating, removed; and the effects of a dead node. Not modelled: the sessions in it, and its address.

use super::statefulset::{Phase, PodView};

/// Durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From creation to Ready: scheduling, image, start, first probe.
    pub start: u64,
    /// From SIGTERM to the end of the last container, if it is not killed earlier.
    pub stop: u64,
    /// `terminationGracePeriodSeconds`: then the containers are killed.
    pub grace: u64,
}

/// How long after a node's death it becomes unready, and then until its pods are deleted (node-monitor-grace-period
/// 50 s and a check every 5 s; the default toleration of unreachable nodes).
pub const NODE_UNREADY: u64 = 55_000;
pub const NODE_TOLERATION: u64 = 300_000;
/// The kubelet's delay before the nth restart of a crashing container: none, then 10 s, 20 s, ... 300 s.
const CRASH_BACKOFF: u64 = 10_000;
const CRASH_BACKOFF_MAX: u64 = 300_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub ordinal: u32,
    pub uid: u64,
    pub revision: u32,
    pub created: u64,
    pub times: Times,
    pub restarts: u32,
    /// When a DELETE was received, from any client.
    pub deleted: Option<u64>,
    /// When the node died.
    pub node_lost: Option<u64>,
    /// Evicted or rejected.
    pub failed: bool,
    /// The pod has been ready, or has crashed.
    started: bool,
    ready_since: Option<u64>,
    starts_at: Option<u64>,
}

impl Pod {
    #[must_use]
    pub fn new(ordinal: u32, uid: u64, revision: u32, created: u64, times: Times) -> Pod {
        Pod {
            ordinal,
            uid,
            revision,
            created,
            times,
            restarts: 0,
            deleted: None,
            node_lost: None,
            failed: false,
            started: false,
            ready_since: None,
            starts_at: Some(created.saturating_add(times.start)),
        }
    }

    /// Applies the changes due by now.
    pub fn advance(&mut self, now: u64) {
        if let Some(at) = self.starts_at
            && at <= now
        {
            self.starts_at = None;
            self.started = true;
            self.ready_since = Some(at);
        }
        if let Some(lost) = self.node_lost {
            if self.ready_since.is_some() && lost.saturating_add(NODE_UNREADY) <= now {
                self.ready_since = None;
            }
            let evicted = lost.saturating_add(NODE_UNREADY + NODE_TOLERATION);
            if self.deleted.is_none() && evicted <= now {
                self.deleted = Some(evicted);
            }
        }
    }

    /// Returns when the next change without an external cause is due.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let unready = self.node_lost.filter(|_| self.ready_since.is_some()).map(|t| t + NODE_UNREADY);
        let evicted = self.node_lost.filter(|_| self.deleted.is_none()).map(|t| t + NODE_UNREADY + NODE_TOLERATION);
        [self.starts_at, unready, evicted, self.gone_at()].into_iter().flatten().min()
    }

    /// Handles a DELETE. Termination cannot be undone.
    pub fn delete(&mut self, now: u64) {
        if self.deleted.is_none() {
            self.deleted = Some(now);
        }
    }

    /// Returns when the object disappears. `None`: it has not been deleted, or its kubelet is dead and cannot confirm
    /// the end of the containers: only a force-delete (or the removal of the Node object) removes it.
    #[must_use]
    pub fn gone_at(&self) -> Option<u64> {
        let deleted = self.deleted?;
        if self.failed {
            return Some(deleted);
        }
        let gone = deleted.saturating_add(self.times.stop.min(self.times.grace));
        self.node_lost.is_none_or(|lost| gone <= lost).then_some(gone)
    }

    #[must_use]
    pub fn is_gone(&self, now: u64) -> bool {
        self.gone_at().is_some_and(|at| at <= now)
    }

    /// A container exits by itself; the kubelet restarts it in place: the same incarnation, ready later.
    pub fn crash(&mut self, now: u64) {
        if self.node_lost.is_some() || self.failed {
            return;
        }
        let doubled =
            CRASH_BACKOFF.saturating_mul(1_u64.checked_shl(self.restarts.saturating_sub(1)).unwrap_or(u64::MAX));
        let pause = if self.restarts == 0 { 0 } else { doubled.min(CRASH_BACKOFF_MAX) };
        self.restarts += 1;
        self.started = true;
        self.ready_since = None;
        self.starts_at = Some(now.saturating_add(pause).saturating_add(self.times.start));
    }

    /// Evicted by its kubelet, or rejected: Failed at once.
    pub fn fail(&mut self) {
        self.failed = true;
        self.ready_since = None;
        self.starts_at = None;
    }

    /// The node dies, and the pod with it, although other components consider it ready for a while.
    pub fn lose_node(&mut self, now: u64) {
        if self.node_lost.is_none() {
            self.node_lost = Some(now);
            self.starts_at = None;
        }
    }

    #[must_use]
    pub fn view(&self) -> PodView {
        let phase = match (self.failed, self.started) {
            (true, _) => Phase::Failed,
            (false, true) => Phase::Running,
            (false, false) => Phase::Pending,
        };
        PodView {
            ordinal: self.ordinal,
            uid: self.uid,
            phase,
            ready_since: self.ready_since,
            terminating: self.deleted.is_some(),
            revision: self.revision,
        }
    }
}
