//! The documents from which clients such as kubectl learn the available resources, and the health paths.

use serde_json::{Value, json};

use crate::Resource;

/// The answer to a path outside of resources, if it is one of these.
pub(crate) fn document(path: &str) -> Option<Value> {
    match path.trim_end_matches('/') {
        "/version" => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "test",
        })),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        "/apis" => {
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group("apps"), group("keda.sh")]}))
        }
        "/apis/apps" => Some(group("apps")),
        "/apis/keda.sh" => Some(group("keda.sh")),
        "/api/v1" => Some(resources("")),
        "/apis/apps/v1" => Some(resources("apps")),
        "/apis/keda.sh/v1alpha1" => Some(resources("keda.sh")),
        _ => None,
    }
}

pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/livez")
}

fn version_of(group: &str) -> String {
    Resource::ALL.into_iter().find(|r| r.group() == group).map(Resource::api_version).unwrap_or_default()
}

fn group(name: &str) -> Value {
    let group_version = version_of(name);
    let version = json!({"groupVersion": group_version, "version": group_version.rsplit('/').next()});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str) -> Value {
    let mut list = Vec::new();
    for resource in Resource::ALL.into_iter().filter(|resource| resource.group() == group) {
        let entry = |suffix: &str, kind: &str, verbs: &[&str]| {
            json!({
                "name": format!("{}{suffix}", resource.plural()), "singularName": resource.kind().to_lowercase(),
                "namespaced": true, "kind": kind, "verbs": verbs,
            })
        };
        list.push(entry("", resource.kind(), &["create", "delete", "get", "list", "patch", "update", "watch"]));
        if resource.has_status() {
            list.push(entry("/status", resource.kind(), &["get", "patch", "update"]));
        }
        if resource.has_scale() {
            list.push(entry("/scale", "Scale", &["get", "patch", "update"]));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version_of(group), "resources": list})
}
