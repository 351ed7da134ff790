//! The cluster: controllers, nodes, and a test API server that holds all of it as objects. The API server's host
//! serves it (`api`), and the nodes' hosts run the assigned pods (`node`). Writes of dispatchers and of KEDA
//! (`scaler`) are read back here.

mod again;
mod controller;
mod nodes;
mod objects;

pub use nodes::Budget;

use super::oracle::{EPOCH, Oracle};
use super::setting::{POOL, Setting};
use crate::chance::Chance;
use crate::models::statefulset::StatefulSet;
use crate::record::{PodEnd, PodLife};
use nodes::Node;
use objects::{pod_key, set_key, spec, started_again, stateful_set};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use slotkeeper_apiserver::{Key, Part, Resource, Server, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Interval of the controllers' syncs, in milliseconds.
const SYNC_EVERY: u64 = 50;
/// A node without a heartbeat for this many milliseconds counts as lost (`node-monitor-grace-period`, scaled down).
const NODE_GRACE: u64 = 5_000;
/// `terminationGracePeriodSeconds`.
pub const TERMINATION: u64 = 3_000;
const FIRST_PORT: u16 = 20_000;
/// How many changes a client may be behind.
const KEPT: usize = 300;
pub const NAMESPACE: &str = "games";
/// The port of each pod, at its own address.
pub const PORT: u16 = 3_000;
/// The annotation with the journal position that decided the size.
const DECIDED: &str = "slotkeeper.dev/decided";
/// KEDA's annotation (KEDA docs, "Pause autoscaling of scaling in").
const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";

/// KEDA's name for its autoscaler.
const AUTOSCALER: &str = "keda-hpa-arcade";
/// Delay until KEDA's operator changes its autoscaler, drawn from this range, in milliseconds.
const REACTION: std::ops::RangeInclusive<u64> = 20..=500;

#[derive(Clone)]
pub struct Kube {
    inner: Arc<Mutex<Inner>>,
    oracle: Oracle,
}

/// The written spec of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    pub start: u32,
    pub replicas: u32,
    /// The journal position that decided it.
    pub decided: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub ordinal: u32,
    pub uid: String,
    pub node: usize,
    /// The address in the pod network (`Kube::route`).
    pub ip: IpAddr,
    /// The corresponding address on its node.
    pub address: SocketAddr,
    pub stage: Stage,
    /// When it must have been removed.
    pub terminating: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The pod stays pending until the cluster is healed: no GPU is free.
    Stuck,
    /// The container is starting, and will be ready at this moment.
    Starting {
        ready_at: u64,
    },
    Ready {
        since: u64,
    },
    /// The pod was ready: its container has crashed, or its node is lost.
    Unready,
    Failed,
}

struct Inner {
    server: Server,
    /// Changes have been read up to this version.
    read: u64,
    set: StatefulSet,
    owner: Value,
    /// The last written spec; `generation`: its generation.
    written: Spec,
    generation: u64,
    /// The controller's last report: the generation it has acted on, the number of pods, and of ready ones.
    reported: (u64, usize, usize),
    pods: BTreeMap<u32, Pod>,
    /// The address of every pod so far, by its address in the pod network.
    routes: BTreeMap<IpAddr, SocketAddr>,
    next_uid: u64,
    dice: ChaCha8Rng,
    nodes: Vec<Node>,
    /// Ordinals whose pods were preempted: no node has capacity for a successor.
    without_room: BTreeSet<u32>,
    cold_start: (u64, u64),
    /// Starts take this many times as long; `None`: pods get stuck.
    slowness: Option<u64>,
    lives: BTreeMap<String, PodLife>,
    next_sync: u64,
    writes: u64,
    /// The set exists; otherwise it was deleted and is not created again yet.
    has_set: bool,
    /// When KEDA's operator changes its autoscaler, after a change of the guard.
    pauses: Option<u64>,
}

