//! The faults of the cluster: an overloaded API server, preemption, drains, and silent nodes.

use super::super::World;
use super::super::faults::{Fault, FaultKind};
use super::super::kube::Budget;
use super::super::overload::{LATE, Refused};

/// Begins one of these faults; `node`: its number.
pub(super) fn begin(fault: Fault, node: usize, world: &World) {
    let tell = |text: String| world.truth.fault(fault.at, Some(fault.until), fault.kind.word(), text);
    let number = fault.target as usize / 5;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others begin elsewhere")]
    match fault.kind {
        FaultKind::ApiOverload => {
            let refused = Refused::ALL[number % Refused::ALL.len()];
            tell(format!("the API server is overloaded and refuses {} with 429", refused.word()));
            world.overload.refuse(Some(refused));
        }
        FaultKind::ApiSlow => {
            tell("the API server answers up to 3 s late".into());
            world.overload.slow_down(true);
        }
        FaultKind::ApiLateWrites => {
            let most = LATE[number % LATE.len()];
            tell(format!("the API server carries out writes up to {} s late", most / 1000));
            world.overload.delay_writes(most);
        }
        FaultKind::Preemption => {
            if let Some(pod) = world.kube.some_pod(fault.target) {
                tell(format!("pod {} ({}) is preempted by a pod with a higher priority", pod.ordinal, pod.uid));
                world.kube.preempt(&pod.uid);
            }
        }
        FaultKind::NodeDrain => {
            let budget = [Budget::One, Budget::Zero, Budget::Unlimited][number % 3];
            tell(format!("node{node} is drained ({budget:?})"));
            world.kube.drain(node, budget);
        }
        FaultKind::NodeSilent => {
            let is_removed = number.is_multiple_of(2);
            let then = if is_removed { ", and its object is deleted once its pods are evicted" } else { "" };
            tell(format!("the kubelet of node{node} and the API server cannot talk{then}"));
            world.kube.silence(node, is_removed);
        }
        FaultKind::SetRecreated => {
            tell("the set is deleted without its pods, to be created again".into());
            world.kube.delete_set();
        }
        _ => {}
    }
}

pub(super) fn end(fault: Fault, node: usize, world: &World) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others end elsewhere")]
    match fault.kind {
        FaultKind::ApiOverload => world.overload.refuse(None),
        FaultKind::ApiSlow => world.overload.slow_down(false),
        FaultKind::ApiLateWrites => world.overload.delay_writes(0),
        FaultKind::Preemption => world.kube.make_room(),
        FaultKind::NodeDrain => world.kube.uncordon(node),
        FaultKind::NodeSilent => world.kube.reconnect(node),
        FaultKind::SetRecreated => world.kube.create_set(world.setting.rules.max),
        _ => {}
    }
}

/// Ends all of these faults.
pub(super) fn heal(world: &World) {
    world.overload.end();
    world.kube.make_room();
    world.kube.create_set(world.setting.rules.max);
    for node in 0..world.setting.nodes as usize {
        world.kube.uncordon(node);
        world.kube.reconnect(node);
    }
}
