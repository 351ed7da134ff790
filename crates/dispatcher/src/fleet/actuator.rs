//! Executes the fleet's effects on the clusters, and retries those still owed. The replica whose entry caused an effect acts at
//! once; in addition, every replica checks once a second what is owed, and executes that. All effects may be executed twice
//! (law 6). Each pool has its own task, so a cluster that hangs does not hold up other pools.

use crate::cluster::{Cluster, ClusterError, Size};
use crate::engine::EffectSink;
use crate::io::now;
use crate::shell::{Orders, Shell};
use slotkeeper_core::{Command, Effect, Fleet, PoolId, planted};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an effect may be owed before every replica acts on it; also the first pause before a retry.
const PATIENCE: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);

/// How long a deletion may take, counted from before the entry that proves that it is still wanted.
const FENCE: Duration = Duration::from_millis(Fleet::YOUTH.0 - 1000);

/// Executes one pool's effects on its cluster, until the pool or the dispatcher ends.
pub async fn run(
    shell: Arc<Shell>,
    sink: Arc<dyn EffectSink>,
    pool: PoolId,
    cluster: Arc<dyn Cluster>,
    orders: Orders,
) {
    Actuator { shell, sink, pool, cluster }.run(orders).await;
}

struct Actuator {
    shell: Arc<Shell>,
    sink: Arc<dyn EffectSink>,
    pool: PoolId,
    cluster: Arc<dyn Cluster>,
}

impl Actuator {
    async fn run(self, mut orders: Orders) {
        let mut pause = PATIENCE;
        let mut look = now() + PATIENCE;
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(effect) => {
                        #[cfg(feature = "faultpoints")]
                        let effect = swapped(&self, effect, &mut orders).await;
                        self.execute(effect).await;
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(look) => {
                    let owed = self.still_owed();
                    let mut well = true;
                    for effect in owed {
                        well &= self.execute(effect).await;
                    }
                    pause = if well { PATIENCE } else { (pause * 2).min(SLOWEST) };
                    look = now() + pause;
                }
            }
        }
    }

    /// If this replica's state is outdated, it does nothing: other replicas do.
    fn still_owed(&self) -> Vec<Effect> {
        let view = self.shell.view.borrow();
        planted!(NothingRetried => Vec::new());
        planted!(StaleActs => self.owed(&view.fleet).collect());
        if view.is_stale() { Vec::new() } else { self.owed(&view.fleet).collect() }
    }

    fn owed<'a>(&'a self, fleet: &'a Fleet) -> impl Iterator<Item = Effect> + 'a {
        fleet.owed().filter(|(pool, _)| *pool == self.pool).map(|(_, effect)| effect)
    }

    /// Whether the effect is still wanted: it may have waited behind another one, and a newer decision replaces it.
    /// Decisions of another timeline do not count any more.
    fn is_wanted(&self, effect: &Effect) -> bool {
        let view = self.shell.view.borrow();
        let order = (effect, view.fleet.scale(&self.pool));
        if let (Effect::Scale { decided, .. }, Some(Effect::Scale { decided: latest, .. })) = order {
            return decided.covers(latest);
        }
        !matches!(effect, Effect::Recycle { .. }) || self.owed(&view.fleet).any(|owed| owed == *effect)
    }

    /// Until when a deletion may take effect, if it is still wanted. A size is written together with its decision, which
    /// the cluster compares; a deletion is not. So it begins only after an entry of this replica has been read back from
    /// the journal, and must end before any lapse that began later can end ([`Fleet::YOUTH`]).
    async fn fenced(&self, effect: &Effect) -> Option<Instant> {
        let until = now() + FENCE;
        let written = self.shell.driver.write(&self.pool, Command::Tick);
        tokio::time::timeout_at(until, written).await.ok()?.ok()?;
        self.is_wanted(effect).then_some(until)
    }

    /// Executes an effect. False if it must be retried.
    async fn execute(&self, effect: Effect) -> bool {
        if !self.is_wanted(&effect) {
            return true;
        }
        let mut until = now() + SLOWEST;
        if matches!(effect, Effect::Recycle { .. }) {
            let Some(fence) = self.fenced(&effect).await else { return false };
            until = fence;
        }
        let (order, taken) = match effect {
            Effect::Scale { start, replicas, decided, over } => {
                ("scale", self.cluster.scale(Size { start, replicas, decided, over }))
            }
            Effect::Recycle { pod, uid } => ("recycle", self.cluster.recycle(pod, uid)),
            // Still owed: a session was attached after the drain had begun.
            Effect::Drain { .. } => {
                self.sink.effect(&self.pool, &effect, self.shell.driver.me());
                return true;
            }
            Effect::Placed { .. }
            | Effect::Released { .. }
            | Effect::Requeued { .. }
            | Effect::Started { .. }
            | Effect::Broken { .. } => return true,
        };
        fault_point!(ActuatorBeforeCall, dropped => return false);
        if now() >= until {
            // This task ran late. A timeout polls its future once even then, which may send the call.
            return false;
        }
        let answer = tokio::time::timeout_at(until, taken).await;
        fault_point!(ActuatorAfterCall, dropped => return false);
        let error = match answer {
            Ok(Ok(()) | Err(ClusterError::Stopping)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.shell.metrics.scaling.cluster_errors.with_label_values(&[&self.pool.0, order]).inc();
        tracing::warn!(pool = %self.pool, order, "cluster rejected an order: {error}");
        false
    }
}

/// If the fault point swaps this effect with the next one, the next one is executed first.
#[cfg(feature = "faultpoints")]
async fn swapped(actuator: &Actuator, effect: Effect, orders: &mut Orders) -> Effect {
    use crate::faultpoints::{Point, swaps};
    if swaps(Point::ActuatorOrder).await
        && let Ok(next) = orders.try_recv()
    {
        actuator.execute(next).await;
    }
    effect
}
