//! A cluster of one StatefulSet or Deployment in this process: API server, controllers, kubelet; each pod is a server that
//! returns its name, echoes over WebSockets, and records whether it was deleted under an open one.

use crate::manifests::objects::Case;
use serde_json::{Value, json};
use slotkeeper_apiserver::controllers::{self, Automatic, Pod as Actuator};
use slotkeeper_apiserver::{Access, Deletion, Key, Part, Resource, Server, Status};
use slotkeeper_tests::pod::{Pod, Request, echo, ok, read, switch};
use slotkeeper_tests::{Dispatcher, patiently};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const TOKEN: &str = "a-token-of-this-test";

/// The workload of the dispatcher in a rendered system.
#[derive(Clone, Copy)]
pub(super) struct Workload {
    kind: &'static str,
    resource: Resource,
    /// The name of the workload and of its namespace.
    name: &'static str,
    /// Parts of its configuration that do not fit a test, and their replacements.
    own: &'static [(&'static str, &'static str)],
}

pub(super) const GAMECUBE: Workload = Workload {
    kind: "StatefulSet",
    resource: Resource::StatefulSets,
    name: "gamecube",
    own: &[("landing_url = \"http://gamecube-landing-page/\"\n", ""), ("file:/var/lib/slotkeeper", "file:journal")],
};
pub(super) const GATEWAYS: Workload = Workload {
    kind: "Deployment",
    resource: Resource::Deployments,
    name: "websocket-gateway",
    own: &[
        ("redis://slotkeeper-redis:6379", "file:journal"),
        ("password_file = \"/redis/password\"\n", ""),
        ("silence_seconds = 60\n", ""),
    ],
};

pub(super) struct Cluster {
    workload: Workload,
    manifest: Value,
    pub(super) server: Server,
    configuration: String,
    api: SocketAddr,
    /// The API server for operators: these connections may do everything.
    operator: SocketAddr,
    automatic: Arc<Mutex<Automatic>>,
    running: Arc<Mutex<Running>>,
    _tasks: JoinSet<()>,
}

/// The containers, by the names of their pods.
#[derive(Default)]
struct Running {
    /// Each with the number of its open WebSockets.
    pods: BTreeMap<String, (Pod, Arc<AtomicUsize>)>,
    port: u16,
    started: u32,
    killed: Vec<String>,
}

