//! Applies the drawn faults, and heals them.

mod cluster;

use super::World;
use super::disk::{Disk, Doom};
use super::faults::{Fault, FaultKind};
use super::journal::When;
use super::pools::ANNEX;
use super::setting::Setting;
use super::stall::Gate;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use turmoil::Sim;

/// Upcoming and active faults.
pub(super) struct Happenings {
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

impl Happenings {
    pub(super) fn new(setting: &Setting) -> Happenings {
        let mut coming = setting.faults.clone();
        coming.sort_by_key(|f| std::cmp::Reverse(f.at));
        Happenings { coming, going: BTreeMap::new(), count: 0, giving_up: Vec::new() }
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
            world.truth.count("dispatcher killed while writing");
            world.truth.tell(format!("d{host} is killed while it writes"));
            world.truth.crashed(host);
            sim.crash(format!("d{host}"));
        }
        while let Some(fault) = self.coming.pop_if(|f| f.at <= now) {
            begin(fault, sim, world);
            for (a, b) in world.parted(fault) {
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
        world.redis.step_clock(0);
        world.redis.fill(false);
        world.redis.slow_down(0);
        world.kube.slow_down(Some(1));
        cluster::heal(world);
        world.shaky.store(false, Ordering::Relaxed);
        world.prometheus_down.store(false, Ordering::Relaxed);
        world.doors.iter().for_each(|d| d.skew.store(0, Ordering::Relaxed));
        world.disks.iter().for_each(Disk::heal);
        world.gates.iter().for_each(Gate::heal);
    }
}

impl World {
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

    fn dispatcher(&self, target: u32) -> (usize, String) {
        let host = target % self.setting.dispatchers;
        (host as usize, format!("d{host}"))
    }

    /// Returns the two ends of a relevant link.
    fn link(&self, target: u32) -> (String, String) {
        let (_, d) = self.dispatcher(target);
        let number = target / 7;
        let other = match target / 3 % 5 {
            0 => format!("node{}", number % self.setting.nodes),
            1 => format!("home{}", number % self.setting.homes),
            2 => "api".into(),
            3 if self.setting.shared_journal => "journal".into(),
            _ => format!("node{}", number % self.setting.nodes),
        };
        (d, other)
    }

    /// Returns the partition's two ends, for the kinds that cut a link.
    fn cut(&self, fault: Fault) -> Option<(String, String)> {
        let (_, d) = self.dispatcher(fault.target);
        let number = fault.target / 7;
        match fault.kind {
            FaultKind::PodPartition => Some((d, format!("node{}", number % self.setting.nodes))),
            FaultKind::ApiPartition => Some((d, "api".into())),
            FaultKind::JournalPartition => Some((d, "journal".into())),
            FaultKind::KedaPartition => Some((d, "keda".into())),
            FaultKind::HomePartition => Some((d, format!("home{}", number % self.setting.homes))),
            FaultKind::Latency
            | FaultKind::Hold
            | FaultKind::SocketDrop
            | FaultKind::JournalAway
            | FaultKind::PodCrash
            | FaultKind::PodFailure
            | FaultKind::NodeLoss
            | FaultKind::SlowStart
            | FaultKind::StuckStart
            | FaultKind::DispatcherCrash
            | FaultKind::WriterCrash
            | FaultKind::DispatcherRestart
            | FaultKind::DispatcherClock
            | FaultKind::JournalCrash
            | FaultKind::JournalLoss
            | FaultKind::JournalFailover
            | FaultKind::JournalFlush
            | FaultKind::JournalFull
            | FaultKind::JournalSlow
            | FaultKind::JournalClock
            | FaultKind::ApiCrash
            | FaultKind::ShakyWatch
            | FaultKind::PrometheusOutage
            | FaultKind::PoolRemoval
            | FaultKind::PowerLoss
            | FaultKind::DiskFull
            | FaultKind::DiskSlow
            | FaultKind::DiskFailing
            | FaultKind::Stall
            | FaultKind::OneWay
            | FaultKind::Descriptors
            | FaultKind::ApiOverload
            | FaultKind::ApiSlow
            | FaultKind::ApiLateWrites
            | FaultKind::Preemption
            | FaultKind::NodeDrain
            | FaultKind::NodeSilent
            | FaultKind::SetRecreated => None,
        }
    }

