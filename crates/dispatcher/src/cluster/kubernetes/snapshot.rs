//! What is read of a pod: its identity, its stage, and the annotations that the dispatcher may write.

use super::ordinals::ORDINAL;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use slotkeeper_core::Uid;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Keeps the cluster autoscaler from removing its node (cluster-autoscaler FAQ).
pub(super) const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
/// The same for Karpenter (Karpenter docs, "Disruption").
pub(super) const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Which pods of a ReplicaSet go first: those with the lowest (Kubernetes docs, "ReplicaSet").
pub(super) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Lists which of the first two annotations the dispatcher wrote: those of other writers are left alone.
pub(super) const KEPT: &str = "slotkeeper.dev/kept";
const READ: [&str; 5] = [SAFE_TO_EVICT, DO_NOT_DISRUPT, DELETION_COST, KEPT, ORDINAL];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodSnapshot {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) resource_version: String,
    pub(super) owner: Option<Owner>,
    pub(super) ip: Option<IpAddr>,
    pub(super) stage: Stage,
    /// The node controller has marked the pod as not ready, because its node has not reported for a while (50 s by
    /// default). The pod may still run.
    pub(super) cut_off: bool,
    /// The grace period of its deletion, in seconds.
    pub(super) grace: Option<u64>,
    /// It may have been ready before.
    pub(super) used: bool,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// The stage of a pod, from its conditions and container statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No node has been found for it; the scheduler's message.
    Unscheduled(String),
    /// It is being set up; the reason why its container waits, if there is one.
    SettingUp(String),
    /// Its container runs, and is not ready.
    Running,
    Ready,
    Terminating,
    /// It crashes repeatedly; the number of restarts.
    Crashing(i32),
    /// It has ended and is not restarted; the reason, if there is one.
    Ended(String),
}

impl PodSnapshot {
    pub(super) fn of(pod: Pod) -> Option<PodSnapshot> {
        let Pod { metadata, spec, status } = pod;
        let status = status.unwrap_or_default();
        let ip = status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
        let stage = stage(&metadata, &status);
        let used = has_been_ready(&status) || restarts(&status) > 0;
        let gated = spec.is_some_and(|spec| spec.readiness_gates.is_some_and(|gates| !gates.is_empty()));
        let cut_off = !gated && is_cut_off(&status);
        let grace = metadata.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let owner = metadata.owner_references.into_iter().flatten().find(|o| o.controller == Some(true));
        let annotations = metadata.annotations.unwrap_or_default();
        Some(PodSnapshot {
            name: metadata.name?,
            uid: Uid(metadata.uid?.into()),
            resource_version: metadata.resource_version?,
            owner: owner.map(|o| Owner { kind: o.kind, name: o.name, uid: o.uid }),
            ip,
            stage,
            cut_off,
            grace,
            used,
            annotations: annotations.into_iter().filter(|(key, _)| READ.contains(&key.as_str())).collect(),
        })
    }
}

fn stage(metadata: &ObjectMeta, status: &PodStatus) -> Stage {
    if metadata.deletion_timestamp.is_some() {
        return Stage::Terminating;
    }
    if let Some("Failed" | "Succeeded") = status.phase.as_deref() {
        return Stage::Ended(status.reason.clone().unwrap_or_default());
    }
    if condition(status, "Ready").is_some_and(|c| c.status == "True") {
        return Stage::Ready;
    }
    let waits = containers(status).filter_map(|c| Some((c, c.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?)));
    let waits: Vec<(&ContainerStatus, &str)> = waits.collect();
    if let Some((container, _)) = waits.iter().find(|(_, reason)| *reason == "CrashLoopBackOff") {
        return Stage::Crashing(container.restart_count);
    }
    // Reasons that need a repair take precedence over those that pass by themselves.
    let usual = ["ContainerCreating", "PodInitializing"];
    if let Some((_, reason)) = waits.iter().find(|(_, r)| !usual.contains(r)).or(waits.first()) {
        return Stage::SettingUp((*reason).to_owned());
    }
    let scheduled = condition(status, "PodScheduled");
    if status.phase.as_deref() != Some("Running") && scheduled.is_none_or(|c| c.status != "True") {
        return Stage::Unscheduled(scheduled.and_then(|c| c.message.clone()).unwrap_or_default());
    }
    let runs = |c: &ContainerStatus| c.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some());
    if status.container_statuses.iter().flatten().any(runs) { Stage::Running } else { Stage::SettingUp(String::new()) }
}

/// A kubelet sets `Ready` of a pod without readiness gates exactly when `ContainersReady` is set. The node controller only
/// sets `Ready` to false, and changes nothing else, not even the reason.
fn is_cut_off(status: &PodStatus) -> bool {
    let is = |kind, wanted: &str| condition(status, kind).is_some_and(|c| c.status == wanted);
    status.phase.as_deref() == Some("Running") && !is("Ready", "True") && is("ContainersReady", "True")
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten()
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

fn restarts(status: &PodStatus) -> i32 {
    status.container_statuses.iter().flatten().map(|c| c.restart_count).max().unwrap_or_default()
}

/// The kubelet sets the condition when it first sees the pod, and again whenever it changes: if that was later, the pod
/// has probably been ready.
fn has_been_ready(status: &PodStatus) -> bool {
    let Some(ready) = condition(status, "Ready") else { return false };
    let (changed, start) = (ready.last_transition_time.as_ref(), status.start_time.as_ref());
    let late = changed.zip(start).is_some_and(|(changed, start)| changed.0.as_second() > start.0.as_second() + 5);
    ready.status == "True" || late
}
