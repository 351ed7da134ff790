//! The documents from which clients such as kubectl learn the available resources, and the health paths.

use serde_json::{Value, json};

use crate::Resource;

/// The answer to a path outside of resources, if it is one of these.
pub(crate) fn document(path: &str) -> Option<Value> {
    let path = path.trim_end_matches('/');
    match path {
        "/version" => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "test",
        })),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        "/api/v1" => Some(resources("")),
        "/apis" => {
            let groups: Vec<Value> = groups().map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/openapi/v3" => Some(schemas()),
        _ => {
            let (found, schema) = match path.strip_prefix("/openapi/v3") {
                Some(path) => (path, true),
                None => (path, false),
            };
            let found = found.strip_prefix("/apis/")?;
            let (name, version) = found.split_once('/').map_or((found, None), |(name, version)| (name, Some(version)));
            let name = groups().find(|group| *group == name)?;
            match version {
                None if !schema => Some(group(name)),
                Some(version) if version_of(name).ends_with(&format!("/{version}")) => {
                    Some(if schema { verbs(name) } else { resources(name) })
                }
                _ => None,
            }
        }
    }
}

/// The groups in addition to the one without a name.
fn groups() -> impl Iterator<Item = &'static str> {
    ["apps", "autoscaling", "keda.sh"].into_iter()
}

/// The OpenAPI documents by their paths. They only show that the server validates writes (`fieldValidation`), which kubectl
/// checks before it sends an object; they have no schemas.
fn schemas() -> Value {
    let document = |group: &str| {
        let path = format!("apis/{}", version_of(group));
        let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        (path, url)
    };
    json!({"paths": groups().map(document).collect::<serde_json::Map<_, _>>()})
}

fn verbs(group: &str) -> Value {
    let path = |resource: Resource| {
        let api = resource.api_version();
        let path = format!("/apis/{api}/namespaces/{{namespace}}/{}/{{name}}", resource.plural());
        let kind = json!({"group": group, "version": resource.version(), "kind": resource.kind()});
        let parameter = json!({"name": "fieldValidation", "in": "query", "schema": {"type": "string"}});
        let patch = json!({"parameters": [parameter], "responses": {}, "x-kubernetes-group-version-kind": kind});
        (path, json!({"patch": patch}))
    };
    let paths: serde_json::Map<_, _> = Resource::ALL.into_iter().filter(|r| r.group() == group).map(path).collect();
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths})
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
