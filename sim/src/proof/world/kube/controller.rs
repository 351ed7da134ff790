//! The StatefulSet's controller, and what the kubelets report about its pods.

use super::super::oracle::{EPOCH, Oracle};
use super::super::reference::remover;
use super::objects::{name, number, pod, pod_key, set_key, view};
use super::{Inner, NAMESPACE, Pod, Stage, TERMINATION};
use crate::models::statefulset::{Action, PodView, Policy};
use crate::record::{PodEnd, PodLife};
use rand::Rng;
use serde_json::json;
use slotkeeper_apiserver::controllers::{self, Pod as Kubelet};
use slotkeeper_apiserver::{Deletion, Part, Status};
use slotkeeper_reference::PodState;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

impl Inner {
    pub(super) fn sync(&mut self, now: u64, oracle: &Oracle) {
        if !self.has_set {
            return;
        }
        let generation = self.generation;
        (self.set.start, self.set.replicas) = (self.written.start, self.written.replicas);
        loop {
            let views: Vec<PodView> = self.pods.values().map(view).collect();
            let actions = self.set.sync(&views, now).actions;
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Create { ordinal, .. } => self.create(ordinal, now, oracle),
                    Action::Delete { ordinal, uid } => self.delete(ordinal, uid, now, oracle),
                }
            }
            if self.set.policy == Policy::OrderedReady {
                break;
            }
        }
        self.report(generation);
    }

    /// Reports the generation only after all its actions: readers rely on an observed size having been applied.
    pub(super) fn report(&mut self, generation: u64) {
        let (pods, ready) = (self.pods.len(), self.ready());
        if self.reported == (generation, pods, ready) {
            return;
        }
        self.reported = (generation, pods, ready);
        // The set always exists.
        let _ = self.server.store(|store, _| {
            store.change(&set_key(), Part::Status, |set| {
                let status = &mut set["status"];
                status["observedGeneration"] = json!(generation);
                status["replicas"] = json!(pods);
                status["readyReplicas"] = json!(ready);
                status["availableReplicas"] = json!(ready);
            })
        });
    }

    pub(super) fn create(&mut self, ordinal: u32, now: u64, oracle: &Oracle) {
        if self.nodes.is_empty() {
            return;
        }
        let count = self.nodes.len();
        let healthy: Vec<usize> = (0..count).filter(|n| self.nodes[*n].takes_pods(now)).collect();
        let node = match healthy.as_slice() {
            [] => self.dice.random_range(0..count),
            some => some[self.dice.random_range(0..some.len())],
        };
        let has_room = self.nodes[node].is_open() && !self.without_room.contains(&ordinal);
        let number = self.next_uid;
        let uid = format!("p{ordinal}-{number}");
        self.next_uid += 1;
        let stage = match self.start_time().filter(|_| has_room) {
            Some(time) => Stage::Starting { ready_at: now + time },
            None => Stage::Stuck,
        };
        let port = self.nodes[node].next_port;
        self.nodes[node].next_port += 1;
        let address = SocketAddr::new(self.nodes[node].ip, port);
        oracle.log(format!("pod {ordinal} ({uid}) is created on node {node}"));
        oracle.count(format!("pod {}", if stage == Stage::Stuck { "stuck" } else { "created" }));
        let life =
            PodLife { ordinal, uid: uid.clone(), created: now, ready: None, terminating: None, gone: None, end: None };
        self.lives.insert(uid.clone(), life);
        let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number as u32));
        self.routes.insert(ip, address);
        let pod = pod(ordinal, &uid, &self.owner, EPOCH + now);
        // The previous pod with this name has been removed.
        let _ = self.server.store(|store, _| store.load(pod));
        // Until the real stage is set below.
        let before = if stage == Stage::Stuck { Stage::Failed } else { Stage::Stuck };
        self.pods
            .insert(ordinal, Pod { ordinal, uid: uid.clone(), node, ip, address, stage: before, terminating: None });
        self.stage(&uid, stage);
        self.shown(&uid, oracle);
    }

    pub(super) fn delete(&mut self, ordinal: u32, uid: u64, now: u64, oracle: &Oracle) {
        let Some(pod) = self.pods.get(&ordinal).filter(|p| number(&p.uid) == uid) else { return };
        let (uid, failed) = (pod.uid.clone(), pod.stage == Stage::Failed);
        if failed {
            self.terminate(&uid, now, PodEnd::Crashed, oracle);
        } else {
            oracle.scaled_down(ordinal, &uid);
            self.terminate(&uid, now, PodEnd::ScaledDown, oracle);
        }
    }

    pub(super) fn terminate(&mut self, uid: &str, now: u64, end: PodEnd, oracle: &Oracle) {
        if let Some(life) = self.lives.get_mut(uid) {
            life.terminating = Some(now);
            life.end.get_or_insert(end);
        }
        let Some(pod) = self.pods.values_mut().find(|p| p.uid == uid) else { return };
        oracle.pod_is(uid, pod.ordinal, PodState::Terminating { by: remover(end) });
        if matches!(pod.stage, Stage::Stuck | Stage::Failed) {
            self.remove(uid, now, oracle);
        } else {
            pod.terminating = Some(now + TERMINATION);
            let ordinal = pod.ordinal;
            self.delete_object(ordinal, uid, None);
        }
    }

    pub(super) fn remove(&mut self, uid: &str, now: u64, oracle: &Oracle) {
        let Some(ordinal) = self.pod(uid).map(|p| p.ordinal) else { return };
        self.pods.remove(&ordinal);
        self.delete_object(ordinal, uid, Some(0));
        oracle.pod_is_gone(uid);
        oracle.pod_is(uid, ordinal, PodState::Gone);
        oracle.log(format!("pod {ordinal} ({uid}) is gone"));
        if let Some(life) = self.lives.get_mut(uid) {
            life.gone = Some(now);
        }
    }

    /// A dispatcher may have deleted it already.
    pub(super) fn delete_object(&self, ordinal: u32, uid: &str, grace_seconds: Option<u64>) {
        let deletion = Deletion { uid: Some(uid.to_owned()), version: None, grace_seconds, orphan: false };
        let _ = self.server.store(|store, now| store.delete(&pod_key(ordinal), &deletion, now));
    }

    /// A pod that was removed meanwhile needs no status.
    pub(super) fn kubelet<T>(&self, pod: &Pod, act: impl FnOnce(&mut Kubelet<'_>) -> Result<T, Status>) {
        let _ = self.server.store(|store, now| act(&mut controllers::pod(store, now, NAMESPACE, &name(pod.ordinal))));
    }

    pub(super) fn stage(&mut self, uid: &str, stage: Stage) {
        let Some(pod) = self.pods.values_mut().find(|p| p.uid == uid && p.stage != stage) else { return };
        pod.stage = stage;
        let pod = pod.clone();
        self.kubelet(&pod, |kubelet| match stage {
            Stage::Stuck => kubelet.unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
            Stage::Starting { .. } => {
                kubelet.schedule(&format!("node{}", pod.node))?;
                kubelet.start(&pod.ip.to_string())
            }
            Stage::Ready { .. } => kubelet.run(&pod.ip.to_string()),
            Stage::Unready => kubelet.unready(),
            Stage::Failed => kubelet.fail("Evicted", "The node was low on resource: ephemeral-storage."),
        });
    }

    /// Reports the pod's current state to the second oracle.
    pub(super) fn shown(&self, uid: &str, oracle: &Oracle) {
        let Some(pod) = self.pod(uid).filter(|p| p.terminating.is_none()) else { return };
        let state = match pod.stage {
            Stage::Stuck | Stage::Starting { .. } => PodState::Starting,
            Stage::Ready { .. } => PodState::Ready,
            Stage::Unready | Stage::Failed => PodState::Unready,
        };
        oracle.pod_is(uid, pod.ordinal, state);
    }

    pub(super) fn start_time(&mut self) -> Option<u64> {
        let (least, most) = self.cold_start;
        let drawn = self.dice.random_range(least..=most);
        self.slowness.map(|times| drawn * times)
    }

    /// A restarted container needs no scheduling: it can be slow, but not stuck.
    pub(super) fn restart_time(&mut self) -> u64 {
        let (least, most) = self.cold_start;
        self.dice.random_range(least..=most) * self.slowness.unwrap_or(1)
    }
}
