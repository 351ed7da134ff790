//! The host of one dispatcher: runs one life of the process after the other, with the settings of its time.

use super::disk::Disk;
use super::keda::KEDA_PORT;
use super::kube::{self, Kube};
use super::net::{Connections, SimNet};
use super::oracle::Oracle;
use super::pools::{ANNEX, Grounds};
use super::rollout::Older;
use super::scaler::{self, ADMIN_PORT};
use super::setting::{POOL, Setting};
use super::stall::Gate;
use super::visitor::{KEY, PORT};
use super::{HostControls, api, journal};
use crate::chance::Chance;
use rand::Rng;
use slotkeeper::Outside;
use slotkeeper::cluster::kubernetes::{self, Pace, client};
use slotkeeper::cluster::{Cluster, Clusters};
use slotkeeper::config::{Admin, ClusterConfig, Config, KubernetesPods, PoolConfig, Probe, Secret, Workload};
use slotkeeper::io::{Clock, Ids, Net};
use slotkeeper::journal::Journal;
use slotkeeper::journal::file::OpenError;
use slotkeeper_core::Rules;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The environment of one dispatcher.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub(super) host: usize,
    pub(super) setting: Setting,
    pub(super) oracle: Oracle,
    pub(super) disk: Disk,
    pub(super) gate: Gate,
    pub(super) kube: Kube,
    /// The address of the shared journal.
    pub(super) journal_at: Option<IpAddr>,
    pub(super) api_at: IpAddr,
    pub(super) controls: HostControls,
    pub(super) connections: Connections,
    pub(super) grounds: Option<Grounds>,
}

impl Dispatcher {
    /// Runs one life of the process.
    pub(super) async fn dispatch(self) {
        let life = self.controls.lives.fetch_add(1, Ordering::Relaxed) as u64;
        let mut dice = Chance::new(self.setting.seed).stream(&format!("dispatcher {} life {life}", self.host));
        let rolled_out = self.rolled_out();
        let (oracle, connections, kube) = (self.oracle.clone(), self.connections.clone(), self.kube.clone());
        let (annex, gate) = (self.grounds.as_ref().map(|grounds| grounds.oracle.clone()), self.gate.clone());
        let net: Arc<dyn Net> = Arc::new(SimNet { host: self.host, oracle, connections, kube, annex, gate });
        let skew = self.controls.skew.load(Ordering::Relaxed);
        let wall = slotkeeper_core::Time((self.oracle.wall().0 as i64 + skew) as u64);
        let clock = Clock::starting_at(wall);
        let mut journal = match self.journal_at {
            Some(at) => match journal::shared(at, net.clone()) {
                Ok(journal) => journal,
                Err(error) => return self.oracle.violate("a dispatcher runs", error.to_string()),
            },
            None => match self.own(clock).await {
                Ok(journal) => journal,
                Err(error) => {
                    let what = format!("dispatcher {}: {:#}", self.host, anyhow::Error::new(error));
                    return self.oracle.violate("a dispatcher runs", what);
                }
            },
        };
        if self.setting.rollout.as_ref().is_some_and(|r| r.from_older && !rolled_out) {
            self.oracle.count("dispatcher of an older version");
            journal.append = Box::new(Older(journal.append));
        }
        let cluster = match self.cluster(net.clone()) {
            Ok(cluster) => cluster,
            Err(error) => {
                return self.oracle.violate("a dispatcher runs", format!("no way to the API server: {error:#}"));
            }
        };
        let mut clusters: Clusters = [(POOL.into(), cluster)].into();
        if let Some(grounds) = &self.grounds {
            clusters.insert(ANNEX.into(), grounds.cluster(net.clone(), wall));
        }
        let outside = Outside { net, clock, ids: Ids::seeded(dice.random()), clusters, journal };
        if skew != 0 {
            self.oracle.count("dispatcher with a wrong clock");
        }
        if rolled_out {
            self.oracle.count("dispatcher with new settings");
        }
        self.oracle.started(self.host);
        let (stop, asked) = (self.controls.stop.clone(), Arc::new(AtomicBool::new(false)));
        let was_asked = asked.clone();
        let stopped = async move {
            stop.notified().await;
            asked.store(true, Ordering::Relaxed);
        };
        match slotkeeper::run(outside, self.config(), stopped, |_| {}).await {
            Ok(()) if was_asked.load(Ordering::Relaxed) => {
                self.oracle.log(format!("dispatcher {} has stopped", self.host));
            }
            Ok(()) => self.oracle.violate("a dispatcher runs", format!("dispatcher {} ended unasked", self.host)),
            Err(error) => self.oracle.violate("a dispatcher runs", format!("dispatcher {}: {error:#}", self.host)),
        }
    }

