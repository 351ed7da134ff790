//! Faults of the network's links.

use super::super::World;
use super::super::setting::Setting;
use super::{Family, Fault};
use std::time::Duration;
use turmoil::Sim;

#[derive(Clone, Copy)]
pub(super) enum Links {
    Latency,
    Hold,
    SocketDrop,
    PodPartition,
    ApiPartition,
    JournalPartition,
    JournalAway,
    HomePartition,
    KedaPartition,
    OneWay,
}

impl Family for Links {
    fn shape(&self) -> (u32, u64) {
        match self {
            Links::Latency => (2, 15_000),
            Links::Hold => (2, 8_000),
            Links::SocketDrop => (2, 1_000),
            Links::PodPartition | Links::HomePartition => (1, 12_000),
            Links::ApiPartition => (1, 25_000),
            Links::JournalPartition => (2, 30_000),
            Links::JournalAway | Links::OneWay => (1, 20_000),
            Links::KedaPartition => (2, 15_000),
        }
    }

    fn applies(&self, setting: &Setting, _: bool) -> bool {
        match self {
            Links::JournalPartition | Links::JournalAway => setting.shared_journal,
            Links::KedaPartition => setting.is_pushed(),
            Links::Latency
            | Links::Hold
            | Links::SocketDrop
            | Links::PodPartition
            | Links::ApiPartition
            | Links::HomePartition
            | Links::OneWay => true,
        }
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (a, b) = link(fault, world);
        match self {
            Links::Latency => {
                let slow = Duration::from_millis(200 + u64::from(fault.target % 800));
                world.begins(fault, format!("{a} and {b} are up to {slow:?} apart"));
                sim.set_link_max_message_latency(a.as_str(), b.as_str(), slow);
            }
            Links::Hold => {
                world.begins(fault, format!("what {a} and {b} say to each other is delayed"));
                sim.hold(a.as_str(), b.as_str());
            }
            Links::SocketDrop => {
                world.begins(fault, format!("every connection of {a} and {b} is reset"));
                world.connections.reset(sim.lookup(a.as_str()), sim.lookup(b.as_str()));
            }
            Links::PodPartition
            | Links::ApiPartition
            | Links::JournalPartition
            | Links::HomePartition
            | Links::KedaPartition => {
                for (a, b) in self.parted(fault, world) {
                    world.begins(fault, format!("{a} and {b} cannot talk"));
                    sim.partition(a.as_str(), b.as_str());
                }
            }
            Links::JournalAway => {
                world.begins(fault, "no dispatcher can talk to the journal".into());
                for (a, b) in self.parted(fault, world) {
                    sim.partition(a.as_str(), b.as_str());
                }
            }
            Links::OneWay => {
                let (from, to) = one_way(fault, world);
                world.begins(fault, format!("{to} hears nothing of {from}"));
                sim.partition_oneway(from.as_str(), to.as_str());
            }
        }
    }

    fn end(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (a, b) = link(fault, world);
        match self {
            Links::Latency => {
                let usual = Duration::from_millis(world.setting.latency.1);
                sim.set_link_max_message_latency(a.as_str(), b.as_str(), usual);
            }
            Links::Hold => sim.release(a.as_str(), b.as_str()),
            Links::SocketDrop => {}
            Links::PodPartition
            | Links::ApiPartition
            | Links::JournalPartition
            | Links::JournalAway
            | Links::HomePartition
            | Links::KedaPartition => {
                for (a, b) in self.parted(fault, world) {
                    sim.repair(a.as_str(), b.as_str());
                }
            }
            Links::OneWay => {
                let (from, to) = one_way(fault, world);
                sim.repair_oneway(from.as_str(), to.as_str());
            }
        }
    }

    fn parted(&self, fault: Fault, world: &World) -> Vec<(String, String)> {
        let (_, d) = world.dispatcher(fault.target);
        let number = fault.target / 7;
        match self {
            Links::Latency | Links::Hold | Links::SocketDrop => Vec::new(),
            Links::PodPartition => vec![(d, format!("node{}", number % world.setting.nodes))],
            Links::ApiPartition => vec![(d, "api".into())],
            Links::JournalPartition => vec![(d, "journal".into())],
            Links::KedaPartition => vec![(d, "keda".into())],
            Links::HomePartition => vec![(d, format!("home{}", number % world.setting.homes))],
            Links::JournalAway => {
                (0..world.setting.dispatchers).map(|d| (format!("d{d}"), "journal".to_owned())).collect()
            }
            Links::OneWay => vec![one_way(fault, world)],
        }
    }
}

/// Returns the two ends of a relevant link.
fn link(fault: Fault, world: &World) -> (String, String) {
    let (_, d) = world.dispatcher(fault.target);
    let number = fault.target / 7;
    let other = match fault.target / 3 % 5 {
        0 => format!("node{}", number % world.setting.nodes),
        1 => format!("home{}", number % world.setting.homes),
        2 => "api".into(),
        3 if world.setting.shared_journal => "journal".into(),
        _ => format!("node{}", number % world.setting.nodes),
    };
    (d, other)
}

/// Returns the sender and the receiver of the lost direction.
fn one_way(fault: Fault, world: &World) -> (String, String) {
    let (d, other) = link(fault, world);
    if (fault.target / 5).is_multiple_of(2) { (d, other) } else { (other, d) }
}
