//! One sync of a Deployment: a ReplicaSet per template. Of the rolling update, only the order is implemented: new pods
//! first, and old ones are deleted as new ones become ready.

use serde_json::{Value, json};

use super::{count, owned, owner_reference, revision, text};
use crate::Resource;
use crate::store::{Key, Part, Store};

pub(super) fn sync(store: &mut Store, deployment: &Value, now: u64) {
    let (namespace, name) = (text(deployment, "namespace"), text(deployment, "name"));
    let hash = revision(&deployment["spec"]["template"]);
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let newest = format!("{name}-{hash}");
    let sets = owned(store, Resource::ReplicaSets, deployment);
    let total = |field: &str| -> u64 { sets.iter().filter_map(|set| set["status"][field].as_u64()).sum() };
    let (replicas, readies) = (total("replicas"), total("readyReplicas"));
    let of_newest = |field: &str| -> u64 {
        sets.iter().find(|set| text(set, "name") == newest).and_then(|set| set["status"][field].as_u64()).unwrap_or(0)
    };
    let (updated, updated_ready) = (of_newest("replicas"), of_newest("readyReplicas"));

    if sets.iter().all(|set| text(set, "name") != newest) {
        let mut template = deployment["spec"]["template"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"]["pod-template-hash"] = json!(hash);
        let set = json!({
            "metadata": {
                "name": newest, "labels": template["metadata"]["labels"], "ownerReferences": owner_reference(deployment),
            },
            "spec": {"replicas": wanted, "selector": selector, "template": template},
        });
        // Fails if another owner's set has this name.
        let _ = store.create(Resource::ReplicaSets, namespace, set, now);
    }
    let mut old_ones = wanted.saturating_sub(updated_ready);
    for set in &sets {
        let current = set["spec"]["replicas"].as_u64().unwrap_or(0);
        let share = if text(set, "name") == newest { wanted } else { current.min(old_ones) };
        if text(set, "name") != newest {
            old_ones -= share;
        }
        if share != current {
            let key = Key::new(Resource::ReplicaSets, namespace, text(set, "name"));
            let _ = store.change(&key, Part::Whole, |set| set["spec"]["replicas"] = json!(share));
        }
    }

    let key = Key::new(Resource::Deployments, namespace, name);
    let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let _ = store.change(&key, Part::Status, |deployment| {
        let generation = deployment["metadata"]["generation"].clone();
        let status = &mut deployment["status"];
        status["observedGeneration"] = generation;
        count(status, "replicas", size(replicas));
        count(status, "updatedReplicas", size(updated));
        count(status, "readyReplicas", size(readies));
        count(status, "availableReplicas", size(readies));
        count(status, "unavailableReplicas", size(replicas.max(wanted).saturating_sub(readies)));
    });
}
