//! Which ordinal a pod has. A StatefulSet says so in its pods' names. The pods of a Deployment have none: whoever first meets
//! one writes the lowest free number on it, guarded by its version, and only then is it told of: so that all dispatchers,
//! and those of tomorrow, agree.

use super::Site;
use super::sight::Sight;
use crate::config::Workload as Named;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;

pub(super) const ORDINAL: &str = "slotkeeper.dev/ordinal";

/// Whether it is one of the workload's pods.
pub(super) fn is_of(sight: &Sight, workload: &Named) -> bool {
    let Some((kind, name)) = &sight.owner else { return false };
    match workload {
        Named::StatefulSet(set) => kind == "StatefulSet" && name == set,
        // Its ReplicaSets: the name and a hash.
        Named::Deployment(deployment) => {
            kind == "ReplicaSet" && name.strip_prefix(deployment).is_some_and(|hash| hash.starts_with('-'))
        }
    }
}

pub(super) fn ordinal(sight: &Sight, workload: &Named) -> Option<u32> {
    match workload {
        Named::StatefulSet(set) => sight.name.strip_prefix(set)?.strip_prefix('-')?.parse().ok(),
        Named::Deployment(_) => sight.annotations.get(ORDINAL)?.parse().ok(),
    }
}

/// Writes the number on the pod; it is read back by the watch. Somebody else may be faster: then theirs holds.
pub(super) async fn write(site: Arc<Site>, number: u32, sight: Sight) {
    let metadata = json!({
        "uid": &*sight.uid.0,
        "resourceVersion": sight.resource_version,
        "annotations": { ORDINAL: number.to_string() },
    });
    let body = Patch::Merge(json!({ "metadata": metadata }));
    let (api, params) = (site.pods(), PatchParams::default());
    let patch = api.patch_metadata(&sight.name, &params, &body);
    match site.calls.make(("patch", "pods"), site.pace.call, patch).await {
        Ok(_) => tracing::info!(pool = %site.pool, pod = sight.name, number, "numbered"),
        Err(error) if error.is(409) || error.is(404) || error.is(422) => {}
        Err(error) => tracing::warn!(pool = %site.pool, pod = sight.name, "cannot be numbered: {error}"),
    }
}