    /// Returns all pairs that cannot communicate because of the fault.
    fn parted(&self, fault: Fault) -> Vec<(String, String)> {
        if fault.kind == FaultKind::NodeLoss {
            let node = format!("node{}", fault.target % self.setting.nodes);
            return self.others(&node).into_iter().map(|other| (node.clone(), other)).collect();
        }
        if fault.kind == FaultKind::JournalAway {
            return (0..self.setting.dispatchers).map(|d| (format!("d{d}"), "journal".to_owned())).collect();
        }
        if fault.kind == FaultKind::OneWay {
            return vec![self.one_way(fault)];
        }
        self.cut(fault).into_iter().collect()
    }

    /// Returns the sender and the receiver of the lost direction.
    fn one_way(&self, fault: Fault) -> (String, String) {
        let (d, other) = self.link(fault.target);
        if (fault.target / 5).is_multiple_of(2) { (d, other) } else { (other, d) }
    }

    /// Returns how many milliseconds of entries are lost.
    fn lag(&self, fault: Fault) -> u64 {
        u64::from(fault.target / 11) % (self.setting.lag + 1)
    }

    fn others(&self, host: &str) -> Vec<String> {
        self.hosts().into_iter().filter(|h| h != host).collect()
    }
}

fn begin(fault: Fault, sim: &mut Sim<'_>, world: &World) {
    let tell = |text: String| world.truth.fault(fault.at, Some(fault.until), fault.kind.word(), text);
    let (host, d) = world.dispatcher(fault.target);
    let node = format!("node{}", fault.target % world.setting.nodes);
    if let Some((a, b)) = world.cut(fault) {
        tell(format!("{a} and {b} cannot talk"));
        sim.partition(a.as_str(), b.as_str());
        return;
    }
    match fault.kind {
        FaultKind::Latency => {
            let (a, b) = world.link(fault.target);
            let slow = Duration::from_millis(200 + u64::from(fault.target % 800));
            tell(format!("{a} and {b} are up to {slow:?} apart"));
            sim.set_link_max_message_latency(a.as_str(), b.as_str(), slow);
        }
        FaultKind::Hold => {
            let (a, b) = world.link(fault.target);
            tell(format!("what {a} and {b} say to each other is delayed"));
            sim.hold(a.as_str(), b.as_str());
        }
        FaultKind::SocketDrop => {
            let (a, b) = world.link(fault.target);
            tell(format!("every connection of {a} and {b} is reset"));
            world.connections.reset(sim.lookup(a.as_str()), sim.lookup(b.as_str()));
        }
        FaultKind::PodCrash => {
            if let Some(pod) = world.kube.some_pod(fault.target) {
                tell(format!("the container of pod {} ({}) crashes", pod.ordinal, pod.uid));
                world.crashes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(pod.uid);
            }
        }
        FaultKind::PodFailure => {
            if let Some(pod) = world.kube.some_pod(fault.target) {
                tell(format!("pod {} ({}) fails for good", pod.ordinal, pod.uid));
                world.kube.fail(&pod.uid);
            }
        }
        FaultKind::NodeLoss => {
            tell(format!("{node} is lost"));
            for other in world.others(&node) {
                sim.partition(node.as_str(), other.as_str());
            }
            sim.crash(node.as_str());
            world.truth.node_lost(sim.lookup(node.as_str()));
        }
        FaultKind::SlowStart => {
            tell("pods start five times as slowly".into());
            world.kube.slow_down(Some(5));
        }
        FaultKind::StuckStart => {
            tell("no new pod is scheduled".into());
            world.kube.slow_down(None);
        }
        FaultKind::DispatcherCrash => {
            tell(format!("{d} is killed"));
            world.truth.crashed(host);
            sim.crash(d.as_str());
        }
        FaultKind::WriterCrash => {
            let when = [When::Before, When::Midst, When::After][fault.target as usize / 5 % 3];
            tell(format!("{d} will be killed while it writes ({when:?})"));
            if world.setting.shared_journal {
                world.traps.set(host, when);
            } else {
                // During an append, which writes and syncs, or during any other operation that comes first.
                world.disks[host].arm(fault.target / 5 % 5, Doom::Killed);
            }
        }
        FaultKind::DispatcherRestart => {
            tell(format!("{d} is asked to stop"));
            world.doors[host].stop.notify_waiters();
        }
        FaultKind::DispatcherClock => {
            let skew = i64::from(fault.target % 7_200_000) - 3_600_000;
            tell(format!("{d}'s clock is {skew} ms off after its next start"));
            world.doors[host].skew.store(skew, Ordering::Relaxed);
        }
        FaultKind::JournalAway => {
            tell("no dispatcher can talk to the journal".into());
            for (a, b) in world.parted(fault) {
                sim.partition(a.as_str(), b.as_str());
            }
        }
        FaultKind::JournalCrash | FaultKind::JournalLoss => {
            tell("the journal is down".into());
            sim.crash("journal");
            let newest = if fault.kind == FaultKind::JournalLoss { world.lag(fault) } else { 0 };
            world.redis.restarts(newest);
        }
        FaultKind::JournalFailover => {
            if fault.target.is_multiple_of(4) {
                tell("another server was the journal for a moment".into());
                world.redis.returns(world.lag(fault));
            } else {
                tell("another server is the journal now".into());
                world.redis.restarts(world.lag(fault));
            }
        }
        FaultKind::JournalFlush => {
            tell("everything in the journal is deleted".into());
            world.redis.flush();
        }
        FaultKind::JournalFull => {
            tell("the journal has no memory left".into());
            world.redis.fill(true);
        }
        FaultKind::JournalSlow => {
            let most = 50 + u64::from(fault.target) % 600;
            tell(format!("the journal takes up to {most} ms for everything"));
            world.redis.slow_down(most);
        }
        FaultKind::JournalClock => {
            // Small steps look like elapsed time; large ones do not.
            let step = match fault.target % 2 {
                0 => i64::from(fault.target % 5_000),
                _ => i64::from(fault.target % 90_000) - 30_000,
            };
            tell(format!("the journal's clock jumps by {step} ms"));
            world.redis.step_clock(step);
        }
        FaultKind::ApiCrash => {
            tell("the API server is down".into());
            sim.crash("api");
        }
        FaultKind::ShakyWatch => {
            tell("watches are slow, stutter and break".into());
            world.shaky.store(true, Ordering::Relaxed);
        }
        FaultKind::PrometheusOutage => {
            tell("Prometheus is down".into());
            world.prometheus_down.store(true, Ordering::Relaxed);
        }
        FaultKind::PoolRemoval => {
            tell("the operator removes the pool".into());
            world.removal.store(true, Ordering::Relaxed);
        }
        FaultKind::PowerLoss => {
            // A checkpoint takes a dozen system calls.
            let calls = fault.target / 5 % 20;
            tell(format!("{d} will lose power after {calls} more system calls for its journal"));
            world.disks[host].arm(calls, Doom::Powerless);
        }
        FaultKind::DiskFull => {
            let left = u64::from(fault.target / 5) % 1_500;
            tell(format!("the disk of {d} has room for {left} more bytes"));
            world.disks[host].fill(Some(left));
        }
        FaultKind::DiskSlow => {
            let most = 100 + u64::from(fault.target / 5) % 2_000;
            tell(format!("the disk of {d} takes up to {most} ms for everything"));
            world.disks[host].slow_down(most);
        }
        FaultKind::DiskFailing => {
            let percent = 10 + fault.target / 5 % 91;
            tell(format!("{percent} of 100 system calls for the disk of {d} fail"));
            world.disks[host].fail(percent);
        }
        FaultKind::Stall => {
            tell(format!("{d} does not run"));
            world.gates[host].close(true);
        }
        FaultKind::OneWay => {
            let (from, to) = world.one_way(fault);
            tell(format!("{to} hears nothing of {from}"));
            sim.partition_oneway(from.as_str(), to.as_str());
        }
        FaultKind::Descriptors => {
            tell(format!("{d} has no descriptors left"));
            world.gates[host].exhaust(true);
            world.disks[host].exhaust(true);
        }
        FaultKind::ApiOverload
        | FaultKind::ApiSlow
        | FaultKind::ApiLateWrites
        | FaultKind::Preemption
        | FaultKind::NodeDrain
        | FaultKind::NodeSilent
        | FaultKind::SetRecreated => cluster::begin(fault, fault.target as usize % world.setting.nodes as usize, world),
        FaultKind::PodPartition
        | FaultKind::ApiPartition
        | FaultKind::JournalPartition
        | FaultKind::HomePartition
        | FaultKind::KedaPartition => {}
    }
}

fn end(fault: Fault, sim: &mut Sim<'_>, world: &World) {
    let (host, d) = world.dispatcher(fault.target);
    let node = format!("node{}", fault.target % world.setting.nodes);
    world.truth.fault_is_over(fault.kind.word());
    if let Some((a, b)) = world.cut(fault) {
        sim.repair(a.as_str(), b.as_str());
        return;
    }
    match fault.kind {
        FaultKind::Latency => {
            let (a, b) = world.link(fault.target);
            sim.set_link_max_message_latency(a.as_str(), b.as_str(), Duration::from_millis(world.setting.latency.1));
        }
        FaultKind::Hold => {
            let (a, b) = world.link(fault.target);
            sim.release(a.as_str(), b.as_str());
        }
        FaultKind::NodeLoss => {
            for other in world.others(&node) {
                sim.repair(node.as_str(), other.as_str());
            }
            sim.bounce(node.as_str());
        }
        FaultKind::SlowStart | FaultKind::StuckStart => world.kube.slow_down(Some(1)),
        FaultKind::PowerLoss => {
            if world.disks[host].disarm() {
                sim.crash(d.as_str());
                world.disks[host].lose_power();
            }
            world.truth.crashed(host);
            sim.bounce(d.as_str());
        }
        FaultKind::DiskFull => world.disks[host].fill(None),
        FaultKind::DiskSlow => world.disks[host].slow_down(0),
        FaultKind::DiskFailing => world.disks[host].fail(0),
        FaultKind::Stall => world.gates[host].close(false),
        FaultKind::OneWay => {
            let (from, to) = world.one_way(fault);
            sim.repair_oneway(from.as_str(), to.as_str());
        }
        FaultKind::Descriptors => {
            world.gates[host].exhaust(false);
            world.disks[host].exhaust(false);
        }
        FaultKind::DispatcherCrash | FaultKind::DispatcherRestart | FaultKind::WriterCrash => {
            world.traps.remove(host);
            world.disks[host].disarm();
            world.truth.crashed(host);
            sim.bounce(d.as_str());
        }
        FaultKind::JournalAway => {
            for (a, b) in world.parted(fault) {
                sim.repair(a.as_str(), b.as_str());
            }
        }
        FaultKind::JournalCrash | FaultKind::JournalLoss => sim.bounce("journal"),
        FaultKind::JournalFull => world.redis.fill(false),
        FaultKind::JournalSlow => world.redis.slow_down(0),
        FaultKind::JournalClock => world.redis.step_clock(0),
        FaultKind::ApiCrash => sim.bounce("api"),
        FaultKind::ShakyWatch => world.shaky.store(false, Ordering::Relaxed),
        FaultKind::PrometheusOutage => world.prometheus_down.store(false, Ordering::Relaxed),
        FaultKind::PoolRemoval => {
            world.removal.store(false, Ordering::Relaxed);
            for host in 0..world.doors.len() {
                world.truth.crashed(host);
                sim.bounce(format!("d{host}"));
            }
        }
        FaultKind::ApiOverload
        | FaultKind::ApiSlow
        | FaultKind::ApiLateWrites
        | FaultKind::Preemption
        | FaultKind::NodeDrain
        | FaultKind::NodeSilent
        | FaultKind::SetRecreated => cluster::end(fault, fault.target as usize % world.setting.nodes as usize, world),
        FaultKind::SocketDrop
        | FaultKind::PodCrash
        | FaultKind::PodFailure
        | FaultKind::DispatcherClock
        | FaultKind::JournalFailover
        | FaultKind::JournalFlush
        | FaultKind::PodPartition
        | FaultKind::ApiPartition
        | FaultKind::JournalPartition
        | FaultKind::HomePartition
        | FaultKind::KedaPartition => {}
    }
}
