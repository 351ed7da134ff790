//! Nodes that are cordoned, drained, silent, lost or deleted, preempted pods, and what the controllers then write to
//! pods. The formats were recorded from a real control plane 1.36 (evictions, a lost node): a lost node changes only
//! the status of a pod's Ready condition, and every component that deletes a pod first writes the reason to its
//! condition DisruptionTarget.

use super::super::oracle::Oracle;
use super::objects::pod_key;
use super::{Inner, Kube, NODE_GRACE, Pod, Stage};
use crate::record::PodEnd;
use serde_json::{Value, json};
use slotkeeper_apiserver::{Part, stamp};
use std::net::IpAddr;

/// After this many milliseconds without a heartbeat, the pods of a node are evicted (`tolerationSeconds` of the taint
/// node.kubernetes.io/unreachable, scaled down): marked as terminating, which only the node itself can complete.
const EVICTION: u64 = 9_000;
/// After this many milliseconds the object of a silent node is deleted, if the fault includes that.
const REMOVAL: u64 = EVICTION + 2_000;
/// Interval at which `kubectl drain` retries an eviction, in milliseconds (5 s, scaled down).
const DRAIN_EVERY: u64 = 500;

/// How many pods of the set a PodDisruptionBudget allows to be evicted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// `maxUnavailable: 1`.
    One,
    /// `maxUnavailable: 0`: no pod is ever evicted.
    Zero,
    /// There is no budget.
    Unlimited,
}

/// One node, as the control plane and its kubelet know it.
pub(super) struct Node {
    pub(super) ip: IpAddr,
    /// When its kubelet sent the last heartbeat.
    pub(super) heard: u64,
    pub(super) next_port: u16,
    /// `spec.unschedulable`: no new pods.
    cordoned: bool,
    drain: Option<Drain>,
    silence: Option<Silence>,
    /// The node's object has been deleted.
    removed: bool,
}

struct Drain {
    budget: Budget,
    next: u64,
}

/// The kubelet cannot reach the API server.
struct Silence {
    /// The kubelet's pods at that time.
    pods: Vec<Pod>,
    is_removed: bool,
}

impl Node {
    pub(super) fn new(ip: IpAddr, first_port: u16) -> Node {
        Node { ip, heard: 0, next_port: first_port, cordoned: false, drain: None, silence: None, removed: false }
    }

    /// Reports whether the scheduler may use the node.
    pub(super) fn takes_pods(&self, now: u64) -> bool {
        !self.cordoned && !self.removed && now.saturating_sub(self.heard) < NODE_GRACE
    }

    pub(super) fn is_open(&self) -> bool {
        !self.cordoned && !self.removed
    }
}

impl Kube {
    /// Returns the pods of a node as its kubelet knows them; also sends its heartbeat.
    pub fn assigned(&self, node: usize) -> Vec<Pod> {
        let now = self.oracle.now();
        let mut inner = self.locked();
        if let Some(of) = inner.nodes.get_mut(node) {
            match &of.silence {
                Some(silence) => return silence.pods.clone(),
                None => of.heard = now,
            }
        }
        inner.pods.values().filter(|p| p.node == node).cloned().collect()
    }

    /// `kubectl drain`: cordons the node, and evicts its pods as far as the budget allows.
    pub fn drain(&self, node: usize, budget: Budget) {
        let mut inner = self.locked();
        if let Some(node) = inner.nodes.get_mut(node) {
            node.cordoned = true;
            node.drain = Some(Drain { budget, next: 0 });
        }
    }

    /// `kubectl uncordon`.
    pub fn uncordon(&self, node: usize) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        if let Some(node) = inner.nodes.get_mut(node) {
            (node.cordoned, node.drain) = (false, None);
        }
        inner.start_stuck(now);
    }

    /// A node's kubelet and the API server cannot communicate; all other components can reach its pods. `is_removed`:
    /// the node's object is deleted after the eviction, and with it the objects of its pods, whether they have ended
    /// or not.
    pub fn silence(&self, node: usize, is_removed: bool) {
        let mut inner = self.locked();
        let pods = inner.pods.values().filter(|p| p.node == node).cloned().collect();
        if let Some(node) = inner.nodes.get_mut(node) {
            node.silence.get_or_insert(Silence { pods, is_removed });
        }
    }

    /// The kubelet of a silent node reaches the API server again, and registers its node if necessary.
    pub fn reconnect(&self, node: usize) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        if let Some(node) = inner.nodes.get_mut(node) {
            (node.silence, node.removed) = (None, false);
        }
        inner.start_stuck(now);
    }

    /// A pod with a higher priority preempts this one; its successor is not scheduled until there is capacity again.
    pub fn preempt(&self, uid: &str) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        let Some(pod) = inner.pod(uid).cloned() else { return };
        inner.without_room.insert(pod.ordinal);
        self.oracle.count("pod preempted");
        let message = "default-scheduler: preempting to accommodate a higher priority pod";
        inner.disrupt(&pod, "PreemptionByScheduler", message, now);
        inner.terminate(uid, now, PodEnd::Preempted, &self.oracle);
    }

    pub fn make_room(&self) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        inner.without_room.clear();
        inner.start_stuck(now);
    }
}

impl Inner {
    /// Reports whether the pod's kubelet cannot reach the API server.
    pub(super) fn is_silent(&self, uid: &str) -> bool {
        self.pod(uid).is_some_and(|p| self.nodes.get(p.node).is_some_and(|n| n.silence.is_some()))
    }

