//! Faults of the dispatchers' processes.

use super::super::World;
use super::super::disk::Doom;
use super::super::journal::When;
use super::super::stall::Gate;
use super::{Family, Fault};
use std::sync::atomic::Ordering;
use turmoil::Sim;

#[derive(Clone, Copy)]
pub(super) enum Dispatchers {
    DispatcherCrash,
    WriterCrash,
    DispatcherRestart,
    DispatcherClock,
    Stall,
    Descriptors,
}

impl Family for Dispatchers {
    fn shape(&self) -> (u32, u64) {
        match self {
            Dispatchers::DispatcherCrash | Dispatchers::DispatcherRestart | Dispatchers::WriterCrash => (2, 12_000),
            Dispatchers::DispatcherClock => (1, 1_000),
            Dispatchers::Stall => (1, 25_000),
            Dispatchers::Descriptors => (1, 12_000),
        }
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (host, d) = world.dispatcher(fault.target);
        match self {
            Dispatchers::DispatcherCrash => {
                world.begins(fault, format!("{d} is killed"));
                world.oracle.crashed(host);
                sim.crash(d.as_str());
            }
            Dispatchers::WriterCrash => {
                let when = [When::Before, When::Midst, When::After][fault.target as usize / 5 % 3];
                world.begins(fault, format!("{d} will be killed while it writes ({when:?})"));
                if world.setting.shared_journal {
                    world.traps.set(host, when);
                } else {
                    // During an append, which writes and syncs, or during any other operation that comes first.
                    world.disks[host].arm(fault.target / 5 % 5, Doom::Killed);
                }
            }
            Dispatchers::DispatcherRestart => {
                world.begins(fault, format!("{d} is asked to stop"));
                world.controls[host].stop.notify_waiters();
            }
            Dispatchers::DispatcherClock => {
                let skew = i64::from(fault.target % 7_200_000) - 3_600_000;
                world.begins(fault, format!("{d}'s clock is {skew} ms off after its next start"));
                world.controls[host].skew.store(skew, Ordering::Relaxed);
            }
            Dispatchers::Stall => {
                world.begins(fault, format!("{d} does not run"));
                world.gates[host].close(true);
            }
            Dispatchers::Descriptors => {
                world.begins(fault, format!("{d} has no descriptors left"));
                world.gates[host].exhaust(true);
                world.disks[host].exhaust(true);
            }
        }
    }

    fn end(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (host, d) = world.dispatcher(fault.target);
        match self {
            Dispatchers::DispatcherCrash | Dispatchers::DispatcherRestart | Dispatchers::WriterCrash => {
                world.traps.remove(host);
                world.disks[host].disarm();
                world.oracle.crashed(host);
                sim.bounce(d.as_str());
            }
            Dispatchers::DispatcherClock => {}
            Dispatchers::Stall => world.gates[host].close(false),
            Dispatchers::Descriptors => {
                world.gates[host].exhaust(false);
                world.disks[host].exhaust(false);
            }
        }
    }
}

/// Ends all of these faults.
pub(super) fn heal(world: &World) {
    world.controls.iter().for_each(|controls| controls.skew.store(0, Ordering::Relaxed));
    world.gates.iter().for_each(Gate::heal);
}
