//! The writes of scheduler and kubelet to pods: one method per step of a pod's life, called by the test. The forms are those
//! of tests/transcripts 01 and 07.

use std::sync::Arc;

use serde_json::{Value, json};

use super::events;
use crate::store::{Deletion, Key, Part, Store};
use crate::{Resource, Status, stamp};

type Done = Result<Arc<Value>, Status>;

/// A pod, as scheduler and kubelet handle it.
pub struct Pod<'a> {
    pub(super) store: &'a mut Store,
    pub(super) key: Key,
    pub(super) now: u64,
}

/// Returns a handle to the pod of this name; each method returns 404 if there is none.
pub fn pod<'a>(store: &'a mut Store, now: u64, namespace: &str, name: &str) -> Pod<'a> {
    Pod { store, key: Key::new(Resource::Pods, namespace, name), now }
}

impl Pod<'_> {
    /// Binds it to a node.
    pub fn schedule(&mut self, node: &str) -> Done {
        let now = self.now;
        let mut bound = Value::clone(&*self.get()?);
        bound["spec"]["nodeName"] = json!(node);
        set(&mut bound, now, "PodScheduled", Ok(()));
        // A binding is one write of spec and status; no other request may write both.
        self.store.bind(&self.key, bound)
    }

    /// No node fits; `message` is the scheduler's.
    pub fn unschedulable(&mut self, message: &str) -> Done {
        self.status(|pod, now| set(pod, now, "PodScheduled", Err(("Unschedulable", message))))
    }

    /// Bound, but its container does not run: `ContainerCreating`, `ErrImagePull`, `ImagePullBackOff`,
    /// `CreateContainerConfigError`...
    pub fn waiting(&mut self, reason: &str, message: &str) -> Done {
        let mut state = json!({"waiting": {"reason": reason}});
        if !message.is_empty() {
            state["waiting"]["message"] = json!(message);
        }
        self.status(|pod, now| {
            pod["status"]["phase"] = json!("Pending");
            containers(pod, &state, |container| container["imageID"] = json!(""));
            unready(pod, now);
        })
    }

    /// Its container runs at this address, and is not ready yet.
    pub fn start(&mut self, ip: &str) -> Done {
        self.status(|pod, now| {
            running(pod, now, ip, false);
            unready(pod, now);
        })
    }

    /// It runs and is ready, at this address.
    pub fn run(&mut self, ip: &str) -> Done {
        self.status(|pod, now| running(pod, now, ip, true))
    }

    /// Its readiness probe succeeds.
    pub fn ready(&mut self) -> Done {
        self.status(|pod, now| {
            for container in statuses(pod) {
                container["ready"] = json!(true);
                container["started"] = json!(true);
            }
            set(pod, now, "ContainersReady", Ok(()));
            set(pod, now, "Ready", Ok(()));
        })
    }

    /// Its readiness probe fails; the container continues.
    pub fn unready(&mut self) -> Done {
        self.status(|pod, now| {
            for container in statuses(pod) {
                container["ready"] = json!(false);
            }
            unready(pod, now);
        })
    }

    /// Its container has ended: `Error`, `OOMKilled`, `Completed`.
    pub fn crash(&mut self, exit_code: i32, reason: &str) -> Done {
        self.status(|pod, now| {
            let time = stamp(now);
            let state = json!({"terminated": {
                "exitCode": exit_code, "reason": reason, "startedAt": time, "finishedAt": time,
            }});
            pod["status"]["phase"] = json!("Running");
            containers(pod, &state, |_| {});
            unready(pod, now);
        })
    }

    /// After a crash: its container waits for a restart (`10s`, `5m0s`).
    pub fn back_off(&mut self, wait: &str) -> Done {
        self.status(|pod, now| {
            let metadata = &pod["metadata"];
            let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
            let (name, namespace, uid) = (text("name"), text("namespace"), text("uid"));
            for container in statuses(pod) {
                let of = container["name"].as_str().unwrap_or_default().to_owned();
                let message = format!("back-off {wait} restarting failed container={of} pod={name}_{namespace}({uid})");
                if container["state"]["terminated"].is_object() {
                    container["lastState"] = container["state"].take();
                }
                container["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
                container["restartCount"] = json!(container["restartCount"].as_u64().unwrap_or(0) + 1);
                container["ready"] = json!(false);
                container["started"] = json!(false);
            }
            unready(pod, now);
        })
    }

    /// It has failed for good: `Evicted`, `NodeLost`, `UnexpectedAdmissionError`.
    pub fn fail(&mut self, reason: &str, message: &str) -> Done {
        self.status(|pod, now| {
            pod["status"]["phase"] = json!("Failed");
            pod["status"]["reason"] = json!(reason);
            pod["status"]["message"] = json!(message);
            unready(pod, now);
        })
    }

    /// All its containers have stopped after its deletion: removes it. (Removes a pod that is not being deleted as well.)
    pub fn end(&mut self) -> Result<(), Status> {
        let deletion = Deletion { grace_seconds: Some(0), ..Deletion::default() };
        self.store.delete(&self.key, &deletion, self.now).map(|_| ())
    }

    /// Records an event about it: `Scheduled`, `Pulling`, `Pulled`, `Created`, `Started`, `FailedScheduling`, `FailedMount`,
    /// `BackOff`... The reason decides between `Normal` and `Warning`.
    pub fn event(&mut self, reason: &str, message: &str) -> Done {
        let about = self.get()?;
        events::event(self.store, self.now, &about, reason, message)
    }

    fn get(&self) -> Done {
        self.store.get(Resource::Pods, &self.key.namespace, &self.key.name)
    }

    pub(super) fn status(&mut self, change: impl FnOnce(&mut Value, u64)) -> Done {
        let now = self.now;
        self.store.change(&self.key, Part::Status, |pod| change(pod, now))
    }
}

