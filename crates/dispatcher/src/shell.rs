//! The context of every task of this process: the configuration, the state, the metrics, and the ways to the outside. It has
//! nothing about visitors: `front` adds that ([`Dispatcher`](crate::front::Dispatcher)).

use crate::config::{Config, PoolConfig};
use crate::engine::Driver;
use crate::engine::view::View;
use crate::io::{Clock, Ids, Net};
use crate::live::Live;
use crate::metrics::{Metrics, PoolMetrics};
use slotkeeper_core::{Command, Effect, Fleet, Rules, planted};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

pub struct Shell {
    pub config: Live<Config>,
    pub net: Arc<dyn Net>,
    pub clock: Clock,
    pub ids: Ids,
    pub driver: Driver,
    pub view: watch::Receiver<View>,
    pub metrics: Metrics,
    /// True once the dispatcher is ending.
    pub stopping: watch::Receiver<bool>,
    /// How often entries of this replica may have been lost: reports of lasting state are repeated then.
    pub again: watch::Sender<u64>,
    /// How often the configuration was reloaded.
    pub reloaded: watch::Sender<u64>,
}

/// Orders to the cluster of one pool.
pub type Orders = mpsc::UnboundedReceiver<Effect>;

/// One configured pool, without its visitors.
pub struct PoolShell {
    pub config: Live<PoolConfig>,
    pub metrics: PoolMetrics,
    /// Orders to the cluster that an entry of ours has just made due.
    orders: mpsc::UnboundedSender<Effect>,
    /// It was not there when the dispatcher started.
    pub is_late: bool,
    /// How far its removal has come.
    removal: watch::Sender<Removal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Removal {
    No,
    /// It gets no requests any more; its sessions end.
    Begun,
    /// Its cluster is not followed any more.
    Unfollowed,
}

impl Shell {
    /// Whether this replica has read its own entries back, and so also all entries before them.
    #[must_use]
    pub fn has_read(&self, view: &View) -> bool {
        view.fleet.replica(self.driver.me()).is_some()
    }

    /// Records that the number of pods wanted is being reported to KEDA: the time since then is part of the state (behaviour
    /// §7).
    pub fn serve(&self, fleet: &Fleet, pool: &PoolShell) {
        planted!(ServedNotWritten => ());
        if let Some(replicas) = fleet.unserved(&pool.config.id) {
            tracing::info!(pool = %pool.config.id, replicas, "pods wanted (reported to KEDA)");
            self.driver.post(&pool.config.id, Command::Served { replicas });
        }
    }
}

impl PoolShell {
    /// The pool, and the orders to its cluster.
    ///
    /// # Errors
    /// Its own gauge has the name of another metric.
    pub fn new(
        config: PoolConfig,
        metrics: &Metrics,
        is_late: bool,
    ) -> Result<(Arc<PoolShell>, Orders), prometheus::Error> {
        let metrics = metrics.pool(&config)?;
        let (orders, received) = mpsc::unbounded_channel();
        let removal = watch::Sender::new(Removal::No);
        let pool = PoolShell { config: Live::new(config), metrics, orders, is_late, removal };
        Ok((Arc::new(pool), received))
    }

    /// Has the pool's cluster execute this effect at once.
    pub fn order(&self, effect: Effect) {
        // The receiver is dropped when the pool ends.
        let _ = self.orders.send(effect);
    }

    /// It is configured no more: from now on it gets no requests.
    pub fn begin_removal(&self) {
        self.removal.send_replace(Removal::Begun);
    }

    #[must_use]
    pub fn is_being_removed(&self) -> bool {
        *self.removal.borrow() != Removal::No
    }

    /// Its sessions have ended: the tasks that follow its cluster end.
    pub fn unfollow(&self) {
        self.removal.send_replace(Removal::Unfollowed);
    }

    /// Returns when its cluster is not to be followed any more.
    pub async fn unfollowed(&self) {
        let mut removal = self.removal.subscribe();
        // The sender lives as long as the pool does.
        let _ = removal.wait_for(|removal| *removal == Removal::Unfollowed).await;
    }

    /// The rules in force, which are those of the fleet. During a rollout they may differ from this replica's configuration,
    /// and all replicas must act on the same rules. The configuration applies only while the fleet does not know the pool.
    #[must_use]
    pub fn rules<'a>(&'a self, fleet: &'a Fleet) -> &'a Rules {
        fleet.rules(&self.config.id).unwrap_or(&self.config.rules)
    }
}

/// Waits until the dispatcher is stopping.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender was dropped: the dispatcher has ended.
    let _ = stopping.wait_for(|s| *s).await;
}
