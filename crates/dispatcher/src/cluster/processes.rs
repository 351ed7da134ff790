//! A pool of local processes: one machine, no Kubernetes. This file is the handle; behind it, `keeper` decides which pods
//! run, `child` runs one pod from its start to its end, `output` logs the pods' output, `crashes` computes the back-off of
//! restarts, `environment` makes the pods' environments, `folders` manages the pods' data.
//!
//! Each pod has a `supervisor`, a process of this same program that ends the pod with all its descendants (`link` is the
//! dispatcher's end of their socket, `wire` the protocol; `cgroup` and `family` find descendants). Running pods are
//! recorded in `records`: the next dispatcher adopts them (`adoption`) or ends them (`leftovers`).

mod adoption;
mod child;
mod children;
mod crashes;
mod environment;
mod family;
mod folders;
mod keeper;
mod leftovers;
mod link;
mod metrics;
mod os;
mod output;
pub(crate) mod records;
mod supervisor;
pub(crate) mod wire;

use super::observations::{self, Observations};
use super::{Cluster, ClusterError, Size};
use crate::config::Processes;
use crate::io::{BoxFuture, Ids, Net};
use crate::io::{accounts, cgroup};
use child::Pool;
use keeper::{Keeper, Request};
use metrics::ProcessMetrics;
use prometheus::core::Collector;
use records::Records;
use sha2::{Digest, Sha256};
use slotkeeper_core::{Command, Ordinal, PoolId, Time, Uid};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

pub use children::adopt_orphans;
pub use link::{SUPERVISE, this_program};
pub use os::hide_memory;
pub use supervisor::run as supervise;

/// The environment variable that identifies a pod's processes; its value is the incarnation.
const MARK: &str = "SLOTKEEPER_INCARNATION";

/// Creates the pool: adopts or ends the running pods of a former dispatcher, and starts none before [`Cluster::scale`].
/// Dropping the pool ends its processes in the background, with their grace; the end of the runtime ends them at once.
/// With [`OnRestart::Adopt`](crate::config::OnRestart) they keep running in both cases.
///
/// `supervisor` is a program that runs [`supervise`] when its argument is [`SUPERVISE`]. `since` is wall time: the pool's
/// observations have higher versions than those of any pool started earlier. Must be called inside a Tokio runtime.
///
/// # Errors
/// If the operating system provides no randomness, if the user of the pods does not exist, or if the data folder cannot be
/// used or is used by another dispatcher.
pub fn start(
    pool: &PoolId,
    config: Processes,
    net: Arc<dyn Net>,
    ids: &Ids,
    supervisor: &Path,
    since: Time,
) -> Result<Arc<dyn Cluster>, ClusterError> {
    // The uids of processes are not secrets: 64 random bits and a counter keep them unique.
    let ids = Ids::seeded(ids.draw().map_err(ClusterError::NoRandomness)?);
    let (reporter, observations) = observations::channel(since);
    let (requests, orders) = mpsc::channel(64);
    let refused = |why: String| ClusterError::Refused(format!("[pools.{pool}.processes]: {why}"));
    let records = Records::open(&config.data_folder).map_err(refused)?;
    let user = accounts::find(config.user.as_deref(), config.group.as_deref()).map_err(refused)?;
    let cgroup = config.cgroup.then(cgroup::Base::find).and_then(Result::ok);
    if let Some(Err(missing)) = cgroup.as_ref().map(|base| base.pass_on(&child::limits(&config))) {
        tracing::warn!(%pool, "control groups cannot enforce these limits as a whole: {}", missing.join(", "));
    }
    let settings = fingerprint(&config);
    let supervisor = supervisor.to_owned();
    let metrics = Arc::new(ProcessMetrics::new(pool));
    let counted = metrics.clone();
    let shared = Pool { id: pool.clone(), config, net, records, supervisor, cgroup, user, settings, metrics };
    Keeper::start(Arc::new(shared), ids, reporter, orders);
    Ok(Arc::new(Handle { observations, requests, metrics: counted }))
}

/// Returns a digest of the settings that determine how a pod is started: a running pod with another digest is not adopted.
fn fingerprint(config: &Processes) -> String {
    let started_with = Processes {
        probe: crate::config::Probe::default(),
        stop_grace: std::time::Duration::ZERO,
        backoff: Default::default(),
        adopt_within: std::time::Duration::ZERO,
        restart_unready: None,
        log_lines: None,
        ..config.clone()
    };
    let digest = Sha256::digest(format!("{started_with:?}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Handle {
    observations: Observations,
    requests: mpsc::Sender<Request>,
    metrics: Arc<ProcessMetrics>,
}

impl Handle {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ClusterError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| ClusterError::Stopping)?;
        answer.await.map_err(|_| ClusterError::Stopping)
    }
}

impl Cluster for Handle {
    fn next_observation(&self) -> BoxFuture<'_, Command> {
        self.observations.next()
    }

    fn scale(&self, size: Size) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async move { self.ask(|reply| Request::Scale { size, reply }).await? })
    }

    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async move { self.ask(|reply| Request::Recycle { pod, uid, reply }).await? })
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.metrics.collectors()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // An error means that the keeper has ended, and all processes with it.
            let _ = self.ask(|reply| Request::Stop { leave: true, reply }).await;
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = self.ask(|reply| Request::Stop { leave: false, reply }).await;
        })
    }
}
