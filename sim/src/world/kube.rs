//! The cluster's state and its controllers: a StatefulSet, its pods, the nodes they run on. The API server's host serves it
//! (`api`), the nodes' hosts run what is assigned to them (`node`). What scales it is `api` (the dispatchers) or `scaler` (KEDA).

use super::setting::Setting;
use super::truth::Truth;
use crate::chance::Chance;
use crate::models::statefulset::{Action, Phase, PodView, StatefulSet};
use crate::models::watch::{Fate, Store, Watch};
use crate::record::{PodEnd, PodLife};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often the controllers look.
const SYNC_EVERY: u64 = 50;
/// A node that has not been heard of for so long counts as lost (`node-monitor-grace-period`, scaled down).
const NODE_GRACE: u64 = 5_000;
/// After so long its pods are evicted: marked as terminating, which only the node itself can end.
const EVICTION: u64 = 9_000;
/// `terminationGracePeriodSeconds`.
pub const TERMINATION: u64 = 3_000;
const FIRST_PORT: u16 = 20_000;
/// Changes a client may be behind.
const KEPT: usize = 300;

#[derive(Clone)]
pub struct Kube {
    inner: Arc<Mutex<Inner>>,
    truth: Truth,
}

/// What the API server stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    Pod(Pod),
    Set(Spec),
}

/// The set, as far as its controller has taken note of it (`status.observedGeneration`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub start: u32,
    pub replicas: u32,
    /// The annotation: the journal position that decided it.
    pub decided: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub ordinal: u32,
    pub uid: String,
    pub node: usize,
    pub address: SocketAddr,
    pub stage: Stage,
    /// It must be gone by then.
    pub terminating: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Nothing will come of it until the cluster is healed: no GPU is free.
    Stuck,
    /// Its container starts, and is ready at this moment.
    Starting {
        ready_at: u64,
    },
    Ready {
        since: u64,
    },
    /// It was ready: its container has crashed, or its node is lost.
    Unready,
    Failed,
}

struct Inner {
    store: Store<String, Object>,
    set: StatefulSet,
    /// What has been written, and what the controller has seen of it.
    written: Spec,
    next_uid: u64,
    dice: ChaCha8Rng,
    nodes: Vec<Node>,
    cold_start: (u64, u64),
    /// Starts take this many times as long; `None`: pods get stuck.
    slowness: Option<u64>,
    lives: BTreeMap<String, PodLife>,
    next_sync: u64,
    writes: u64,
    /// KEDA's ScaledObject says that nothing is scaled in.
    guarded: bool,
}

struct Node {
    ip: IpAddr,
    heard: u64,
    next_port: u16,
}

