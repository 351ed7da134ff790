//! The API server, its controllers, pods that accept connections, and a pool's adaptor.

use crate::size;
use serde_json::{Value, json};
use slotkeeper::cluster::kubernetes::{self, Pace, client};
use slotkeeper::cluster::{Attendance, Attended, Cluster};
use slotkeeper::config::{ClusterConfig, KubernetesPods, PoolConfig, Probe, Workload};
use slotkeeper::io::RealNet;
use slotkeeper_apiserver::controllers::{self, Automatic};
use slotkeeper_apiserver::{Key, Part, Resource, Server, Store};
use slotkeeper_core::{Command, Ordinal, Phase, Rules, Scaling, Uid, Window};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// Time limit of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "games";
pub(crate) const POOL: &str = "gamecube";

pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) cluster: Arc<dyn Cluster>,
    /// The state that the observations add up to.
    pub(crate) told: Observed,
    tasks: JoinSet<()>,
    /// Controllers and kubelets.
    hands: AbortHandle,
    address: SocketAddr,
    pub(crate) config: KubernetesPods,
    pub(crate) automatic: Arc<Mutex<Automatic>>,
    pub(crate) pace: Pace,
    slides: bool,
}

/// The newest phase of each living pod, and the size.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) pods: BTreeMap<u32, (Uid, Phase)>,
    pub(crate) size: Option<(u32, u32, u64)>,
    pub(crate) all: Vec<Command>,
    versions: BTreeMap<u32, u64>,
    listed: u64,
}

impl Observed {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are not observations")]
    fn take(&mut self, news: &Command) {
        self.all.push(news.clone());
        match news {
            Command::PodsListed { pods, version } => {
                assert!(*version >= self.listed, "lists never get older");
                self.listed = *version;
                self.pods = pods.iter().map(|s| (s.pod.0, (s.uid.clone(), s.phase.clone()))).collect();
            }
            Command::PodSeen { pod, uid, phase, version } => {
                assert!(*version > self.listed, "{news:?} is older than the list, and would be ignored");
                let last = self.versions.insert(pod.0, *version).unwrap_or_default();
                assert!(*version > last, "{news:?} is not newer than {last}, and would be ignored");
                self.pods.insert(pod.0, (uid.clone(), phase.clone()));
            }
            Command::PodGone { pod, uid, version } => {
                assert!(*version >= self.versions.get(&pod.0).copied().unwrap_or_default());
                if self.pods.get(&pod.0).is_some_and(|(known, _)| known == uid) {
                    self.pods.remove(&pod.0);
                }
            }
            Command::ScaleSeen { start, replicas, decided, .. } => self.size = Some((*start, *replicas, *decided)),
            Command::ScaleInPaused { .. } | Command::Tick => {}
            other => panic!("not an observation: {other:?}"),
        }
    }

    pub(crate) fn ready(&self) -> Vec<u32> {
        let ready = self.pods.iter().filter(|(_, (_, phase))| matches!(phase, Phase::Ready { .. }));
        ready.map(|(ordinal, _)| *ordinal).collect()
    }

    pub(crate) fn why(&self, ordinal: u32) -> String {
        match self.pods.get(&ordinal) {
            Some((_, Phase::Pending { why } | Phase::Failed { why })) => why.to_string(),
            other => format!("{other:?}"),
        }
    }

    pub(crate) fn uid(&self, ordinal: u32) -> Uid {
        self.pods.get(&ordinal).unwrap_or_else(|| panic!("there is no pod {ordinal}: {self:#?}")).0.clone()
    }
}

/// A StatefulSet with the recommended settings.
pub(crate) fn stateful_set(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": "gamecube", "namespace": NAMESPACE },
        "spec": { "replicas": replicas, "podManagementPolicy": "Parallel", "serviceName": "gamecube",
            "updateStrategy": { "type": "OnDelete" }, "selector": { "matchLabels": { "app": "gamecube" } }, "template": template() }
    })
}

pub(crate) fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "gamecube", "namespace": NAMESPACE },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "gamecube" } }, "template": template() }
    })
}

fn template() -> Value {
    json!({ "metadata": { "labels": { "app": "gamecube" } },
        "spec": { "terminationGracePeriodSeconds": 30, "containers": [{ "name": "gamecube", "image": "gamecube:1" }] } })
}

impl Rig {
    /// The workload exists and runs as many pods as it specifies.
    pub(crate) async fn with(set: Value) -> Rig {
        Rig::new(set, |_| {}).await
    }

