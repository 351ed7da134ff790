//! The StatefulSet controller: which pods one sync creates and deletes
//! (`pkg/controller/statefulset/stateful_set_control.go`). A sync reads the pods and returns the actions; the driver
//! executes them, and calls again when a pod has changed. Not modelled: `maxUnavailable` (off in 1.36, never about
//! scaling), released pods, and the duration of API calls (`pace`).

mod claims;

pub use claims::{ClaimOwners, ClaimRetention};

/// The fields of a StatefulSet that affect pods. `start`, `replicas`, `min_ready`, `update` and `revision` may change
/// at any time; the policy is fixed when the set is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulSet {
    pub policy: Policy,
    /// `spec.ordinals.start`.
    pub start: u32,
    pub replicas: u32,
    /// `minReadySeconds`, in milliseconds.
    pub min_ready: u64,
    pub update: UpdateStrategy,
    /// The newest template.
    pub revision: u32,
    /// The previous template: ordinals below the partition are created with it.
    pub previous: u32,
}

/// `podManagementPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Policy {
    /// One create or delete per sync, and only if every lower ordinal is available.
    OrderedReady,
    /// All at once, regardless of health.
    Parallel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// Pods with an old template are deleted one after the other, highest ordinal first, down to `start + partition`,
    /// even if they have sessions.
    RollingUpdate { partition: u32 },
    /// The new template applies only to pods that are created for another reason.
    OnDelete,
}

/// One pod that exists in the API, as the controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodView {
    pub ordinal: u32,
    /// The incarnation of the ordinal. A driver may use a longer name elsewhere.
    pub uid: u64,
    pub phase: Phase,
    /// When the Ready condition became true.
    pub ready_since: Option<u64>,
    /// The pod has a deletion timestamp.
    pub terminating: bool,
    pub revision: u32,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

/// The result of one sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// In the order of the calls. The calls of one sync of a Parallel set are concurrent.
    pub actions: Vec<Action>,
    /// Why no (further) action is taken. `None` after an ordered action, and if there is nothing to wait for.
    pub blocked_on: Option<Blocked>,
    /// Counts the pods before the actions: a pod created now is counted from the next sync on.
    pub status: Status,
    /// When a ready pod becomes available without an event: sync again then.
    pub recheck: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create {
        ordinal: u32,
        revision: u32,
    },
    /// A plain DELETE with the pod's own grace period: neither a disruption budget nor the pod can refuse it.
    Delete {
        ordinal: u32,
        uid: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub ordinal: u32,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Terminating,
    NotReady,
    NotAvailable,
}

/// All three include terminating and condemned pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub replicas: u32,
    pub ready: u32,
    pub available: u32,
}

impl StatefulSet {
    /// Creates a set with the API's defaults, except for the policy: start 0, rolling update without a partition.
    #[must_use]
    pub fn new(policy: Policy, replicas: u32) -> StatefulSet {
        StatefulSet {
            policy,
            start: 0,
            replicas,
            min_ready: 0,
            update: UpdateStrategy::RollingUpdate { partition: 0 },
            revision: 1,
            previous: 1,
        }
    }

    /// Rolls out a new template.
    pub fn roll_out(&mut self) {
        self.previous = self.revision;
        self.revision += 1;
    }

    /// Reports whether the ordinal is inside `start..start + replicas`.
    #[must_use]
    pub fn covers(&self, ordinal: u32) -> bool {
        ordinal.checked_sub(self.start).is_some_and(|index| index < self.replicas)
    }

    /// Returns the template with which a pod of this ordinal is created.
    #[must_use]
    pub fn revision_of(&self, ordinal: u32) -> u32 {
        match self.update {
            UpdateStrategy::RollingUpdate { partition } if ordinal < self.start.saturating_add(partition) => {
                self.previous
            }
            UpdateStrategy::RollingUpdate { .. } | UpdateStrategy::OnDelete => self.revision,
        }
    }

    /// Runs one sync over all pods of the set, in any order, at most one per ordinal. O(n log n).
    #[must_use]
    pub fn sync(&self, pods: &[PodView], now: u64) -> Sync {
        let mut sync = Sync { status: self.status(pods, now), recheck: self.recheck(pods, now), ..Sync::default() };
        let mut window: Vec<&PodView> = pods.iter().filter(|p| self.covers(p.ordinal)).collect();
        window.sort_unstable_by_key(|p| p.ordinal);
        let mut condemned: Vec<&PodView> = pods.iter().filter(|p| !self.covers(p.ordinal)).collect();
        condemned.sort_unstable_by_key(|p| std::cmp::Reverse(p.ordinal));
        let ended = self.fill(&window, now, &mut sync) || self.clear(&condemned, now, &mut sync);
        if !ended {
            self.replace(&window, now, &mut sync);
        }
        sync
    }

