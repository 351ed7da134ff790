//! Follows the Kubernetes events of pods: why a pod does not start.

use super::super::Site;
use super::super::follow::{Source, Update};
use super::super::reason::Note;
use super::AHEAD;
use k8s_openapi::api::core::v1::Event;
use slotkeeper_core::Uid;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Follows the Kubernetes events of pods, while any pod is starting. They are optional, so errors have no consequences.
pub(super) async fn note(site: Arc<Site>, out: mpsc::Sender<(Uid, Note)>) {
    let (reported, mut update) = mpsc::channel(AHEAD);
    let fields = Some("involvedObject.kind=Pod".to_owned());
    let source = Source { api: site.events(), site, resource: "events", labels: None, fields };
    let read = |event: Event| {
        let (uid, version) = (event.involved_object.uid?, event.metadata.resource_version?.parse::<u64>().ok()?);
        let note = Note { reason: event.reason?, message: event.message.unwrap_or_default() };
        Some((version, Uid(uid.into()), note))
    };
    let follow = source.follow(read, reported);
    let pass = async {
        while let Some(update) = update.recv().await {
            let items = match update {
                Update::Listed { mut items, .. } => {
                    items.sort_by_key(|(version, ..)| *version);
                    items
                }
                Update::Put { item, .. } => vec![item],
                Update::Gone { .. } => continue,
            };
            for (_, uid, note) in items {
                if out.send((uid, note)).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::join!(follow, pass);
}
