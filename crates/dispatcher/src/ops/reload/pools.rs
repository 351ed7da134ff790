//! Pools that are added and removed while the dispatcher runs.
//!
//! A removed pool gets no requests from that moment on. With a journal that is not shared its sessions end (`pool_removed`),
//! as at a restart without the pool. With a shared journal only this dispatcher closes its streams: other dispatchers may
//! still have the pool. Then its local processes end, and its metrics and tasks are removed.

use crate::cluster::{Cluster, Maker};
use crate::config::{ClusterConfig, Config, JournalConfig, KubernetesAccess, PoolConfig, share_machine};
use crate::engine::view;
use crate::fleet::rules::{begin_idle_clocks, write_rules};
use crate::fleet::tasks::Tasks;
use crate::front::visit::FAREWELL;
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use crate::io::throttle::Throttle;
use crate::shell::Orders;
use slotkeeper_core::{Command, PoolId};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Interval at which something that ends soon is checked.
const LOOK: Duration = Duration::from_millis(50);
/// Interval at which pods that cannot be started yet are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time for the journal to accept the end of the last session.
const LAST_ENTRY: Duration = Duration::from_secs(10);

pub(super) struct Changing {
    dispatcher: Arc<Dispatcher>,
    tasks: Arc<Tasks>,
    maker: Maker,
    /// Removals in progress, and starts that wait for them.
    under_way: JoinSet<()>,
}

/// A pool that is about to be added.
pub(super) struct Added {
    pool: Arc<Pool>,
    orders: Orders,
    /// `None`: its processes need a folder or ports that a pool that is being removed still uses.
    cluster: Option<Arc<dyn Cluster>>,
}

impl Changing {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, tasks: Arc<Tasks>, maker: Maker) -> Changing {
        Changing { dispatcher, tasks, maker, under_way: JoinSet::new() }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Waits until the next removal or start has ended.
    pub(super) async fn one_ended(&mut self) {
        if let Some(Err(error)) = self.under_way.join_next().await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Creates these pools of a new configuration, still without visitors.
    ///
    /// # Errors
    /// Why one of them cannot be created; then none is.
    pub(super) async fn prepare(&mut self, config: &Config, added: &[PoolId]) -> Result<Vec<Added>, String> {
        let mut prepared = Vec::new();
        for pool in config.pools.iter().filter(|pool| added.contains(&pool.id)) {
            match self.prepare_one(config, pool).await {
                Ok(one) => prepared.push(one),
                Err(error) => {
                    for Added { pool, cluster, .. } in prepared {
                        self.discard(&pool, cluster).await;
                    }
                    return Err(format!("[pools.{}]: {error}", pool.id));
                }
            }
        }
        Ok(prepared)
    }

    async fn prepare_one(&self, config: &Config, added: &PoolConfig) -> Result<Added, String> {
        // A pool of this name may still be in removal.
        while self.dispatcher.pool(&added.id).is_some() {
            tokio::time::sleep(LOOK).await;
        }
        let metrics = &self.dispatcher.metrics;
        let made = Pool::new(added.clone(), config.limits.header_fields, metrics, self.dispatcher.driver.me(), true);
        let (pool, orders) = made.map_err(|error| error.to_string())?;
        if !self.in_the_way(config, added).is_empty() {
            return Ok(Added { pool, orders, cluster: None });
        }
        let cluster = match (self.maker)(added.clone(), config.kubernetes.clone()).await {
            Ok(cluster) => cluster,
            Err(error) => {
                self.discard(&pool, None).await;
                return Err(format!("{:#}", anyhow::Error::new(error)));
            }
        };
        for collectors in cluster.collectors() {
            if let Err(error) = metrics.also(collectors) {
                self.discard(&pool, Some(cluster)).await;
                return Err(error.to_string());
            }
        }
        Ok(Added { pool, orders, cluster: Some(cluster) })
    }

    /// Returns the pools that are being or about to be removed and whose processes use the same folder or ports.
    fn in_the_way(&self, config: &Config, added: &PoolConfig) -> Vec<PoolId> {
        let goes = |pool: &&Arc<Pool>| config.pools.iter().all(|stays| stays.id != pool.config.id);
        let shares = |pool: &&Arc<Pool>| share_machine(&pool.config, added);
        self.dispatcher.pools.iter().filter(goes).filter(shares).map(|pool| pool.config.id.clone()).collect()
    }

    async fn discard(&self, pool: &Pool, cluster: Option<Arc<dyn Cluster>>) {
        let collectors = cluster.as_ref().map(|cluster| cluster.collectors()).unwrap_or_default();
        self.dispatcher.metrics.forget(&pool.config, &pool.metrics, collectors);
        if let Some(cluster) = cluster {
            cluster.end().await;
        }
    }

    /// Adds prepared pools: visitors can reach them from now on.
    pub(super) async fn add(&mut self, config: &Config, added: Vec<Added>) {
        for Added { pool, orders, cluster } in added {
            let id = &pool.config.id;
            begin_idle_clocks(&self.dispatcher, &pool.config);
            self.dispatcher.change_pools(|pools| pools.push(pool.clone()));
            if write_rules(&self.dispatcher, id, Command::Rules(pool.config.rules.clone())).await.is_err() {
                return;
            }
            if let Some(cluster) = cluster {
                self.tasks.start(pool.shell.clone(), cluster, orders);
                continue;
            }
            let late = Late {
                dispatcher: self.dispatcher.clone(),
                tasks: self.tasks.clone(),
                maker: self.maker.clone(),
                in_the_way: self.in_the_way(config, &pool.config),
                access: config.kubernetes.clone(),
                pool,
            };
            self.under_way.spawn(late.start(orders));
        }
    }

    /// Removes pools: they get no requests from now on; the rest follows in the background.
    pub(super) fn remove(&mut self, removed: &[PoolId]) {
        for pool in removed.iter().filter_map(|id| self.dispatcher.pool(id)) {
            pool.begin_removal();
            self.under_way.spawn(remove(self.dispatcher.clone(), self.tasks.clone(), pool.clone()));
        }
    }
}

/// An added pool whose processes start when those of removed pools have ended.
struct Late {
    dispatcher: Arc<Dispatcher>,
    tasks: Arc<Tasks>,
    maker: Maker,
    pool: Arc<Pool>,
    in_the_way: Vec<PoolId>,
    access: KubernetesAccess,
}

impl Late {
    async fn start(self, orders: Orders) {
        let made = tokio::select! {
            biased;
            // It has been removed again.
            () = self.pool.unfollowed() => return,
            made = self.made() => made,
        };
        for collectors in made.collectors() {
            if let Err(error) = self.dispatcher.metrics.also(collectors) {
                tracing::warn!(pool = %self.pool.config.id, "cannot register the metrics of the pool's processes: {error}");
            }
        }
        self.tasks.start(self.pool.shell.clone(), made, orders);
    }

