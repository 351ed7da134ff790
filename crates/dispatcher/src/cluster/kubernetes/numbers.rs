//! Which ordinal a pod has. A StatefulSet says so in its pods' names. The pods of a Deployment have none: whoever first meets
//! one writes the lowest free number on it, guarded by its version, and only then is it told of: so that the dispatcher of tomorrow
//! agrees. (Two that number two pods at the same moment may choose one number: such a pool wants one dispatcher.)

use super::Site;
use super::sight::Sight;
use crate::config::Workload as Named;
use serde_json::json;
use slotkeeper_core::planted;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub(super) const ORDINAL: &str = "slotkeeper.dev/ordinal";

/// Whether it is one of the workload's pods; of a StatefulSet with this uid.
pub(super) fn is_of(sight: &Sight, workload: &Named, uid: &str) -> bool {
    planted!(ForeignPodsTaken => true);
    let Some(owner) = &sight.owner else { return false };
    match workload {
        Named::StatefulSet(set) => owner.kind == "StatefulSet" && owner.name == *set && owner.uid == uid,
        // Its ReplicaSets: the name and a hash.
        Named::Deployment(deployment) => {
            let hash = owner.name.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
            owner.kind == "ReplicaSet" && hash.is_some_and(|hash| !hash.contains('-'))
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
pub(super) async fn write(site: Arc<Site>, number: u32, sight: Sight, at_once: Arc<Semaphore>) {
    let Ok(_permit) = at_once.acquire().await else { return };
    let annotations = json!({ ORDINAL: number.to_string() });
    match site.annotate(&sight.name, &sight.uid, Some(&sight.resource_version), annotations).await {
        Ok(true) => tracing::info!(pool = %site.pool, pod = sight.name, number, "numbered"),
        Ok(false) => {}
        Err(error) => tracing::warn!(pool = %site.pool, pod = sight.name, "cannot be numbered: {error}"),
    }
}
