//! The pods of a pool, whatever they are: local processes, a fixed list of addresses (later: Kubernetes).
//! A cluster reports what it sees and does what it is told; it decides nothing.

pub mod fixed;
mod news;
mod probe;
pub mod processes;

use crate::config::{ClusterConfig, PoolConfig};
use crate::outside::{BoxFuture, Clock, Ids, Net};
use slotkeeper_core::{Command, Ordinal, Uid};
use std::sync::Arc;

/// The pods of one pool.
pub trait Cluster: Send + Sync + 'static {
    /// The next news, in order: `PodsListed` first (the complete list), then `PodSeen`, `PodGone`, `ScaleSeen`; again
    /// `PodsListed` whenever something may have been missed. Versions grow strictly over all of them. Waits for ever
    /// when there is none. Called by one task only.
    fn news(&self) -> BoxFuture<'_, Command>;

    /// Make it run the ordinals `start..start + replicas`. Idempotent; returns when the order is taken, not when it is
    /// carried out. What has been taken is reported as `ScaleSeen` with the same `decided`; an order with a lower
    /// `decided` than the last one taken is ignored.
    fn scale(&self, start: u32, replicas: u32, decided: u64) -> BoxFuture<'_, Result<(), ClusterError>>;

    /// Delete this incarnation, and only this one: nothing happens if `uid` does not live there (any more).
    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>>;

    /// The dispatcher ends: local processes end with it, a real cluster goes on.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    #[error("this pool's pods are a fixed list: they cannot be scaled or recycled")]
    Fixed,
    #[error("the cluster is shutting down")]
    Stopping,
    #[error("the cluster cannot be reached")]
    Unreachable(#[source] std::io::Error),
    #[error("the operating system has no randomness to give")]
    NoRandomness(#[source] std::io::Error),
}

/// The real pods of a configured pool. Reads the operating system's wall clock once, so that news are newer than those
/// that a journal has kept from the last life of this process. To be called inside a runtime.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn from_config(pool: &PoolConfig, net: Arc<dyn Net>, ids: &Ids) -> Result<Arc<dyn Cluster>, ClusterError> {
    let since = Clock::real().now();
    match &pool.cluster {
        ClusterConfig::Fixed(pods) => Ok(fixed::start(pods.clone(), net, since)),
        ClusterConfig::Processes(config) => processes::start(&pool.id, config.clone(), net, ids, since),
    }
}
