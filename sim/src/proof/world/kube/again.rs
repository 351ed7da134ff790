//! A StatefulSet that is deleted while its pods stay (`kubectl delete --cascade=orphan`), and created again as `k8s/make-again` does:
//! with as many replicas as the pool can have, so that all pods are adopted and none is removed. Recorded from a real control plane
//! 1.36: the pods lose their owner before the set disappears; the new set's controller adopts them before it acts on its size.

use super::objects::{pod_key, set_key, stateful_set};
use super::{Inner, Kube};
use serde_json::json;
use slotkeeper_apiserver::{Deletion, Part, Resource};

/// The finalizer of an object whose dependents stay.
const ORPHAN: &str = "orphan";

impl Kube {
    /// Deletes the set: until [`Kube::create_set`], no controller manages the pods.
    pub fn delete_set(&self) {
        let mut inner = self.locked();
        if !inner.has_set {
            return;
        }
        inner.has_set = false;
        let deletion = Deletion { uid: None, version: None, grace_seconds: None, orphan: true };
        // The set exists, so this cannot fail.
        let _ = inner.server.store(|store, now| store.delete(&set_key(), &deletion, now));
        inner.own_pods(&json!([]));
        let _ = inner.server.store(|store, _| {
            store.change(&set_key(), Part::Whole, |set| {
                if let Some(finalizers) = set["metadata"]["finalizers"].as_array_mut() {
                    finalizers.retain(|finalizer| finalizer != ORPHAN);
                }
            })
        });
        inner.read_back(self.oracle.now(), &self.oracle);
    }

    /// Creates the set with this many replicas, at least as many as cover all ordinals in use.
    pub fn create_set(&self, replicas: u32) {
        let mut inner = self.locked();
        if inner.has_set {
            return;
        }
        let used = inner.pods.keys().last().map_or(0, |last| last + 1);
        let set = stateful_set(replicas.max(used), inner.set.policy);
        let Ok(created) =
            inner.server.store(|store, now| store.create(Resource::StatefulSets, super::NAMESPACE, set, now))
        else {
            return;
        };
        inner.owner[0]["uid"] = created["metadata"]["uid"].clone();
        let owner = inner.owner.clone();
        inner.own_pods(&owner);
        inner.has_set = true;
        // The new set's controller has reported nothing yet.
        inner.reported = (0, 0, 0);
        inner.read_back(self.oracle.now(), &self.oracle);
        self.oracle.count("set created again");
    }
}

impl Inner {
    fn own_pods(&self, owner: &serde_json::Value) {
        for ordinal in self.pods.keys() {
            // A pod that was removed meanwhile needs no owner.
            let _ = self.server.store(|store, _| {
                store.change(&pod_key(*ordinal), Part::Whole, |pod| pod["metadata"]["ownerReferences"] = owner.clone())
            });
        }
    }
}