    /// Reports whether the node controller has marked the pod: its node has sent no heartbeat for too long.
    pub(super) fn is_lost(&self, uid: &str, now: u64) -> bool {
        self.pod(uid).is_some_and(|p| {
            let silent = self.nodes.get(p.node).map_or(0, |n| now.saturating_sub(n.heard));
            p.stage == Stage::Unready && silent >= NODE_GRACE
        })
    }

    /// Starts pods that waited for capacity, if there is some.
    pub(super) fn start_stuck(&mut self, now: u64) {
        if self.slowness.is_none() {
            return;
        }
        let open = |pod: &Pod| self.nodes.get(pod.node).is_some_and(Node::is_open);
        let waits = |pod: &&Pod| pod.stage == Stage::Stuck && !self.without_room.contains(&pod.ordinal) && open(pod);
        let stuck: Vec<String> = self.pods.values().filter(waits).map(|p| p.uid.clone()).collect();
        for uid in stuck {
            let ready_at = now + self.start_time().unwrap_or_default();
            self.stage(&uid, Stage::Starting { ready_at });
        }
    }

    /// Runs the node lifecycle controller, and the garbage collector of pods.
    pub(super) fn watch_nodes(&mut self, now: u64, oracle: &Oracle) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let is_due = now.saturating_sub(node.heard) >= REMOVAL;
            if is_due && !node.removed && node.silence.as_ref().is_some_and(|s| s.is_removed) {
                oracle.log(format!("the object of node{number} is deleted"));
                node.removed = true;
            }
        }
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        for pod in pods {
            let Some(node) = self.nodes.get(pod.node) else { continue };
            let (silent, removed) = (now.saturating_sub(node.heard), node.removed);
            if removed {
                oracle.count("pod removed with its node");
                self.remove(&pod.uid, now, oracle);
                continue;
            }
            if silent >= NODE_GRACE && matches!(pod.stage, Stage::Ready { .. }) {
                self.unreachable(&pod, now);
                self.shown(&pod.uid, oracle);
            }
            if silent >= EVICTION && pod.terminating.is_none() {
                oracle.count("pod evicted");
                let message = "Taint manager: deleting due to NoExecute taint";
                self.disrupt(&pod, "DeletionByTaintManager", message, now);
                self.terminate(&pod.uid, now, PodEnd::NodeLost, oracle);
            }
        }
        self.evict(now, oracle);
    }

    /// Runs the drains: one eviction at a time.
    fn evict(&mut self, now: u64, oracle: &Oracle) {
        for number in 0..self.nodes.len() {
            let Some(drain) = self.nodes.get_mut(number).and_then(|n| n.drain.as_mut()) else { continue };
            if now < drain.next {
                continue;
            }
            drain.next = now + DRAIN_EVERY;
            let budget = drain.budget;
            let here = |p: &&Pod| p.node == number && p.terminating.is_none() && p.stage != Stage::Failed;
            let Some(pod) = self.pods.values().find(here).cloned() else { continue };
            if self.allows(budget, &pod) {
                oracle.count("pod drained");
                oracle.log(format!("pod {} ({}) is evicted from node{number}", pod.ordinal, pod.uid));
                self.disrupt(&pod, "EvictionByEvictionAPI", "Eviction API: evicting", now);
                self.terminate(&pod.uid, now, PodEnd::Drained, oracle);
            } else {
                oracle.count("eviction refused");
            }
        }
    }

    /// The disruption controller counts ready pods that are not terminating, and expects as many as the set wants; a
    /// pod that is not ready may be evicted only while the others suffice (IfHealthyBudget).
    fn allows(&self, budget: Budget, pod: &Pod) -> bool {
        let is_ready = |p: &&Pod| matches!(p.stage, Stage::Ready { .. }) && p.terminating.is_none();
        let healthy = self.pods.values().filter(is_ready).count();
        let wanted = self.written.replicas as usize;
        let needed = match budget {
            Budget::Unlimited => return true,
            Budget::One => wanted.saturating_sub(1),
            Budget::Zero => wanted,
        };
        if is_ready(&pod) { healthy > needed } else { healthy >= needed }
    }

    /// The pod's node is lost: changes only the status of the Ready condition.
    fn unreachable(&mut self, pod: &Pod, now: u64) {
        if let Some(pod) = self.pods.get_mut(&pod.ordinal) {
            pod.stage = Stage::Unready;
        }
        self.condition(pod, "Ready", now, |condition| condition["status"] = json!("False"));
    }

    /// Writes why a pod is about to be deleted.
    fn disrupt(&mut self, pod: &Pod, reason: &str, message: &str, now: u64) {
        self.condition(pod, "DisruptionTarget", now, |condition| {
            condition["status"] = json!("True");
            condition["reason"] = json!(reason);
            condition["message"] = json!(message);
        });
    }

    fn condition(&self, pod: &Pod, kind: &str, now: u64, change: impl FnOnce(&mut Value)) {
        let time = super::EPOCH + now;
        // A pod that was removed meanwhile needs no status.
        let _ = self.server.store(|store, _| {
            store.change(&pod_key(pod.ordinal), Part::Status, |object| {
                let conditions = &mut object["status"]["conditions"];
                if !conditions.is_array() {
                    *conditions = json!([]);
                }
                let Some(list) = conditions.as_array_mut() else { return };
                let at = list.iter().position(|c| c["type"] == kind).unwrap_or_else(|| {
                    list.push(json!({ "type": kind }));
                    list.len() - 1
                });
                list[at]["lastTransitionTime"] = json!(stamp(time));
                change(&mut list[at]);
            })
        });
    }
}
