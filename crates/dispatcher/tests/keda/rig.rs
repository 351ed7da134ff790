//! Dispatchers for KEDA to call, on a network in memory: with a journal that two of them share and that the test can read,
//! write and make unreadable, and a cluster that reports what the test sends.

use crate::memory_dispatcher::{answer, value};
use crate::memory_net::MemoryNet;
use slotkeeper::Outside;
use slotkeeper::cluster::{Cluster, ClusterError, Size};
use slotkeeper::config::{ClusterConfig, Config, FixedPods, PoolConfig, Probe, Secret, TlsFiles, Trigger};
use slotkeeper::io::tls::Clients;
use slotkeeper::io::{BoxFuture, Clock, Ids, Net};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, ReadResult};
use slotkeeper_core::{
    Command, Entry, Millis, Ordinal, PoolId, ReplicaId, Rules, Scaling, SessionId, Time, Timeline, Uid,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub(super) const POOL: &str = "chat";
pub(super) const SETTLE: Duration = Duration::from_secs(20);
/// The ports for visitors, operators and KEDA.
const PORTS: [u16; 3] = [80, 90, 91];

/// A journal in memory, shared by the dispatchers of a test.
#[derive(Clone)]
pub(super) struct MemoryJournal {
    clock: Clock,
    entries: Arc<watch::Sender<Vec<Entry>>>,
}

struct Writer(MemoryJournal);

struct Reader {
    entries: watch::Receiver<Vec<Entry>>,
    away: watch::Receiver<bool>,
    read: usize,
}

impl MemoryJournal {
    pub(super) fn new() -> MemoryJournal {
        MemoryJournal { clock: Clock::starting_at(Time(1_000_000)), entries: Arc::new(watch::Sender::new(Vec::new())) }
    }

    fn append(&self, draft: Draft) {
        let Draft { from, number, pool, command } = draft;
        let at = self.clock.now();
        self.entries.send_modify(|entries| entries.push(Entry { at, from, number, pool, command }));
    }

    /// Writes as another dispatcher would, in the first entry of its life.
    pub(super) fn write(&self, command: Command) {
        let from = ReplicaId(self.entries.borrow().len() as u64);
        self.append(Draft { from, number: 1, pool: POOL.into(), command });
    }

    pub(super) fn visit(&self, session: u128) {
        self.write(Command::Visit { session: SessionId(session), hint: None, class: 0 });
    }

    /// The numbers served to KEDA, as far as they are journaled.
    pub(super) fn served(&self) -> Vec<u32> {
        let served = |e: &Entry| if let Command::Served { replicas } = e.command { Some(replicas) } else { None };
        self.entries.borrow().iter().filter_map(served).collect()
    }
}

impl Append for Writer {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        batch.into_iter().for_each(|draft| self.0.append(draft));
        Box::pin(async { Ok(()) })
    }
}

impl Follow for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>> {
        Box::pin(async {
            loop {
                self.away.wait_for(|away| !away).await.map_err(|_| JournalError::Closed)?;
                let read = self.read;
                let entries = self.entries.wait_for(|entries| entries.len() > read).await;
                let new = entries.map_err(|_| JournalError::Closed)?[read..].to_vec();
                if !*self.away.borrow() {
                    self.read += new.len();
                    return Ok(ReadResult::Entries(new));
                }
            }
        })
    }
}

struct Observations(tokio::sync::Mutex<mpsc::UnboundedReceiver<Command>>);

impl Cluster for Observations {
    fn next_observation(&self) -> BoxFuture<'_, Command> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(command) => command,
                None => std::future::pending().await,
            }
        })
    }
    fn scale(&self, _: Size) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }
    fn recycle(&self, _: Ordinal, _: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Ok(()) })
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A pool for up to five sessions that KEDA scales.
pub(super) fn pool() -> PoolConfig {
    let rules = Rules {
        max: 5,
        cooldown: Millis::secs(60),
        scaling: Scaling::Keda { settle: Millis(SETTLE.as_millis() as u64) },
        ..Rules::default()
    };
    let fixed = FixedPods { pods: Vec::new(), resolve: FixedPods::RESOLVE, probe: Probe::default() };
    PoolConfig { trigger: Trigger::Push, ..PoolConfig::new(POOL, rules, ClusterConfig::Fixed(fixed)) }
}

