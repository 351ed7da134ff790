//! A second pool in addition to the first one, with other pods: a fixed list of addresses, or processes of the
//! dispatcher. It has its own path, cookie, rules and visitors, and shares dispatchers and journal with the first
//! pool; neither pool may affect the other.
//!
//! The real adaptor for local processes starts operating-system processes and has no seam below that. `Processes` is
//! a cluster that behaves like it: nothing runs at first, processes end with their dispatcher, and a life begins with
//! an empty list.

use super::conduct::{Conduct, PodConduct, pause};
use super::oracle::Oracle;
use super::program::Program;
use super::setting::Setting;
use super::window::Windows;
use crate::chance::Chance;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use slotkeeper::cluster::{Cluster, ClusterError, Size, fixed};
use slotkeeper::config::{ClusterConfig, FixedPods, PoolConfig, Probe, ProbeKind};
use slotkeeper::io::{BoxFuture, Net};
use slotkeeper_core::{
    AfterSession, Command, Decision, Millis, Ordinal, Phase, Placement, Rules, Scaling, Shrink, Spare, Targets, Time,
    Uid, Window,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// The second pool's name, path prefix and cookie.
pub const ANNEX: &str = "annex";
pub const PATH: &str = "/annex";
pub const COOKIE: &str = "slotkeeper_annex";

const FIRST_PORT: u16 = 4_000;
/// A fault of this pool only: nothing listens at one of the listed addresses.
const AWAY: &str = "listed-address-away";
const LOOK: Duration = Duration::from_millis(50);
/// How long a process takes to end after SIGTERM, in milliseconds.
const ENDING: u64 = 800;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Fixed,
    Processes,
}

/// The second pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annex {
    pub kind: Kind,
    pub visitors: u32,
    pub rules: Rules,
}

impl Annex {
    /// Draws the second pool, which exists in one of five worlds.
    #[must_use]
    pub fn draw(setting: &Setting) -> Option<Annex> {
        let mut dice = Chance::new(setting.seed).stream("annex");
        if !dice.random_ratio(1, 5) {
            return None;
        }
        // Processes run on the machine of their only dispatcher.
        let kind = if setting.dispatchers == 1 && dice.random_ratio(2, 3) { Kind::Processes } else { Kind::Fixed };
        let mut annex = Annex::new(kind, &setting.rules);
        annex.visitors = dice.random_range(2..=5);
        annex.rules.max = dice.random_range(1..=3);
        annex.rules.slots_per_pod = dice.random_range(1..=2);
        if kind == Kind::Processes && annex.rules.slots_per_pod == 1 && dice.random_ratio(1, 2) {
            annex.rules.after_session = AfterSession::Recycle;
        }
        Some(annex)
    }

    /// Returns a pool of two pods with one slot each, and the time-outs of the first pool.
    #[must_use]
    pub fn new(kind: Kind, rules: &Rules) -> Annex {
        let scaling = match kind {
            Kind::Fixed => Scaling::None,
            Kind::Processes => Scaling::Direct { window: Window::Fixed },
        };
        let rules = Rules {
            slots_per_pod: 1,
            min: 0,
            max: 2,
            placement: Placement::Pack,
            after_session: AfterSession::Keep,
            scaling,
            shrink: Shrink::Wait,
            targets: Targets::default(),
            spare: Spare::Slots(0),
            queue_limit: 1_000,
            stuck_after: Millis::secs(20),
            ..rules.clone()
        };
        Annex { kind, visitors: 4, rules }
    }
}

/// The parts of the second pool outside of the dispatchers.
#[derive(Clone)]
pub struct Grounds {
    pub annex: Annex,
    /// The checks of this pool.
    pub oracle: Oracle,
    /// The host of the listed addresses.
    pub host: IpAddr,
    pub chance: Chance,
    pub conduct: Conduct,
    pub windows: Windows,
    pub calm: Arc<AtomicBool>,
    /// Faults are enabled.
    pub troubled: bool,
    /// Number of processes started so far.
    pub processes: Arc<AtomicU64>,
    pub cold_start: (u64, u64),
}

impl Grounds {
    fn address(&self, ordinal: u32) -> SocketAddr {
        SocketAddr::new(self.host, FIRST_PORT + ordinal as u16)
    }

    /// Returns the uid that the real adaptor gives a listed pod.
    fn listed_uid(&self, ordinal: u32) -> String {
        format!("fixed-{ordinal}-{}", self.address(ordinal))
    }

