//! Why a pod is not ready yet, in plain words for the waiting room, whose readers need not know Kubernetes. Operators find
//! more in the pod's events.

use super::snapshot::Stage;
use crate::cluster::observations::pending;
use slotkeeper_core::Phase;

/// The newest event of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) reason: String,
    pub(super) message: String,
}

/// The phase of a pod that has never been ready.
pub(super) fn before_ready(stage: &Stage, note: Option<&Note>) -> Phase {
    match stage {
        Stage::Unscheduled(message) => pending(unscheduled(message, note)),
        Stage::SettingUp(waits) => pending(setting_up(waits, note)),
        Stage::Running | Stage::Ready => Phase::Starting,
        Stage::Terminating => Phase::Terminating,
        Stage::Crashing(_) | Stage::Ended(_) => Phase::Failed { why: failed(stage).into() },
    }
}

/// Why the pod is not expected to become ready.
pub(super) fn failed(stage: &Stage) -> &'static str {
    match stage {
        Stage::Ended(reason) if reason == "Evicted" => "it was moved away from its machine",
        Stage::Ended(reason) if reason.contains("Shutdown") => "its machine was shut down",
        Stage::Ended(_) => "it has ended",
        Stage::Crashing(_) => "it crashes again and again",
        Stage::Unscheduled(_) | Stage::SettingUp(_) | Stage::Running | Stage::Ready | Stage::Terminating => {
            "it is not ready"
        }
    }
}

/// The scheduler's message lists why each node was rejected (`0/5 nodes are available: 5 Insufficient nvidia.com/gpu`).
fn unscheduled(message: &str, note: Option<&Note>) -> &'static str {
    if let Some("TriggeredScaleUp" | "Nominated" | "NominatedNode") = note.map(|n| n.reason.as_str()) {
        return "a new machine is being started for it";
    }
    let message = message.to_ascii_lowercase();
    let gpu = message.split("insufficient ").skip(1).any(|resource| {
        resource.split([',', '.', ' ', ';']).next().is_some_and(|name| name.contains("gpu"))
            || resource.starts_with("nvidia.com/")
            || resource.starts_with("amd.com/")
            || resource.starts_with("gpu.intel.com/")
    });
    let is = |part: &str| message.contains(part);
    if gpu {
        "no GPU is free"
    } else if is("insufficient cpu")
        || is("insufficient memory")
        || is("too many pods")
        || is("insufficient ephemeral-storage")
    {
        "no machine has room for it"
    } else if is("persistentvolumeclaim") || is("volume node affinity") || is("persistent volume") {
        "its disk is not available"
    } else if is("taint") || is("affinity") || is("selector") {
        "no machine fits it"
    } else if is("scheduling gate") {
        "it is held back for the moment"
    } else {
        "it is waiting for a machine"
    }
}

fn setting_up(waits: &str, note: Option<&Note>) -> &'static str {
    match waits {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError" => return "its program cannot be downloaded",
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return "it cannot be started as it is set up";
        }
        _ => {}
    }
    match note.map(|n| n.reason.as_str()) {
        Some("Pulling") => "its program is being downloaded",
        Some("FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "VolumeFailedMount") => {
            "its disk cannot be connected yet"
        }
        Some("SuccessfulAttachVolume" | "Scheduled") => "its disk is being connected",
        Some("FailedCreatePodSandBox") => "its network is not ready yet",
        Some("Failed" | "BackOff") if note.is_some_and(|n| n.message.contains("mage")) => {
            "its program cannot be downloaded"
        }
        Some(_) | None if waits == "PodInitializing" => "it is being prepared",
        Some(_) | None => "it is being set up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(reason: &str) -> Note {
        Note { reason: reason.into(), message: String::new() }
    }

    #[test]
    fn the_schedulers_message_becomes_plain_words() {
        let words = |message: &str| unscheduled(message, None);
        assert_eq!(words("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."), "no GPU is free");
        assert_eq!(
            words("0/4 nodes are available: 1 Insufficient cpu, 3 Insufficient amd.com/gpu. preemption: ..."),
            "no GPU is free"
        );
        assert_eq!(words("0/3 nodes are available: 3 Insufficient memory."), "no machine has room for it");
        assert_eq!(
            words("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            "its disk is not available"
        );
        assert_eq!(
            words("0/2 nodes are available: 2 node(s) had volume node affinity conflict."),
            "its disk is not available"
        );
        assert_eq!(words("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}."), "no machine fits it");
        assert_eq!(words(""), "it is waiting for a machine");
        assert_eq!(
            unscheduled("3 Insufficient nvidia.com/gpu", Some(&note("TriggeredScaleUp"))),
            "a new machine is being started for it"
        );
    }

    #[test]
    fn events_and_reasons_become_plain_words() {
        assert_eq!(setting_up("ContainerCreating", Some(&note("Pulling"))), "its program is being downloaded");
        assert_eq!(setting_up("ContainerCreating", Some(&note("FailedMount"))), "its disk cannot be connected yet");
        assert_eq!(setting_up("ImagePullBackOff", Some(&note("Pulling"))), "its program cannot be downloaded");
        assert_eq!(setting_up("", None), "it is being set up");
        assert_eq!(failed(&Stage::Crashing(7)), "it crashes again and again");
    }
}
