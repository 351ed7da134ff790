//! Does what the fleet wants done in the world, and looks now and then whether it still has to be done. Every replica may;
//! the one whose entry caused an order acts at once, the others only if it is still owed a second later. All orders are
//! safe twice (law 6).

use crate::cluster::{Cluster, ClusterError};
use crate::dispatcher::Dispatcher;
use crate::driver::Aftermath as _;
use crate::outside::now;
use slotkeeper_core::{Effect, PoolId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long an order may be owed before everybody acts on it; also how often a failed one is tried again at first.
const PATIENCE: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);

pub type Orders = mpsc::UnboundedReceiver<(PoolId, Effect)>;

pub async fn run(dispatcher: Arc<Dispatcher>, clusters: BTreeMap<PoolId, Arc<dyn Cluster>>, mut orders: Orders) {
    let mut pause = PATIENCE;
    let mut look = now() + PATIENCE;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some((pool, effect)) => {
                    obey(&dispatcher, &clusters, &pool, effect).await;
                }
                None => return,
            },
            () = tokio::time::sleep_until(look) => {
                let owed: Vec<_> = {
                    let view = dispatcher.view.borrow();
                    // By old news nothing is done: others do it.
                    if view.is_stale() { Vec::new() } else { view.fleet.owed().collect() }
                };
                let mut well = true;
                for (pool, effect) in owed {
                    well &= obey(&dispatcher, &clusters, &pool, effect).await;
                }
                pause = if well { PATIENCE } else { (pause * 2).min(SLOWEST) };
                look = now() + pause;
            }
        }
    }
}

/// True unless the order has to be given again.
async fn obey(
    dispatcher: &Arc<Dispatcher>,
    clusters: &BTreeMap<PoolId, Arc<dyn Cluster>>,
    pool: &PoolId,
    effect: Effect,
) -> bool {
    let Some(cluster) = clusters.get(pool) else { return true };
    let (order, taken) = match effect {
        Effect::Scale { start, replicas, decided } => ("scale", cluster.scale(start, replicas, decided)),
        Effect::Recycle { pod, uid } => ("recycle", cluster.recycle(pod, uid)),
        // Still owed: somebody was attached while the pod turned away.
        Effect::Drain { .. } => {
            dispatcher.effect(pool, &effect, dispatcher.driver.me());
            return true;
        }
        Effect::Placed { .. }
        | Effect::Released { .. }
        | Effect::Requeued { .. }
        | Effect::Started { .. }
        | Effect::Broken { .. } => return true,
    };
    let answer = tokio::time::timeout(SLOWEST, taken).await;
    let error = match answer {
        Ok(Ok(()) | Err(ClusterError::Stopping)) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    dispatcher.metrics.cluster_errors.with_label_values(&[&pool.0, order]).inc();
    tracing::warn!(%pool, order, "the cluster did not take an order: {error}");
    false
}
