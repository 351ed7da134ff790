//! Core v1 events about objects, in the form of scheduler and kubelet. A repeated event is counted, not created again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::text;
use crate::store::{Key, Part, Store};
use crate::{Resource, Status, fine_stamp, stamp};

/// Records an event about an object.
///
/// # Errors
/// 422 if the object has no name.
pub fn event(store: &mut Store, now: u64, about: &Value, reason: &str, message: &str) -> Result<Arc<Value>, Status> {
    let uid = &about["metadata"]["uid"];
    let same = |event: &&Arc<Value>| {
        event["involvedObject"]["uid"] == *uid && event["reason"] == reason && event["message"] == message
    };
    let found = store.all(Resource::Events).find(same).cloned();
    if let Some(found) = found {
        let key = Key::new(Resource::Events, text(&found, "namespace"), text(&found, "name"));
        return store.change(&key, Part::Whole, |event| {
            event["count"] = json!(event["count"].as_u64().unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(stamp(now));
        });
    }
    let normal = ["Scheduled", "Pull", "Created", "Started", "Killing", "Success"];
    let kind = if normal.iter().any(|start| reason.starts_with(start)) { "Normal" } else { "Warning" };
    let mut event = json!({
        "metadata": {"name": format!("{}.{:016x}", text(about, "name"), crate::store::mix(store.version()))},
        "involvedObject": {
            "kind": about["kind"], "namespace": about["metadata"]["namespace"], "name": about["metadata"]["name"],
            "uid": uid, "apiVersion": about["apiVersion"], "resourceVersion": about["metadata"]["resourceVersion"],
        },
        "reason": reason, "message": message, "type": kind,
    });
    if matches!(reason, "Scheduled" | "FailedScheduling") {
        event["eventTime"] = json!(fine_stamp(now));
        event["action"] = json!(if reason == "Scheduled" { "Binding" } else { "Scheduling" });
        event["reportingComponent"] = json!("default-scheduler");
        event["reportingInstance"] = json!("default-scheduler-host-1");
    } else {
        let (component, host) = match about["kind"].as_str() {
            Some("Pod") => ("kubelet", about["spec"]["nodeName"].as_str()),
            Some("StatefulSet") => ("statefulset-controller", None),
            Some(_) | None => ("deployment-controller", None),
        };
        event["source"] = json!({"component": component});
        if let Some(host) = host {
            event["source"]["host"] = json!(host);
        }
        event["firstTimestamp"] = json!(stamp(now));
        event["lastTimestamp"] = json!(stamp(now));
        event["count"] = json!(1);
        event["reportingComponent"] = json!(component);
        event["reportingInstance"] = json!(host.unwrap_or_default());
    }
    store.create(Resource::Events, text(about, "namespace"), event, now)
}
