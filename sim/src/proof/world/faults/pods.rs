//! Faults of pods and of their StatefulSet.

use super::super::World;
use super::{Family, Fault};
use std::sync::PoisonError;
use turmoil::Sim;

#[derive(Clone, Copy)]
pub(super) enum Pods {
    PodCrash,
    PodFailure,
    SlowStart,
    StuckStart,
    Preemption,
    SetRecreated,
}

impl Family for Pods {
    fn shape(&self) -> (u32, u64) {
        match self {
            Pods::PodCrash => (2, 1_000),
            Pods::PodFailure => (1, 1_000),
            Pods::SlowStart | Pods::StuckStart => (1, 20_000),
            Pods::Preemption => (1, 12_000),
            Pods::SetRecreated => (1, 6_000),
        }
    }

    fn begin(&self, fault: Fault, _: &mut Sim<'_>, world: &World) {
        let pod = || world.kube.some_pod(fault.target);
        match self {
            Pods::PodCrash => {
                if let Some(pod) = pod() {
                    world.begins(fault, format!("the container of pod {} ({}) crashes", pod.ordinal, pod.uid));
                    world.crashes.lock().unwrap_or_else(PoisonError::into_inner).push(pod.uid);
                }
            }
            Pods::PodFailure => {
                if let Some(pod) = pod() {
                    world.begins(fault, format!("pod {} ({}) fails for good", pod.ordinal, pod.uid));
                    world.kube.fail(&pod.uid);
                }
            }
            Pods::SlowStart => {
                world.begins(fault, "pods start five times as slowly".into());
                world.kube.slow_down(Some(5));
            }
            Pods::StuckStart => {
                world.begins(fault, "no new pod is scheduled".into());
                world.kube.slow_down(None);
            }
            Pods::Preemption => {
                if let Some(pod) = pod() {
                    let text =
                        format!("pod {} ({}) is preempted by a pod with a higher priority", pod.ordinal, pod.uid);
                    world.begins(fault, text);
                    world.kube.preempt(&pod.uid);
                }
            }
            Pods::SetRecreated => {
                world.begins(fault, "the set is deleted without its pods, to be created again".into());
                world.kube.delete_set();
            }
        }
    }

    fn end(&self, _: Fault, _: &mut Sim<'_>, world: &World) {
        match self {
            Pods::PodCrash | Pods::PodFailure => {}
            Pods::SlowStart | Pods::StuckStart => world.kube.slow_down(Some(1)),
            Pods::Preemption => world.kube.make_room(),
            Pods::SetRecreated => world.kube.create_set(world.setting.rules.max),
        }
    }
}

/// Ends all of these faults.
pub(super) fn heal(world: &World) {
    world.kube.slow_down(Some(1));
    world.kube.make_room();
    world.kube.create_set(world.setting.rules.max);
}