impl Kube {
    pub fn new(setting: &Setting, truth: Truth) -> Kube {
        let replicas = setting.rules.min;
        let written = Spec { start: 0, replicas, decided: 0 };
        let mut store = Store::new(KEPT);
        store.put("set".into(), Object::Set(written), 0);
        let inner = Inner {
            store,
            set: StatefulSet::new(setting.policy, replicas),
            written,
            next_uid: 1,
            dice: Chance::new(setting.seed).stream("kube"),
            nodes: Vec::new(),
            cold_start: setting.cold_start,
            slowness: Some(1),
            lives: BTreeMap::new(),
            next_sync: 0,
            writes: 0,
            guarded: false,
        };
        Kube { inner: Arc::new(Mutex::new(inner)), truth }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add_node(&self, ip: IpAddr) {
        self.locked().nodes.push(Node { ip, heard: 0, next_port: FIRST_PORT });
    }

    // ---- who writes the size ----

    /// A dispatcher's patch: ignored if what is there was decided later.
    pub fn scale(&self, start: u32, replicas: u32, decided: u64) {
        let mut inner = self.locked();
        if decided >= inner.written.decided {
            inner.write(Spec { start, replicas, decided });
        }
    }

    /// KEDA's operator or its HPA: writes the number, and knows nothing of anything else.
    pub fn scale_to(&self, replicas: u32) {
        let mut inner = self.locked();
        let spec = Spec { replicas, ..inner.written };
        inner.write(spec);
    }

    /// A dispatcher's word on the ScaledObject: KEDA scales nothing in.
    pub fn guard(&self, on: bool) {
        self.locked().guarded = on;
    }

    pub fn is_guarded(&self) -> bool {
        self.locked().guarded
    }

    /// A dispatcher deletes an incarnation, by its uid.
    pub fn recycle(&self, ordinal: u32, uid: &str) {
        let now = self.truth.now();
        let mut inner = self.locked();
        if inner.pod(uid).is_some_and(|p| p.ordinal == ordinal && p.terminating.is_none()) {
            self.truth.recycled(ordinal, uid);
            inner.terminate(uid, now, PodEnd::Recycled, &self.truth);
        }
    }

    // ---- controllers ----

    /// What the controllers do at this moment.
    pub fn step(&self, now: u64) {
        let mut inner = self.locked();
        if now < inner.next_sync {
            return;
        }
        inner.next_sync = now + SYNC_EVERY;
        inner.watch_nodes(now, &self.truth);
        inner.sync(now, &self.truth);
    }

    /// Opens or continues a client's watch; what has arrived by now.
    pub fn poll(
        &self,
        watch: &mut Watch<Object>,
        now: u64,
        fate: impl FnMut() -> Fate,
    ) -> Vec<crate::models::watch::Event<Object>> {
        let inner = self.locked();
        if !watch.is_open() {
            watch.resume(&inner.store, true, now, 0);
        }
        let mut fate = fate;
        watch.take(&inner.store, |_| fate());
        drop(inner);
        watch.poll(now)
    }

    // ---- nodes ----

    /// The pods of a node, which is alive.
    pub fn assigned(&self, node: usize) -> Vec<Pod> {
        let now = self.truth.now();
        let mut inner = self.locked();
        if let Some(node) = inner.nodes.get_mut(node) {
            node.heard = now;
        }
        inner.pods().filter(|p| p.node == node).cloned().collect()
    }

    pub fn stage(&self, uid: &str, stage: Stage) {
        let now = self.truth.now();
        let mut inner = self.locked();
        if let (Stage::Ready { .. }, Some(life)) = (stage, inner.lives.get_mut(uid)) {
            life.ready.get_or_insert(now);
        }
        inner.change(uid, now, |pod| pod.stage = stage);
    }

    /// The container has ended, and the pod object goes.
    pub fn ended(&self, uid: &str) {
        let now = self.truth.now();
        self.locked().remove(uid, now, &self.truth);
    }

    /// A container starts again: ready at this moment.
    pub fn restarts(&self, uid: &str) -> u64 {
        let now = self.truth.now();
        let mut inner = self.locked();
        let ready_at = now + inner.start_time().unwrap_or(60_000);
        inner.change(uid, now, |pod| pod.stage = Stage::Unready);
        ready_at
    }

    // ---- faults ----

    /// A running pod, chosen by a number.
    #[must_use]
    pub fn some_pod(&self, number: u32) -> Option<Pod> {
        let inner = self.locked();
        let pods: Vec<Pod> =
            inner.pods().filter(|p| p.terminating.is_none() && p.stage != Stage::Failed).cloned().collect();
        pods.get(number as usize % pods.len().max(1)).cloned()
    }

    /// The pod fails for good (evicted for disk pressure, say): its controller deletes and replaces it.
    pub fn fail(&self, uid: &str) {
        let now = self.truth.now();
        let mut inner = self.locked();
        if let Some(life) = inner.lives.get_mut(uid) {
            life.end = Some(PodEnd::Crashed);
        }
        inner.change(uid, now, |pod| pod.stage = Stage::Failed);
    }

    /// Starts take so many times as long from now on; `None`: new pods are stuck until it is healed.
    pub fn slow_down(&self, times: Option<u64>) {
        let now = self.truth.now();
        let mut inner = self.locked();
        inner.slowness = times;
        if times.is_none() {
            return;
        }
        let stuck: Vec<String> = inner.pods().filter(|p| p.stage == Stage::Stuck).map(|p| p.uid.clone()).collect();
        for uid in stuck {
            let ready_at = now + inner.start_time().unwrap_or_default();
            inner.change(&uid, now, |pod| pod.stage = Stage::Starting { ready_at });
        }
    }

    // ---- pictures and checks ----

    #[must_use]
    pub fn lives(&self) -> Vec<PodLife> {
        self.locked().lives.values().cloned().collect()
    }

    /// What has been written, how many pods exist, how many are ready, how often the size was written.
    #[must_use]
    pub fn size(&self) -> (Spec, u32, u32, u64) {
        let inner = self.locked();
        let ready = inner.pods().filter(|p| matches!(p.stage, Stage::Ready { .. })).count();
        (inner.written, inner.pods().count() as u32, ready as u32, inner.writes)
    }

    #[must_use]
    pub fn status_replicas(&self) -> (u32, u32) {
        let (spec, pods, _, _) = self.size();
        (spec.replicas, pods)
    }
}

impl Inner {
    fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.store.iter().filter_map(|(_, o)| match o {
            Object::Pod(pod) => Some(pod),
            Object::Set(_) => None,
        })
    }

    fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods().find(|p| p.uid == uid)
    }

    fn write(&mut self, spec: Spec) {
        if spec != self.written {
            self.writes += 1;
            self.written = spec;
        }
    }

    fn change(&mut self, uid: &str, now: u64, change: impl FnOnce(&mut Pod)) {
        let Some(mut pod) = self.pod(uid).cloned() else { return };
        let before = pod.clone();
        change(&mut pod);
        if pod != before {
            self.store.put(name(pod.ordinal), Object::Pod(pod), now);
        }
    }

    fn start_time(&mut self) -> Option<u64> {
        let (least, most) = self.cold_start;
        let drawn = self.dice.random_range(least..=most);
        self.slowness.map(|times| drawn * times)
    }

    fn sync(&mut self, now: u64, truth: &Truth) {
        let seen = Object::Set(self.written);
        (self.set.start, self.set.replicas) = (self.written.start, self.written.replicas);
        loop {
            let views: Vec<PodView> = self.pods().map(view).collect();
            let actions = self.set.sync(&views, now).actions;
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Create { ordinal, .. } => self.create(ordinal, now, truth),
                    Action::Delete { ordinal, uid } => self.delete(ordinal, uid, now, truth),
                }
            }
            if self.set.policy == crate::models::statefulset::Policy::OrderedReady {
                break;
            }
        }
        // Only now: whoever reads that the new size has been seen has read the deletions it brought before.
        if self.store.get(&"set".to_owned()) != Some(&seen) {
            self.store.put("set".into(), seen, now);
        }
    }

    fn create(&mut self, ordinal: u32, now: u64, truth: &Truth) {
        if self.nodes.is_empty() {
            return;
        }
        let count = self.nodes.len();
        let healthy: Vec<usize> = (0..count).filter(|n| now - self.nodes[*n].heard < NODE_GRACE).collect();
        let node = match healthy.as_slice() {
            [] => self.dice.random_range(0..count),
            some => some[self.dice.random_range(0..some.len())],
        };
        let uid = format!("p{ordinal}-{}", self.next_uid);
        self.next_uid += 1;
        let stage = match self.start_time() {
            Some(time) => Stage::Starting { ready_at: now + time },
            None => Stage::Stuck,
        };
        let port = self.nodes[node].next_port;
        self.nodes[node].next_port += 1;
        let address = SocketAddr::new(self.nodes[node].ip, port);
        truth.tell(format!("pod {ordinal} ({uid}) is created on node {node}"));
        truth.count(format!("pod {}", if stage == Stage::Stuck { "stuck" } else { "created" }));
        let life =
            PodLife { ordinal, uid: uid.clone(), created: now, ready: None, terminating: None, gone: None, end: None };
        self.lives.insert(uid.clone(), life);
        let pod = Pod { ordinal, uid, node, address, stage, terminating: None };
        self.store.put(name(ordinal), Object::Pod(pod), now);
    }

    fn delete(&mut self, ordinal: u32, uid: u64, now: u64, truth: &Truth) {
        let Some(pod) = self.pods().find(|p| p.ordinal == ordinal && number(&p.uid) == uid) else { return };
        let (uid, failed) = (pod.uid.clone(), pod.stage == Stage::Failed);
        if failed {
            self.terminate(&uid, now, PodEnd::Crashed, truth);
        } else {
            truth.scaled_down(ordinal, &uid);
            self.terminate(&uid, now, PodEnd::ScaledDown, truth);
        }
    }

    fn terminate(&mut self, uid: &str, now: u64, end: PodEnd, truth: &Truth) {
        if let Some(life) = self.lives.get_mut(uid) {
            life.terminating = Some(now);
            life.end.get_or_insert(end);
        }
        let at_once = self.pod(uid).is_some_and(|p| matches!(p.stage, Stage::Stuck | Stage::Failed));
        if at_once {
            self.remove(uid, now, truth);
        } else {
            self.change(uid, now, |pod| pod.terminating = Some(now + TERMINATION));
        }
    }

    fn remove(&mut self, uid: &str, now: u64, truth: &Truth) {
        let Some(ordinal) = self.pod(uid).map(|p| p.ordinal) else { return };
        self.store.delete(&name(ordinal), now);
        truth.pod_is_gone(uid);
        truth.tell(format!("pod {ordinal} ({uid}) is gone"));
        if let Some(life) = self.lives.get_mut(uid) {
            life.gone = Some(now);
        }
    }

    fn watch_nodes(&mut self, now: u64, truth: &Truth) {
        let silent: Vec<u64> = self.nodes.iter().map(|n| now.saturating_sub(n.heard)).collect();
        let pods: Vec<Pod> = self.pods().cloned().collect();
        for pod in pods {
            let silent = silent.get(pod.node).copied().unwrap_or_default();
            if silent >= NODE_GRACE && matches!(pod.stage, Stage::Ready { .. }) {
                self.change(&pod.uid, now, |pod| pod.stage = Stage::Unready);
            }
            if silent >= EVICTION && pod.terminating.is_none() {
                truth.count("pod evicted");
                self.terminate(&pod.uid, now, PodEnd::NodeLost, truth);
            }
        }
    }
}

fn name(ordinal: u32) -> String {
    format!("pod-{ordinal}")
}

/// The life's number, at the end of the uid.
fn number(uid: &str) -> u64 {
    uid.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

fn view(pod: &Pod) -> PodView {
    let (phase, ready_since) = match pod.stage {
        Stage::Stuck | Stage::Starting { .. } => (Phase::Pending, None),
        Stage::Ready { since } => (Phase::Running, Some(since)),
        Stage::Unready => (Phase::Running, None),
        Stage::Failed => (Phase::Failed, None),
    };
    PodView {
        ordinal: pod.ordinal,
        uid: number(&pod.uid),
        phase,
        ready_since,
        terminating: pod.terminating.is_some(),
        revision: 1,
    }
}