impl Kube {
    pub fn new(setting: &Setting, oracle: Oracle) -> Kube {
        let replicas = setting.rules.min;
        let mut store = Store::new(setting.seed);
        store.keep_history(KEPT);
        let clock = oracle.clone();
        let server = Server::with_store(store, move || EPOCH + clock.now());
        let set = stateful_set(replicas, setting.policy);
        let created = server.store(|store, now| store.create(Resource::StatefulSets, NAMESPACE, set, now));
        let object = json!({ "metadata": { "name": POOL }, "spec": { "scaleTargetRef": { "name": POOL } } });
        // Only KEDA and `keda_guard` read it.
        let _ = server.store(|store, now| store.create(Resource::ScaledObjects, NAMESPACE, object, now));
        let autoscaler = json!({
            "metadata": { "name": AUTOSCALER },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": POOL },
                "maxReplicas": setting.rules.max, "behavior": { "scaleDown": { "selectPolicy": "Max" } },
            },
        });
        let _ = server.store(|store, now| store.create(Resource::HorizontalPodAutoscalers, NAMESPACE, autoscaler, now));
        let uid = created.map(|set| set["metadata"]["uid"].clone()).unwrap_or_default();
        let owner = json!([{
            "apiVersion": "apps/v1", "kind": "StatefulSet", "name": POOL, "uid": uid,
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let inner = Inner {
            server,
            read: 0,
            set: StatefulSet::new(setting.policy, replicas),
            owner,
            written: Spec { start: 0, replicas, decided: 0 },
            generation: 1,
            reported: (0, 0, 0),
            pods: BTreeMap::new(),
            routes: BTreeMap::new(),
            next_uid: 1,
            dice: Chance::new(setting.seed).stream("kube"),
            nodes: Vec::new(),
            without_room: BTreeSet::new(),
            cold_start: setting.cold_start,
            slowness: Some(1),
            lives: BTreeMap::new(),
            next_sync: 0,
            writes: 0,
            pauses: None,
            has_set: true,
        };
        oracle.size_is(0, replicas, 0);
        Kube { inner: Arc::new(Mutex::new(inner)), oracle }
    }

    /// Returns the API server, which outlives its host.
    #[must_use]
    pub fn server(&self) -> Server {
        self.locked().server.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add_node(&self, ip: IpAddr) {
        self.locked().nodes.push(Node::new(ip, FIRST_PORT));
    }

    /// Returns where packets to an address go, if it is in the pod network.
    #[must_use]
    pub fn route(&self, to: SocketAddr) -> Option<SocketAddr> {
        self.locked().routes.get(&to.ip()).copied().filter(|_| to.port() == PORT)
    }

    /// Reports whether KEDA's ScaledObject prevents scale-in (a dispatcher's `keda_guard`).
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.locked().is_guarded()
    }

    /// Reports whether scale-in is disabled in KEDA's autoscaler.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.locked().is_disabled()
    }

    /// Writes the number of replicas, and nothing else, as KEDA's operator and its HPA do.
    pub fn scale_to(&self, replicas: u32) {
        let mut inner = self.locked();
        let patch = json!({ "spec": { "replicas": replicas } });
        // The set always exists.
        let _ = inner.server.store(|store, _| store.merge_patch(&set_key(), Part::Whole, &patch));
        inner.read_back(self.oracle.now(), &self.oracle);
    }

    // ---- controllers ----

    /// Runs the controllers' work that is due.
    pub fn step(&self, now: u64) {
        let mut inner = self.locked();
        inner.read_back(now, &self.oracle);
        if now < inner.next_sync {
            return;
        }
        inner.adjust_autoscaler(now, &self.oracle);
        inner.next_sync = now + SYNC_EVERY;
        inner.watch_nodes(now, &self.oracle);
        inner.sync(now, &self.oracle);
    }

    // ---- nodes ----

    pub fn stage(&self, uid: &str, stage: Stage) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        if inner.is_silent(uid) {
            return;
        }
        if let (Stage::Ready { .. }, Some(life)) = (stage, inner.lives.get_mut(uid)) {
            life.ready.get_or_insert(now);
        }
        inner.stage(uid, stage);
        inner.shown(uid, &self.oracle);
    }

    /// The container has ended, and the pod object is removed.
    pub fn ended(&self, uid: &str) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        if !inner.is_silent(uid) {
            inner.remove(uid, now, &self.oracle);
        }
    }

    /// A container is restarted. Returns when it will be ready.
    pub fn restarts(&self, uid: &str) -> u64 {
        let now = self.oracle.now();
        let mut inner = self.locked();
        let ready_at = now + inner.restart_time();
        if inner.is_silent(uid) {
            return ready_at;
        }
        inner.stage(uid, Stage::Unready);
        inner.shown(uid, &self.oracle);
        if let Some(pod) = inner.pod(uid).cloned() {
            inner.kubelet(&pod, |kubelet| kubelet.crash(137, "Error"));
            // The pod may have been removed meanwhile.
            let _ = inner.server.store(|store, _| store.change(&pod_key(pod.ordinal), Part::Status, started_again));
        }
        ready_at
    }

    // ---- faults ----

    /// Returns a pod that has a node, selected by a number.
    #[must_use]
    pub fn some_pod(&self, number: u32) -> Option<Pod> {
        let inner = self.locked();
        let has_node = |p: &&Pod| {
            p.terminating.is_none() && !matches!(p.stage, Stage::Failed | Stage::Stuck) && !inner.is_silent(&p.uid)
        };
        let pods: Vec<Pod> = inner.pods.values().filter(has_node).cloned().collect();
        pods.get(number as usize % pods.len().max(1)).cloned()
    }

    /// The pod fails permanently (evicted for disk pressure, for example): its controller deletes and replaces it.
    pub fn fail(&self, uid: &str) {
        let mut inner = self.locked();
        if let Some(life) = inner.lives.get_mut(uid) {
            life.end = Some(PodEnd::Crashed);
        }
        inner.stage(uid, Stage::Failed);
        inner.shown(uid, &self.oracle);
    }

    /// From now on, starts take this many times as long; `None`: new pods are stuck until the cluster is healed.
    pub fn slow_down(&self, times: Option<u64>) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        inner.slowness = times;
        inner.start_stuck(now);
    }

    // ---- reports and checks ----

    /// Returns the requests to the API server, and its answers.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, u64)> {
        let records = self.server().records();
        let verbs = records.counts.iter().map(|((verb, resource), times)| (format!("API {verb} {resource}"), *times));
        let codes = records.codes.iter().map(|(code, times)| (format!("API answers {code}"), *times));
        let given_up = records.given_up.iter().map(|(verb, times)| (format!("API {verb} given up"), *times));
        verbs.chain(codes).chain(given_up).collect()
    }

    #[must_use]
    pub fn lives(&self) -> Vec<PodLife> {
        self.locked().lives.values().cloned().collect()
    }

    /// Returns the written spec, the number of pods, the number of ready ones, and the number of writes.
    #[must_use]
    pub fn size(&self) -> (Spec, u32, u32, u64) {
        let inner = self.locked();
        (inner.written, inner.pods.len() as u32, inner.ready() as u32, inner.writes)
    }

    #[must_use]
    pub fn status_replicas(&self) -> (u32, u32) {
        let (spec, pods, _, _) = self.size();
        (spec.replicas, pods)
    }
}

