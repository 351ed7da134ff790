//! One sync of a ReplicaSet: creates missing pods, and deletes surplus ones in the controller's order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{condition, count, from_template, over, owned, ready, terminating, text};
use crate::store::{Deletion, Key, Part, Store};
use crate::{Resource, milliseconds};

pub(super) fn sync(store: &mut Store, set: &Value, now: u64) {
    let (namespace, name) = (text(set, "namespace"), text(set, "name"));
    let mut pods = owned(store, Resource::Pods, set);
    pods.retain(|pod| !terminating(pod) && !over(pod));
    let wanted = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(usize::MAX);
    for _ in pods.len()..wanted {
        let mut pod = from_template(set);
        pod["metadata"]["generateName"] = json!(format!("{name}-"));
        // If two generated names are equal, the next sync creates the missing pod.
        let _ = store.create(Resource::Pods, namespace, pod, now);
    }
    for victim in victims(&pods, now).into_iter().take(pods.len().saturating_sub(wanted)) {
        let key = Key::new(Resource::Pods, namespace, text(&victim, "name"));
        let _ = store.delete(&key, &Deletion::default(), now);
    }
    let readies = pods.iter().filter(|pod| ready(pod)).count();
    let _ = store.change(&Key::new(Resource::ReplicaSets, namespace, name), Part::Status, |set| {
        let generation = set["metadata"]["generation"].clone();
        let status = &mut set["status"];
        status["observedGeneration"] = generation;
        status["replicas"] = json!(pods.len());
        count(status, "fullyLabeledReplicas", pods.len());
        count(status, "readyReplicas", readies);
        count(status, "availableReplicas", readies);
    });
}

/// In the order of deletion.
fn victims(pods: &[Arc<Value>], now: u64) -> Vec<Arc<Value>> {
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let mut neighbours: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods {
        *neighbours.entry(node(pod)).or_default() += 1;
    }
    let mut sorted = pods.to_vec();
    sorted.sort_by_cached_key(|pod| {
        let on_node = node(pod);
        let phase = match pod["status"]["phase"].as_str() {
            Some("Running") => 2,
            Some("Unknown") => 1,
            Some(_) | None => 0,
        };
        let cost = pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_str();
        let ready_since = condition(pod, "Ready").filter(|_| ready(pod)).map(|c| since(&c["lastTransitionTime"], now));
        let restarts: u64 = pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|container| container["restartCount"].as_u64())
            .max()
            .unwrap_or(0);
        let uid = text(pod, "uid").to_owned();
        (
            (!on_node.is_empty(), phase, ready(pod), cost.and_then(|cost| cost.parse::<i32>().ok()).unwrap_or(0)),
            Reverse(neighbours.get(&on_node).copied().unwrap_or(0)),
            // Ready pods of the same age bucket are ordered by uid; restarts and age decide among the others.
            (ready_since, ready_since.map(|_| uid.clone())),
            (Reverse(restarts), since(&pod["metadata"]["creationTimestamp"], now), uid),
        )
    });
    sorted
}

/// The age as a power of two, in nanoseconds.
fn since(time: &Value, now: u64) -> u32 {
    let then = time.as_str().and_then(milliseconds).unwrap_or(now);
    (u128::from(now.saturating_sub(then)) * 1_000_000).checked_ilog2().unwrap_or(0)
}
