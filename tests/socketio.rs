//! Socket.IO through the dispatcher, with its own server as pods and its own client: every request of a client's long-polling
//! reaches the one pod that knows it, its upgrade goes to the same pod, and only upgraded connections count as tunnels.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use slotkeeper_api::Phase;
use slotkeeper_tests::{Dispatcher, Setup, eventually, patiently};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// The folder in which `socketio/setup` has installed Socket.IO.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(here("setup")).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tests/socketio/setup fetches Socket.IO from npm: {said}");
        PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
    })
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("socketio").join(name)
}

fn node(script: &str) -> tokio::process::Command {
    let mut node = tokio::process::Command::new("node");
    node.arg(here(script)).arg(installed()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    node
}

/// A Socket.IO server.
struct Server {
    name: String,
    address: SocketAddr,
    child: Child,
    _said: Lines<BufReader<ChildStdout>>,
}

impl Server {
    async fn start(name: &str, address: SocketAddr) -> Server {
        let mut command = node("pod.mjs");
        command.args([address.ip().to_string(), address.port().to_string(), name.to_owned()]);
        let mut child = command.spawn().expect("node runs: install Node.js (tests/run does)");
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(patiently("the server", said.next_line()).await.unwrap().as_deref(), Some("ready"), "{name}");
        Server { name: name.into(), address, child, _said: said }
    }

    async fn end(mut self, signal: Signal) -> (String, SocketAddr) {
        kill_process(Pid::from_raw(self.child.id().unwrap() as i32).unwrap(), signal).unwrap();
        patiently("its end", self.child.wait()).await.unwrap();
        (self.name, self.address)
    }
}

/// Socket.IO clients in their own process.
struct Clients {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// The pod and session of a client, as its server reports them.
#[derive(Debug)]
struct Client {
    kind: String,
    pod: String,
    session: String,
    transport: String,
    extensions: String,
    protocol: String,
    connects: u64,
    errors: usize,
}

impl Client {
    fn of(said: &Value) -> Client {
        let text = |key: &str| said[key].as_str().unwrap_or_else(|| panic!("no {key} in {said}")).to_owned();
        Client {
            kind: text("kind"),
            pod: text("pod"),
            session: text("session"),
            transport: text("transport"),
            extensions: text("extensions"),
            protocol: text("protocol"),
            connects: said["connects"].as_u64().unwrap(),
            errors: said["errors"].as_array().unwrap().len(),
        }
    }
}

impl Clients {
    fn start(dispatcher: &Dispatcher) -> Clients {
        let mut child = node("clients.mjs").arg(format!("http://{}", dispatcher.visitors)).spawn().expect("node runs");
        let (commands, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Clients { _child: child, commands, answers: BufReader::new(answers).lines() }
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let answer = patiently(&command.to_string(), self.answers.next_line()).await.unwrap();
        serde_json::from_str(&answer.expect("the clients live")).unwrap()
    }

    async fn join(&mut self, kind: &str, count: usize) {
        self.ask(json!({ "command": "join", "kind": kind, "count": count })).await;
    }

    async fn who(&mut self) -> Vec<Client> {
        self.who_of(&["polling", "upgraded", "websocket", "keeping"]).await
    }

    /// Waits until all clients of these kinds are connected, and upgraded if that is expected.
    async fn who_of(&mut self, kinds: &[&str]) -> Vec<Client> {
        let said = self.ask(json!({ "command": "who", "kinds": kinds })).await;
        said.as_array().unwrap().iter().map(Client::of).collect()
    }

    /// Every client exchanges messages with its pod, and with no other.
    async fn talk(&mut self, where_they_are: &[Client]) {
        let heard = self.ask(json!({ "command": "talk", "messages": 20, "length": 500 })).await;
        for (heard, client) in heard.as_array().unwrap().iter().zip(where_they_are) {
            assert_eq!(*heard, json!({ "kind": client.kind, "pods": [client.pod], "inOrder": true }), "{client:?}");
        }
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.5:0").unwrap().local_addr().unwrap()
}

async fn three_servers() -> Vec<Server> {
    let mut servers = Vec::new();
    for name in ["red", "green", "blue"] {
        servers.push(Server::start(name, free()).await);
    }
    servers
}

/// A shared pool of these servers: new sessions need not wait, and go to the pod with the fewest.
async fn before(servers: &[Server]) -> Dispatcher {
    let pods: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    let pools = format!(
        "[pools.pool]\nslots_per_pod = 1000\nadmission = \"immediate\"\ngrace_seconds = 2\n[pools.pool.fixed]\n\
         pods = [{}]\n[pools.pool.fixed.probe]\nevery_seconds = 0.1\n",
        pods.join(", ")
    );
    Setup { pools, ..Setup::default() }.start().await
}

async fn tunnels(dispatcher: &Dispatcher) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_streams_open", "kind=upgraded")
}

async fn tunnels_are(dispatcher: &Dispatcher, count: u64) {
    eventually(&format!("{count} tunnels"), async || tunnels(dispatcher).await == count).await;
}

async fn pods_are_ready(dispatcher: &Dispatcher, count: usize) {
    eventually(&format!("{count} pods to be ready"), async || {
        dispatcher.pool().await.pods.iter().filter(|pod| pod.phase == Phase::Ready).count() == count
    })
    .await;
}

/// The number of clients at each pod.
fn spread(clients: &[Client]) -> BTreeMap<&str, usize> {
    let mut pods = BTreeMap::new();
    for client in clients {
        *pods.entry(&*client.pod).or_default() += 1;
    }
    pods
}

#[tokio::test]
async fn every_client_stays_with_its_pod_however_it_is_connected() {
    let servers = three_servers().await;
    let dispatcher = before(&servers).await;
    let mut clients = Clients::start(&dispatcher);
    clients.join("polling", 15).await;
    assert_eq!(tunnels(&dispatcher).await, 0, "long-polling is requests, however long");
    clients.join("upgraded", 15).await;
    tunnels_are(&dispatcher, 15).await;
    clients.join("websocket", 15).await;
    tunnels_are(&dispatcher, 30).await;

    let who = clients.who().await;
    let sessions: BTreeSet<&str> = who.iter().map(|client| &*client.session).collect();
    assert_eq!(sessions.len(), 45, "every client is a session of its own");
    assert_eq!(dispatcher.pool().await.sessions.taken, 45, "and has one only");
    assert_eq!(spread(&who), BTreeMap::from([("red", 15), ("green", 15), ("blue", 15)]));
    for client in &who {
        assert_eq!((client.connects, client.errors), (1, 0), "{client:?}");
        let upgraded = client.kind != "polling";
        assert_eq!(client.transport, if upgraded { "websocket" } else { "polling" });
        assert_eq!(client.protocol, if upgraded { "chat.v2" } else { "" });
        let deflates = client.extensions.starts_with("permessage-deflate");
        assert_eq!(deflates, upgraded, "{client:?}");
    }

    clients.talk(&who).await;
    let after = clients.who().await;
    let places = |who: &[Client]| -> Vec<String> { who.iter().map(|c| format!("{} {}", c.pod, c.session)).collect() };
    assert_eq!(places(&who), places(&after), "no client has moved");
    assert!(after.iter().all(|client| client.connects == 1));
    assert_eq!(tunnels(&dispatcher).await, 30);

    clients.ask(json!({ "command": "leave" })).await;
    tunnels_are(&dispatcher, 0).await;
}

#[tokio::test]
async fn clients_of_an_ended_pod_reconnect_elsewhere_or_to_its_next_incarnation() {
    let mut servers = three_servers().await;
    let dispatcher = before(&servers).await;
    let mut clients = Clients::start(&dispatcher);
    for kind in ["polling", "upgraded", "websocket", "keeping"] {
        clients.join(kind, 6).await;
    }
    tunnels_are(&dispatcher, 18).await;
    for signal in [Signal::TERM, Signal::KILL] {
        let before = clients.who().await;
        let (name, address) = servers.remove(0).end(signal).await;
        pods_are_ready(&dispatcher, 2).await;
        // The cookie jar of Node's client ends with its connection: the client reconnects as a new session, to another pod.
        let meanwhile = clients.who_of(&["polling", "upgraded", "websocket"]).await;
        assert!(meanwhile.iter().all(|client| client.pod != name), "{name} is not there: {meanwhile:?}");
        // A cookie that is sent with every request does: such a client waits for the next incarnation at the same address.
        servers.push(Server::start(&name, address).await);
        pods_are_ready(&dispatcher, 3).await;
        let after = clients.who().await;
        for (was, is) in before.iter().zip(&after) {
            let lost = was.pod == name;
            assert_eq!(is.connects > was.connects, lost, "only clients of that pod reconnect: {was:?} {is:?}");
            let keeps = !lost || is.kind == "keeping";
            assert_eq!((is.session == was.session, is.pod == was.pod), (keeps, keeps), "{was:?} {is:?}");
        }
        clients.talk(&after).await;
        tunnels_are(&dispatcher, 18).await;
    }
    clients.ask(json!({ "command": "leave" })).await;
    tunnels_are(&dispatcher, 0).await;
}
