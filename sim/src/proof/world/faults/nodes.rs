//! Faults of nodes.

use super::super::World;
use super::super::kube::Budget;
use super::{Family, Fault};
use turmoil::Sim;

#[derive(Clone, Copy)]
#[expect(clippy::enum_variant_names, reason = "the names in `FaultKind`")]
pub(super) enum Nodes {
    NodeLoss,
    NodeDrain,
    NodeSilent,
}

impl Family for Nodes {
    fn shape(&self) -> (u32, u64) {
        match self {
            Nodes::NodeLoss | Nodes::NodeSilent => (1, 25_000),
            Nodes::NodeDrain => (1, 20_000),
        }
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (node, name) = node(fault, world);
        let number = fault.target as usize / 5;
        match self {
            Nodes::NodeLoss => {
                world.begins(fault, format!("{name} is lost"));
                for other in world.others(&name) {
                    sim.partition(name.as_str(), other.as_str());
                }
                sim.crash(name.as_str());
                world.oracle.node_lost(sim.lookup(name.as_str()));
            }
            Nodes::NodeDrain => {
                let budget = [Budget::One, Budget::Zero, Budget::Unlimited][number % 3];
                world.begins(fault, format!("{name} is drained ({budget:?})"));
                world.kube.drain(node, budget);
            }
            Nodes::NodeSilent => {
                let is_removed = number.is_multiple_of(2);
                let then = if is_removed { ", and its object is deleted once its pods are evicted" } else { "" };
                world.begins(fault, format!("the kubelet of {name} and the API server cannot talk{then}"));
                world.kube.silence(node, is_removed);
            }
        }
    }

    fn end(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (node, name) = node(fault, world);
        match self {
            Nodes::NodeLoss => {
                for other in world.others(&name) {
                    sim.repair(name.as_str(), other.as_str());
                }
                sim.bounce(name.as_str());
            }
            Nodes::NodeDrain => world.kube.uncordon(node),
            Nodes::NodeSilent => world.kube.reconnect(node),
        }
    }

    fn parted(&self, fault: Fault, world: &World) -> Vec<(String, String)> {
        match self {
            Nodes::NodeLoss => {
                let (_, name) = node(fault, world);
                world.others(&name).into_iter().map(|other| (name.clone(), other)).collect()
            }
            Nodes::NodeDrain | Nodes::NodeSilent => Vec::new(),
        }
    }
}

/// Returns the number and the name of the affected node.
fn node(fault: Fault, world: &World) -> (usize, String) {
    let node = fault.target % world.setting.nodes;
    (node as usize, format!("node{node}"))
}

/// Ends all of these faults.
pub(super) fn heal(world: &World) {
    for node in 0..world.setting.nodes as usize {
        world.kube.uncordon(node);
        world.kube.reconnect(node);
    }
}