/// One dispatcher.
pub(super) struct Rig {
    pub(super) net: Arc<dyn Net>,
    pub(super) keda: SocketAddr,
    admin: SocketAddr,
    /// Sends observations to each pool.
    observations: Vec<mpsc::UnboundedSender<Command>>,
    /// True while the dispatcher cannot read its journal.
    pub(super) away: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

/// The configuration of a dispatcher.
pub(super) struct Plan {
    pub(super) net: Arc<dyn Net>,
    pub(super) journal: MemoryJournal,
    pub(super) host: u8,
    pub(super) pools: Vec<PoolConfig>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) clients: Clients,
}

impl Plan {
    pub(super) fn new(net: Arc<dyn Net>, journal: &MemoryJournal) -> Plan {
        Plan { net, journal: journal.clone(), host: 1, pools: vec![pool()], tls: None, clients: Clients::default() }
    }

    /// Starts a dispatcher that has not yet listed its pods.
    pub(super) async fn start(self) -> anyhow::Result<Rig> {
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, self.host)), port);
        let ports = if self.host == 0 { [0; 3] } else { PORTS };
        let local = |port| if port == 0 { SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0) } else { at(port) };
        let [visitors, admin, keda] = ports.map(local);
        let ids: Vec<PoolId> = self.pools.iter().map(|p| p.id.clone()).collect();
        let mut config = Config::new(self.pools);
        config.listen = vec![visitors.into()];
        config.admin.listen = Some(admin);
        config.keda = slotkeeper::config::Keda { listen: Some(keda), tls: self.tls, clients: self.clients };
        config.cookie_keys = vec![Secret(vec![1; 32])];
        let mut observations = Vec::new();
        let mut clusters: BTreeMap<PoolId, Arc<dyn Cluster>> = BTreeMap::new();
        for id in ids {
            let (sender, receiver) = mpsc::unbounded_channel();
            observations.push(sender);
            clusters.insert(id, Arc::new(Observations(tokio::sync::Mutex::new(receiver))));
        }
        let (away, is_away) = watch::channel(false);
        let reader = Reader { entries: self.journal.entries.subscribe(), away: is_away, read: 0 };
        let journal = Journal::new(Box::new(Writer(self.journal.clone())), Box::new(reader), true);
        let (net, clock, ids) = (
            self.net.clone(),
            self.journal.clock,
            Ids::seeded(u64::from(self.host) << 32 | self.journal.entries.borrow().len() as u64),
        );
        let outside = Outside { net: net.clone(), clock, ids, clusters, journal };
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, listening) = oneshot::channel();
        let mut running = tokio::spawn(async move {
            let stop = async { _ = stopped.await };
            slotkeeper::run(outside, config, stop, |listening| _ = started.send(listening.clone())).await
        });
        let listening = tokio::select! {
            biased;
            Ok(listening) = listening => listening,
            ended = &mut running => return Err(ended?.expect_err("it would run")),
        };
        let (keda, admin) = (listening.keda.unwrap(), listening.admin.unwrap());
        Ok(Rig { net, keda, admin, observations, away, stop: Some(stop), running })
    }

    /// Starts a dispatcher whose pool has no running pod.
    pub(super) async fn asleep(self) -> Rig {
        let rig = self.start().await.unwrap();
        rig.lists(1);
        rig.until_ready().await;
        rig
    }
}

impl Rig {
    /// The cluster reports that no pod runs.
    pub(super) fn lists(&self, version: u64) {
        for observations in &self.observations {
            observations.send(Command::PodsListed { pods: Vec::new(), version }).unwrap();
            observations
                .send(Command::ScaleSeen {
                    start: 0,
                    replicas: 0,
                    decided: 0,
                    timeline: Timeline::FIRST,
                    version: version + 1,
                })
                .unwrap();
        }
    }

    pub(super) async fn until_ready(&self) {
        while !self.get("/readyz").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn get(&self, path: &str) -> String {
        answer(&*self.net, self.admin, path).await
    }

    /// The value of one series of the dispatcher's metrics, 0 if there is none.
    pub(super) async fn metric(&self, series: &str) -> f64 {
        value(&self.get("/metrics").await, series).unwrap_or_default()
    }

    pub(super) fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    pub(super) async fn ended(self) -> anyhow::Result<()> {
        self.running.await.unwrap()
    }

    /// Kills the dispatcher: its connections are cut.
    pub(super) async fn crash(self, net: &MemoryNet) {
        net.close(self.keda);
        self.running.abort();
        let _ = self.running.await;
    }
}
