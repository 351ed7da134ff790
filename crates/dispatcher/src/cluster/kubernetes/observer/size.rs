//! The size of the workload, and what happens to its pods when another workload of the same name replaces it.

use super::super::follow::Update;
use super::super::ordinals;
use super::super::pause::Proof;
use super::super::snapshot::Stage;
use super::super::workload::{Certain, Going, Workload};
use super::{AGAIN, FINE, Observer, TrackedPod};
use crate::io::now;
use kube::api::ListParams;
use slotkeeper_core::{Command, Decision, Span, Uid, planted};
use std::collections::BTreeMap;

impl Observer {
    pub(super) async fn workload(&mut self, update: Update<Workload>) {
        let (workload, missed) = match update {
            Update::Listed { items, .. } => {
                let Some(workload) = items.into_iter().next() else {
                    let (kind, name) = (self.site.config.workload.kind(), self.site.config.workload.name());
                    let namespace = &self.site.namespace;
                    tracing::warn!(pool = %self.site.pool, "there is no {kind} {namespace}/{name}: waiting for it");
                    return;
                };
                (workload, self.certain.is_some())
            }
            Update::Put { item, .. } => (item, false),
            Update::Gone { .. } => {
                tracing::warn!(pool = %self.site.pool, "{} deleted", self.site.config.workload.kind());
                return;
            }
        };
        if self.workload_uid != workload.uid {
            self.meet(&workload.uid);
        }
        let mut workload = workload;
        if self.site.by_keda && workload.start != 0 {
            workload.worries.push(
                "spec.ordinals.start is not 0, which KEDA does not support: set it to 0 while there are no sessions",
            );
        }
        for worry in workload.worries.iter().filter(|w| !self.worried.contains(w)) {
            tracing::warn!(pool = %self.site.pool, workload = self.site.config.workload.name(), "{worry}");
        }
        self.worried.clone_from(&workload.worries);
        self.bid_farewell(&workload);
        self.site.take_workload(workload.clone());
        let missed = missed || self.unsaid.as_ref().is_some_and(|(_, missed)| *missed);
        self.unsaid = Some((workload, missed));
        self.size().await;
    }

    /// Logs that a set is being deleted, and what to consider before it is created again.
    fn bid_farewell(&mut self, workload: &Workload) {
        let update = workload.going.filter(|going| self.going != Some(*going));
        self.going = workload.going;
        let (pool, kind, name) = (&self.site.pool, self.site.config.workload.kind(), self.site.config.workload.name());
        match update {
            Some(Going::WithoutPods) => {
                let pods = self.pods.values().map(|k| k.ordinal + 1).max().unwrap_or_default();
                tracing::warn!(
                    %pool, workload = name, pods,
                    "{kind} is being deleted, its pods stay (--cascade=orphan): if it is recreated with fewer replicas than \
                     max_pods, it ends sessions at once; without replicas it keeps only pod 0. See k8s/README.md, \
                     \"Recreating the StatefulSet\""
                );
            }
            Some(Going::WithPods) => {
                tracing::warn!(%pool, workload = name, "{kind} is being deleted with its pods");
            }
            None => {}
        }
    }

    /// Another set of the same name, or the first one. It may adopt pods of the former set: until it has acted on its own
    /// size, they get no new sessions, and the former set's size does not count any more.
    fn meet(&mut self, workload: &str) {
        let former = !self.workload_uid.is_empty() && !self.site.is_deployment();
        workload.clone_into(&mut self.workload_uid);
        if former {
            (self.certain, self.unsaid, self.succeeding) = (None, None, true);
            // Its pods may have been read before the set itself: they are listed again.
            self.selector = None;
            self.own();
        }
    }