    fn program(&self, ordinal: u32, uid: &str, stopping: watch::Receiver<bool>) -> Program {
        Program {
            base: PATH,
            ordinal,
            uid: uid.to_owned(),
            oracle: self.oracle.clone(),
            recycled: self.annex.rules.after_session == AfterSession::Recycle,
            stopping,
            conduct: PodConduct::draw(self.conduct, self.chance, uid),
            dice: Arc::new(Mutex::new(self.chance.stream(&format!("whims of {uid}")))),
            windows: self.windows.clone(),
        }
    }

    #[must_use]
    pub fn pool(&self) -> PoolConfig {
        let mut pool = PoolConfig::new(ANNEX, self.annex.rules.clone(), ClusterConfig::Fixed(self.list()));
        pool.path = PATH.into();
        pool.cookie_name = COOKIE.into();
        pool.linger = Duration::from_secs(3);
        pool.half_open = Some(Duration::from_secs(3));
        pool
    }

    fn list(&self) -> FixedPods {
        let pods = (0..self.annex.rules.max).map(|ordinal| self.address(ordinal).to_string()).collect();
        let (every, timeout) = (Duration::from_millis(700), Duration::from_secs(1));
        FixedPods {
            pods,
            resolve: FixedPods::RESOLVE,
            probe: Probe { kind: ProbeKind::Tcp, every, timeout, failures: 2, proxy: None },
        }
    }

    /// Creates the cluster of one life of a dispatcher. `since`: its wall clock.
    #[must_use]
    pub fn cluster(&self, net: Arc<dyn Net>, since: Time) -> Arc<dyn Cluster> {
        match self.annex.kind {
            Kind::Fixed => fixed::start(self.list(), net, since),
            Kind::Processes => Processes::start(self.clone()),
        }
    }

    /// Runs the host of the listed addresses. Occasionally one of them does not answer for a while.
    pub async fn serve(self) {
        let mut dice = self.chance.stream("annex host");
        let listed = if self.annex.kind == Kind::Fixed { self.annex.rules.max } else { 0 };
        let mut running: BTreeMap<u32, JoinSet<()>> = BTreeMap::new();
        let mut away: BTreeMap<u32, u64> = BTreeMap::new();
        loop {
            let (now, calm) = (self.oracle.now(), self.calm.load(Ordering::Relaxed));
            let gone = away.len();
            away.retain(|_, until| *until > now && !calm);
            (away.len()..gone).for_each(|_| self.oracle.fault_is_over(AWAY));
            for ordinal in (0..listed).filter(|o| !away.contains_key(o)) {
                running.entry(ordinal).or_insert_with(|| self.run(ordinal));
            }
            if self.troubled && !calm && listed > 0 && dice.random_ratio(1, 400) {
                let ordinal = dice.random_range(0..listed);
                let until = now + dice.random_range(500..6_000);
                let text = format!("{} does not answer for a while", self.address(ordinal));
                self.oracle.fault(now, Some(until), AWAY, text);
                running.remove(&ordinal);
                away.insert(ordinal, until);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn run(&self, ordinal: u32) -> JoinSet<()> {
        let (address, uid) = (self.address(ordinal), self.listed_uid(ordinal));
        self.oracle.pod_is_at(address, ordinal, &uid);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.program(ordinal, &uid, watch::channel(false).1).serve(address.port()));
        tasks
    }
}

/// The processes of one life of their dispatcher.
struct Processes {
    observations: tokio::sync::Mutex<mpsc::UnboundedReceiver<Command>>,
    table: Arc<Mutex<Table>>,
    keeper: AbortHandle,
}

struct Table {
    grounds: Grounds,
    sender: mpsc::UnboundedSender<Command>,
    version: u64,
    wanted: (u32, u32),
    decided: Decision,
    members: BTreeMap<u32, Member>,
    dice: ChaCha8Rng,
}

struct Member {
    uid: String,
    state: State,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Starting { ready_at: u64 },
    Ready,
    Ending { gone_at: u64 },
}

impl Processes {
    fn start(grounds: Grounds) -> Arc<dyn Cluster> {
        let (sender, observations) = mpsc::unbounded_channel();
        let dice = grounds.chance.stream(&format!("processes after {}", grounds.processes.load(Ordering::Relaxed)));
        let members = BTreeMap::new();
        let mut table =
            Table { grounds, sender, version: 0, wanted: (0, 0), decided: Decision::default(), members, dice };
        let version = table.next();
        table.report(Command::PodsListed { pods: Vec::new(), version });
        table.size();
        let table = Arc::new(Mutex::new(table));
        let kept = table.clone();
        let keeper = tokio::spawn(async move {
            loop {
                locked(&kept).keep();
                tokio::time::sleep(LOOK).await;
            }
        });
        Arc::new(Processes {
            observations: tokio::sync::Mutex::new(observations),
            table,
            keeper: keeper.abort_handle(),
        })
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Cluster for Processes {
    fn next_observation(&self) -> BoxFuture<'_, Command> {
        Box::pin(async move {
            match self.observations.lock().await.recv().await {
                Some(observation) => observation,
                None => std::future::pending().await,
            }
        })
    }

    fn scale(&self, size: Size) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async move {
            let mut table = locked(&self.table);
            if size.may_overwrite(table.decided) {
                let span = size.span();
                (table.wanted, table.decided) = ((span.start, span.end), size.decided);
                table.size();
            }
            Ok(())
        })
    }

    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async move {
            let mut table = locked(&self.table);
            if table.members.get(&pod.0).is_some_and(|m| m.uid == *uid.0) {
                table.grounds.oracle.recycled(pod.0, &uid.0);
                table.end(pod.0);
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.keeper.abort();
            let mut table = locked(&self.table);
            for (_, member) in std::mem::take(&mut table.members) {
                table.grounds.oracle.pod_is_gone(&member.uid);
            }
        })
    }
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Returns the next version of an observation. As in the real adaptor, it is higher than those of every earlier
    /// life.
    fn next(&mut self) -> u64 {
        self.version = (self.version + 1).max(self.grounds.oracle.wall().0.saturating_mul(1_000));
        self.version
    }

