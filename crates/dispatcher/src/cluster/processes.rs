//! A pool of local processes: one machine, no Kubernetes. This is the handle; behind it,
//! `keeper` decides what runs, `child` is one process's way from start to end, `group` starts and signals processes,
//! `output` logs what they say, `crashes` paces restarts, `template` fills in ports and folders.

mod child;
mod crashes;
mod group;
mod keeper;
mod output;
mod template;

use super::news::{self, News};
use super::{Cluster, ClusterError, Size};
use crate::config::Processes;
use crate::outside::{BoxFuture, Ids, Net};
use child::Pool;
use keeper::{Keeper, Request};
use slotkeeper_core::{Command, Ordinal, PoolId, Time, Uid};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Makes the pool; it runs nothing until it is told to. Dropping it ends its processes (in the background, with their
/// grace); so does the end of the runtime (at once).
///
/// `since` is wall time: the pool's news have higher versions than those of any pool started earlier. To be called
/// inside a runtime.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn start(
    pool: &PoolId,
    config: Processes,
    net: Arc<dyn Net>,
    ids: &Ids,
    since: Time,
) -> Result<Arc<dyn Cluster>, ClusterError> {
    // Names of processes are not secrets: 64 random bits and a count keep them apart.
    let ids = Ids::seeded(ids.draw().map_err(ClusterError::NoRandomness)?);
    let (teller, news) = news::channel(since);
    let (requests, orders) = mpsc::channel(64);
    Keeper::start(Arc::new(Pool { id: pool.clone(), config, net }), ids, teller, orders);
    Ok(Arc::new(Handle { news, requests }))
}

struct Handle {
    news: News,
    requests: mpsc::Sender<Request>,
}

impl Handle {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ClusterError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| ClusterError::Stopping)?;
        answer.await.map_err(|_| ClusterError::Stopping)
    }
}

impl Cluster for Handle {
    fn news(&self) -> BoxFuture<'_, Command> {
        self.news.next()
    }

    fn scale(&self, size: Size) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async move { self.ask(|reply| Request::Scale { size, reply }).await? })
    }

    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async move { self.ask(|reply| Request::Recycle { pod, uid, reply }).await? })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // An error means that the keeper has ended, and so has everything else.
            let _ = self.ask(|reply| Request::Stop { reply }).await;
        })
    }
}
