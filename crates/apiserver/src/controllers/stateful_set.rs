//! One sync of a StatefulSet: Parallel or OrderedReady, with ordinals.start and RollingUpdate or OnDelete. The status counts
//! the pods as they were before this sync, and is written last.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{count, from_template, has_controller, over, owned, owner_reference, ready, revision, terminating, text};
use crate::Resource;
use crate::selector::Labels;
use crate::store::{Deletion, Key, Part, Store};

pub(super) fn sync(store: &mut Store, set: &Value, now: u64) {
    adopt(store, set);
    let pods = pods_of(store, set);
    act(store, set, &pods, now);
    report(store, set, &pods);
}

/// A set that is being deleted only reports its status.
pub(super) fn observe(store: &mut Store, set: &Value) {
    let pods = pods_of(store, set);
    report(store, set, &pods);
}

/// Adopts pods with matching labels and names that have no controller, before surplus pods are selected.
fn adopt(store: &mut Store, set: &Value) {
    let Some(selector) = Labels::of_spec(&set["spec"]["selector"]) else { return };
    let prefix = format!("{}-", text(set, "name"));
    let numbered = |pod: &Value| text(pod, "name").strip_prefix(&prefix).is_some_and(|n| n.parse::<u64>().is_ok());
    let orphans: Vec<String> = store
        .all(Resource::Pods)
        .filter(|pod| text(pod, "namespace") == text(set, "namespace") && numbered(pod) && selector.matches(pod))
        .filter(|pod| !has_controller(pod) && !terminating(pod))
        .map(|pod| text(pod, "name").to_owned())
        .collect();
    for name in orphans {
        let key = Key::new(Resource::Pods, text(set, "namespace"), &name);
        let _ = store.change(&key, Part::Whole, |pod| pod["metadata"]["ownerReferences"] = owner_reference(set));
    }
}

/// By ordinal.
fn pods_of(store: &Store, set: &Value) -> BTreeMap<u64, Arc<Value>> {
    let prefix = format!("{}-", text(set, "name"));
    owned(store, Resource::Pods, set)
        .into_iter()
        .filter_map(|pod| Some((text(&pod, "name").strip_prefix(&prefix)?.parse().ok()?, pod)))
        .collect()
}

fn update_revision(set: &Value) -> String {
    format!("{}-{}", text(set, "name"), revision(&set["spec"]["template"]))
}

fn act(store: &mut Store, set: &Value, pods: &BTreeMap<u64, Arc<Value>>, now: u64) {
    let spec = &set["spec"];
    let start = spec["ordinals"]["start"].as_u64().unwrap_or(0);
    let end = start + spec["replicas"].as_u64().unwrap_or(1);
    let ordered = spec["podManagementPolicy"] != "Parallel";

    for ordinal in start..end {
        let waits = match pods.get(&ordinal) {
            None => {
                create(store, set, ordinal, now);
                true
            }
            Some(pod) if over(pod) && !terminating(pod) => {
                delete(store, pod, now);
                true
            }
            Some(pod) => terminating(pod) || !ready(pod),
        };
        if ordered && waits {
            return;
        }
    }

    let condemned = || pods.iter().rev().filter(|(ordinal, _)| !(start..end).contains(ordinal));
    let first_unavailable =
        condemned().filter(|(_, pod)| terminating(pod) || !ready(pod)).map(|(ordinal, _)| *ordinal).min();
    for (ordinal, pod) in condemned() {
        if ordered && (terminating(pod) || (!ready(pod) && first_unavailable != Some(*ordinal))) {
            return;
        }
        if !terminating(pod) {
            delete(store, pod, now);
            if ordered {
                return;
            }
        }
    }

    if spec["updateStrategy"]["type"] == "OnDelete" {
        return;
    }
    let partition = spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or(0);
    let wanted = update_revision(set);
    for (_, pod) in pods.range(start.max(partition)..end).rev() {
        let current = pod["metadata"]["labels"]["controller-revision-hash"] == *wanted;
        if !current && !terminating(pod) {
            delete(store, pod, now);
        }
        if !current || terminating(pod) || !ready(pod) {
            return;
        }
    }
}

fn create(store: &mut Store, set: &Value, ordinal: u64, now: u64) {
    let name = format!("{}-{ordinal}", text(set, "name"));
    let mut pod = from_template(set);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["generateName"] = json!(format!("{}-", text(set, "name")));
    pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
    pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = json!(name);
    pod["metadata"]["labels"]["controller-revision-hash"] = json!(update_revision(set));
    pod["spec"]["hostname"] = json!(name);
    if set["spec"]["serviceName"].as_str().is_some_and(|service| !service.is_empty()) {
        pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    }
    // Fails while another owner's pod of this name exists.
    let _ = store.create(Resource::Pods, text(set, "namespace"), pod, now);
}

fn delete(store: &mut Store, pod: &Value, now: u64) {
    let key = Key::new(Resource::Pods, text(pod, "namespace"), text(pod, "name"));
    let deletion = Deletion { uid: Some(text(pod, "uid").to_owned()), ..Deletion::default() };
    // If the pod has already been deleted, the next sync sees it.
    let _ = store.delete(&key, &deletion, now);
}

fn report(store: &mut Store, set: &Value, pods: &BTreeMap<u64, Arc<Value>>) {
    let update = update_revision(set);
    let living = |wanted: &str| {
        let of =
            |pod: &&Arc<Value>| !terminating(pod) && pod["metadata"]["labels"]["controller-revision-hash"] == *wanted;
        pods.values().filter(of).count()
    };
    let updated = living(&update);
    let old = set["status"]["currentRevision"].as_str().filter(|old| living(old) > 0).unwrap_or(&update).to_owned();
    let readies = pods.values().filter(|pod| ready(pod)).count();
    let key = Key::new(Resource::StatefulSets, text(set, "namespace"), text(set, "name"));
    // This cannot fail with 404: nothing else runs during the sync.
    let _ = store.change(&key, Part::Status, |set| {
        let generation = set["metadata"]["generation"].clone();
        let current = living(&old);
        let status = &mut set["status"];
        status["observedGeneration"] = generation;
        status["replicas"] = json!(pods.len());
        status["availableReplicas"] = json!(readies);
        status["collisionCount"] = json!(0);
        status["currentRevision"] = json!(old);
        status["updateRevision"] = json!(update);
        count(status, "readyReplicas", readies);
        count(status, "currentReplicas", current);
        count(status, "updatedReplicas", updated);
    });
}
