//! The ordinal of a pod. For a StatefulSet it is part of the pod's name. The pods of a Deployment have none: the
//! dispatcher writes the lowest free number to a pod's annotation, with the pod's version as a precondition, and reports
//! the pod only then, so that later dispatchers use the same number. (Two dispatchers that number two pods at the same
//! moment may choose the same number: such a pool should have only one dispatcher.)

use super::Site;
use super::snapshot::PodSnapshot;
use crate::config::Workload as Named;
use serde_json::json;
use slotkeeper_core::planted;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub(super) const ORDINAL: &str = "slotkeeper.dev/ordinal";

/// Whether the pod belongs to the workload; a StatefulSet must also have this uid.
pub(super) fn is_of(snapshot: &PodSnapshot, workload: &Named, uid: &str) -> bool {
    planted!(ForeignPodsTaken => true);
    let Some(owner) = &snapshot.owner else { return false };
    match workload {
        Named::StatefulSet(set) => owner.kind == "StatefulSet" && owner.name == *set && owner.uid == uid,
        // The names of its ReplicaSets: the Deployment's name and a hash.
        Named::Deployment(deployment) => {
            let hash = owner.name.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
            owner.kind == "ReplicaSet" && hash.is_some_and(|hash| !hash.contains('-'))
        }
    }
}

pub(super) fn ordinal(snapshot: &PodSnapshot, workload: &Named) -> Option<u32> {
    match workload {
        Named::StatefulSet(set) => snapshot.name.strip_prefix(set)?.strip_prefix('-')?.parse().ok(),
        Named::Deployment(_) => snapshot.annotations.get(ORDINAL)?.parse().ok(),
    }
}

/// Writes the number to the pod; the watch reads it back. If another dispatcher has written one meanwhile, that one stays.
pub(super) async fn write(site: Arc<Site>, number: u32, snapshot: PodSnapshot, at_once: Arc<Semaphore>) {
    let Ok(_permit) = at_once.acquire().await else { return };
    let annotations = json!({ ORDINAL: number.to_string() });
    match site.annotate(&snapshot.name, &snapshot.uid, Some(&snapshot.resource_version), annotations).await {
        Ok(true) => tracing::info!(pool = %site.pool, pod = snapshot.name, number, "ordinal written to the pod"),
        Ok(false) => {}
        Err(error) => tracing::warn!(pool = %site.pool, pod = snapshot.name, "cannot write the ordinal: {error}"),
    }
}