    /// Updates the ownership of all pods, and reports changes.
    fn own(&mut self) {
        for known in self.pods.values_mut() {
            known.owned =
                !self.succeeding && ordinals::is_of(&known.snapshot, &self.site.config.workload, &self.workload_uid);
        }
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.retell(&uid, self.newest * FINE + FINE - 1);
        }
    }

    /// Reports the size, once the pods have been listed. A pod that a raised size newly covers counts as certain to stay:
    /// so first the state of the pods must be as new as the size, however far the watch is.
    pub(super) async fn size(&mut self) {
        let Some((workload, missed)) = self.unsaid.clone().filter(|_| self.listed) else { return };
        let before = self.certain.unwrap_or_default();
        if self.certain.is_none() && !workload.is_caught_up() {
            return;
        }
        let after = before.after(&workload, missed);
        // If sizes were missed, the size may have been lowered and raised again meanwhile.
        let covered = if missed { Span::EMPTY } else { before.span };
        let raised = |k: &&TrackedPod| after.span.contains(k.ordinal) && !covered.contains(k.ordinal);
        if workload.version > self.newest && self.pods.values().any(|k| raised(&k)) && !self.confirm().await {
            self.retry = Some(now() + AGAIN);
            return;
        }
        self.unsaid = None;
        self.certain = Some(after);
        if std::mem::take(&mut self.succeeding) {
            self.own();
        }
        if self.reported != Some(after) {
            self.reported = Some(after);
            let Certain { span, decided: Decision { timeline, position: decided } } = after;
            let version = workload.version * FINE;
            self.report(Command::ScaleSeen { start: span.start, replicas: span.len(), decided, timeline, version });
        }
    }

    /// Nothing can be scaled in any more. Reports it if the size and the pods as they are now have been reported: what was scaled in
    /// before must be known first.
    pub(super) async fn proven(&mut self, proof: Proof) {
        let (at, timeline) = match proof {
            Proof::Outdated => return self.report(Command::Tick),
            Proof::ScaleInPaused { at, timeline } => (at, timeline),
        };
        let name = self.site.config.workload.name();
        let call = async { self.site.sets().get(name).await };
        let set = match self.site.calls.make(("get", "statefulsets"), self.site.pace.call, call).await {
            Ok(set) => set,
            Err(error) => return tracing::warn!(pool = %self.site.pool, "cannot read the size: {error}"),
        };
        let is_told = |now: Workload| {
            let certain = Certain { span: now.span, decided: now.decided };
            let known =
                self.site.seen().workload.as_ref().is_some_and(|w| (&w.uid, w.version) == (&now.uid, now.version));
            known && now.is_caught_up() && self.reported == Some(certain)
        };
        let ready = self.listed && self.unsaid.is_none() && !self.succeeding;
        // Otherwise the watch is behind; the next proof is tried after it has caught up.
        if ready && Workload::of_set(set).is_some_and(is_told) && self.confirm().await {
            tracing::info!(pool = %self.site.pool, "KEDA cannot scale in: pods that were given up are used again");
            self.report(Command::ScaleInPaused { at, timeline });
        }
    }

    /// Lists which pods exist and are not being deleted, now. False if the API server does not answer.
    async fn confirm(&mut self) -> bool {
        planted!(ConfirmSkipped => true);
        let params = ListParams { label_selector: self.selector.clone(), ..ListParams::default() };
        let call = async { self.site.pods().list_metadata(&params).await };
        let list = match self.site.calls.make(("list", "pods"), self.site.pace.call, call).await {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(pool = %self.site.pool, "cannot list which pods stay: {error}");
                return false;
            }
        };
        let version = list.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
        let Some(version) = version else { return false };
        let present: BTreeMap<&str, bool> = list
            .items
            .iter()
            .filter_map(|p| Some((p.metadata.uid.as_deref()?, p.metadata.deletion_timestamp.is_some())))
            .collect();
        let absent: Vec<Uid> = self.pods.keys().filter(|uid| !present.contains_key(&*uid.0)).cloned().collect();
        let ending: Vec<Uid> = self.pods.keys().filter(|uid| present.get(&*uid.0) == Some(&true)).cloned().collect();
        for uid in absent {
            // Not the list's version: events of the pod's successor may be older than this list, and must not be ignored.
            self.lose(&uid, self.newest * FINE + FINE - 1);
        }
        for uid in ending {
            if let Some(known) = self.pods.get_mut(&uid) {
                known.snapshot.stage = Stage::Terminating;
            }
            self.retell(&uid, version * FINE);
            self.show(&uid);
        }
        true
    }
}