    /// `before`: what happens before the adaptor starts.
    pub(crate) async fn new(set: Value, before: impl FnOnce(&Server)) -> Rig {
        // Pods have an address each, and one port.
        let pods = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = pods.local_addr().unwrap().port();
        let server = Server::on_tokio_time(1_764_000_000_000);
        let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = api.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while pods.accept().await.is_ok() {} });
        let served = server.clone();
        tasks.spawn(async move { served.listen(api).await.unwrap() });
        let mut automatic = Automatic::new(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let number = name.bytes().fold(7_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
            format!("127.{}.{}.{}", number % 250 + 1, number / 250 % 250, number / 62_500 % 250 + 1)
        });
        (automatic.ready_after_ms, automatic.gone_after_ms) = (0, 0);
        let automatic = Arc::new(Mutex::new(automatic));
        let resource = if set["kind"] == "Deployment" { Resource::Deployments } else { Resource::StatefulSets };
        server.store(|store, now| store.create(resource, NAMESPACE, set.clone(), now)).unwrap();
        let (world, hands) = (server.clone(), automatic.clone());
        world.store(|store, now| play(store, now, &mut hands.lock().unwrap()));
        let hands_at_work = tasks.spawn(at_work(world, hands));
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        };
        let all = server.until(|store| store.all(Resource::Pods).filter(|p| is_ready(p)).count() == wanted);
        tokio::time::timeout(PATIENCE, all).await.expect("pods get ready");
        before(&server);
        let workload = if resource == Resource::Deployments {
            Workload::Deployment("gamecube".into())
        } else {
            Workload::StatefulSet("gamecube".into())
        };
        let probe = Probe { every: Duration::from_millis(20), ..Probe::default() };
        let config = KubernetesPods {
            workload,
            namespace: Some(NAMESPACE.into()),
            port,
            probe,
            scaled_object: Some("gamecube".into()),
            keda_guard: false,
            give_up: Some(Duration::from_millis(100)),
        };
        let slides = set["metadata"]["labels"]["slides"] == "true";
        let pace = Pace {
            call: Duration::from_secs(5),
            watch: Duration::from_secs(20),
            overdue: Duration::from_millis(100),
            retry: (Duration::from_millis(10), Duration::from_millis(100)),
            acts: Duration::from_millis(100),
            ..Pace::default()
        };
        let cluster = start(address, &config, slides, pace);
        let (told, hands) = (Observed::default(), hands_at_work);
        Rig { server, cluster, told, tasks, hands, address, config, automatic, pace, slides }
    }

    /// Restarts the dispatcher, without any state.
    pub(crate) fn restart(&mut self) {
        self.cluster = start(self.address, &self.config, self.slides, self.pace);
        self.told = Observed::default();
    }

    /// Reads observations until the condition holds.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Observed) -> bool) {
        let read = async {
            while !so(&self.told) {
                self.told.take(&self.cluster.next_observation().await);
            }
        };
        if tokio::time::timeout(PATIENCE, read).await.is_err() {
            panic!("{what}: never; {:#?}\nasked: {:?}", self.told, self.server.counts());
        }
    }

    /// Waits until exactly these pods are ready.
    pub(crate) async fn until_ready(&mut self, ordinals: &[u32]) {
        self.until("ready", |told| {
            told.ready() == ordinals && told.pods.len() == ordinals.len() && told.size.is_some()
        })
        .await;
    }

    pub(crate) async fn scale(&self, start: u32, replicas: u32, decided: u64) {
        self.cluster.scale(size(start, replicas, decided)).await.unwrap();
    }

    /// The StatefulSet or Deployment as it is stored.
    pub(crate) fn workload(&self) -> Value {
        let resource = self.key().resource;
        self.server.store(|store, _| Value::clone(&*store.get(resource, NAMESPACE, "gamecube").unwrap()))
    }

    pub(crate) fn key(&self) -> Key {
        let resource = match self.config.workload {
            Workload::StatefulSet(_) => Resource::StatefulSets,
            Workload::Deployment(_) => Resource::Deployments,
        };
        Key::new(resource, NAMESPACE, "gamecube")
    }

    /// Changes the workload as another writer.
    pub(crate) fn patch(&self, patch: &Value) {
        let key = self.key();
        self.server.store(|store, _| store.merge_patch(&key, Part::Whole, patch)).unwrap();
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.server.store(|store, _| store.get(Resource::Pods, NAMESPACE, name).ok().map(|p| Value::clone(&*p)))
    }

    pub(crate) fn hold(&self, name: &str) {
        self.automatic.lock().unwrap().hold.insert(name.to_owned());
    }

    /// Reports this number of sessions for each observed pod, by ordinal.
    pub(crate) fn attend(&self, sessions: &[u32]) {
        let pods = self.told.pods.iter().map(|(ordinal, (uid, _))| {
            let sessions = sessions.get(*ordinal as usize).copied().unwrap_or_default();
            let retiring =
                self.told.size.is_some_and(|(start, replicas, _)| !(start..start + replicas).contains(ordinal));
            (Ordinal(*ordinal), Attended { uid: uid.clone(), sessions, retiring })
        });
        self.cluster.attend(Attendance {
            active: sessions.iter().sum::<u32>() > 0,
            pods: pods.collect(),
            ..Attendance::default()
        });
    }

    /// Waits until the condition holds for the server's objects.
    pub(crate) async fn until_stored(&self, what: &str, so: impl Fn(&Store) -> bool) {
        if tokio::time::timeout(PATIENCE, self.server.until(so)).await.is_err() {
            panic!("{what}: never; asked: {:?}", self.server.counts());
        }
    }

    pub(crate) fn stop_controllers(&self) {
        self.hands.abort();
    }

    pub(crate) fn start_controllers(&mut self) {
        self.hands = self.tasks.spawn(at_work(self.server.clone(), self.automatic.clone()));
    }
}

async fn at_work(world: Server, hands: Arc<Mutex<Automatic>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        world.store(|store, now| play(store, now, &mut hands.lock().unwrap()));
    }
}

/// One step of the controllers and kubelets.
fn play(store: &mut Store, now: u64, automatic: &mut Automatic) {
    while controllers::step(store, now) {}
    automatic.step(store, now);
    while controllers::step(store, now) {}
}

fn start(address: SocketAddr, config: &KubernetesPods, slides: bool, pace: Pace) -> Arc<dyn Cluster> {
    let scaling = Scaling::Direct { window: if slides { Window::Sliding } else { Window::Fixed } };
    let pool = PoolConfig::new(POOL, Rules { scaling, ..Rules::default() }, ClusterConfig::Kubernetes(config.clone()));
    let mut access = kube::Config::new(format!("http://{address}").parse().unwrap());
    access.default_namespace = NAMESPACE.into();
    let net = Arc::new(RealNet);
    let client = client::client(access, net.clone()).unwrap();
    kubernetes::start(&pool, config, client, net, pace)
}
