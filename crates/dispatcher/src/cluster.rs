//! The interface to the pods of a pool: those of a Kubernetes workload, local processes, or a fixed list of addresses. A
//! cluster reports observations and executes orders; it decides nothing.

pub mod fixed;
pub mod kubernetes;
pub(crate) mod latest;
mod observations;
mod probe;
pub mod processes;

use crate::config::{ClusterConfig, Config, KubernetesAccess, PoolConfig};
use crate::io::{BoxFuture, Clock, Ids, Net};
use kubernetes::Pace;
use kubernetes::client::AccessError;
use prometheus::core::Collector;
use slotkeeper_core::{Command, Decision, Ordinal, PoolId, Span, Time, Timeline, Uid};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The pods of one pool.
pub trait Cluster: Send + Sync + 'static {
    /// Returns the next observation, in order: `PodsListed` first (the complete list), then `PodSeen`, `PodGone`, `ScaleSeen`;
    /// `PodsListed` again whenever something may have been missed. Versions increase over all observations of a pod and
    /// all lists, and separately over those of the size. Pends forever if there are no more observations. Called by one
    /// task only.
    fn next_observation(&self) -> BoxFuture<'_, Command>;

    /// Makes the cluster run these ordinals. Idempotent; returns when the order is accepted, not when it is carried out.
    /// An accepted order is reported as `ScaleSeen` with the same decision; an order that must not overwrite the last
    /// accepted one ([`Decision::may_overwrite`]) is ignored.
    fn scale(&self, size: Size) -> BoxFuture<'_, Result<(), ClusterError>>;

    /// Deletes this incarnation, and only this one: does nothing if the ordinal's pod does not have this `uid` (any more).
    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>>;

    /// Called when the dispatcher ends. Local processes end unless they may be adopted; other pods keep running.
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// Called when the pool is removed while the dispatcher runs. All local processes end, also those that may be adopted; a real
    /// cluster is not changed.
    fn end(&self) -> BoxFuture<'_, ()> {
        self.stop()
    }

    /// Reports from time to time which pods are in use, to a cluster that [wants](Cluster::wants_attendance) to protect them.
    fn attend(&self, _: Attendance) {}

    /// Reports whether the cluster uses [`Cluster::attend`].
    fn wants_attendance(&self) -> bool {
        false
    }

    /// Its metrics.
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        Vec::new()
    }
}

/// The size of an order: the ordinals `start..start + replicas`, and the decision by which it may overwrite another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The first ordinal.
    pub start: u32,
    /// The number of pods; 0 for none.
    pub replicas: u32,
    /// The entry that decided the size. It is written with the size.
    pub decided: Decision,
    /// The timeline of the size that the fleet had read when it issued the order.
    pub over: Timeline,
}

impl Size {
    /// Returns the ordinals.
    #[must_use]
    pub fn span(self) -> Span {
        if self.replicas == 0 {
            return Span::EMPTY;
        }
        Span { start: self.start, end: self.start.saturating_add(self.replicas) }
    }

    /// Reports whether the order may overwrite a size that carries `written`.
    #[must_use]
    pub fn may_overwrite(self, written: Decision) -> bool {
        self.decided.may_overwrite(written, self.over)
    }
}

/// The slot occupancy of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    /// There is any session: waiting, with a slot, or draining.
    pub active: bool,
    /// There are pods for waiting sessions, usable as soon as it is certain that KEDA does not remove them.
    pub awaits_pause: bool,
    /// The timeline of the journal that this was read from.
    pub timeline: Timeline,
    /// The journal position of the state that this describes.
    pub position: u64,
    /// Fleet time at `position`.
    pub at: Time,
    /// When the entry at `position` was read. `None`: not known.
    pub heard: Option<Instant>,
    /// As of when the journal has certainly been read. `None`: the journal is not shared.
    pub read: Option<Instant>,
    /// After this moment the report is outdated. `None`: never, because the journal is not shared.
    pub until: Option<Instant>,
    /// The pods with an incarnation.
    pub pods: BTreeMap<Ordinal, Attended>,
}

/// One incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attended {
    /// Its uid in the cluster.
    pub uid: Uid,
    /// Number of sessions in its slots.
    pub sessions: u32,
    /// It is outside of the desired ordinals.
    pub retiring: bool,
}

/// Why a pool's cluster cannot be started, or an order is not executed. (The order stays owed, and is repeated.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Orders for a fixed list have no effect.
    #[error("this pool's pods are a fixed list: they cannot be scaled or recycled")]
    Fixed,
    /// The dispatcher ends, and its local processes with it.
    #[error("the cluster is shutting down")]
    Stopping,
    /// The request failed without an answer.
    #[error("the cluster cannot be reached: {0}")]
    Unreachable(#[source] std::io::Error),
    /// No random number for an incarnation's uid.
    #[error("the operating system provides no randomness")]
    NoRandomness(#[source] std::io::Error),
    /// The cluster, or this machine, does not allow it: the text says what and why.
    #[error("{0}")]
    Refused(String),
    /// The kubeconfig or the service account cannot be used.
    #[error("the Kubernetes API cannot be used")]
    NoAccess(#[from] AccessError),
}

/// The cluster of each configured pool.
pub type Clusters = BTreeMap<PoolId, Arc<dyn Cluster>>;

/// Starts the cluster of every configured pool. Reads the operating system's wall clock once, so that observations have higher
/// versions than those of an earlier process that are in the journal.
///
/// # Errors
/// When the operating system provides no randomness, or the Kubernetes API cannot be used.
pub async fn from_config(config: &Config, net: &Arc<dyn Net>, ids: &Ids) -> Result<Clusters, ClusterError> {
    let since = Clock::real().now();
    let mut clusters = Clusters::new();
    let mut client = None;
    for pool in &config.pools {
        clusters.insert(pool.id.clone(), of_pool(pool, &config.kubernetes, &mut client, net, ids, since).await?);
    }
    Ok(clusters)
}

/// `client`: made when it is needed first.
async fn of_pool(
    pool: &PoolConfig,
    access: &KubernetesAccess,
    client: &mut Option<kube::Client>,
    net: &Arc<dyn Net>,
    ids: &Ids,
    since: Time,
) -> Result<Arc<dyn Cluster>, ClusterError> {
    Ok(match &pool.cluster {
        ClusterConfig::Fixed(pods) => fixed::start(pods.clone(), net.clone(), since),
        ClusterConfig::Processes(config) => {
            let supervisor = processes::this_program();
            processes::start(&pool.id, config.clone(), net.clone(), ids, &supervisor, since)?
        }
        ClusterConfig::Kubernetes(pods) => {
            let client = match client {
                Some(client) => client.clone(),
                None => client.insert(kubernetes::client::connect(access, net.clone()).await?).clone(),
            };
            kubernetes::start(pool, pods, client, net.clone(), Pace::default())
        }
    })
}

/// Makes the pods of a pool that is added while the dispatcher runs.
pub type Maker = Arc<
    dyn Fn(PoolConfig, KubernetesAccess) -> BoxFuture<'static, Result<Arc<dyn Cluster>, ClusterError>> + Send + Sync,
>;

/// As [`from_config`], one pool at a time.
#[must_use]
pub fn maker(net: Arc<dyn Net>) -> Maker {
    Arc::new(move |pool, access| {
        let net = net.clone();
        Box::pin(async move { of_pool(&pool, &access, &mut None, &net, &Ids::Os, Clock::real().now()).await })
    })
}
