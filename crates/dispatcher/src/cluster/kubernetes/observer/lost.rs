//! Pods on nodes that Kubernetes has lost, and pods whose termination is overdue.
//!
//! A pod that the node controller has marked as not ready, and that does not answer the dispatcher either, is deleted, by
//! uid and version. That is sufficient: a pod that is being deleted gets no session any more, whatever is read of it
//! later, and its successor is another incarnation, which Kubernetes creates only after the object has been removed (the
//! kubelet has reported the end, or someone has confirmed it by deleting the node). So its sessions move, and no new
//! session gets a pod that may still run.

use super::{FINE, Observer};
use crate::cluster::kubernetes::Site;
use crate::cluster::kubernetes::calls::CallError;
use crate::cluster::probe;
use crate::io::now;
use kube::api::{DeleteParams, Preconditions};
use slotkeeper_core::{Command, Ordinal, Phase, Uid};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The pause between two probes of a pod that answers although its node is lost.
const PAUSE: Duration = Duration::from_secs(2);

impl Observer {
    /// Starts to probe a pod whose node is lost, and stops when the node is back.
    pub(super) fn inquire(&mut self, uid: &Uid, silences: &mpsc::Sender<Uid>) {
        let Some(known) = self.pods.get_mut(uid) else { return };
        if !known.snapshot.cut_off {
            known.given_up = false;
            known.inquiry.take().inspect(tokio::task::AbortHandle::abort);
            return;
        }
        let address = known.snapshot.ip.map(|ip| SocketAddr::new(ip, self.site.config.port));
        let (Some(give_up), Some(address), false) = (self.site.config.give_up, address, known.given_up) else { return };
        if known.inquiry.as_ref().is_some_and(|inquiry| !inquiry.is_finished()) {
            return;
        }
        tracing::info!(pool = %self.site.pool, pod = known.snapshot.name, "node lost according to Kubernetes: probing the pod itself");
        let (site, silences, uid, name) =
            (self.site.clone(), silences.clone(), uid.clone(), known.snapshot.name.clone());
        known.inquiry = Some(self.tasks.spawn(async move {
            let why = silence(&site, address, give_up).await;
            tracing::warn!(
                pool = %site.pool, pod = name,
                "node lost, and no answer from the pod for {give_up:?} ({why}): deleting the pod, its sessions get other slots"
            );
            // The receiver is dropped only together with the pool.
            let _ = silences.send(uid).await;
        }));
    }

    /// Deletes a pod whose node is lost and that does not answer; if it is being deleted already, reports it as overdue.
    pub(super) fn give_up(&mut self, uid: &Uid) {
        let Some(known) = self.pods.get_mut(uid).filter(|known| known.snapshot.cut_off) else { return };
        known.given_up = true;
        let (name, version) = (known.snapshot.name.clone(), known.snapshot.resource_version.clone());
        if known.is_terminating() {
            self.tell_overdue(uid);
        } else {
            known.inquiry = Some(self.tasks.spawn(end(self.site.clone(), name, uid.clone(), version)));
        }
    }

    /// Notes when a pod that is being deleted becomes overdue.
    pub(super) fn expect_end(&mut self, uid: &Uid) {
        let Some(known) = self.pods.get(uid).filter(|known| known.is_terminating()) else { return };
        if known.overdue || self.ending.iter().any(|(_, ending)| ending == uid) {
            return;
        }
        let grace = Duration::from_secs(known.snapshot.grace.unwrap_or_default());
        self.ending.insert((now() + grace + self.site.pace.overdue, uid.clone()));
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ending.first().map(|(at, _)| *at)
    }

    pub(super) fn look_for_overdue(&mut self) {
        while let Some((at, uid)) = self.ending.first().cloned()
            && at <= now()
        {
            self.ending.pop_first();
            let Some(known) = self.pods.get_mut(&uid).filter(|known| known.is_terminating()) else { continue };
            known.overdue = true;
            tracing::warn!(
                pool = %self.site.pool, pod = known.snapshot.name,
                "termination overdue: its ordinal is not counted on until the pod has been removed. If its node is certainly off, delete the Node"
            );
            self.tell_overdue(&uid);
        }
    }

    /// Reports an overdue pod as failed. This follows the report that it is being deleted.
    pub(super) fn tell_overdue(&mut self, uid: &Uid) {
        let version = self.newest * FINE + FINE - 1;
        let Some(known) = self.pods.get_mut(uid).filter(|k| self.listed && k.is_overdue() && !k.reported_overdue)
        else {
            return;
        };
        known.reported_overdue = true;
        let (pod, phase) = (Ordinal(known.ordinal), Phase::Failed { why: "its machine does not answer".into() });
        self.report(Command::PodSeen { pod, uid: uid.clone(), phase, version });
    }
}

/// Probes until the pod has not answered for `give_up`; returns the last error.
async fn silence(site: &Site, address: SocketAddr, give_up: Duration) -> String {
    let mut silent_since: Option<Instant> = None;
    loop {
        let asked = now();
        let pause = match probe::ask(&*site.net, address, &site.config.probe).await {
            Ok(()) => {
                silent_since = None;
                PAUSE
            }
            Err(why) => {
                let since = *silent_since.get_or_insert(asked);
                if now() >= since + give_up {
                    return why.to_string();
                }
                site.config.probe.every
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Deletes this incarnation, if nothing else has happened to it, and tries again until the API server has answered.
async fn end(site: Arc<Site>, name: String, uid: Uid, version: String) {
    let mut delay = site.pace.retry.0;
    let preconditions = Preconditions { uid: Some(uid.0.to_string()), resource_version: Some(version) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    loop {
        let call = async { site.pods().delete(&name, &params).await };
        let error: CallError = match site.calls.make(("delete", "pods"), site.pace.call, call).await {
            Ok(_) => return,
            // Removed or changed: the watch reports that, and the new state is evaluated again.
            Err(error) if error.is(404) || error.is(409) => return,
            Err(error) => error,
        };
        tracing::warn!(pool = %site.pool, pod = name, "cannot delete the pod: {error}");
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(site.pace.retry.1);
    }
}
