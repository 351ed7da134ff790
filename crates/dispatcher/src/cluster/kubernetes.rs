//! The pods of a StatefulSet or a Deployment. This file is the handle; `client` connects to the API server, `follow` lists and
//! watches, `workload` and `sight` parse workloads and pods, `reason` explains in plain words why a pod is not ready, `observer`
//! turns all that into observations for the journal, `orders` writes sizes and deletes incarnations, `annotations` writes the
//! annotations that protect pods in use, `pause` the one that keeps KEDA from scaling in.
//!
//! In a steady state nothing is written, and there are few requests: two watches are open, and everything is listed again every
//! hour. While the API server is down no pod starts or ends; sessions and placements continue.

mod annotations;
mod calls;
pub mod client;
mod follow;
mod observer;
mod orders;
mod ordinals;
mod pause;
mod reason;
mod snapshot;
mod workload;

use super::{Attendance, Cluster, ClusterError, Size};
use crate::config::{KubernetesPods, PoolConfig, Workload as Named};
use crate::io::{BoxFuture, Net};
use annotations::Annotations;
use calls::{CallError, Calls, MANAGER, patch_params};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::Patch;
use kube::{Api, Client};
use observer::Observer;
use orders::Orders;
use prometheus::core::Collector;
use serde_json::{Value, json};
use slotkeeper_core::{Command, Ordinal, PoolId, Scaling, Uid, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use workload::Workload;

/// The timeouts and intervals of this adaptor.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The timeout of a call.
    pub call: Duration,
    /// The API server ends a watch after this time, and the watch is opened again.
    pub watch: Duration,
    /// Everything is listed again after this time, in case a watch has missed something.
    pub relist: Duration,
    /// A pod that is being deleted counts as overdue this long after the end of its grace period.
    pub overdue: Duration,
    /// Delays after failures: from the first, doubling, to the second.
    pub retry: (Duration, Duration),
    /// Longest time from when KEDA or its autoscaler reads a value until it has acted on it.
    pub acts: Duration,
    /// How long no session must live before the pause of KEDA's scale-in ends: each change of the pause changes KEDA's
    /// autoscaler.
    pub quiet: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            call: Duration::from_secs(10),
            watch: Duration::from_secs(290),
            relist: Duration::from_secs(3600),
            overdue: Duration::from_secs(10),
            retry: (Duration::from_millis(200), Duration::from_secs(30)),
            acts: Duration::from_secs(10),
            quiet: Duration::from_secs(30),
        }
    }
}

/// Shared by the parts of one pool's adaptor.
struct Site {
    pool: PoolId,
    config: KubernetesPods,
    /// KEDA writes the size, and does not support a first ordinal.
    by_keda: bool,
    /// The pool has a sliding window, which requires a `Parallel` StatefulSet.
    slides: bool,
    /// The dispatcher itself writes the size.
    scales: bool,
    namespace: String,
    client: Client,
    net: Arc<dyn Net>,
    pace: Pace,
    calls: Calls,
    seen: Mutex<Seen>,
    /// Other writers of the size that a warning was logged for.
    warned: Mutex<BTreeSet<String>>,
}

/// Maximum of writers that warnings are logged for.
const MOST_WRITERS: usize = 100;

/// The newest state that has been read.
#[derive(Default)]
struct Seen {
    workload: Option<Workload>,
    /// Living incarnations by ordinal.
    pods: BTreeMap<u32, Living>,
}

/// As much of a living pod as orders and marks need.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Living {
    uid: Uid,
    name: String,
    terminating: bool,
    annotations: BTreeMap<String, String>,
}