fn running(pod: &mut Value, now: u64, ip: &str, ready: bool) {
    let started = json!({"running": {"startedAt": stamp(now)}});
    let status = &mut pod["status"];
    status["phase"] = json!("Running");
    status["hostIP"] = json!("10.99.0.1");
    status["podIP"] = json!(ip);
    status["podIPs"] = json!([{"ip": ip}]);
    if status["startTime"].is_null() {
        status["startTime"] = json!(stamp(now));
    }
    containers(pod, &started, |container| {
        container["ready"] = json!(ready);
        container["started"] = json!(ready);
    });
    set(pod, now, "Initialized", Ok(()));
    if ready {
        set(pod, now, "ContainersReady", Ok(()));
        set(pod, now, "Ready", Ok(()));
    }
}

fn unready(pod: &mut Value, now: u64) {
    let names: Vec<&str> =
        pod["spec"]["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let message = format!("containers with unready status: [{}]", names.join(" "));
    set(pod, now, "Initialized", Ok(()));
    set(pod, now, "Ready", Err(("ContainersNotReady", &message)));
    set(pod, now, "ContainersReady", Err(("ContainersNotReady", &message)));
}

/// Sets a container status with this state for each container of the spec, and keeps the rest of the old one.
fn containers(pod: &mut Value, state: &Value, change: impl Fn(&mut Value)) {
    let specs = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let old = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let new: Vec<Value> = specs
        .iter()
        .map(|spec| {
            let mut container = old.iter().find(|container| container["name"] == spec["name"]).cloned().unwrap_or_else(
                || json!({"name": spec["name"], "lastState": {}, "restartCount": 0, "imageID": "sha256:0"}),
            );
            container["image"] = spec["image"].clone();
            container["state"] = state.clone();
            container["ready"] = json!(false);
            container["started"] = json!(false);
            change(&mut container);
            container
        })
        .collect();
    pod["status"]["containerStatuses"] = json!(new);
}

fn statuses(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten()
}

/// Sets a condition: true, or false for a reason. Its time changes only when its status does.
fn set(pod: &mut Value, now: u64, kind: &str, holds: Result<(), (&str, &str)>) {
    let status = if holds.is_ok() { "True" } else { "False" };
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    let at = list.iter().position(|condition| condition["type"] == kind);
    let since = at.filter(|at| list[*at]["status"] == status).map(|at| list[at]["lastTransitionTime"].clone());
    let mut condition = json!({
        "type": kind, "status": status, "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| json!(stamp(now))),
    });
    if let Err((reason, message)) = holds {
        condition["reason"] = json!(reason);
        condition["message"] = json!(message);
    }
    match at {
        Some(at) => list[at] = condition,
        None => list.push(condition),
    }
}