    async fn made(&self) -> Arc<dyn Cluster> {
        while self.in_the_way.iter().any(|id| self.dispatcher.pool(id).is_some()) {
            tokio::time::sleep(LOOK).await;
        }
        let (failing, mut tries) = (Throttle::new(), 0);
        loop {
            match (self.maker)(self.pool.config.clone(), self.access.clone()).await {
                Ok(cluster) => return cluster,
                // Not logged at the first try: the folder of pods that have just ended becomes free soon.
                Err(error) if tries > 0 && failing.note().is_some() => {
                    let error = anyhow::Error::new(error);
                    tracing::warn!(pool = %self.pool.config.id, "pods not started, trying again: {error:#}");
                }
                Err(_) => {}
            }
            tries += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Removes a pool that is no longer configured.
async fn remove(dispatcher: Arc<Dispatcher>, tasks: Arc<Tasks>, pool: Arc<Pool>) {
    let (id, driver, drain) = (&pool.config.id, &dispatcher.driver, dispatcher.config.drain);
    let until = now() + drain + FAREWELL;
    if matches!(dispatcher.config.journal, JournalConfig::Redis(_)) {
        tracing::info!(
            pool = %id,
            "pool is no longer configured on this replica: closing its streams; if no replica configures it, remove it: DELETE /api/v1/pools/{id}"
        );
        pool.visits.stop(&pool, driver, drain);
        while !pool.visits.is_empty() && now() < until {
            tokio::time::sleep(LOOK).await;
        }
        pool.visits.cut(&pool, driver);
    } else {
        tracing::info!(pool = %id, "pool is no longer configured: removing it, its sessions end");
        if driver.write(id, Command::Remove).await.is_err() {
            return;
        }
        let mut view = dispatcher.view.clone();
        let mut gone = async || view::until(&mut view, |view| view.fleet.rules(id).is_none()).await;
        if tokio::time::timeout_at(until, gone()).await.is_err() {
            pool.visits.cut(&pool, driver);
            let _ = tokio::time::timeout(LAST_ENTRY, gone()).await;
        }
    }
    pool.unfollow();
    let mut collectors = Vec::new();
    if let Some(cluster) = tasks.cluster(id) {
        collectors = cluster.collectors();
        cluster.end().await;
        tasks.forget(id);
    }
    dispatcher.change_pools(|pools| pools.retain(|other| !Arc::ptr_eq(other, &pool)));
    dispatcher.metrics.forget(&pool.config, &pool.metrics, collectors);
    match &pool.config.cluster {
        ClusterConfig::Kubernetes(_) => tracing::warn!(
            pool = %id,
            "pool removed; its workload stays in the cluster, with KEDA's guard (paused-scale-in) if it was set: scale or delete the workload yourself"
        ),
        ClusterConfig::Fixed(_) | ClusterConfig::Processes(_) => tracing::info!(pool = %id, "pool removed"),
    }
}