    fn report(&self, observation: Command) {
        // The dispatcher may have ended already.
        let _ = self.sender.send(observation);
    }

    fn size(&mut self) {
        let ((start, end), version) = (self.wanted, self.next());
        let Decision { timeline, position: decided } = self.decided;
        self.report(Command::ScaleSeen { start, replicas: end - start, decided, timeline, version });
    }

    fn seen(&mut self, ordinal: u32, phase: Phase) {
        let Some(uid) = self.members.get(&ordinal).map(|m| Uid(m.uid.as_str().into())) else { return };
        let version = self.next();
        self.report(Command::PodSeen { pod: Ordinal(ordinal), uid, phase, version });
    }

    /// Does what is due now.
    fn keep(&mut self) {
        let now = self.grounds.oracle.now();
        let (start, end) = self.wanted;
        for ordinal in (start..end).filter(|o| !self.members.contains_key(o)).collect::<Vec<_>>() {
            self.begin(ordinal, now);
        }
        let due: Vec<(u32, State)> = self.members.iter().map(|(o, m)| (*o, m.state)).collect();
        for (ordinal, state) in due {
            match state {
                State::Starting { ready_at } if ready_at <= now => self.run(ordinal),
                State::Ending { gone_at } if gone_at <= now => self.gone(ordinal),
                State::Starting { .. } | State::Ready if !(start..end).contains(&ordinal) => {
                    if let Some(member) = self.members.get(&ordinal) {
                        self.grounds.oracle.scaled_down(ordinal, &member.uid);
                    }
                    self.end(ordinal);
                }
                State::Starting { .. } | State::Ready | State::Ending { .. } => {}
            }
        }
    }

    fn begin(&mut self, ordinal: u32, now: u64) {
        let number = self.grounds.processes.fetch_add(1, Ordering::Relaxed);
        let (least, most) = self.grounds.cold_start;
        let ready_at = now + pause(&mut self.dice, least, most).as_millis() as u64;
        let member = Member {
            uid: format!("process-{ordinal}-{number}"),
            state: State::Starting { ready_at },
            stopping: watch::channel(false).0,
            tasks: JoinSet::new(),
        };
        self.grounds.oracle.count("process started");
        self.members.insert(ordinal, member);
        self.seen(ordinal, Phase::Starting);
    }

    fn run(&mut self, ordinal: u32) {
        let grounds = self.grounds.clone();
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        let number: u64 = member.uid.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), FIRST_PORT + (number % 4_000) as u16);
        grounds.oracle.pod_is_at(address, ordinal, &member.uid);
        let program = grounds.program(ordinal, &member.uid, member.stopping.subscribe());
        member.tasks.spawn(program.serve(address.port()));
        member.state = State::Ready;
        self.seen(ordinal, Phase::Ready { address });
    }

    fn end(&mut self, ordinal: u32) {
        let gone_at = self.grounds.oracle.now() + ENDING;
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        if matches!(member.state, State::Ending { .. }) {
            return;
        }
        member.state = State::Ending { gone_at };
        member.stopping.send_replace(true);
        self.seen(ordinal, Phase::Terminating);
    }

    fn gone(&mut self, ordinal: u32) {
        let Some(member) = self.members.remove(&ordinal) else { return };
        self.grounds.oracle.pod_is_gone(&member.uid);
        self.grounds.oracle.count("process ended");
        let (pod, uid, version) = (Ordinal(ordinal), Uid(member.uid.into()), self.next());
        self.report(Command::PodGone { pod, uid, version });
    }
}