impl Running {
    fn start(&mut self, name: &str) -> String {
        self.started += 1;
        let address = format!("127.77.{}.{}", self.started / 250, self.started % 250 + 1);
        let listener = std::net::TcpListener::bind((address.as_str(), self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (said, sockets) = (name.to_owned(), Arc::<AtomicUsize>::default());
        let open = sockets.clone();
        let pod = Pod::at(TcpListener::from_std(listener).unwrap(), move |mut wire, seen| {
            let (said, open) = (said.clone(), open.clone());
            async move {
                while let Some(head) = wire.head().await {
                    if head.get("upgrade").is_some() {
                        seen.note(Request { head: head.clone(), ..Request::default() });
                        open.fetch_add(1, Ordering::Relaxed);
                        echo(switch(wire, &head, "").await).await;
                        open.fetch_sub(1, Ordering::Relaxed);
                        return;
                    }
                    seen.note(read(&mut wire, head, 0).await);
                    wire.send(ok(&said)).await;
                }
            }
        });
        self.pods.insert(name.to_owned(), (pod, sockets));
        address
    }

    /// Removes the container, without reporting it.
    fn lose(&mut self, name: &str) {
        self.pods.remove(name);
    }

    /// Ends the containers of pods that are terminating or no longer exist.
    fn end(&mut self, ending: &[String], there: &[String]) {
        for name in ending {
            let open = self.pods.get(name).is_some_and(|(_, sockets)| sockets.load(Ordering::Relaxed) > 0);
            if open && !self.killed.contains(name) {
                self.killed.push(name.clone());
            }
        }
        self.pods.retain(|name, _| there.contains(name));
    }
}

impl Cluster {
    /// The workload, the role and the configuration of a rendered system, the latter with these changes.
    pub(super) async fn of(case: &Case, workload: Workload, changes: &[(&str, &str)]) -> Cluster {
        let namespace = workload.name;
        let server = Server::on_tokio_time(1_764_000_000_000);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap();
        let account = format!("system:serviceaccount:{namespace}:slotkeeper");
        let access = Access::of_role(&account, case.one("Role", "slotkeeper")).unwrap();
        assert_eq!(access.namespace.as_deref(), Some(namespace));
        server.restrict(Some(access));
        server.require_token(Some(TOKEN));
        // Any port that is free: each pod has an address of its own, and all have this port.
        let port = TcpListener::bind("127.77.255.1:0").await.unwrap().local_addr().unwrap().port();
        let running = Arc::new(Mutex::new(Running { port, ..Running::default() }));
        let mut automatic = Automatic::new({
            let running = running.clone();
            move |pod| running.lock().unwrap().start(pod["metadata"]["name"].as_str().unwrap())
        });
        (automatic.ready_after_ms, automatic.gone_after_ms) = (30, 30);
        let automatic = Arc::new(Mutex::new(automatic));
        let manifest = case.one(workload.kind, workload.name).clone();
        let object = manifest.clone();
        server.store(|store, now| store.create(workload.resource, namespace, object, now)).unwrap();
        let mut tasks = JoinSet::new();
        let operators = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let operator = operators.local_addr().unwrap();
        for (served, listener) in [(server.clone(), listener), (server.trusting(), operators)] {
            tasks.spawn(async move { served.listen(listener).await.unwrap() });
        }
        let (world, hands, containers) = (server.clone(), automatic.clone(), running.clone());
        tasks.spawn(async move {
            loop {
                let (ending, there) = world.store(|store, now| {
                    while controllers::step(store, now) {}
                    hands.lock().unwrap().step(store, now);
                    while controllers::step(store, now) {}
                    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
                    let is_ending = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
                    let pods = || store.all(Resource::Pods);
                    let ending: Vec<String> = pods().filter(|p| is_ending(p)).map(|p| name(p)).collect();
                    (ending, pods().map(|p| name(p)).collect::<Vec<_>>())
                });
                containers.lock().unwrap().end(&ending, &there);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut configuration = case.configuration();
        let own = [
            ("\"0.0.0.0:8080\"", "\"127.0.0.1:0\"".to_owned()),
            ("\"0.0.0.0:9090\"", "\"127.0.0.2:0\"".to_owned()),
            ("cookie_keys_file = \"/secrets/cookie-keys\"", "cookie_keys_file = \"cookie-keys\"".to_owned()),
            ("token_file = \"/secrets/admin-token\"\n", String::new()),
            ("port = 3000", format!("port = {port}")),
        ];
        let changes = workload.own.iter().chain(changes).map(|(from, to)| (*from, (*to).to_owned()));
        for (from, to) in own.into_iter().chain(changes) {
            assert!(configuration.contains(from), "{from:?} is not in\n{configuration}");
            configuration = configuration.replacen(from, &to, 1);
        }
        configuration = format!("{configuration}\n[kubernetes]\nkubeconfig = \"kubeconfig\"\n");
        Cluster { workload, manifest, server, configuration, api, operator, automatic, running, _tasks: tasks }
    }

    pub(super) async fn dispatcher(&self) -> Dispatcher {
        let (folder, file) = self.files();
        Dispatcher::serve(folder, &file, &[]).await
    }

    /// A dispatcher that need not be ready.
    pub(super) async fn beginning(&self) -> Dispatcher {
        let (folder, file) = self.files();
        Dispatcher::listens(folder, &file, &[]).await
    }

    fn kubeconfig(&self, api: SocketAddr) -> String {
        let namespace = self.workload.name;
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{ "name": "test", "cluster": { "server": format!("http://{api}") } }],
            "users": [{ "name": "slotkeeper", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "here", "context": { "cluster": "test", "user": "slotkeeper", "namespace": namespace } }],
        })
        .to_string()
    }

    /// Runs `k8s/make-again` as an operator does, with the workload alone as the system. Returns its output.
    pub(super) async fn make_again_by_script(&self, pods: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("system");
        std::fs::create_dir(&system).unwrap();
        std::fs::write(folder.path().join("kubeconfig"), self.kubeconfig(self.operator)).unwrap();
        std::fs::write(system.join("kustomization.yaml"), "resources: [workload.yaml]\n").unwrap();
        std::fs::write(system.join("workload.yaml"), self.manifest.to_string()).unwrap();
        let kubectl = crate::manifests::objects::tools();
        let path = std::env::var("PATH").unwrap_or_default();
        let name = self.workload.name;
        let run = tokio::process::Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/make-again"))
            .arg(&system)
            .args([name, name, &pods.to_string()])
            .env("PATH", format!("{}:{path}", kubectl.display()))
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .env("HOME", folder.path())
            .kill_on_drop(true)
            .output();
        let output = patiently("the script to end", run).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}\n{:#?}", self.server.records().lines);
        format!("{out}{err}")
    }

    fn files(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("kubeconfig", &self.kubeconfig(self.api));
        write("cookie-keys", &("A".repeat(43) + "="));
        write("slotkeeper.toml", &self.configuration);
        let file = folder.path().join("slotkeeper.toml");
        (folder, file)
    }

    /// Adds this number of running pods; all of them answer.
    pub(super) async fn load(&self, count: u32) -> tokio::task::JoinHandle<()> {
        let port = self.running.lock().unwrap().port;
        let listener = TcpListener::bind(("0.0.0.0", port)).await.unwrap();
        self.server.store(|store, _| {
            let Workload { resource, name, .. } = self.workload;
            let key = Key::new(resource, name, name);
            store.change(&key, Part::Whole, |set| set["spec"]["replicas"] = json!(count)).unwrap();
            let set = store.get(resource, name, name).unwrap();
            let template = &set["spec"]["template"];
            let owner = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "gamecube",
                "uid": set["metadata"]["uid"], "controller": true }]);
            let condition = |kind: &str| json!({ "type": kind, "status": "True" });
            for n in 0..count {
                let version = store.version() + 1;
                let pod = json!({ "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "name": format!("gamecube-{n}"), "namespace": name, "uid": format!("uid-{n}"),
                        "resourceVersion": version.to_string(), "labels": template["metadata"]["labels"], "ownerReferences": owner },
                    "spec": template["spec"],
                    "status": { "phase": "Running", "podIP": format!("127.{}.{}.1", n / 250 + 100, n % 250),
                        "conditions": [condition("PodScheduled"), condition("Ready")] } });
                store.load(pod).unwrap();
            }
        });
        tokio::spawn(async move { while listener.accept().await.is_ok() {} })
    }

    pub(super) fn pods(&self) -> Vec<String> {
        self.server.store(|store, _| {
            let pods = store.all(Resource::Pods);
            pods.map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        })
    }

    pub(super) fn replicas(&self) -> u64 {
        let Workload { resource, name, .. } = self.workload;
        let object = self.server.store(|store, _| store.get(resource, name, name).unwrap());
        object["spec"]["replicas"].as_u64().unwrap_or(1)
    }

    /// Creates another object of the system.
    pub(super) fn add(&self, resource: Resource, object: Value) {
        self.server.store(|store, now| store.create(resource, self.workload.name, object, now)).unwrap();
    }

    pub(super) fn workload_uid(&self) -> Value {
        let Workload { resource, name, .. } = self.workload;
        self.server.store(|store, _| store.get(resource, name, name).unwrap())["metadata"]["uid"].clone()
    }

    pub(super) fn uid(&self, pod: &str) -> Value {
        self.server.store(|store, _| store.get(Resource::Pods, self.workload.name, pod).unwrap())["metadata"]["uid"]
            .clone()
    }

    /// Deletes the workload; its pods stay, without an owner.
    pub(super) async fn orphan(&self) {
        let Workload { resource, name, .. } = self.workload;
        let deletion = Deletion { orphan: true, ..Deletion::default() };
        self.server.store(|store, now| store.delete(&Key::new(resource, name, name), &deletion, now)).unwrap();
        let gone = self.server.until(move |store| store.get(resource, name, name).is_err());
        patiently("the workload to be deleted", gone).await;
    }

    /// Creates the workload again from its manifest, or with this number of pods.
    pub(super) fn make_again(&self, replicas: Option<u64>) {
        let Workload { resource, name, .. } = self.workload;
        let mut object = self.manifest.clone();
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        self.server.store(|store, now| store.create(resource, name, object, now)).unwrap();
    }

    /// The pod's node is dead, and Kubernetes notices at once.
    pub(super) fn lose_node_of(&self, pod: &str) {
        self.stop_node_of(pod);
        self.notice_loss_of(pod);
    }

    /// The pod's node is dead: nothing answers any more, and no kubelet writes.
    pub(super) fn stop_node_of(&self, pod: &str) {
        self.hold(pod);
        self.running.lock().unwrap().lose(pod);
    }

    /// Kubernetes notices that.
    pub(super) fn notice_loss_of(&self, pod: &str) {
        self.touch(pod, |pod| pod.lost().map(drop));
    }

    /// From now on pods are ready this long after their creation.
    pub(super) fn starts_in(&self, time: Duration) {
        self.automatic.lock().unwrap().ready_after_ms = u64::try_from(time.as_millis()).unwrap();
    }

    /// Waits until this number of replicas is wanted.
    pub(super) async fn wants(&self, replicas: u64) {
        let Workload { resource, name, .. } = self.workload;
        let so = self.server.until(move |store| {
            let object = store.get(resource, name, name).unwrap();
            object["spec"]["replicas"].as_u64() == Some(replicas)
        });
        patiently("another size", so).await;
    }

    pub(super) fn annotation(&self, pod: &str, key: &str) -> Option<String> {
        let pod = self.server.store(|store, _| store.get(Resource::Pods, self.workload.name, pod).ok())?;
        pod["metadata"]["annotations"][key].as_str().map(str::to_owned)
    }

    pub(super) fn hold(&self, pod: &str) {
        self.automatic.lock().unwrap().hold.insert(pod.to_owned());
    }

    pub(super) fn release(&self, pod: &str) {
        self.automatic.lock().unwrap().hold.remove(pod);
    }

    pub(super) fn touch(&self, pod: &str, act: impl FnOnce(&mut Actuator<'_>) -> Result<(), Status>) {
        self.server.store(|store, now| act(&mut controllers::pod(store, now, self.workload.name, pod))).unwrap();
    }

    pub(super) fn away(&self, away: bool) {
        self.server.faults(|faults| faults.away = away);
        if away {
            self.server.cut_connections();
        }
    }

    /// Pods that were deleted while a WebSocket was open.
    pub(super) fn killed(&self) -> Vec<String> {
        self.running.lock().unwrap().killed.clone()
    }

    /// Requests that the role did not allow.
    pub(super) fn refused(&self) -> usize {
        self.server.records().lines.iter().filter(|line| line.code == 403).count()
    }
}
