//! Makes news for the journal of what is read: pods, the size, and why a pod is not ready yet. Versions are the API server's
//! times sixteen: what lies between is refined here, between two versions of its own (that a pod has answered us, say).

mod known;
mod lost;
mod size;

use super::follow::{News, Source};
use super::pause::Proof;
use super::reason::Note;
use super::sight::{Sight, Stage};
use super::workload::{Certain, Going, Workload};
use super::{Site, numbers};
use crate::cluster::probe;
use crate::config::Workload as Named;
use crate::outside::now;
use k8s_openapi::api::core::v1::{Event, Pod};
use known::Known;
use slotkeeper_core::{Command, Ordinal, Phase, Sighting, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Refinements between two versions of the API server's; the last one is kept for "it answers".
const FINE: u64 = 16;
/// Probes at once.
const AT_ONCE: usize = 128;
/// News read ahead: whoever tells more waits.
const AHEAD: usize = 256;
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Herald {
    site: Arc<Site>,
    teller: mpsc::UnboundedSender<Command>,
    proofs: mpsc::UnboundedReceiver<Proof>,
    pods: BTreeMap<Uid, Known>,
    /// Pods that nobody can sit in yet.
    coming: BTreeSet<Uid>,
    /// The newest version of the pods, and how often it has been refined.
    newest: u64,
    refined: u64,
    listed: bool,
    certain: Option<Certain>,
    told: Option<Certain>,
    /// A size that was read and could not be told yet.
    unsaid: Option<(Workload, bool)>,
    retry: Option<Instant>,
    selector: Option<String>,
    worried: Vec<&'static str>,
    workload_uid: String,
    /// Another set of the same name has come, and has not acted on its size yet: it may delete what it has adopted.
    succeeding: bool,
    /// As it was said last.
    going: Option<Going>,
    /// Pods without a number, which one they are to have, and when it is to be written (again).
    unnumbered: BTreeMap<Uid, (Sight, Option<u32>, Instant)>,
    /// Pods that are being deleted, and when they should have ended.
    ending: BTreeSet<(Instant, Uid)>,
    at_once: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

/// A pod has taken a connection, or answered its probe.
struct Answer {
    uid: Uid,
    from: SocketAddr,
}

/// Where the parts that run beside tell what they found.
struct Inbox<T> {
    send: mpsc::Sender<T>,
    read: mpsc::Receiver<T>,
}

fn inbox<T>() -> Inbox<T> {
    let (send, read) = mpsc::channel(AHEAD);
    Inbox { send, read }
}

impl Herald {
    pub(super) fn new(
        site: Arc<Site>,
        teller: mpsc::UnboundedSender<Command>,
        proofs: mpsc::UnboundedReceiver<Proof>,
    ) -> Herald {
        Herald {
            site,
            teller,
            proofs,
            pods: BTreeMap::new(),
            coming: BTreeSet::new(),
            newest: 0,
            refined: 0,
            listed: false,
            certain: None,
            told: None,
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
        let (mut sizes, mut answers, mut notes, mut silences) = (inbox(), inbox::<Answer>(), inbox(), inbox());
        let mut pods: Option<(mpsc::Receiver<News<Sight>>, AbortHandle)> = None;
        let mut events: Option<AbortHandle> = None;
        self.follow_workload(sizes.send.clone());
        loop {
            tokio::select! {
                biased;
                Some(news) = sizes.read.recv() => {
                    self.workload(news).await;
                    let following = pods.as_ref().map(|(_, task)| task);
                    if let Some(next) = self.follow_pods(following) {
                        pods = Some(next);
                    }
                }
                Some(news) = next(&mut pods) => {
                    let whose = whose(&news);
                    self.pods(news, &answers.send, &mut answers.read).await;
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
                events = Some(self.tasks.spawn(note(self.site.clone(), notes.send.clone())));
            }
        }
    }

    fn follow_workload(&mut self, out: mpsc::Sender<News<Workload>>) {
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

    /// Once it is known by which labels; anew when those change.
    fn follow_pods(&mut self, following: Option<&AbortHandle>) -> Option<(mpsc::Receiver<News<Sight>>, AbortHandle)> {
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
        let (out, news) = mpsc::channel(AHEAD);
        let (api, site): (kube::Api<Pod>, _) = (self.site.pods(), self.site.clone());
        let source = Source { site, api, resource: "pods", labels, fields: None };
        let task = self.tasks.spawn(async move { source.follow(Sight::of, out).await });
        Some((news, task))
    }

    fn tell(&self, command: Command) {
        // Nobody listens any more only when the pool is being dropped.
        let _ = self.teller.send(command);
    }

    // ---- pods ----

    async fn pods(&mut self, news: News<Sight>, knocks: &mpsc::Sender<Answer>, answers: &mut mpsc::Receiver<Answer>) {
        match news {
            News::Listed { items, version } => {
                self.renew(version);
                let present: BTreeSet<Uid> = items.iter().map(|s| s.uid.clone()).collect();
                self.pods.retain(|uid, _| present.contains(uid));
                self.unnumbered.retain(|uid, _| present.contains(uid));
                // Those that have a number first: nobody else may get it.
                let workload = &self.site.config.workload;
                let (numbered, others): (Vec<_>, Vec<_>) =
                    items.into_iter().partition(|s| numbers::ordinal(s, workload).is_some());
                for sight in numbered.into_iter().chain(others) {
                    self.take(sight, version, knocks);
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
            News::Put { item, version } => {
                self.renew(version);
                let uid = item.uid.clone();
                self.take(item, version, knocks);
                self.retell(&uid, version * FINE);
                self.show(&uid);
            }
            News::Gone { item, version } => {
                self.renew(version);
                self.unnumbered.remove(&item.uid);
                self.lose(&item.uid, version * FINE);
            }
        }
        self.number();
    }

    /// After news of one pod, or of all.
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

    fn take(&mut self, sight: Sight, version: u64, knocks: &mpsc::Sender<Answer>) {
        let uid = sight.uid.clone();
        let workload = &self.site.config.workload;
        let number = numbers::ordinal(&sight, workload);
        let is_ours = numbers::is_of(&sight, workload, &self.workload_uid);
        // Its set is gone, and another one will adopt it: it was somebody's, and stays.
        let is_left = sight.owner.is_none() && !self.site.is_deployment();
        let owned = is_ours && !self.succeeding;
        if self.site.is_deployment() && matches!(sight.stage, Stage::Ended(_)) {
            // Its ReplicaSet has replaced it, and leaves the object behind.
            self.unnumbered.remove(&uid);
            self.lose(&uid, version * FINE);
            return;
        }
        if let Some(known) = self.pods.get_mut(&uid) {
            // A watch that goes on repeats; what has been read stays read.
            if known.version < version {
                known.used |= sight.used || matches!(known.sight.stage, Stage::Ready);
                if known.sight.ip != sight.ip {
                    // A new sandbox: whoever answered there need not answer here.
                    known.answered = false;
                    known.knock.take().inspect(AbortHandle::abort);
                }
                (known.sight, known.version, known.owned) = (sight, version, owned);
            }
        } else if let Some(ordinal) = number.filter(|_| is_ours || is_left) {
            self.unnumbered.remove(&uid);
            self.pods.insert(uid.clone(), Known::new(sight, ordinal, version, owned));
        } else {
            if number.is_none() && is_ours && !matches!(sight.stage, Stage::Terminating) {
                match self.unnumbered.get_mut(&uid) {
                    Some((known, ..)) => *known = sight,
                    None => drop(self.unnumbered.insert(uid, (sight, None, now()))),
                }
            } else {
                self.unnumbered.remove(&uid);
            }
            return;
        }
        self.knock(&uid, knocks);
    }

    /// Asks a ready pod until it answers. Never again after that: its readiness is its own.
    fn knock(&mut self, uid: &Uid, knocks: &mpsc::Sender<Answer>) {
        let Some(known) = self.pods.get_mut(uid) else { return };
        let address = known.sight.ip.map(|ip| SocketAddr::new(ip, self.site.config.port));
        let (Some(address), Stage::Ready, false) = (address, &known.sight.stage, known.answered) else {
            if let Some(knock) = known.knock.take() {
                knock.abort();
            }
            return;
        };
        if known.knock.as_ref().is_some_and(|knock| !knock.is_finished()) {
            return;
        }
        let (site, knocks, at_once, uid) = (self.site.clone(), knocks.clone(), self.at_once.clone(), uid.clone());
        let name = known.sight.name.clone();
        known.knock = Some(self.tasks.spawn(async move {
            let mut said = false;
            loop {
                let Ok(permit) = at_once.acquire().await else { return };
                match probe::ask(&*site.net, address, &site.config.probe).await {
                    Ok(()) => break,
                    Err(why) if !said => {
                        said = true;
                        tracing::info!(pool = %site.pool, pod = name, "ready, but it does not answer us yet: {why}");
                    }
                    Err(_) => {}
                }
                drop(permit);
                tokio::time::sleep(site.config.probe.every).await;
            }
            // Whoever does not listen any more does not need it.
            let _ = knocks.send(Answer { uid, from: address }).await;
        }));
    }

    /// Before the first list: what runs already is to be ready at once.
    async fn hear(&mut self, answers: &mut mpsc::Receiver<Answer>) {
        let patience = now() + self.site.config.probe.timeout * 2;
        while self.pods.values().any(Known::is_silent) {
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
            (known.told, known.told_overdue) = (Some(phase.clone()), false);
            seen.push(Sighting { pod: Ordinal(known.ordinal), uid: uid.clone(), phase });
        }
        self.coming = self.pods.iter().filter(|(_, k)| k.is_coming()).map(|(uid, _)| uid.clone()).collect();
        // Another dispatcher may tell a list of the same version, and may not have been answered: who knows more is newer.
        if !self.pods.values().any(Known::is_silent) {
            self.tell(Command::PodsListed { pods: seen, version: version * FINE + FINE - 2 });
            return;
        }
        self.tell(Command::PodsListed { pods: seen, version: version * FINE });
        let answered = self.pods.iter().filter(|(_, k)| matches!(k.told, Some(Phase::Ready { .. })));
        for uid in answered.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
            self.say(&uid, version * FINE + FINE - 1);
        }
    }

    /// Tells of a pod what has changed.
    fn retell(&mut self, uid: &Uid, version: u64) {
        let Some(known) = self.pods.get_mut(uid) else { return };
        let phase = known.phase(self.site.config.port);
        if known.is_coming() {
            self.coming.insert(uid.clone());
        } else {
            self.coming.remove(uid);
        }
        if self.listed && known.told.as_ref() != Some(&phase) {
            known.told = Some(phase);
            self.say(uid, version);
        }
        self.tell_overdue(uid);
    }

    fn say(&self, uid: &Uid, version: u64) {
        let Some(known) = self.pods.get(uid) else { return };
        let Some(phase) = known.told.clone() else { return };
        self.tell(Command::PodSeen { pod: Ordinal(known.ordinal), uid: uid.clone(), phase, version });
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
            self.tell(Command::PodGone { pod: Ordinal(known.ordinal), uid: uid.clone(), version });
        }
    }

    fn answered(&mut self, answer: &Answer) {
        if self.believe(answer) {
            self.retell(&answer.uid, self.newest * FINE + FINE - 1);
        }
    }

    /// Unless the pod has another address by now.
    fn believe(&mut self, answer: &Answer) -> bool {
        let known = self.pods.get_mut(&answer.uid).filter(|k| k.sight.ip == Some(answer.from.ip()));
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

    /// What orders and marks look at.
    fn show(&self, uid: &Uid) {
        if let Some(known) = self.pods.get(uid) {
            self.site.seen().pods.insert(known.ordinal, known.living());
        }
    }

    /// Writes the numbers that are due, and again those that have not been read back: the lowest that nobody has or is
    /// about to have. While a pod that ends has a number that is wanted, its successor waits for that.
    fn number(&mut self) {
        if self.unnumbered.is_empty() {
            return;
        }
        let wanted = self.site.seen().workload.as_ref().map_or(0, |w| w.span.end);
        let mut taken: BTreeSet<u32> = self.pods.values().map(|k| k.ordinal).collect();
        let ending = self.pods.values().any(|k| k.ordinal < wanted && matches!(k.sight.stage, Stage::Terminating));
        taken.extend(self.unnumbered.values().filter_map(|(_, number, _)| *number));
        let mut free = (0..).filter(|n| !taken.contains(n));
        let mut next = free.next();
        for (sight, number, due) in self.unnumbered.values_mut().filter(|(_, _, due)| *due <= now()) {
            if number.is_none() && !(ending && next.is_some_and(|n| n >= wanted)) {
                *number = next;
                next = free.next();
            }
            *due = now() + AGAIN;
            if let Some(number) = *number {
                self.tasks.spawn(numbers::write(self.site.clone(), number, sight.clone(), self.at_once.clone()));
            }
        }
        if let Some(next) = self.unnumbered.values().map(|(_, _, due)| *due).min() {
            self.retry = Some(self.retry.map_or(next, |at| at.min(next)));
        }
    }
}

/// Which pod this is news of; `None`: all of them.
fn whose(news: &News<Sight>) -> Option<Uid> {
    match news {
        News::Listed { .. } => None,
        News::Put { item, .. } | News::Gone { item, .. } => Some(item.uid.clone()),
    }
}

async fn next(pods: &mut Option<(mpsc::Receiver<News<Sight>>, AbortHandle)>) -> Option<News<Sight>> {
    match pods {
        Some((news, _)) => news.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The events of pods, while any pod is on its way: nice to have, so that an error is no matter.
async fn note(site: Arc<Site>, out: mpsc::Sender<(Uid, Note)>) {
    let (told, mut news) = mpsc::channel(AHEAD);
    let fields = Some("involvedObject.kind=Pod".to_owned());
    let source = Source { api: site.events(), site, resource: "events", labels: None, fields };
    let read = |event: Event| {
        let (uid, version) = (event.involved_object.uid?, event.metadata.resource_version?.parse::<u64>().ok()?);
        let note = Note { reason: event.reason?, message: event.message.unwrap_or_default() };
        Some((version, Uid(uid.into()), note))
    };
    let follow = source.follow(read, told);
    let pass = async {
        while let Some(news) = news.recv().await {
            let items = match news {
                News::Listed { mut items, .. } => {
                    items.sort_by_key(|(version, ..)| *version);
                    items
                }
                News::Put { item, .. } => vec![item],
                News::Gone { .. } => continue,
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
