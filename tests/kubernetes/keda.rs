//! A KEDA with its autoscaler and a Prometheus, as far as a pause of scale-in matters: the operator disables scale-in in its
//! autoscaler while the ScaledObject has the annotation, and the autoscaler writes the number that it reads, new or old.

use super::cluster::Cluster;
use serde_json::{Value, json};
use slotkeeper_apiserver::{Key, Part, Resource, Server};
use slotkeeper_tests::dispatcher::Metrics;
use slotkeeper_tests::{Dispatcher, Visitor, eventually};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const POOL: &str = "gamecube";
const AUTOSCALER: &str = "keda-hpa-gamecube";
pub(super) const DESIRED: &str = "slotkeeper_pods{pool=\"gamecube\",state=\"desired\"}";

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The operator does not work, so that it does not notice a changed annotation.
    asleep: bool,
    /// The number that the autoscaler acts on, if it is older than the newest one.
    old: Option<u64>,
    /// How often the autoscaler has acted.
    acts: u64,
}

pub(super) struct Keda {
    server: Server,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Keda {
    /// Creates the autoscaler of the cluster's ScaledObject, and starts to scale by the dispatcher's number.
    pub(super) fn of(cluster: &Cluster, dispatcher: &Dispatcher) -> Keda {
        let server = cluster.server.clone();
        let scaled = object(&server, Resource::ScaledObjects);
        let spec = json!({
            "scaleTargetRef": scaled["spec"]["scaleTargetRef"], "maxReplicas": scaled["spec"]["maxReplicaCount"],
            "behavior": scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        });
        let autoscaler = json!({ "metadata": { "name": AUTOSCALER }, "spec": spec });
        server.store(|s, now| s.create(Resource::HorizontalPodAutoscalers, POOL, autoscaler, now)).unwrap();
        let (state, admin) = (Arc::<Mutex<State>>::default(), dispatcher.admin);
        let mut tasks = JoinSet::new();
        tasks.spawn(run(server.clone(), state.clone(), admin));
        Keda { server, state, _tasks: tasks }
    }

    /// Stops or restarts the operator. Its autoscaler continues.
    pub(super) fn sleeps(&self, asleep: bool) {
        self.state.lock().unwrap().asleep = asleep;
    }

    /// The autoscaler is as if its operator had not noticed the pause yet.
    pub(super) fn allow_scale_in(&self) {
        write_policy(&self.server, "Max");
    }

    /// The number that the autoscaler acts on from now on; `None`: the newest one.
    pub(super) fn reads(&self, old: Option<u64>) {
        self.state.lock().unwrap().old = old;
    }

    /// Waits until it has acted several times.
    pub(super) async fn acts(&self) {
        let acts = || self.state.lock().unwrap().acts;
        let before = acts();
        eventually("KEDA to act", async || acts() > before + 3).await;
    }

    pub(super) fn is_paused(&self) -> bool {
        is_paused(&object(&self.server, Resource::ScaledObjects))
    }

    pub(super) fn scales_in_nothing(&self) -> bool {
        scales_in_nothing(&object(&self.server, Resource::HorizontalPodAutoscalers))
    }
}

async fn run(server: Server, state: Arc<Mutex<State>>, admin: SocketAddr) {
    loop {
        let metrics = Metrics(Visitor::at(admin).get("/metrics").await.text());
        // A dispatcher that cannot know the number reports none: then KEDA does nothing.
        if let Some(desired) = metrics.get(DESIRED) {
            let mut state = state.lock().unwrap();
            step(&server, state.old.unwrap_or(desired as u64), state.asleep);
            state.acts += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn step(server: &Server, number: u64, asleep: bool) {
    let is_paused = is_paused(&object(server, Resource::ScaledObjects));
    if !asleep {
        write_policy(server, if is_paused { "Disabled" } else { "Max" });
    }
    let autoscaler = object(server, Resource::HorizontalPodAutoscalers);
    let now = object(server, Resource::StatefulSets)["spec"]["replicas"].as_u64().unwrap_or(1);
    let wanted = size(now, number, &autoscaler, !asleep && !is_paused);
    if wanted != now {
        let key = Key::new(Resource::StatefulSets, POOL, POOL);
        let size = json!({ "spec": { "replicas": wanted } });
        server.store(|store, _| store.merge_patch(&key, Part::Whole, &size)).unwrap();
    }
}

fn object(server: &Server, resource: Resource) -> Arc<Value> {
    let name = if resource == Resource::HorizontalPodAutoscalers { AUTOSCALER } else { POOL };
    server.store(|store, _| store.get(resource, POOL, name)).unwrap()
}

fn write_policy(server: &Server, policy: &str) {
    let key = Key::new(Resource::HorizontalPodAutoscalers, POOL, AUTOSCALER);
    let spec = json!({ "spec": { "behavior": { "scaleDown": { "selectPolicy": policy } } } });
    server.store(|store, _| store.merge_patch(&key, Part::Whole, &spec)).unwrap();
}

fn scales_in_nothing(autoscaler: &Value) -> bool {
    autoscaler["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
}

fn is_paused(object: &Value) -> bool {
    object["metadata"]["annotations"]["autoscaling.keda.sh/paused-scale-in"] == "true"
}

/// The size that is written: the operator writes the first pod and 0, its autoscaler the other sizes.
fn size(now: u64, number: u64, autoscaler: &Value, may_sleep: bool) -> u64 {
    let most = autoscaler["spec"]["maxReplicas"].as_u64().unwrap();
    match number {
        _ if now == 0 => number.min(1),
        0 if may_sleep => 0,
        _ if number < now && scales_in_nothing(autoscaler) => now,
        _ => number.clamp(1, most),
    }
}