impl Site {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn events(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn is_deployment(&self) -> bool {
        matches!(self.config.workload, Named::Deployment(_))
    }

    /// Writes annotations of this incarnation (null removes one), with `version` as a precondition if it is given. False if the
    /// incarnation does not exist any more, or has another version.
    async fn annotate(
        &self,
        name: &str,
        uid: &Uid,
        version: Option<&str>,
        annotations: Value,
    ) -> Result<bool, CallError> {
        let mut metadata = json!({ "uid": &*uid.0, "annotations": annotations });
        if let Some(version) = version {
            metadata["resourceVersion"] = json!(version);
        }
        let body = Patch::Merge(json!({ "metadata": metadata }));
        let call = async { self.pods().patch_metadata(name, &patch_params(), &body).await };
        match self.calls.make(("patch", "pods"), self.pace.call, call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(404) || error.is(409) || error.is(422) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores what was read of the workload, unless something newer is known.
    fn take_workload(&self, workload: Workload) {
        let mut seen = self.seen();
        if let Some(before) = seen.workload.as_ref().filter(|w| w.uid == workload.uid && w.version < workload.version) {
            self.look_for_others(before, &workload);
        }
        if seen.workload.as_ref().is_none_or(|w| w.uid != workload.uid || w.version < workload.version) {
            seen.workload = Some(workload);
        }
    }
}

impl Site {
    /// Detects other writers of the size: two writers undo each other's changes. A dispatcher writes every size together
    /// with its decision: another size with the same decision comes from another writer, unless a dispatcher has just
    /// restored it.
    fn look_for_others(&self, before: &Workload, now: &Workload) {
        if !self.scales || now.span.is_same(before.span) || now.decided != before.decided {
            return;
        }
        let writer = now.writer.as_deref();
        if writer == Some(MANAGER) {
            return;
        }
        self.calls.count_overwritten();
        let writer = writer.unwrap_or("unknown (writing 0 through the scale subresource leaves no name)").to_owned();
        let (pool, from, to) = (&self.pool, before.span.len(), now.span.len());
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < MOST_WRITERS && warned.insert(writer.clone()) {
            tracing::warn!(
                %pool, writer, from, to,
                "another writer changed spec.replicas, which the dispatcher scales: writing its own number again. Two that scale \
                 one workload undo each other. Logged once per writer; counted in slotkeeper_sizes_overwritten_total"
            );
        }
    }
}

/// Starts the pool. Must be called inside a runtime. Dropping it does not affect the pods.
#[must_use]
pub fn start(
    pool: &PoolConfig,
    config: &KubernetesPods,
    client: Client,
    net: Arc<dyn Net>,
    pace: Pace,
) -> Arc<dyn Cluster> {
    let site = Arc::new(Site {
        pool: pool.id.clone(),
        config: config.clone(),
        by_keda: matches!(pool.rules.scaling, Scaling::Keda { .. }),
        slides: matches!(pool.rules.scaling, Scaling::Direct { window: Window::Sliding }),
        scales: matches!(pool.rules.scaling, Scaling::Direct { .. }),
        namespace: config.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned()),
        client,
        net,
        pace,
        calls: Calls::new(&pool.id),
        seen: Mutex::default(),
        warned: Mutex::default(),
    });
    let (reporter, observations) = mpsc::unbounded_channel();
    let (attendance, attended) = watch::channel(None);
    let (proven, proofs) = mpsc::unbounded_channel();
    let observer = tokio::spawn(Observer::new(site.clone(), reporter, proofs).run()).abort_handle();
    let annotations = tokio::spawn(Annotations::new(site.clone(), attended, proven).run()).abort_handle();
    let observations = tokio::sync::Mutex::new(observations);
    let (orders, tasks, stopped) = (Orders::new(site.clone()), [observer, annotations], AtomicBool::new(false));
    Arc::new(Handle { orders, site, observations, attendance, tasks, stopped })
}

struct Handle {
    site: Arc<Site>,
    orders: Orders,
    observations: tokio::sync::Mutex<mpsc::UnboundedReceiver<Command>>,
    attendance: watch::Sender<Option<Attendance>>,
    tasks: [AbortHandle; 2],
    stopped: AtomicBool,
}

impl Cluster for Handle {
    fn next_observation(&self) -> BoxFuture<'_, Command> {
        Box::pin(async move {
            match self.observations.lock().await.recv().await {
                Some(observation) => observation,
                None if self.stopped.load(Ordering::Relaxed) => std::future::pending().await,
                None => panic!("the task that follows the pods of {} has failed (this is a bug)", self.site.pool),
            }
        })
    }

    fn scale(&self, size: Size) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(self.orders.scale(size))
    }

    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(self.orders.recycle(pod.0, uid))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopped.store(true, Ordering::Relaxed);
        self.tasks.iter().for_each(AbortHandle::abort);
        Box::pin(async {})
    }

    fn attend(&self, attendance: Attendance) {
        self.attendance.send_replace(Some(attendance));
    }

    fn wants_attendance(&self) -> bool {
        true
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.site.calls.collectors()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
