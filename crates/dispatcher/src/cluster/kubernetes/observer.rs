//! Turns Kubernetes watch events into observations for the journal: pods, the size, and why a pod is not ready yet.
//! Versions are the API server's times 16, which leaves room for observations between two of its versions (for example,
//! that a pod has answered a probe).

mod events;
mod lost;
mod size;
mod tracked;

use super::follow::{Source, Update};
use super::pause::Proof;
use super::reason::Note;
use super::snapshot::{PodSnapshot, Stage};
use super::workload::{Certain, Going, Workload};
use super::{Site, ordinals};
use crate::cluster::probe;
use crate::config::Workload as Named;
use crate::io::now;
use k8s_openapi::api::core::v1::Pod;
use slotkeeper_core::{Command, Ordinal, Phase, Sighting, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracked::TrackedPod;

/// Versions per version of the API server; the last one is reserved for "the pod answers".
const FINE: u64 = 16;
/// Maximum of concurrent probes.
const AT_ONCE: usize = 128;
/// The capacity of the channels: a sender waits if one is full.
const AHEAD: usize = 256;
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Observer {
    site: Arc<Site>,
    reporter: mpsc::UnboundedSender<Command>,
    proofs: mpsc::UnboundedReceiver<Proof>,
    pods: BTreeMap<Uid, TrackedPod>,
    /// Pods that are starting, or run without being ready.
    coming: BTreeSet<Uid>,
    /// The newest version of the pods, and the number of observations reported after it within the version.
    newest: u64,
    refined: u64,
    listed: bool,
    certain: Option<Certain>,
    reported: Option<Certain>,
    /// A size that was read and could not be reported yet; true if sizes may have been missed before it.
    unsaid: Option<(Workload, bool)>,
    retry: Option<Instant>,
    selector: Option<String>,
    worried: Vec<&'static str>,
    workload_uid: String,
    /// Another set of the same name exists now, and has not acted on its size yet: it may delete pods that it has adopted.
    succeeding: bool,
    /// The deletion of the workload that was logged last.
    going: Option<Going>,
    /// Pods without an ordinal annotation, the ordinal chosen for them, and when to write it (again).
    unnumbered: BTreeMap<Uid, (PodSnapshot, Option<u32>, Instant)>,
    /// Pods that are being deleted, and when they should have ended.
    ending: BTreeSet<(Instant, Uid)>,
    at_once: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

/// A pod has accepted a connection, or answered its probe.
struct ProbeAnswer {
    uid: Uid,
    from: SocketAddr,
}

/// A channel on which the background tasks report their results.
struct Inbox<T> {
    send: mpsc::Sender<T>,
    read: mpsc::Receiver<T>,
}

fn inbox<T>() -> Inbox<T> {
    let (send, read) = mpsc::channel(AHEAD);
    Inbox { send, read }
}

impl Observer {
    pub(super) fn new(
        site: Arc<Site>,
        reporter: mpsc::UnboundedSender<Command>,
        proofs: mpsc::UnboundedReceiver<Proof>,
    ) -> Observer {
        Observer {
            site,
            reporter,
            proofs,
            pods: BTreeMap::new(),
            coming: BTreeSet::new(),
            newest: 0,
            refined: 0,
            listed: false,
            certain: None,
            reported: None,
            unsaid: None,
            retry: None,
            selector: None,
            worried: Vec::new(),
            workload_uid: String::new(),
            succeeding: false,
            going: None,
            unnumbered: BTreeMap::new(),
            ending: BTreeSet::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let (mut sizes, mut answers, mut notes, mut silences) = (inbox(), inbox::<ProbeAnswer>(), inbox(), inbox());
        let mut pods: Option<(mpsc::Receiver<Update<PodSnapshot>>, AbortHandle)> = None;
        let mut events: Option<AbortHandle> = None;
        self.follow_workload(sizes.send.clone());
        loop {
            tokio::select! {
                biased;
                Some(update) = sizes.read.recv() => {
                    self.workload(update).await;
                    let following = pods.as_ref().map(|(_, task)| task);
                    if let Some(next) = self.follow_pods(following) {
                        pods = Some(next);
                    }
                }
                Some(update) = next(&mut pods) => {
                    let whose = whose(&update);
                    self.pods(update, &answers.send, &mut answers.read).await;
                    self.look_at_ends(whose, &silences.send);
                }
                Some(uid) = silences.read.recv() => self.give_up(&uid),
                () = at(self.next_end()) => self.look_for_overdue(),
                Some(answer) = answers.read.recv() => self.answered(&answer),
                Some((uid, note)) = notes.read.recv() => self.noted(&uid, note),
                Some(proof) = self.proofs.recv() => self.proven(proof).await,
                () = at(self.retry) => {
                    self.retry = None;
                    self.number();
                    self.size().await;
                }
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
            if self.coming.is_empty() {
                events.take().inspect(AbortHandle::abort);
            } else if events.as_ref().is_none_or(AbortHandle::is_finished) {
                events = Some(self.tasks.spawn(events::note(self.site.clone(), notes.send.clone())));
            }
        }
    }

    fn follow_workload(&mut self, out: mpsc::Sender<Update<Workload>>) {
        let (site, name) = (self.site.clone(), self.site.config.workload.name());
        let fields = Some(format!("metadata.name={name}"));
        match site.config.workload {
            Named::StatefulSet(_) => {
                let (api, site) = (site.sets(), site);
                let source = Source { site, api, resource: "statefulsets", labels: None, fields };
                self.tasks.spawn(async move { source.follow(Workload::of_set, out).await });
            }
            Named::Deployment(_) => {
                let (api, site) = (site.deployments(), site);
                let source = Source { site, api, resource: "deployments", labels: None, fields };
                self.tasks.spawn(async move { source.follow(Workload::of_deployment, out).await });
            }
        }
    }

    /// Starts to follow the pods when the workload's selector is known; starts again when the selector changes.
    fn follow_pods(
        &mut self,
        following: Option<&AbortHandle>,
    ) -> Option<(mpsc::Receiver<Update<PodSnapshot>>, AbortHandle)> {
        let workload = self.site.seen().workload.clone()?;
        let labels = workload.selector;
        if following.is_some() && self.selector == labels {
            return None;
        }
        following.inspect(|task| task.abort());
        if labels.is_none() {
            tracing::warn!(pool = %self.site.pool, "the {} selects no pods by label", self.site.config.workload.kind());
            return None;
        }
        self.selector.clone_from(&labels);
        let (out, update) = mpsc::channel(AHEAD);
        let (api, site): (kube::Api<Pod>, _) = (self.site.pods(), self.site.clone());
        let source = Source { site, api, resource: "pods", labels, fields: None };
        let task = self.tasks.spawn(async move { source.follow(PodSnapshot::of, out).await });
        Some((update, task))
    }

    fn report(&self, command: Command) {
        // The receiver is dropped only together with the pool.
        let _ = self.reporter.send(command);
    }

    // ---- pods ----

    async fn pods(
        &mut self,
        update: Update<PodSnapshot>,
        knocks: &mpsc::Sender<ProbeAnswer>,
        answers: &mut mpsc::Receiver<ProbeAnswer>,
    ) {
        match update {
            Update::Listed { items, version } => {
                self.renew(version);
                let present: BTreeSet<Uid> = items.iter().map(|s| s.uid.clone()).collect();
                self.pods.retain(|uid, _| present.contains(uid));
                self.unnumbered.retain(|uid, _| present.contains(uid));
                // First the pods that have an ordinal, so that no other pod gets it.
                let workload = &self.site.config.workload;
                let (numbered, others): (Vec<_>, Vec<_>) =
                    items.into_iter().partition(|s| ordinals::ordinal(s, workload).is_some());
                for snapshot in numbered.into_iter().chain(others) {
                    self.take(snapshot, version, knocks);
                }
                if !self.listed {
                    self.hear(answers).await;
                }
                self.list(version);
                self.listed = true;
                let overdue: Vec<Uid> =
                    self.pods.iter().filter(|(_, k)| k.is_overdue()).map(|(uid, _)| uid.clone()).collect();
                overdue.iter().for_each(|uid| self.tell_overdue(uid));
                self.site.seen().pods = self.pods.values().map(|k| (k.ordinal, k.living())).collect();
                self.size().await;
            }
            Update::Put { item, version } => {
                self.renew(version);
                let uid = item.uid.clone();
                self.take(item, version, knocks);
                self.retell(&uid, version * FINE);
                self.show(&uid);
            }
            Update::Gone { item, version } => {
                self.renew(version);
                self.unnumbered.remove(&item.uid);
                self.lose(&item.uid, version * FINE);
            }
        }
        self.number();
    }

    /// After an event of one pod, or a list of all pods.
    fn look_at_ends(&mut self, whose: Option<Uid>, silences: &mpsc::Sender<Uid>) {
        let uids = match whose {
            Some(uid) => vec![uid],
            None => self.pods.keys().cloned().collect(),
        };
        for uid in uids {
            self.inquire(&uid, silences);
            self.expect_end(&uid);
        }
    }

    fn renew(&mut self, version: u64) {
        if version > self.newest {
            (self.newest, self.refined) = (version, 0);
        }
    }

    fn take(&mut self, snapshot: PodSnapshot, version: u64, knocks: &mpsc::Sender<ProbeAnswer>) {
        let uid = snapshot.uid.clone();
        let workload = &self.site.config.workload;
        let number = ordinals::ordinal(&snapshot, workload);
        let is_ours = ordinals::is_of(&snapshot, workload, &self.workload_uid);
        // Its set has been deleted, and another one will adopt the pod: it may be in use, and stays.
        let is_left = snapshot.owner.is_none() && !self.site.is_deployment();
        let owned = is_ours && !self.succeeding;
        if self.site.is_deployment() && matches!(snapshot.stage, Stage::Ended(_)) {
            // Its ReplicaSet has replaced the pod, and keeps the object.
            self.unnumbered.remove(&uid);
            self.lose(&uid, version * FINE);
            return;
        }
        if let Some(known) = self.pods.get_mut(&uid) {
            // A resumed watch repeats events; older versions are ignored.
            if known.version < version {
                known.used |= snapshot.used || matches!(known.snapshot.stage, Stage::Ready);
                if known.snapshot.ip != snapshot.ip {
                    // A new sandbox: it has to be probed again.
                    known.answered = false;
                    known.knock.take().inspect(AbortHandle::abort);
                }
                (known.snapshot, known.version, known.owned) = (snapshot, version, owned);
            }
        } else if let Some(ordinal) = number.filter(|_| is_ours || is_left) {
            self.unnumbered.remove(&uid);
            self.pods.insert(uid.clone(), TrackedPod::new(snapshot, ordinal, version, owned));
        } else {
            if number.is_none() && is_ours && !matches!(snapshot.stage, Stage::Terminating) {
                match self.unnumbered.get_mut(&uid) {
                    Some((known, ..)) => *known = snapshot,
                    None => drop(self.unnumbered.insert(uid, (snapshot, None, now()))),
                }
            } else {
                self.unnumbered.remove(&uid);
            }
            return;
        }
        self.knock(&uid, knocks);
    }

    /// Probes a ready pod until it answers once. After that, only the pod's own readiness counts.
    fn knock(&mut self, uid: &Uid, knocks: &mpsc::Sender<ProbeAnswer>) {
        let Some(known) = self.pods.get_mut(uid) else { return };
        let address = known.snapshot.ip.map(|ip| SocketAddr::new(ip, self.site.config.port));
        let (Some(address), Stage::Ready, false) = (address, &known.snapshot.stage, known.answered) else {
            if let Some(knock) = known.knock.take() {
                knock.abort();
            }
            return;
        };
        if known.knock.as_ref().is_some_and(|knock| !knock.is_finished()) {
            return;
        }
        let (site, knocks, at_once, uid) = (self.site.clone(), knocks.clone(), self.at_once.clone(), uid.clone());
        let name = known.snapshot.name.clone();
        known.knock = Some(self.tasks.spawn(async move {
            let mut said = false;
            loop {
                let Ok(permit) = at_once.acquire().await else { return };
                match probe::ask(&*site.net, address, &site.config.probe).await {
                    Ok(()) => break,
                    Err(why) if !said => {
                        said = true;
                        tracing::info!(pool = %site.pool, pod = name, "ready, but does not answer the dispatcher yet: {why}");
                    }
                    Err(_) => {}
                }
                drop(permit);
                tokio::time::sleep(site.config.probe.every).await;
            }
            // If the receiver was dropped, the answer is not needed.
            let _ = knocks.send(ProbeAnswer { uid, from: address }).await;
        }));
    }

    /// Before the first list is reported: waits for the pods to answer, so that running pods are ready at once.
    async fn hear(&mut self, answers: &mut mpsc::Receiver<ProbeAnswer>) {
        let patience = now() + self.site.config.probe.timeout * 2;
        while self.pods.values().any(TrackedPod::is_silent) {
            match tokio::time::timeout_at(patience, answers.recv()).await {
                Ok(Some(answer)) => {
                    self.believe(&answer);
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn list(&mut self, version: u64) {
        let mut seen = Vec::new();
        for (uid, known) in &mut self.pods {
            let phase = known.phase(self.site.config.port);
            (known.reported, known.reported_overdue) = (Some(phase.clone()), false);
            seen.push(Sighting { pod: Ordinal(known.ordinal), uid: uid.clone(), phase });
        }
        self.coming = self.pods.iter().filter(|(_, k)| k.is_coming()).map(|(uid, _)| uid.clone()).collect();
        // Another dispatcher may report a list of the same version while pods have not answered it: a list in which all
        // ready pods have answered gets a higher version.
        if !self.pods.values().any(TrackedPod::is_silent) {
            self.report(Command::PodsListed { pods: seen, version: version * FINE + FINE - 2 });
            return;
        }
        self.report(Command::PodsListed { pods: seen, version: version * FINE });
        let answered = self.pods.iter().filter(|(_, k)| matches!(k.reported, Some(Phase::Ready { .. })));
        for uid in answered.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
            self.say(&uid, version * FINE + FINE - 1);
        }
    }

    /// Reports a pod if its phase has changed.
    fn retell(&mut self, uid: &Uid, version: u64) {
        let Some(known) = self.pods.get_mut(uid) else { return };
        let phase = known.phase(self.site.config.port);
        if known.is_coming() {
            self.coming.insert(uid.clone());
        } else {
            self.coming.remove(uid);
        }
        if self.listed && known.reported.as_ref() != Some(&phase) {
            known.reported = Some(phase);
            self.say(uid, version);
        }
        self.tell_overdue(uid);
    }

    fn say(&self, uid: &Uid, version: u64) {
        let Some(known) = self.pods.get(uid) else { return };
        let Some(phase) = known.reported.clone() else { return };
        self.report(Command::PodSeen { pod: Ordinal(known.ordinal), uid: uid.clone(), phase, version });
    }

    fn lose(&mut self, uid: &Uid, version: u64) {
        let Some(known) = self.pods.remove(uid) else { return };
        self.coming.remove(uid);
        {
            let mut seen = self.site.seen();
            if seen.pods.get(&known.ordinal).is_some_and(|p| p.uid == *uid) {
                seen.pods.remove(&known.ordinal);
            }
        }
        if self.listed {
            self.report(Command::PodGone { pod: Ordinal(known.ordinal), uid: uid.clone(), version });
        }
    }

    fn answered(&mut self, answer: &ProbeAnswer) {
        if self.believe(answer) {
            self.retell(&answer.uid, self.newest * FINE + FINE - 1);
        }
    }

    /// Records an answer, unless the pod has another address by now.
    fn believe(&mut self, answer: &ProbeAnswer) -> bool {
        let known = self.pods.get_mut(&answer.uid).filter(|k| k.snapshot.ip == Some(answer.from.ip()));
        known.map(|known| known.answered = true).is_some()
    }

    fn noted(&mut self, uid: &Uid, note: Note) {
        let Some(known) = self.pods.get_mut(uid).filter(|k| k.note.as_ref() != Some(&note)) else { return };
        known.note = Some(note);
        self.refined += 1;
        if self.refined < FINE - 2 {
            self.retell(uid, self.newest * FINE + self.refined);
        }
    }

    /// Updates the state that orders and marks read.
    fn show(&self, uid: &Uid) {
        if let Some(known) = self.pods.get(uid) {
            self.site.seen().pods.insert(known.ordinal, known.living());
        }
    }

    /// Writes the ordinals that are due, and again those that have not been read back. A pod gets the lowest ordinal that
    /// is free. If a terminating pod still has an ordinal below the size, its successor waits for that ordinal instead of
    /// taking a higher one.
    fn number(&mut self) {
        if self.unnumbered.is_empty() {
            return;
        }
        let wanted = self.site.seen().workload.as_ref().map_or(0, |w| w.span.end);
        let mut taken: BTreeSet<u32> = self.pods.values().map(|k| k.ordinal).collect();
        let ending = self.pods.values().any(|k| k.ordinal < wanted && matches!(k.snapshot.stage, Stage::Terminating));
        taken.extend(self.unnumbered.values().filter_map(|(_, number, _)| *number));
        let mut free = (0..).filter(|n| !taken.contains(n));
        let mut next = free.next();
        for (snapshot, number, due) in self.unnumbered.values_mut().filter(|(_, _, due)| *due <= now()) {
            if number.is_none() && !(ending && next.is_some_and(|n| n >= wanted)) {
                *number = next;
                next = free.next();
            }
            *due = now() + AGAIN;
            if let Some(number) = *number {
                self.tasks.spawn(ordinals::write(self.site.clone(), number, snapshot.clone(), self.at_once.clone()));
            }
        }
        if let Some(next) = self.unnumbered.values().map(|(_, _, due)| *due).min() {
            self.retry = Some(self.retry.map_or(next, |at| at.min(next)));
        }
    }
}

/// The pod of this event; `None`: all pods.
fn whose(update: &Update<PodSnapshot>) -> Option<Uid> {
    match update {
        Update::Listed { .. } => None,
        Update::Put { item, .. } | Update::Gone { item, .. } => Some(item.uid.clone()),
    }
}

async fn next(pods: &mut Option<(mpsc::Receiver<Update<PodSnapshot>>, AbortHandle)>) -> Option<Update<PodSnapshot>> {
    match pods {
        Some((update, _)) => update.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