    /// A: every ordinal of the window, ascending. Returns true if the sync ends here.
    fn fill(&self, window: &[&PodView], now: u64, sync: &mut Sync) -> bool {
        let ordered = self.policy == Policy::OrderedReady;
        let mut present = window.iter().peekable();
        for index in 0..self.replicas {
            let Some(ordinal) = self.start.checked_add(index) else { break };
            let Some(pod) = present.next_if(|p| p.ordinal == ordinal) else {
                sync.actions.push(Action::Create { ordinal, revision: self.revision_of(ordinal) });
                if ordered {
                    return true;
                }
                continue;
            };
            if pod.is_over() && !pod.terminating {
                sync.actions.push(pod.delete());
                if ordered {
                    return true;
                }
            } else if ordered && let Some(reason) = self.trouble(pod, now) {
                sync.blocked_on = Some(Blocked { ordinal, reason });
                return true;
            }
        }
        false
    }

    /// B: every pod outside the window, highest ordinal first. Returns true if the sync ends here.
    fn clear(&self, condemned: &[&PodView], now: u64, sync: &mut Sync) -> bool {
        if self.policy == Policy::Parallel {
            sync.actions.extend(condemned.iter().filter(|p| !p.terminating).map(|p| p.delete()));
            return false;
        }
        // The whole window is available here, so the first unavailable pod is the lowest unavailable condemned one.
        let first_unavailable = condemned.iter().rev().find(|p| self.trouble(p, now).is_some()).map(|p| p.ordinal);
        let Some(pod) = condemned.first() else { return false };
        match self.trouble(pod, now) {
            Some(reason) if pod.terminating || first_unavailable != Some(pod.ordinal) => {
                sync.blocked_on = Some(Blocked { ordinal: pod.ordinal, reason });
            }
            Some(_) | None => sync.actions.push(pod.delete()),
        }
        true
    }

    /// C: the rolling update. Deletes the highest pod with an old template if all pods above it are available.
    fn replace(&self, window: &[&PodView], now: u64, sync: &mut Sync) {
        let UpdateStrategy::RollingUpdate { partition } = self.update else { return };
        let mut present = window.iter().rev().peekable();
        for index in (partition..self.replicas).rev() {
            let Some(ordinal) = self.start.checked_add(index) else { continue };
            // Just created, or just deleted because it had failed: not available.
            let Some(pod) = present.next_if(|p| p.ordinal == ordinal) else { return };
            if pod.is_over() {
                return;
            }
            if pod.revision != self.revision && !pod.terminating {
                sync.actions.push(pod.delete());
                return;
            }
            if self.trouble(pod, now).is_some() {
                return;
            }
        }
    }

    /// Returns why a pod is not available.
    fn trouble(&self, pod: &PodView, now: u64) -> Option<Reason> {
        if pod.terminating {
            Some(Reason::Terminating)
        } else if !pod.is_ready() {
            Some(Reason::NotReady)
        } else if !self.is_available(pod, now) {
            Some(Reason::NotAvailable)
        } else {
            None
        }
    }

    /// Reports whether a pod has been ready for `min_ready`, terminating or not.
    fn is_available(&self, pod: &PodView, now: u64) -> bool {
        pod.is_ready() && pod.ready_since.is_some_and(|since| since.saturating_add(self.min_ready) <= now)
    }

    fn status(&self, pods: &[PodView], now: u64) -> Status {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Status {
            replicas: count(pods.len()),
            ready: count(pods.iter().filter(|p| p.is_ready()).count()),
            available: count(pods.iter().filter(|p| self.is_available(p, now)).count()),
        }
    }

    fn recheck(&self, pods: &[PodView], now: u64) -> Option<u64> {
        let available_at = |p: &PodView| p.ready_since.map(|since| since.saturating_add(self.min_ready));
        pods.iter().filter(|p| p.is_ready()).filter_map(available_at).filter(|at| *at > now).min()
    }
}

impl PodView {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.ready_since.is_some()
    }

    /// Reports whether the pod will never run again: evicted, rejected, or finished.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Failed | Phase::Succeeded)
    }

    fn delete(&self) -> Action {
        Action::Delete { ordinal: self.ordinal, uid: self.uid }
    }
}
