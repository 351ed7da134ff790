//! Validates objects and fills in their defaults before they are stored. Limited to the parts that a dispatcher and its
//! controllers can meet.

use serde_json::{Map, Value, json};

use crate::status::Cause;
use crate::{Resource, Status};

/// Fills in the fields that a creator may omit.
pub(crate) fn fill(resource: Resource, object: &mut Value) {
    match resource {
        Resource::Pods => {
            fill_pod_spec(&mut object["spec"]);
            let spec = &mut object["spec"];
            default(spec, "serviceAccountName", json!("default"));
            default(spec, "serviceAccount", json!("default"));
            default(spec, "enableServiceLinks", json!(true));
            default(spec, "priority", json!(0));
            default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
            default(spec, "tolerations", json!([toleration("not-ready"), toleration("unreachable")]));
            let quality = quality_of_service(&object["spec"]);
            object["status"] = json!({"phase": "Pending", "qosClass": quality});
        }
        Resource::StatefulSets => {
            let spec = &mut object["spec"];
            default(spec, "replicas", json!(1));
            default(spec, "podManagementPolicy", json!("OrderedReady"));
            default(spec, "updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
            default(spec, "revisionHistoryLimit", json!(10));
            let retain = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            default(spec, "persistentVolumeClaimRetentionPolicy", retain);
            fill_pod_spec(&mut spec["template"]["spec"]);
            object["status"] = json!({"replicas": 0, "availableReplicas": 0});
        }
        Resource::Deployments => {
            let spec = &mut object["spec"];
            default(spec, "replicas", json!(1));
            let rolling =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}});
            default(spec, "strategy", rolling);
            default(spec, "revisionHistoryLimit", json!(10));
            default(spec, "progressDeadlineSeconds", json!(600));
            fill_pod_spec(&mut spec["template"]["spec"]);
            object["status"] = json!({});
        }
        Resource::ReplicaSets => {
            default(&mut object["spec"], "replicas", json!(1));
            fill_pod_spec(&mut object["spec"]["template"]["spec"]);
            object["status"] = json!({"replicas": 0});
        }
        Resource::Events => {
            for (key, value) in
                [("source", json!({})), ("reportingComponent", json!("")), ("reportingInstance", json!(""))]
            {
                default(object, key, value);
            }
            for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
                default(object, key, Value::Null);
            }
        }
        Resource::HorizontalPodAutoscalers => {
            default(&mut object["spec"], "minReplicas", json!(1));
            object["status"] = json!({"desiredReplicas": 0, "currentMetrics": null});
        }
        Resource::ScaledObjects => {}
    }
}

fn fill_pod_spec(spec: &mut Value) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", json!("default-scheduler"));
    for key in ["containers", "initContainers"] {
        for container in spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            let pull = if latest(container["image"].as_str().unwrap_or_default()) { "Always" } else { "IfNotPresent" };
            default(container, "resources", json!({}));
            default(container, "terminationMessagePath", json!("/dev/termination-log"));
            default(container, "terminationMessagePolicy", json!("File"));
            default(container, "imagePullPolicy", json!(pull));
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                default(port, "protocol", json!("TCP"));
            }
        }
    }
}

/// Whether the image has no tag, or the tag `latest`.
fn latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn toleration(what: &str) -> Value {
    let key = format!("node.kubernetes.io/{what}");
    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
}

/// Never returns `Guaranteed`: no test needs it.
fn quality_of_service(spec: &Value) -> &'static str {
    let asks = |container: &Value| {
        ["requests", "limits"]
            .iter()
            .any(|key| ["cpu", "memory"].iter().any(|resource| container["resources"][key].get(resource).is_some()))
    };
    if spec["containers"].as_array().into_iter().flatten().any(asks) { "Burstable" } else { "BestEffort" }
}

fn default(object: &mut Value, key: &str, value: Value) {
    if object.is_null() {
        *object = json!({});
    }
    if let Some(map) = object.as_object_mut() {
        map.entry(key).or_insert(value);
    }
}

/// Refuses invalid content as the API does. `old` is the object that is replaced.
pub(crate) fn check(resource: Resource, name: &str, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    types(resource, new)?;
    let mut causes = Vec::new();
    if resource.has_scale() {
        not_negative("spec.replicas", &new["spec"]["replicas"], &mut causes);
    }
    if resource == Resource::StatefulSets {
        not_negative("spec.ordinals.start", &new["spec"]["ordinals"]["start"], &mut causes);
    }
    if resource.has_scale() && !new["spec"]["selector"].is_object() {
        causes.push(Cause::required("spec.selector", ""));
    }
    if let Some(old) = old {
        match resource {
            Resource::StatefulSets => {
                let mutable = [
                    "replicas",
                    "ordinals",
                    "template",
                    "updateStrategy",
                    "revisionHistoryLimit",
                    "persistentVolumeClaimRetentionPolicy",
                    "minReadySeconds",
                ];
                if without(&old["spec"], &mutable) != without(&new["spec"], &mutable) {
                    let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                               'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                               'minReadySeconds' are forbidden";
                    causes.push(Cause::forbidden("spec", why));
                }
            }
            Resource::Deployments | Resource::ReplicaSets => {
                let selector = &new["spec"]["selector"];
                if old["spec"]["selector"] != *selector {
                    causes.push(Cause::value("spec.selector", selector, "field is immutable"));
                }
            }
            Resource::Pods => {
                let mutable = ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "containers"];
                // Of containers only the image may change; they are not compared.
                if without(&old["spec"], &mutable) != without(&new["spec"], &mutable) {
                    let why = "pod updates may not change fields other than `spec.containers[*].image`,\
                               `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
                               additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
                               set to 1 if it was previously negative)";
                    causes.push(Cause::forbidden("spec", why));
                }
            }
            Resource::Events | Resource::ScaledObjects | Resource::HorizontalPodAutoscalers => {}
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource, name, &causes)) }
}

/// A value of the wrong type for its field is invalid JSON of this kind: 400, not 422.
fn types(resource: Resource, new: &Value) -> Result<(), Status> {
    let wrong = |field: &str, value: &Value, wanted: &str| {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go struct \
             field {kind}.{field} of type {wanted}",
            kind = resource.kind(),
            version = resource.version(),
        )))
    };
    for part in ["annotations", "labels"] {
        let map = &new["metadata"][part];
        if !map.is_object() && !map.is_null() {
            return wrong(&format!("metadata.{part}"), map, "map[string]string");
        }
        for (key, value) in map.as_object().into_iter().flatten() {
            if !value.is_string() {
                return wrong(&format!("metadata.{part}.{key}"), value, "string");
            }
        }
    }
    if resource.has_scale() {
        let mut numbers = vec![("spec.replicas", &new["spec"]["replicas"])];
        if resource == Resource::StatefulSets {
            numbers.push(("spec.ordinals.start", &new["spec"]["ordinals"]["start"]));
        }
        for (field, value) in numbers {
            let fits = value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            if !fits && !value.is_null() {
                return wrong(field, value, "int32");
            }
        }
    }
    Ok(())
}

fn not_negative(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    if value.as_i64().is_some_and(|number| number < 0) {
        causes.push(Cause::value(field, value, "must be greater than or equal to 0"));
    }
}

fn without(spec: &Value, keys: &[&str]) -> Map<String, Value> {
    let mut map = spec.as_object().cloned().unwrap_or_default();
    map.retain(|key, _| !keys.contains(&key.as_str()));
    map
}
