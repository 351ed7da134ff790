//! Executes the effects of entries on visitors: closes streams, keeps the reason why a session ended for its waiting room, logs
//! and counts. Waiting rooms themselves follow the view. Effects on the cluster are passed on to its actuator.

use crate::engine::EffectSink;
use crate::front::cookie::public_name;
use crate::front::{Dispatcher, Pool};
use slotkeeper_core::{Command, Effect, PoolId, ReplicaId, SessionId, planted};
use std::time::Duration;

impl EffectSink for Dispatcher {
    fn effect(&self, id: &PoolId, effect: &Effect, from: ReplicaId) {
        let Some(pool) = self.pool(id) else { return };
        let name = |session: &SessionId| -> String { public_name(*session)[..8].to_owned() };
        match effect {
            Effect::Placed { session, pod, waited } => {
                pool.metrics.placed(*waited);
                tracing::info!(pool = %id, session = name(session), pod = pod.0, waited_ms = waited.0, "placed");
            }
            Effect::Released { session, why, last } => {
                pool.metrics.released(*why);
                pool.recently_ended.note(*session, *why);
                pool.visits.end(pool, &self.driver, *session, *why);
                tracing::info!(pool = %id, session = name(session), reason = why.word(), pod = last.map(|o| o.0), "released");
            }
            Effect::Requeued { session, pod } => {
                pool.visits.forget(*session);
                tracing::info!(pool = %id, session = name(session), pod = pod.0, "pod terminating or lost: requeued at the front");
            }
            Effect::Drain { pod, uid, gone } => {
                let spread = if *gone { Duration::ZERO } else { self.config.drain };
                let notified = pool.visits.drain(pool, &self.driver, uid, spread);
                if notified > 0 {
                    tracing::info!(pool = %id, pod = pod.0, gone, sessions = notified, "pod terminating: closing its streams");
                }
            }
            Effect::Started { pod, took } => {
                pool.metrics.started(*took);
                tracing::info!(pool = %id, pod = pod.0, took_ms = took.0, "a pod has started");
            }
            Effect::Scale { replicas, start, .. } => {
                tracing::info!(pool = %id, start, replicas, "pods wanted");
                self.order(pool, effect, from);
            }
            Effect::Recycle { pod, .. } => {
                tracing::info!(pool = %id, pod = pod.0, "recycling");
                self.order(pool, effect, from);
            }
            Effect::Broken { what } => {
                self.metrics.replica.broken.inc();
                tracing::error!(pool = %id, "invariant violated, placing stopped in this pool: {what}");
            }
        }
    }

    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)> {
        self.metrics.replica.new_lives.inc();
        self.forget_visits();
        if !lost {
            return Vec::new();
        }
        self.again.send_modify(|times| *times += 1);
        let pools = self.pools.iter().filter(|p| !p.is_being_removed());
        pools.map(|p| (p.config.id.clone(), Command::Rules(p.config.rules.clone()))).collect()
    }
}

impl Dispatcher {
    /// The fleet has dissolved all attaches of this replica: closes their streams.
    fn forget_visits(&self) {
        planted!(NewLifeKeepsStreams => ());
        for pool in self.pools.iter() {
            pool.visits.forget_all();
        }
    }

    /// The replica that caused an effect executes it at once; the others find it among the owed ones (see
    /// `fleet/actuator.rs`).
    fn order(&self, pool: &Pool, effect: &Effect, from: ReplicaId) {
        if from == self.driver.me() {
            pool.order(effect.clone());
        }
    }
}
