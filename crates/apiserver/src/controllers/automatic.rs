//! A kubelet that acts by itself: pods are bound, become ready and end after given times. The test controls the pods on
//! hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{over, pod, ready, terminating, text};
use crate::{Resource, Store, milliseconds};

/// Schedules, starts and ends pods after fixed times, like a scheduler and a kubelet without trouble.
pub struct Automatic {
    /// From the pod's creation to its binding to a node.
    pub scheduled_after_ms: u64,
    /// From the binding to ready.
    pub ready_after_ms: u64,
    /// From the deletion to the end; never longer than the grace period.
    pub gone_after_ms: u64,
    /// How many nodes are used in turn: `fake-0`, `fake-1`..
    pub nodes: usize,
    /// Names of pods on hold, which are left alone.
    pub hold: BTreeSet<String>,
    address: Box<dyn FnMut(&Value) -> String + Send>,
    lives: BTreeMap<String, Life>,
    scheduled: usize,
}

/// When each step of a pod was first seen, by uid.
#[derive(Default)]
struct Life {
    created: Option<u64>,
    scheduled: Option<u64>,
    ended: Option<u64>,
}

impl Automatic {
    /// `address` gives each pod its IP when it starts, from the whole object.
    pub fn new(address: impl FnMut(&Value) -> String + Send + 'static) -> Automatic {
        Automatic {
            scheduled_after_ms: 0,
            ready_after_ms: 1000,
            gone_after_ms: 1000,
            nodes: 5,
            hold: BTreeSet::new(),
            address: Box::new(address),
            lives: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Does what is due. Returns when the next step is due.
    pub fn step(&mut self, store: &mut Store, now: u64) -> Option<u64> {
        let pods: Vec<Arc<Value>> = store.all(Resource::Pods).cloned().collect();
        let there: BTreeSet<&str> = pods.iter().map(|pod| text(pod, "uid")).collect();
        self.lives.retain(|uid, _| there.contains(uid.as_str()));
        let mut next: Option<u64> = None;
        for object in pods.iter().filter(|object| !self.hold.contains(text(object, "name"))) {
            let life = self.lives.entry(text(object, "uid").to_owned()).or_default();
            let created = *life.created.get_or_insert(now);
            let mut hand = pod(store, now, text(object, "namespace"), text(object, "name"));
            let due = if terminating(object) {
                let latest = object["metadata"]["deletionTimestamp"].as_str().and_then(milliseconds);
                let due = (*life.ended.get_or_insert(now) + self.gone_after_ms).min(latest.unwrap_or(u64::MAX));
                if now >= due {
                    // This cannot fail with 404: the pod was listed a moment ago.
                    let _ = hand.end();
                    continue;
                }
                due
            } else if object["spec"]["nodeName"].is_null() {
                let due = created + self.scheduled_after_ms;
                if now >= due {
                    let node = format!("fake-{}", self.scheduled % self.nodes.max(1));
                    self.scheduled += 1;
                    life.scheduled = Some(now);
                    let _ = hand.schedule(&node);
                    now + self.ready_after_ms
                } else {
                    due
                }
            } else if !ready(object) && !over(object) && object["status"]["phase"] == "Pending" {
                let due = *life.scheduled.get_or_insert(now) + self.ready_after_ms;
                if now >= due {
                    let _ = hand.run(&(self.address)(object));
                    continue;
                }
                due
            } else {
                continue;
            };
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        next
    }
}
