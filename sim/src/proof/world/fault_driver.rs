//! Applies the drawn faults, and heals them.

use super::World;
use super::faults::{self, Fault};
use super::pools::ANNEX;
use super::setting::Setting;
use std::collections::BTreeMap;
use turmoil::Sim;

/// Upcoming and active faults.
pub(super) struct FaultDriver {
    coming: Vec<Fault>,
    /// Active faults by the time they end.
    going: BTreeMap<(u64, usize), Fault>,
    count: usize,
    /// When connections across these partitions are given up.
    giving_up: Vec<(u64, String, String)>,
}

/// A connection without any answer is given up after this many milliseconds (TCP keep-alive, scaled down like all
/// clocks here).
const KEEP_ALIVE: u64 = 5_000;

impl FaultDriver {
    pub(super) fn new(setting: &Setting) -> FaultDriver {
        let mut coming = setting.faults.clone();
        coming.sort_by_key(|f| std::cmp::Reverse(f.at));
        FaultDriver { coming, going: BTreeMap::new(), count: 0, giving_up: Vec::new() }
    }

    pub(super) fn step(&mut self, now: u64, sim: &mut Sim<'_>, world: &World) {
        while let Some(((until, _), _)) = self.going.first_key_value()
            && *until <= now
            && let Some((_, fault)) = self.going.pop_first()
        {
            end(fault, sim, world);
        }
        self.give_up(now, sim, world);
        for host in world.traps.caught() {
            world.oracle.count("dispatcher killed while writing");
            world.oracle.log(format!("d{host} is killed while it writes"));
            world.oracle.crashed(host);
            sim.crash(format!("d{host}"));
        }
        while let Some(fault) = self.coming.pop_if(|f| f.at <= now) {
            let family = fault.kind.family();
            family.begin(fault, sim, world);
            for (a, b) in family.parted(fault, world) {
                // Lost segments are not retransmitted here: when the fault ends, no connection that was open
                // continues.
                self.giving_up.push((fault.until.min(now + KEEP_ALIVE), a.clone(), b.clone()));
                self.giving_up.push((fault.until, a, b));
            }
            self.count += 1;
            self.going.insert((fault.until, self.count), fault);
        }
    }

    fn give_up(&mut self, now: u64, sim: &Sim<'_>, world: &World) {
        let due: Vec<_> = self.giving_up.extract_if(.., |(at, _, _)| *at <= now).collect();
        for (_, a, b) in due {
            world.connections.reset(sim.lookup(a.as_str()), sim.lookup(b.as_str()));
        }
    }

    /// Ends all faults, and repairs what is still broken.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>, world: &World) {
        self.coming.clear();
        for (_, fault) in std::mem::take(&mut self.going) {
            end(fault, sim, world);
        }
        self.give_up(u64::MAX, sim, world);
        let hosts = world.hosts();
        for (n, a) in hosts.iter().enumerate() {
            for b in &hosts[n + 1..] {
                sim.release(a.as_str(), b.as_str());
                sim.repair(a.as_str(), b.as_str());
            }
        }
        for host in &hosts {
            if !sim.is_host_running(host.as_str()) {
                sim.bounce(host.as_str());
            }
        }
        faults::heal(world);
    }
}

impl World {
    /// A fault begins.
    pub(super) fn begins(&self, fault: Fault, text: String) {
        self.oracle.fault(fault.at, Some(fault.until), fault.kind.word(), text);
    }

    fn hosts(&self) -> Vec<String> {
        let numbered = |name: &'static str, n: u32| (0..n).map(move |i| format!("{name}{i}"));
        numbered("d", self.setting.dispatchers)
            .chain(numbered("node", self.setting.nodes))
            .chain(numbered("home", self.setting.homes))
            .chain(["api", "prometheus", "operator"].map(str::to_owned))
            .chain(self.setting.annex.is_some().then(|| ANNEX.to_owned()))
            .chain(self.setting.shared_journal.then(|| "journal".to_owned()))
            .chain(self.setting.is_pushed().then(|| "keda".to_owned()))
            .collect()
    }

    /// Returns the number and the name of the affected dispatcher's host.
    pub(super) fn dispatcher(&self, target: u32) -> (usize, String) {
        let host = target % self.setting.dispatchers;
        (host as usize, format!("d{host}"))
    }

    /// Returns all hosts except this one.
    pub(super) fn others(&self, host: &str) -> Vec<String> {
        self.hosts().into_iter().filter(|h| h != host).collect()
    }
}

fn end(fault: Fault, sim: &mut Sim<'_>, world: &World) {
    world.oracle.fault_is_over(fault.kind.word());
    fault.kind.family().end(fault, sim, world);
}