    /// Opens the file journal. While the disk cannot be read or written, the supervisor restarts the process.
    async fn own(&self, clock: Clock) -> Result<Journal, OpenError> {
        loop {
            self.gate.open().await;
            let opened = journal::own(&self.disk, clock);
            if self.disk.is_dead() {
                // Killed during the start.
                return std::future::pending().await;
            }
            match opened {
                Err(OpenError::Io { what, path, source }) => {
                    self.oracle.count("dispatcher could not open its journal");
                    self.oracle.log(format!("d{} cannot {what} {}: {source}", self.host, path.display()));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Creates the real adaptor, with short time-outs.
    fn cluster(&self, net: Arc<dyn Net>) -> anyhow::Result<Arc<dyn Cluster>> {
        let server: http::Uri = format!("http://{}", SocketAddr::new(self.api_at, api::PORT)).parse()?;
        let mut access = ::kube::Config::new(server);
        // No certificates: those of the operating system are not part of this world.
        access.root_cert = Some(Vec::new());
        let client = client::client(access, net.clone())?;
        let pace = Pace {
            call: Duration::from_secs(2),
            watch: Duration::from_secs(10),
            relist: self.setting.relist,
            overdue: Duration::from_secs(1),
            retry: (Duration::from_millis(200), Duration::from_secs(2)),
            acts: scaler::ACTS,
            ..Pace::default()
        };
        Ok(kubernetes::start(&self.pool(), &self.pods(), client, net, pace))
    }

    /// Reports whether this life has the new settings, if the world has a rollout.
    fn rolled_out(&self) -> bool {
        self.setting.rollout.as_ref().is_some_and(|rollout| self.oracle.now() >= rollout.at)
    }

    /// Returns the rules of a life that begins now.
    fn rules(&self) -> Rules {
        match &self.setting.rollout {
            Some(rollout) if self.rolled_out() => rollout.rules.clone(),
            Some(_) | None => self.setting.rules.clone(),
        }
    }

    fn pool(&self) -> PoolConfig {
        let mut pool = PoolConfig::new(POOL, self.rules(), ClusterConfig::Kubernetes(self.pods()));
        pool.admission = self.setting.admission;
        pool.trigger = self.setting.trigger;
        pool.linger = self.setting.linger;
        pool.half_open = Some(self.setting.half_open);
        pool.hold = self.setting.hold;
        pool.schedule = self.setting.schedule();
        pool
    }

    fn pods(&self) -> KubernetesPods {
        let (every, timeout) = (Duration::from_millis(300), Duration::from_secs(1));
        KubernetesPods {
            workload: Workload::StatefulSet(POOL.into()),
            namespace: Some(kube::NAMESPACE.into()),
            port: kube::PORT,
            probe: Probe { every, timeout, ..Probe::default() },
            scaled_object: Some(POOL.into()),
            keda_guard: self.setting.is_guarded(),
            // Scaled down like the time-outs of the node controller (`kube.rs`).
            give_up: Some(Duration::from_secs(2)),
        }
    }

    fn config(&self) -> Config {
        let at = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let annex = self.grounds.as_ref().map(Grounds::pool);
        let mut config = Config::new([self.pool()].into_iter().chain(annex).collect());
        config.listen = vec![at(PORT).into()];
        config.admin = Admin { listen: Some(at(ADMIN_PORT)), token: Some(Secret(KEY.to_vec())) };
        config.keda.listen = self.setting.is_pushed().then(|| at(KEDA_PORT));
        config.cookie_keys = vec![Secret(KEY.to_vec())];
        config.drain = Duration::from_secs(2);
        config
    }
}
