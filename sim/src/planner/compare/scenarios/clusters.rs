//! Failures caused by the cluster's defaults, and by operators' interventions.

use super::super::{Harm, Scenario};
use super::{LONG, MINUTE, SECOND, crowd, direct, every_scaling, naive, remembering, setting};
use crate::planner::tabletop::{Fault, Setting, Visitor};

pub(super) fn defaults() -> Vec<Scenario> {
    let mut one_leaves = crowd(3);
    one_leaves[1].stays = 2 * MINUTE;
    one_leaves.extend([Visitor::at(630, LONG), Visitor::at(640, LONG)]);
    vec![
        Scenario {
            name: "f16-one-bad-pod",
            story: "The StatefulSet has the default policy, OrderedReady. Pod 1, empty at the moment, begins to crash \
                    repeatedly. Two visitors arrive. The number of replicas rises, but the controller waits for pod 1 \
                    before it creates any pod above it: no visitor is served until an operator repairs pod 1.",
            harm: Harm::NeverServed(2),
            setting: Setting { faults: vec![(620 * SECOND, Fault::CrashLoop { ordinal: 1 })], ..setting(10, 40) },
            visitors: one_leaves,
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f21-a-new-template",
            story: "An operator changes the pods' template, a label perhaps. The default strategy, RollingUpdate, \
                    replaces pod after pod from the top, whether or not they are busy: five sessions end, one every 40 \
                    s.",
            harm: Harm::Killed(5),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::RollOut)], ..setting(10, 20) },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f22-a-node-is-saved",
            story: "The cluster autoscaler finds the node of pod 2 hardly used and removes it. Without the annotation \
                    safe-to-evict: \"false\" it may: the pod is evicted with its player.",
            harm: Harm::Killed(1),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::NodeDrained { ordinal: 2 })], ..setting(10, 15) },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
    ]
}

pub(super) fn operating() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "f19-a-lower-maximum",
            story: "Five visitors play, and the operator lowers the maximum from ten pods to two, for the night. The \
                    HPA sees more replicas than its maximum and sets the maximum at once, without any window: three \
                    sessions end. (Slotkeeper lets the sessions finish; where KEDA scales for it, maxReplicaCount must \
                    stay.)",
            harm: Harm::Killed(3),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::MaxPods { pods: 2 })], ..setting(10, 15) },
            visitors: crowd(5),
            naive: naive(10),
            ours: direct(),
        },
        Scenario {
            name: "f20-restored",
            story: "The operator deletes the ScaledObject to stop KEDA for a while. It has \
                    restoreToOriginalReplicaCount: true, and KEDA originally found one replica: that is written at \
                    once, and four of five sessions end.",
            harm: Harm::Killed(4),
            setting: Setting {
                faults: vec![(10 * MINUTE, Fault::ScaledObjectDeleted { original: 1 })],
                ..setting(10, 15)
            },
            visitors: crowd(5),
            naive: naive(10),
            ours: direct(),
        },
        Scenario {
            name: "f29-a-new-scaled-object",
            story: "A release re-installs everything: the dispatcher is down for 40 s, and meanwhile the ScaledObject \
                    is created again. The new one polls at once, finds nothing in Prometheus, which means inactive, \
                    and as it has never been active no cooldown applies: it writes 0 under five players.",
            harm: Harm::Killed(5),
            setting: Setting {
                faults: vec![
                    (10 * MINUTE, Fault::Restart { down: 40 * SECOND }),
                    (638_500, Fault::ScaledObjectRecreated),
                ],
                ..setting(10, 15)
            },
            visitors: crowd(5),
            naive: remembering(naive(10)),
            ours: every_scaling(10),
        },
    ]
}
