//! The tasks of each pool: write the cluster's reports to the journal, carry out the fleet's orders, report occupancy, and
//! measure load. Pools are added and removed while the dispatcher runs (`reload.rs`).

use crate::cluster::{Cluster, Clusters, latest::LatestObservations};
use crate::engine::EffectSink;
use crate::fleet::{actuator, load, occupancy};
use crate::shell::{Orders, PoolShell, Shell};
use slotkeeper_core::PoolId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Starts the tasks of pools, and has their clusters.
pub(crate) struct Tasks {
    clusters: Mutex<Clusters>,
    starts: mpsc::UnboundedSender<Start>,
}

/// A pool whose tasks are to be started.
pub(crate) struct Start {
    pool: Arc<PoolShell>,
    cluster: Arc<dyn Cluster>,
    orders: Orders,
}

impl Tasks {
    pub(crate) fn new() -> (Arc<Tasks>, mpsc::UnboundedReceiver<Start>) {
        let (starts, started) = mpsc::unbounded_channel();
        (Arc::new(Tasks { clusters: Mutex::default(), starts }), started)
    }

    fn clusters(&self) -> MutexGuard<'_, Clusters> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn start(&self, pool: Arc<PoolShell>, cluster: Arc<dyn Cluster>, orders: Orders) {
        self.clusters().insert(pool.config.id.clone(), cluster.clone());
        // The receiver lives as long as the dispatcher runs.
        let _ = self.starts.send(Start { pool, cluster, orders });
    }

    pub(crate) fn cluster(&self, pool: &PoolId) -> Option<Arc<dyn Cluster>> {
        self.clusters().get(pool).cloned()
    }

    pub(crate) fn forget(&self, pool: &PoolId) {
        self.clusters().remove(pool);
    }

    /// Stops all clusters (local processes end) when the dispatcher ends.
    pub(crate) async fn stop(&self) {
        let clusters: Vec<_> = self.clusters().values().cloned().collect();
        for cluster in clusters {
            cluster.stop().await;
        }
    }
}

/// Runs the tasks of all pools until the dispatcher ends. A panic in a task ends the shell.
pub(crate) async fn run(shell: Arc<Shell>, sink: Arc<dyn EffectSink>, mut starts: mpsc::UnboundedReceiver<Start>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(Start { pool, cluster, orders }) = starts.recv() => {
                let id = pool.config.id.clone();
                until_unfollowed(&mut tasks, &pool, observe(shell.clone(), id.clone(), cluster.clone()));
                until_unfollowed(&mut tasks, &pool, actuator::run(shell.clone(), sink.clone(), id.clone(), cluster.clone(), orders));
                until_unfollowed(&mut tasks, &pool, occupancy::run(shell.clone(), id, cluster));
                until_unfollowed(&mut tasks, &pool, load::run(shell.clone(), pool.clone()));
            }
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            else => std::future::pending().await,
        }
    }
}

fn until_unfollowed(tasks: &mut JoinSet<()>, pool: &Arc<PoolShell>, task: impl Future<Output = ()> + Send + 'static) {
    let pool = pool.clone();
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = pool.unfollowed() => {}
            () = task => {}
        }
    });
}

/// Writes the cluster's reports to the journal, in their order.
async fn observe(shell: Arc<Shell>, pool: PoolId, cluster: Arc<dyn Cluster>) {
    let mut again = shell.again.subscribe();
    let mut latest = LatestObservations::default();
    loop {
        let commands = tokio::select! {
            biased;
            changed = again.changed() => match changed {
                Ok(()) => latest.again(),
                Err(_) => return,
            },
            command = cluster.next_observation() => {
                latest.note(&command);
                vec![command]
            }
        };
        for command in commands {
            if shell.driver.write(&pool, command).await.is_err() {
                return;
            }
        }
    }
}
