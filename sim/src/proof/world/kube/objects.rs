//! The objects as the API server stores them.

use super::super::setting::POOL;
use super::{DECIDED, NAMESPACE, Pod, Spec, Stage, TERMINATION};
use crate::models::statefulset::{Phase, PodView, Policy};
use serde_json::{Value, json};
use slotkeeper_apiserver::{Key, Resource, stamp};

pub(super) fn name(ordinal: u32) -> String {
    format!("{POOL}-{ordinal}")
}

pub(super) fn pod_key(ordinal: u32) -> Key {
    Key::new(Resource::Pods, NAMESPACE, &name(ordinal))
}

pub(super) fn set_key() -> Key {
    Key::new(Resource::StatefulSets, NAMESPACE, POOL)
}

pub(super) fn stateful_set(replicas: u32, policy: Policy) -> Value {
    json!({
        "metadata": { "name": POOL },
        "spec": {
            "replicas": replicas, "serviceName": POOL, "updateStrategy": { "type": "OnDelete" },
            "podManagementPolicy": match policy {
                Policy::Parallel => "Parallel",
                Policy::OrderedReady => "OrderedReady",
            },
            "selector": { "matchLabels": { "app": POOL } },
            "template": { "metadata": { "labels": { "app": POOL } }, "spec": pod_spec() },
        },
    })
}

pub(super) fn pod_spec() -> Value {
    json!({ "terminationGracePeriodSeconds": TERMINATION / 1_000, "containers": [{ "name": "program", "image": "program:1" }] })
}

/// Returns a pod as its controller creates it.
pub(super) fn pod(ordinal: u32, uid: &str, owner: &Value, now: u64) -> Value {
    let name = name(ordinal);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE, "name": name, "uid": uid, "generation": 1, "creationTimestamp": stamp(now),
            "ownerReferences": owner,
            "labels": {
                "app": POOL, "apps.kubernetes.io/pod-index": ordinal.to_string(),
                "statefulset.kubernetes.io/pod-name": name,
            },
        },
        "spec": pod_spec(),
        "status": { "phase": "Pending" },
    })
}

pub(super) fn spec(set: &Value) -> Spec {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let decided = set["metadata"]["annotations"][DECIDED].as_str().and_then(|d| d.parse().ok());
    Spec {
        start: number(&set["spec"]["ordinals"]["start"]) as u32,
        replicas: number(&set["spec"]["replicas"]) as u32,
        decided: decided.unwrap_or_default(),
    }
}

pub(super) fn started_again(pod: &mut Value) {
    for container in pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten() {
        container["restartCount"] = json!(container["restartCount"].as_u64().unwrap_or_default() + 1);
    }
}

/// Returns the incarnation's number, at the end of the uid.
pub(super) fn number(uid: &str) -> u64 {
    uid.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

pub(super) fn view(pod: &Pod) -> PodView {
    let (phase, ready_since) = match pod.stage {
        Stage::Stuck | Stage::Starting { .. } => (Phase::Pending, None),
        Stage::Ready { since } => (Phase::Running, Some(since)),
        Stage::Unready => (Phase::Running, None),
        Stage::Failed => (Phase::Failed, None),
    };
    PodView {
        ordinal: pod.ordinal,
        uid: number(&pod.uid),
        phase,
        ready_since,
        terminating: pod.terminating.is_some(),
        revision: 1,
    }
}