impl Inner {
    fn is_guarded(&self) -> bool {
        let object = self.server.store(|store, _| store.get(Resource::ScaledObjects, NAMESPACE, POOL));
        object.is_ok_and(|object| object["metadata"]["annotations"][PAUSED_SCALE_IN] == "true")
    }

    fn is_disabled(&self) -> bool {
        let hpa = self.server.store(|store, _| store.get(Resource::HorizontalPodAutoscalers, NAMESPACE, AUTOSCALER));
        hpa.is_ok_and(|hpa| hpa["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled")
    }

    /// KEDA's operator adapts its autoscaler some time after the guard has changed.
    fn adjust_autoscaler(&mut self, now: u64, oracle: &Oracle) {
        let guarded = self.is_guarded();
        if guarded == self.is_disabled() {
            self.pauses = None;
            return;
        }
        let at = *self.pauses.get_or_insert_with(|| now + self.dice.random_range(REACTION));
        if at <= now {
            let policy = if guarded { "Disabled" } else { "Max" };
            let patch = json!({ "spec": { "behavior": { "scaleDown": { "selectPolicy": policy } } } });
            let key = Key::new(Resource::HorizontalPodAutoscalers, NAMESPACE, AUTOSCALER);
            let _ = self.server.store(|store, _| store.merge_patch(&key, Part::Whole, &patch));
            oracle.count(format!("KEDA's autoscaler: {policy}"));
        }
    }

    fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.values().find(|p| p.uid == uid)
    }

    fn ready(&self) -> usize {
        self.pods.values().filter(|p| matches!(p.stage, Stage::Ready { .. })).count()
    }

    /// Reads the writes of other components: the size, and deletions. Our own writes appear too, and change nothing.
    fn read_back(&mut self, now: u64, oracle: &Oracle) {
        let since = self.read;
        let (version, changes) = self.server.store(|store, _| {
            let changes: Vec<_> = if store.version() == since {
                Vec::new()
            } else {
                store.changes_after(since).into_iter().flatten().cloned().collect()
            };
            (store.version(), changes)
        });
        self.read = version;
        for change in changes {
            let metadata = &change.object["metadata"];
            if change.key == set_key() && change.deleted {
                oracle.log("the set is deleted, and its pods stay".to_owned());
            } else if change.key == set_key() {
                self.generation = metadata["generation"].as_u64().unwrap_or_default();
                let written = spec(&change.object);
                if written != self.written {
                    self.writes += 1;
                    self.written = written;
                    oracle.size_is(written.start, written.start + written.replicas, written.decided);
                }
            } else if change.key.resource == Resource::Pods
                && (change.deleted || metadata["deletionTimestamp"].is_string())
            {
                let uid = metadata["uid"].as_str().unwrap_or_default();
                let Some(pod) = self.pod(uid) else { continue };
                let (ordinal, known) = (pod.ordinal, pod.terminating.is_some());
                if !known && self.is_lost(uid, now) {
                    // A dispatcher could not reach it either. It may still run, so no other session gets it.
                    oracle.count("pod given up");
                    oracle.log(format!("pod {ordinal} ({uid}) is given up: its node is lost"));
                    self.terminate(uid, now, PodEnd::NodeLost, oracle);
                } else if !known {
                    oracle.recycled(ordinal, uid);
                    self.terminate(uid, now, PodEnd::Recycled, oracle);
                }
                if change.deleted {
                    self.remove(uid, now, oracle);
                }
            }
        }
    }
}
