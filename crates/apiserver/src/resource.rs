//! The kinds of objects that this server stores, and their names in the API. All others are not found.

use serde_json::{Value, json};

/// A kind of object, named by the plural in its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `v1` `Pod`.
    Pods,
    /// `v1` `Event`.
    Events,
    /// `apps/v1` `StatefulSet`.
    StatefulSets,
    /// `apps/v1` `Deployment`.
    Deployments,
    /// `apps/v1` `ReplicaSet`.
    ReplicaSets,
    /// `keda.sh/v1alpha1` `ScaledObject`.
    ScaledObjects,
    /// `autoscaling/v2` `HorizontalPodAutoscaler`.
    HorizontalPodAutoscalers,
}

impl Resource {
    /// Every resource of this server.
    pub const ALL: [Resource; 7] = [
        Resource::Pods,
        Resource::Events,
        Resource::StatefulSets,
        Resource::Deployments,
        Resource::ReplicaSets,
        Resource::ScaledObjects,
        Resource::HorizontalPodAutoscalers,
    ];

    /// Returns the resource of this group and plural, whatever the version.
    #[must_use]
    pub fn named(group: &str, plural: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|r| r.group() == group && r.plural() == plural)
    }

    /// Returns the resource of an object, from its `apiVersion` and `kind`.
    #[must_use]
    pub fn of(object: &Value) -> Option<Resource> {
        let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        Resource::ALL.into_iter().find(|r| r.api_version() == version && r.kind() == kind)
    }

    /// Returns the API group; empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Resource::Pods | Resource::Events => "",
            Resource::StatefulSets | Resource::Deployments | Resource::ReplicaSets => "apps",
            Resource::ScaledObjects => "keda.sh",
            Resource::HorizontalPodAutoscalers => "autoscaling",
        }
    }

    /// Returns the only version that this server has of it.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Resource::ScaledObjects => "v1alpha1",
            Resource::HorizontalPodAutoscalers => "v2",
            Resource::Pods
            | Resource::Events
            | Resource::StatefulSets
            | Resource::Deployments
            | Resource::ReplicaSets => "v1",
        }
    }

    /// Returns `apiVersion` as it is in objects: `apps/v1`.
    #[must_use]
    pub fn api_version(self) -> String {
        if self.group().is_empty() { self.version().to_owned() } else { format!("{}/{}", self.group(), self.version()) }
    }

    /// Returns its name in paths: `statefulsets`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Resource::Pods => "pods",
            Resource::Events => "events",
            Resource::StatefulSets => "statefulsets",
            Resource::Deployments => "deployments",
            Resource::ReplicaSets => "replicasets",
            Resource::ScaledObjects => "scaledobjects",
            Resource::HorizontalPodAutoscalers => "horizontalpodautoscalers",
        }
    }

    /// Returns `kind` as it is in objects: `StatefulSet`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Resource::Pods => "Pod",
            Resource::Events => "Event",
            Resource::StatefulSets => "StatefulSet",
            Resource::Deployments => "Deployment",
            Resource::ReplicaSets => "ReplicaSet",
            Resource::ScaledObjects => "ScaledObject",
            Resource::HorizontalPodAutoscalers => "HorizontalPodAutoscaler",
        }
    }

    /// `statefulsets.apps`, the name in most refusals.
    #[must_use]
    pub fn qualified(self) -> String {
        dotted(self.plural(), self.group())
    }

    /// `StatefulSet.apps`, the name in refusals for invalid content and preconditions.
    #[must_use]
    pub fn qualified_kind(self) -> String {
        dotted(self.kind(), self.group())
    }

    /// Defined by a CustomResourceDefinition: its list items name their kind.
    #[must_use]
    pub fn custom(self) -> bool {
        self == Resource::ScaledObjects
    }

    /// Whether writes to the object leave its status unchanged, and `/status` writes nothing else.
    #[must_use]
    pub fn has_status(self) -> bool {
        self != Resource::Events
    }

    /// Reports whether it has the subresource `/scale`.
    #[must_use]
    pub fn has_scale(self) -> bool {
        matches!(self, Resource::StatefulSets | Resource::Deployments | Resource::ReplicaSets)
    }

    /// The object of a bookmark: empty except for its resourceVersion and the fields that Go never omits.
    #[must_use]
    pub fn bookmark(self, version: u64, initial_events_end: bool) -> Value {
        let mut object = match self {
            Resource::Pods => json!({"spec": {"containers": null}, "status": {}}),
            Resource::Events => json!({
                "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null,
                "reportingComponent": "", "reportingInstance": "",
            }),
            Resource::StatefulSets => json!({
                "spec": {
                    "replicas": 0, "selector": null, "template": {"metadata": {}, "spec": {"containers": null}},
                    "serviceName": "", "updateStrategy": {},
                },
                "status": {"replicas": 0, "availableReplicas": 0},
            }),
            Resource::Deployments => json!({
                "spec": {"selector": null, "template": {"metadata": {}, "spec": {"containers": null}}, "strategy": {}},
                "status": {},
            }),
            Resource::ReplicaSets => json!({
                "spec": {"selector": null, "template": {"metadata": {}, "spec": {"containers": null}}},
                "status": {"replicas": 0},
            }),
            Resource::ScaledObjects => json!({}),
            Resource::HorizontalPodAutoscalers => json!({
                "spec": {"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0},
                "status": {"desiredReplicas": 0, "currentMetrics": null},
            }),
        };
        object["kind"] = json!(self.kind());
        object["apiVersion"] = json!(self.api_version());
        object["metadata"] = json!({"resourceVersion": version.to_string()});
        if initial_events_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        object
    }
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
