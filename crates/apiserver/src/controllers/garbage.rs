//! The part of the garbage collector for `propagationPolicy: Orphan`: the deleted object leaves its dependents behind
//! without an owner, and disappears when the last of them has none (tests/transcripts 10).

use serde_json::Value;

use super::{owned, terminating, text};
use crate::store::{Key, ORPHAN, Part, Store};
use crate::{Resource, controllers::stateful_set};

pub(super) fn sync(store: &mut Store) {
    for (resource, dependents) in [
        (Resource::StatefulSets, Resource::Pods),
        (Resource::Deployments, Resource::ReplicaSets),
        (Resource::ReplicaSets, Resource::Pods),
    ] {
        let going: Vec<_> = store.all(resource).filter(|object| terminating(object)).cloned().collect();
        for owner in going.into_iter().filter(|owner| waits(owner)) {
            if resource == Resource::StatefulSets {
                stateful_set::observe(store, &owner);
            }
            for dependent in owned(store, dependents, &owner) {
                let key = Key::new(dependents, text(&dependent, "namespace"), text(&dependent, "name"));
                let uid = owner["metadata"]["uid"].clone();
                // If the dependent has been deleted meanwhile, nothing is left to do.
                let _ = store.change(&key, Part::Whole, |object| {
                    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                        owners.retain(|owner| owner["uid"] != uid);
                    }
                });
            }
            let key = Key::new(resource, text(&owner, "namespace"), text(&owner, "name"));
            let _ = store.change(&key, Part::Whole, |object| {
                if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                    finalizers.retain(|finalizer| finalizer != ORPHAN);
                }
            });
        }
    }
}

fn waits(owner: &Value) -> bool {
    owner["metadata"]["finalizers"].as_array().into_iter().flatten().any(|finalizer| finalizer == ORPHAN)
}
