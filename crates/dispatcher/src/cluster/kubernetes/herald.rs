//! Makes news for the journal of what is read: pods, the size, and why a pod is not ready yet. Versions are the API server's
//! times sixteen: what lies between is refined here, between two versions of its own (that a pod has answered us, say).

use super::follow::{News, Source};
use super::reason::{self, Note};
use super::sight::{Sight, Stage};
use super::workload::{Certain, Workload};
use super::{Living, Site, numbers};
use crate::cluster::probe;
use crate::config::Workload as Named;
use crate::outside::now;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use slotkeeper_core::{Command, Decision, Ordinal, Phase, Sighting, Span, Uid, planted};
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
    /// Pods without a number, which one they are to have, and when it is to be written (again).
    unnumbered: BTreeMap<Uid, (Sight, Option<u32>, Instant)>,
    at_once: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

struct Known {
    sight: Sight,
    ordinal: u32,
    version: u64,
    /// It has taken a connection of ours, or answered its probe.
    answered: bool,
    /// Nobody can say that nobody has been in it.
    used: bool,
    note: Option<Note>,
    told: Option<Phase>,
    knock: Option<AbortHandle>,
}

impl Known {
    /// Ready, as it says, but it has not answered us.
    fn is_silent(&self) -> bool {
        matches!(self.sight.stage, Stage::Ready) && !self.answered
    }

    /// Ready, as it says, and as it has shown.
    fn is_ready(&self) -> bool {
        planted!(ReadyUnprobed => true);
        self.answered
    }

    fn living(&self) -> Living {
        let Sight { uid, name, annotations, .. } = &self.sight;
        let terminating = matches!(self.sight.stage, Stage::Terminating);
        Living { uid: uid.clone(), name: name.clone(), terminating, annotations: annotations.clone() }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(knock) = &self.knock {
            knock.abort();
        }
    }
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
    pub(super) fn new(site: Arc<Site>, teller: mpsc::UnboundedSender<Command>) -> Herald {
        Herald {
            site,
            teller,
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
            unnumbered: BTreeMap::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let (mut sizes, mut answers, mut notes) = (inbox(), inbox::<Answer>(), inbox());
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
                Some(news) = next(&mut pods) => self.pods(news, &answers.send, &mut answers.read).await,
                Some(answer) = answers.read.recv() => self.answered(&answer),
                Some((uid, note)) = notes.read.recv() => self.noted(&uid, note),
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
                (known.sight, known.version) = (sight, version);
            }
        } else if let Some(ordinal) = number.filter(|_| is_ours) {
            self.unnumbered.remove(&uid);
            let used = sight.used;
            let known = Known { sight, ordinal, version, answered: false, used, note: None, told: None, knock: None };
            self.pods.insert(uid.clone(), known);
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
            let phase = phase(known, self.site.config.port);
            known.told = Some(phase.clone());
            seen.push(Sighting { pod: Ordinal(known.ordinal), uid: uid.clone(), phase });
        }
        self.coming = self.pods.iter().filter(|(_, k)| is_coming(k)).map(|(uid, _)| uid.clone()).collect();
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
        let phase = phase(known, self.site.config.port);
        if is_coming(known) {
            self.coming.insert(uid.clone());
        } else {
            self.coming.remove(uid);
        }
        if self.listed && known.told.as_ref() != Some(&phase) {
            known.told = Some(phase);
            self.say(uid, version);
        }
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

    // ---- size ----

    async fn workload(&mut self, news: News<Workload>) {
        let (workload, missed) = match news {
            News::Listed { items, .. } => {
                let Some(workload) = items.into_iter().next() else {
                    let (kind, name) = (self.site.config.workload.kind(), self.site.config.workload.name());
                    let namespace = &self.site.namespace;
                    tracing::warn!(pool = %self.site.pool, "there is no {kind} {namespace}/{name}: waiting for it");
                    return;
                };
                (workload, self.certain.is_some())
            }
            News::Put { item, .. } => (item, false),
            News::Gone { .. } => {
                tracing::warn!(pool = %self.site.pool, "the {} has been deleted", self.site.config.workload.kind());
                return;
            }
        };
        if self.workload_uid != workload.uid {
            self.meet(&workload.uid);
        }
        let mut workload = workload;
        if self.site.by_keda && workload.start != 0 {
            workload
                .worries
                .push("spec.ordinals.start is not 0, and KEDA knows nothing of it: set it to 0 while nobody plays");
        }
        for worry in workload.worries.iter().filter(|w| !self.worried.contains(w)) {
            tracing::warn!(pool = %self.site.pool, workload = self.site.config.workload.name(), "{worry}");
        }
        self.worried.clone_from(&workload.worries);
        self.site.take_workload(workload.clone());
        let missed = missed || self.unsaid.as_ref().is_some_and(|(_, missed)| *missed);
        self.unsaid = Some((workload, missed));
        self.size().await;
    }

