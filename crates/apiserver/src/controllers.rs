//! Stand-ins for the controllers and the kubelet. All of them are pure: a step looks at the store, acts, and returns; the
//! caller decides when. Not implemented: minReadySeconds (ready is available), the release of pods whose labels change,
//! claims.

mod automatic;
mod deployment;
mod events;
mod garbage;
mod kubelet;
mod node;
mod replica_set;
mod stateful_set;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

pub use automatic::Automatic;
pub use events::event;
pub use kubelet::{Pod, pod};

use crate::{Resource, Server, Store};

/// One sync of every StatefulSet, Deployment and ReplicaSet. Returns true if something was written: there may be more to do.
pub fn step(store: &mut Store, now: u64) -> bool {
    let before = store.version();
    for set in all(store, Resource::StatefulSets) {
        stateful_set::sync(store, &set, now);
    }
    garbage::sync(store);
    for deployment in all(store, Resource::Deployments) {
        deployment::sync(store, &deployment, now);
    }
    for set in all(store, Resource::ReplicaSets) {
        replica_set::sync(store, &set, now);
    }
    store.version() != before
}

/// Runs the controllers and an automatic kubelet on a server while it is polled: after each change, and when the next step
/// of a pod is due.
pub async fn drive(server: Server, life: Arc<Mutex<Automatic>>) {
    let mut seen = 0;
    loop {
        let due = server.store(|store, now| {
            let mut life = life.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let stepped = step(store, now);
                let before = store.version();
                let due = life.step(store, now);
                if !stepped && store.version() == before {
                    return due;
                }
            }
        });
        let wait = due.map_or(Duration::from_secs(3600), |due| Duration::from_millis(due.saturating_sub(server.now())));
        tokio::select! {
            biased;
            now = server.changed(seen) => seen = now,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn all(store: &Store, resource: Resource) -> Vec<Arc<Value>> {
    store.all(resource).filter(|object| object["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
}

/// Whether a controller owns it: of another object, or of an earlier incarnation of the same one.
fn has_controller(object: &Value) -> bool {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["controller"] == true)
}

/// The objects that this one controls.
fn owned(store: &Store, resource: Resource, owner: &Value) -> Vec<Arc<Value>> {
    let uid = &owner["metadata"]["uid"];
    let is_owner = |reference: &Value| reference["controller"] == true && reference["uid"] == *uid;
    store
        .all(resource)
        .filter(|object| object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(is_owner))
        .cloned()
        .collect()
}

fn owner_reference(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Builds a pod from the owner's template.
fn from_template(owner: &Value) -> Value {
    let template = &owner["spec"]["template"];
    let mut pod = json!({"metadata": template["metadata"], "spec": template["spec"]});
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["ownerReferences"] = owner_reference(owner);
    pod
}

/// A short hash of a template.
fn revision(template: &Value) -> String {
    let fnv = template
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    crate::store::letters(fnv, 10)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

fn ready(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
        && condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Sets a count in a status, or omits it if it is 0, as Go does.
fn count(status: &mut Value, field: &str, count: usize) {
    if count > 0 {
        status[field] = json!(count);
    } else if let Some(map) = status.as_object_mut() {
        map.remove(field);
    }
}
