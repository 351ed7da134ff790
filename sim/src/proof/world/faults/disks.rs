//! Faults of the disk of a dispatcher's own journal.

use super::super::World;
use super::super::disk::{Disk, Doom};
use super::super::setting::Setting;
use super::{Family, Fault};
use turmoil::Sim;

#[derive(Clone, Copy)]
pub(super) enum Disks {
    PowerLoss,
    DiskFull,
    DiskSlow,
    DiskFailing,
}

impl Family for Disks {
    fn shape(&self) -> (u32, u64) {
        match self {
            Disks::PowerLoss => (3, 8_000),
            Disks::DiskFull => (2, 20_000),
            Disks::DiskSlow | Disks::DiskFailing => (2, 15_000),
        }
    }

    fn applies(&self, setting: &Setting, _: bool) -> bool {
        !setting.shared_journal
    }

    fn begin(&self, fault: Fault, _: &mut Sim<'_>, world: &World) {
        let (host, d) = world.dispatcher(fault.target);
        let disk = &world.disks[host];
        match self {
            Disks::PowerLoss => {
                // A checkpoint takes a dozen system calls.
                let calls = fault.target / 5 % 20;
                world.begins(fault, format!("{d} will lose power after {calls} more system calls for its journal"));
                disk.arm(calls, Doom::Powerless);
            }
            Disks::DiskFull => {
                let left = u64::from(fault.target / 5) % 1_500;
                world.begins(fault, format!("the disk of {d} has room for {left} more bytes"));
                disk.fill(Some(left));
            }
            Disks::DiskSlow => {
                let most = 100 + u64::from(fault.target / 5) % 2_000;
                world.begins(fault, format!("the disk of {d} takes up to {most} ms for everything"));
                disk.slow_down(most);
            }
            Disks::DiskFailing => {
                let percent = 10 + fault.target / 5 % 91;
                world.begins(fault, format!("{percent} of 100 system calls for the disk of {d} fail"));
                disk.fail(percent);
            }
        }
    }

    fn end(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let (host, d) = world.dispatcher(fault.target);
        let disk = &world.disks[host];
        match self {
            Disks::PowerLoss => {
                if disk.disarm() {
                    sim.crash(d.as_str());
                    disk.lose_power();
                }
                world.oracle.crashed(host);
                sim.bounce(d.as_str());
            }
            Disks::DiskFull => disk.fill(None),
            Disks::DiskSlow => disk.slow_down(0),
            Disks::DiskFailing => disk.fail(0),
        }
    }
}

/// Ends all of these faults.
pub(super) fn heal(world: &World) {
    world.disks.iter().for_each(Disk::heal);
}