    /// Another set of the same name, or the first one: what the former one left behind goes, and says nothing of its size.
    fn meet(&mut self, workload: &str) {
        let former = !self.workload_uid.is_empty() && !self.site.is_deployment();
        workload.clone_into(&mut self.workload_uid);
        if former {
            (self.certain, self.unsaid) = (None, None);
            // Its pods may have been met before it was: they are listed again.
            self.selector = None;
            for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
                if let Some(known) = self.pods.get_mut(&uid) {
                    known.sight.stage = Stage::Terminating;
                }
                self.retell(&uid, self.newest * FINE + FINE - 1);
                self.show(&uid);
            }
        }
    }

    /// Tells the size, once the pods have been listed. A pod that the size covers anew counts as certain to stay: so first
    /// its news must be as new as the size, whatever the watch has brought so far.
    async fn size(&mut self) {
        let Some((workload, missed)) = self.unsaid.clone().filter(|_| self.listed) else { return };
        let before = self.certain.unwrap_or_default();
        if self.certain.is_none() && !workload.is_caught_up() {
            return;
        }
        let after = before.after(&workload, missed);
        // Between two lists it may have been lowered and raised again.
        let covered = if missed { Span::EMPTY } else { before.span };
        let raised = |k: &&Known| after.span.contains(k.ordinal) && !covered.contains(k.ordinal);
        if workload.version > self.newest && self.pods.values().any(|k| raised(&k)) && !self.confirm().await {
            self.retry = Some(now() + AGAIN);
            return;
        }
        self.unsaid = None;
        self.certain = Some(after);
        if self.told != Some(after) {
            self.told = Some(after);
            let Certain { span, decided: Decision { timeline, position: decided } } = after;
            let version = workload.version * FINE;
            self.tell(Command::ScaleSeen { start: span.start, replicas: span.len(), decided, timeline, version });
        }
    }

    /// Asks which pods are there and stay, now. False if nobody answers.
    async fn confirm(&mut self) -> bool {
        planted!(ConfirmSkipped => true);
        let params = ListParams { label_selector: self.selector.clone(), ..ListParams::default() };
        let call = async { self.site.pods().list_metadata(&params).await };
        let list = match self.site.calls.make(("list", "pods"), self.site.pace.call, call).await {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(pool = %self.site.pool, "cannot tell which pods stay: {error}");
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
            // News of its successor is older than this list, and must not be taken for old.
            self.lose(&uid, self.newest * FINE + FINE - 1);
        }
        for uid in ending {
            if let Some(known) = self.pods.get_mut(&uid) {
                known.sight.stage = Stage::Terminating;
            }
            self.retell(&uid, version * FINE);
            self.show(&uid);
        }
        true
    }
}

fn phase(known: &Known, port: u16) -> Phase {
    let address = known.sight.ip.map(|ip| SocketAddr::new(ip, port));
    match (&known.sight.stage, address) {
        (Stage::Ready, Some(address)) if known.is_ready() => Phase::Ready { address },
        // Who has been ready may have been used: a list after a lost journal must not call it new.
        (Stage::Ready, _) => Phase::Unready,
        (Stage::Unscheduled(_) | Stage::SettingUp(_) | Stage::Running, _) if known.used => Phase::Unready,
        (stage, _) => reason::before_ready(stage, known.note.as_ref()),
    }
}

fn is_coming(known: &Known) -> bool {
    matches!(known.sight.stage, Stage::Unscheduled(_) | Stage::SettingUp(_) | Stage::Running)
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
