//! Follows one resource as a stream of events: a complete list, then changes, then a list again when the server no longer
//! has the changes since our version (Kubernetes docs, "API concepts", "Efficient detection of changes"). A watch that
//! breaks is resumed at the last version read; repeated events are passed on, and the receiver must ignore them.

use super::calls::{CallError, Calls};
use super::{Pace, Site};
use crate::io::now;
use futures_util::{StreamExt as _, pin_mut};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use slotkeeper_core::planted;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Objects per page of a list.
const PAGE: u32 = 500;
/// The pause before a watch is opened again, for a server that ends watches at once.
const BREATH: Duration = Duration::from_millis(50);

pub(super) enum Update<T> {
    Listed { items: Vec<T>, version: u64 },
    Put { item: T, version: u64 },
    Gone { item: T, version: u64 },
}

/// The resource to follow.
pub(super) struct Source<K> {
    pub(super) site: Arc<Site>,
    pub(super) api: Api<K>,
    /// The name in the URL: `pods`.
    pub(super) resource: &'static str,
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
}

/// Why a watch has ended.
enum End {
    /// It can be resumed at the last version.
    Quietly,
    /// The server no longer has the changes since the last version.
    Forgotten,
}

impl<K> Source<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Follows until the receiver is dropped. `read` converts an object; objects for which it returns `None` are skipped.
    pub(super) async fn follow<T>(self, read: impl Fn(K) -> Option<T>, out: mpsc::Sender<Update<T>>) {
        let mut delay = self.pace().retry.0;
        loop {
            match self.list(&read).await {
                Ok((items, version)) => {
                    delay = self.pace().retry.0;
                    if out.send(Update::Listed { items, version }).await.is_err() {
                        return;
                    }
                    if self.watch_from(version, &read, &out).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.complain("list", &error);
                    tokio::select! {
                        biased;
                        () = out.closed() => return,
                        () = tokio::time::sleep(delay) => {}
                    }
                    delay = (delay * 2).min(self.pace().retry.1);
                }
            }
        }
    }

    fn pace(&self) -> &Pace {
        &self.site.pace
    }

    fn calls(&self) -> &Calls {
        &self.site.calls
    }

    /// Reads all pages, at one version.
    async fn list<T>(&self, read: &impl Fn(K) -> Option<T>) -> Result<(Vec<T>, u64), CallError> {
        let mut items = Vec::new();
        let mut params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = self.calls().make(("list", self.resource), self.pace().call, self.api.list(&params)).await?;
            items.extend(page.items.into_iter().filter_map(read));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if is_last(params.continue_token.as_deref()) {
                let version = number(page.metadata.resource_version.as_deref().unwrap_or_default())?;
                return Ok((items, version));
            }
        }
    }

    /// Watches until everything has to be listed again. An error: the receiver was dropped.
    async fn watch_from<T>(
        &self,
        mut version: u64,
        read: &impl Fn(K) -> Option<T>,
        out: &mpsc::Sender<Update<T>>,
    ) -> Result<(), Closed> {
        let relist = now() + self.pace().relist;
        let mut delay = self.pace().retry.0;
        loop {
            let before = version;
            let end = tokio::select! {
                biased;
                () = out.closed() => return Err(Closed),
                end = self.watch(&mut version, relist, read, out) => end?,
            };
            if version != before {
                delay = self.pace().retry.0;
            }
            match end {
                Ok(End::Quietly) if now() < relist => tokio::time::sleep(BREATH).await,
                Ok(End::Quietly) => return Ok(()),
                Ok(End::Forgotten) => {
                    tracing::info!(pool = %self.site.pool, resource = self.resource, "watch version too old: listing again");
                    tokio::time::sleep(BREATH).await;
                    return Ok(());
                }
                Err(error) => {
                    self.complain("watch", &error);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(self.pace().retry.1);
                    // The version is higher than the server's (it was restored from a backup), or the watch never opens.
                    if error.is(504) || now() >= relist {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Runs one watch. The inner error is the server's; the outer one means that the receiver was dropped.
    async fn watch<T>(
        &self,
        version: &mut u64,
        relist: Instant,
        read: &impl Fn(K) -> Option<T>,
        out: &mpsc::Sender<Update<T>>,
    ) -> Result<Result<End, CallError>, Closed> {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(u32::try_from(self.pace().watch.as_secs()).unwrap_or(u32::MAX).max(1)),
            ..WatchParams::default()
        };
        let from = version.to_string();
        let opened =
            self.calls().make(("watch", self.resource), self.pace().call, self.api.watch(&params, &from)).await;
        let events = match opened {
            Ok(events) => events,
            Err(error) if error.is(410) => return Ok(Ok(too_old())),
            Err(error) => return Ok(Err(error)),
        };
        pin_mut!(events);
        // The server ends the watch before this; otherwise the connection is lost.
        let latest = (now() + self.pace().watch + self.pace().call).min(relist + self.pace().watch);
        loop {
            let event = match tokio::time::timeout_at(latest, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Ok(Err(error.into())),
                Ok(None) => return Ok(Ok(End::Quietly)),
                Err(_) => return Ok(Err(CallError::Silent(self.pace().watch))),
            };
            let update = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(mark) => {
                    *version = number(&mark.metadata.resource_version).unwrap_or(*version);
                    continue;
                }
                WatchEvent::Error(status) if status.code == 410 => return Ok(Ok(too_old())),
                WatchEvent::Error(status) => return Ok(Err(kube::Error::Api(status).into())),
            };
            let (object, gone) = update;
            match number(object.meta().resource_version.as_deref().unwrap_or_default()) {
                Ok(newest) => *version = newest,
                Err(error) => return Ok(Err(error)),
            }
            let Some(item) = read(object) else { continue };
            let version = *version;
            let update = if gone { Update::Gone { item, version } } else { Update::Put { item, version } };
            out.send(update).await.map_err(|_| Closed)?;
        }
    }

    fn complain(&self, verb: &str, error: &CallError) {
        let (pool, resource) = (&self.site.pool, self.resource);
        if error.is(403) || error.is(401) {
            tracing::warn!(%pool, resource, verb, "{error}; the dispatcher's role must allow it");
        } else {
            tracing::warn!(%pool, resource, verb, "{error}");
        }
    }
}

/// The server no longer has the changes since the last version.
fn too_old() -> End {
    planted!(ForgottenNotListed => End::Quietly);
    End::Forgotten
}

/// Whether no page follows.
fn is_last(next: Option<&str>) -> bool {
    planted!(FirstPageOnly => true);
    next.is_none()
}

/// The receiver was dropped.
struct Closed;

/// A version as a number: larger is newer (Kubernetes docs, "API concepts", "Resource version semantics", since 1.35; true of
/// every server that keeps its objects in etcd).
fn number(version: &str) -> Result<u64, CallError> {
    version.parse().map_err(|_| CallError::Unreachable(format!("its version {version:?} is not a number")))
}
