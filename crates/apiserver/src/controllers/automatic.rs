//! A kubelet that needs no telling: pods are bound, become ready and go after given times. Pods on hold are left to the
//! test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{over, pod, ready, terminating, text};
use crate::{Resource, Store, milliseconds};

pub struct Automatic {
    /// From creation to a node.
    pub scheduled_after_ms: u64,
    /// From the node to ready.
    pub ready_after_ms: u64,
    /// From the deletion to the end; never longer than the grace.
    pub gone_after_ms: u64,
    /// Nodes `fake-0`, `fake-1`.. in turn.
    pub nodes: usize,
    /// Names of pods to leave alone.
    pub hold: BTreeSet<String>,
    address: Box<dyn FnMut(&Value) -> String + Send>,
    lives: BTreeMap<String, Life>,
    scheduled: usize,
}

/// When something was first seen, by uid.
#[derive(Default)]
struct Life {
    created: Option<u64>,
    scheduled: Option<u64>,
    ended: Option<u64>,
}

impl Automatic {
    /// `address` gives each pod its IP when it starts: it sees the whole object.
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

    /// Does what is due; says when the next thing is.
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
                    // It cannot be gone: it was there a moment ago.
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
