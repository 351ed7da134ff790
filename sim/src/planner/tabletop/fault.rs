//! Faults and well-meant interventions at a time that the script sets.

use crate::chance::spoken;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The dispatcher's process is replaced, with this downtime (0: the new process starts before the old one ends).
    Restart { down: u64 },
    /// Prometheus is down this long, and restarts with or without its storage.
    PrometheusDown { lasts: u64, keeps: bool },
    /// The scaler's queries are neither answered nor refused: each of them times out.
    TriggerHangs { lasts: u64 },
    /// The scaler's queries to the dispatcher are refused at once (those to Prometheus are not).
    ScalerUnreachable { lasts: u64 },
    /// The pod of this ordinal crashes repeatedly from now on.
    CrashLoop { ordinal: u32 },
    /// The pod is evicted by its kubelet (disk pressure, for example): the controller creates it again.
    Evicted { ordinal: u32 },
    /// The cluster autoscaler removes the node of this pod.
    NodeDrained { ordinal: u32 },
    /// The StatefulSet's template changes.
    RollOut,
    /// The operator changes the maximum number of pods.
    MaxPods { pods: u32 },
    /// The ScaledObject is deleted and created again, by a reinstallation, for example.
    ScaledObjectRecreated,
    /// The ScaledObject is deleted, and `restoreToOriginalReplicaCount` writes the number of replicas it found
    /// originally.
    ScaledObjectDeleted { original: u32 },
    /// One of the dispatcher's replicas can no longer be scraped; it continues to serve.
    TargetLost,
}

impl Fault {
    pub(super) fn until(self, now: u64) -> Option<u64> {
        match self {
            Fault::Restart { down: lasts }
            | Fault::PrometheusDown { lasts, .. }
            | Fault::TriggerHangs { lasts }
            | Fault::ScalerUnreachable { lasts } => (lasts > 0).then_some(now + lasts),
            Fault::CrashLoop { .. }
            | Fault::Evicted { .. }
            | Fault::NodeDrained { .. }
            | Fault::RollOut
            | Fault::MaxPods { .. }
            | Fault::ScaledObjectRecreated
            | Fault::ScaledObjectDeleted { .. }
            | Fault::TargetLost => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Restart { down: 0 } => f.write_str("the dispatcher is rolled out again"),
            Fault::Restart { down } => write!(f, "the dispatcher is down for {}", spoken(*down)),
            Fault::PrometheusDown { lasts, keeps: true } => write!(f, "Prometheus is down for {}", spoken(*lasts)),
            Fault::PrometheusDown { lasts, keeps: false } => {
                write!(f, "Prometheus is down for {} and restarts without its storage", spoken(*lasts))
            }
            Fault::TriggerHangs { lasts } => write!(f, "queries to the trigger time out for {}", spoken(*lasts)),
            Fault::ScalerUnreachable { lasts } => {
                write!(f, "the scaler cannot reach the dispatcher for {}", spoken(*lasts))
            }
            Fault::CrashLoop { ordinal } => write!(f, "pod {ordinal} crashes repeatedly"),
            Fault::Evicted { ordinal } => write!(f, "pod {ordinal} is evicted"),
            Fault::NodeDrained { ordinal } => write!(f, "the autoscaler removes the node of pod {ordinal}"),
            Fault::RollOut => f.write_str("the pods get a new template"),
            Fault::MaxPods { pods } => write!(f, "the operator sets the maximum to {pods} pods"),
            Fault::ScaledObjectRecreated => f.write_str("the ScaledObject is created again"),
            Fault::ScaledObjectDeleted { original } => {
                write!(f, "the ScaledObject is deleted, which restores {original} replicas")
            }
            Fault::TargetLost => f.write_str("one dispatcher replica cannot be scraped any more"),
        }
    }
}
