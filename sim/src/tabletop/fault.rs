//! What can go wrong, or is done by somebody who means no harm, at a moment that the script sets.

use crate::chance::spoken;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The dispatcher's process is replaced; it is away this long (0: the new one is there before the old one goes).
    Restart { down: u64 },
    /// Prometheus is away this long, and comes back with its storage or without.
    PrometheusDown { lasts: u64, keeps: bool },
    /// The scaler's questions are neither answered nor refused: each of them runs into its time-out.
    TriggerHangs { lasts: u64 },
    /// The scaler's questions to the dispatcher are refused at once (those to Prometheus are not).
    ScalerUnreachable { lasts: u64 },
    /// The pod of this ordinal crashes again and again from now on.
    CrashLoop { ordinal: u32 },
    /// The pod is evicted by its kubelet (disk pressure, say): the controller makes it anew.
    Evicted { ordinal: u32 },
    /// The cluster autoscaler takes away the node of this pod.
    NodeDrained { ordinal: u32 },
    /// The StatefulSet's template changes.
    RollOut,
    /// The operator lowers (or raises) the most pods there may be.
    MaxPods { pods: u32 },
    /// The ScaledObject is deleted and made anew, by a re-installation, say.
    ScaledObjectRecreated,
    /// The ScaledObject is deleted, and `restoreToOriginalReplicaCount` writes what it once found.
    ScaledObjectDeleted { original: u32 },
    /// One of the dispatcher's replicas cannot be scraped any more; it goes on serving.
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
            Fault::Restart { down: 0 } => f.write_str("the dispatcher is rolled out anew"),
            Fault::Restart { down } => write!(f, "the dispatcher is away for {}", spoken(*down)),
            Fault::PrometheusDown { lasts, keeps: true } => write!(f, "Prometheus is away for {}", spoken(*lasts)),
            Fault::PrometheusDown { lasts, keeps: false } => {
                write!(f, "Prometheus is away for {} and comes back without its storage", spoken(*lasts))
            }
            Fault::TriggerHangs { lasts } => write!(f, "questions to the trigger time out for {}", spoken(*lasts)),
            Fault::ScalerUnreachable { lasts } => {
                write!(f, "the scaler cannot reach the dispatcher for {}", spoken(*lasts))
            }
            Fault::CrashLoop { ordinal } => write!(f, "pod {ordinal} crashes again and again"),
            Fault::Evicted { ordinal } => write!(f, "pod {ordinal} is evicted"),
            Fault::NodeDrained { ordinal } => write!(f, "the autoscaler takes away the node of pod {ordinal}"),
            Fault::RollOut => f.write_str("the pods get a new template"),
            Fault::MaxPods { pods } => write!(f, "the operator sets the most pods to {pods}"),
            Fault::ScaledObjectRecreated => f.write_str("the ScaledObject is made anew"),
            Fault::ScaledObjectDeleted { original } => {
                write!(f, "the ScaledObject is deleted, which restores {original} replicas")
            }
            Fault::TargetLost => f.write_str("one dispatcher replica cannot be scraped any more"),
        }
    }
}
