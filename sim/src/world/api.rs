//! The API server on the network, and the dispatchers' way to it: a `Cluster` that watches, relists when the connection
//! breaks, knocks at a new pod once before it calls it ready, and hands orders on.

use super::kube::{Kube, Object, Pod, Stage};
use super::truth::Truth;
use crate::models::watch::{Fate, News, Watch};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use slotkeeper::cluster::{Attendance, Cluster, ClusterError};
use slotkeeper::outside::{BoxFuture, Net, now};
use slotkeeper_core::{Command, Ordinal, Phase, Sighting, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use turmoil::net::{TcpListener, TcpStream};

pub const PORT: u16 = 6443;
const PATIENCE: Duration = Duration::from_secs(2);
const BREATH: Duration = Duration::from_millis(300);
/// The server says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often a watch looks for news.
const LOOK: Duration = Duration::from_millis(20);
/// How long nobody lives before KEDA may scale in.
const QUIET: Duration = Duration::from_secs(6);
/// How often somebody looks whether the guard is still there.
const VERIFY: Duration = Duration::from_secs(12);

#[derive(Serialize, Deserialize)]
enum Request {
    Watch,
    Scale {
        start: u32,
        replicas: u32,
        decided: u64,
    },
    Recycle {
        ordinal: u32,
        uid: String,
    },
    /// KEDA scales nothing in, or may.
    Guard {
        on: bool,
    },
}

#[derive(Serialize, Deserialize)]
enum Wire {
    List(Vec<Object>),
    Put(Object),
    Gone(Object),
    StillHere,
}

/// The API server as its faults see it.
#[derive(Clone)]
pub struct Api {
    pub kube: Kube,
    pub truth: Truth,
    pub dice: Arc<Mutex<ChaCha8Rng>>,
    /// Watches are slow, stutter and break.
    pub shaky: Arc<AtomicBool>,
}

impl Api {
    fn draw(&self, of: u64) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..of)
    }

    fn fate(&self) -> Fate {
        if self.shaky.load(Ordering::Relaxed) {
            Fate { delay: self.draw(2_000), twice: self.draw(3) == 0 }
        } else {
            Fate { delay: self.draw(60), twice: false }
        }
    }

    /// The API server's host.
    pub async fn serve(self) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let api = self.clone();
            tokio::spawn(async move {
                // A client that is gone connects again.
                let _ = api.answer(stream).await;
            });
        }
    }

    async fn answer(self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match serde_json::from_str(&line).map_err(io::Error::other)? {
            Request::Watch => return self.watch(stream).await,
            Request::Scale { start, replicas, decided } => self.kube.scale(start, replicas, decided),
            Request::Recycle { ordinal, uid } => self.kube.recycle(ordinal, &uid),
            Request::Guard { on } => self.kube.guard(on),
        }
        stream.write_all(b"ok\n").await
    }

    async fn watch(self, mut stream: BufReader<TcpStream>) -> io::Result<()> {
        let mut watch = Watch::new();
        let mut quiet = Duration::ZERO;
        loop {
            if self.shaky.load(Ordering::Relaxed) && self.draw(150) == 0 {
                self.truth.count("watch broken");
                return Ok(());
            }
            let events = self.kube.poll(&mut watch, self.truth.now(), || self.fate());
            let mut text = String::new();
            for event in events {
                let wire = match event.news {
                    News::Relist(objects) => Wire::List(objects),
                    News::Added(object) | News::Modified(object) => Wire::Put(object),
                    News::Deleted(object) => Wire::Gone(object),
                };
                text += &serde_json::to_string(&(event.version, wire)).map_err(io::Error::other)?;
                text.push('\n');
            }
            quiet += LOOK;
            if text.is_empty() && quiet >= HEARTBEAT {
                text = serde_json::to_string(&(0, Wire::StillHere)).map_err(io::Error::other)?;
                text.push('\n');
            }
            if !text.is_empty() {
                quiet = Duration::ZERO;
                stream.write_all(text.as_bytes()).await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A dispatcher's way to the API server.
pub struct SimCluster {
    at: IpAddr,
    news: tokio::sync::Mutex<mpsc::UnboundedReceiver<Command>>,
    /// Whether anybody lives, where KEDA is to be kept from scaling in meanwhile.
    lives: Option<watch::Sender<Option<bool>>>,
}

impl SimCluster {
    /// To be called on the dispatcher's host. `guards`: KEDA does not scale in while anybody lives.
    pub fn start(at: IpAddr, net: Arc<dyn Net>, guards: bool) -> Arc<SimCluster> {
        let (sender, news) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut client = Client { at, net, sender, knocked: BTreeSet::new(), pods: BTreeMap::new(), version: 0 };
            loop {
                let _ = client.follow().await;
                tokio::time::sleep(BREATH).await;
            }
        });
        let lives = guards.then(|| watch::Sender::new(None));
        let lived = lives.as_ref().map(watch::Sender::subscribe);
        let cluster = Arc::new(SimCluster { at, news: tokio::sync::Mutex::new(news), lives });
        if let Some(lived) = lived {
            tokio::spawn(guard(cluster.clone(), lived));
        }
        cluster
    }

    async fn order(&self, request: Request) -> Result<(), ClusterError> {
        let answered = async {
            let mut stream = BufReader::new(TcpStream::connect((self.at, PORT)).await?);
            let mut text = serde_json::to_string(&request).map_err(io::Error::other)?;
            text.push('\n');
            stream.write_all(text.as_bytes()).await?;
            let mut line = String::new();
            match stream.read_line(&mut line).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            }
        };
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answered) => answered.map_err(ClusterError::Unreachable),
            Err(late) => Err(ClusterError::Unreachable(io::Error::other(late))),
        }
    }
}

impl Cluster for SimCluster {
    fn news(&self) -> BoxFuture<'_, Command> {
        Box::pin(async move {
            match self.news.lock().await.recv().await {
                Some(news) => news,
                None => std::future::pending().await,
            }
        })
    }

    fn scale(&self, start: u32, replicas: u32, decided: u64) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(self.order(Request::Scale { start, replicas, decided }))
    }

    fn recycle(&self, pod: Ordinal, uid: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(self.order(Request::Recycle { ordinal: pod.0, uid: uid.0.to_string() }))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn attend(&self, attendance: Attendance) {
        if let Some(lives) = &self.lives {
            lives.send_replace(Some(attendance.active));
        }
    }

    fn wants_attendance(&self) -> bool {
        self.lives.is_some()
    }
}

/// Writes the guard as the real adaptor does (`keda_guard`), in a fifth of its times.
async fn guard(cluster: Arc<SimCluster>, lives: watch::Receiver<Option<bool>>) {
    // Who starts anew does not know since when nobody lives.
    let mut until = now() + QUIET;
    let mut written = None;
    loop {
        let is_active = *lives.borrow();
        if is_active == Some(true) {
            until = now() + QUIET;
        }
        let on = is_active == Some(true);
        let is_known = written.is_some_and(|(what, at)| what == on && (!on || now() < at + VERIFY));
        let may = is_active.is_some() && (on || now() >= until);
        if may && !is_known && cluster.order(Request::Guard { on }).await.is_ok() {
            written = Some((on, now()));
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Follows the watch. An odd version is this client's own refinement of the even one before it: "and it answers".
struct Client {
    at: IpAddr,
    net: Arc<dyn Net>,
    sender: mpsc::UnboundedSender<Command>,
    /// Incarnations that have taken a connection of ours.
    knocked: BTreeSet<String>,
    pods: BTreeMap<u32, Pod>,
    /// The newest one read.
    version: u64,
}

impl Client {
    async fn follow(&mut self) -> io::Result<()> {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((self.at, PORT))).await;
        let mut stream = BufReader::new(connected.map_err(io::Error::other)??);
        let mut text = serde_json::to_string(&Request::Watch).map_err(io::Error::other)?;
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        let (knocks, mut answers) = mpsc::unbounded_channel::<String>();
        let mut line = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(uid) = answers.recv() => self.answers(&uid),
                read = tokio::time::timeout(HEARTBEAT * 3, stream.read_until(b'\n', &mut line)) => {
                    if read.map_err(io::Error::other)?? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let (version, wire): (u64, Wire) = serde_json::from_slice(&line).map_err(io::Error::other)?;
                    line.clear();
                    self.take(version * 2, wire, &knocks).await;
                }
            }
        }
    }

    fn tell(&self, command: Command) {
        let _ = self.sender.send(command);
    }

    async fn take(&mut self, version: u64, wire: Wire, knocks: &mpsc::UnboundedSender<String>) {
        self.version = self.version.max(version);
        match wire {
            Wire::StillHere => {}
            Wire::List(objects) => {
                let (mut pods, mut spec) = (Vec::new(), None);
                for object in objects {
                    match object {
                        Object::Pod(pod) => pods.push(pod),
                        Object::Set(set) => spec = Some(set),
                    }
                }
                self.pods = pods.iter().map(|p| (p.ordinal, p.clone())).collect();
                for pod in &pods {
                    if is_ready(pod) && !self.knocked.contains(&pod.uid) && knock(&*self.net, pod.address).await {
                        self.knocked.insert(pod.uid.clone());
                    }
                }
                let seen = pods.iter().map(|p| Sighting {
                    pod: Ordinal(p.ordinal),
                    uid: (*p.uid).into(),
                    phase: self.phase(p),
                });
                self.tell(Command::PodsListed { pods: seen.collect(), version });
                // A list of the same version may have been told by somebody whom this pod did not answer.
                for pod in pods.iter().filter(|p| is_ready(p) && self.knocked.contains(&p.uid)) {
                    let (ordinal, uid) = (Ordinal(pod.ordinal), (*pod.uid).into());
                    self.tell(Command::PodSeen { pod: ordinal, uid, phase: self.phase(pod), version: version + 1 });
                }
                if let Some(set) = spec {
                    self.tell(Command::ScaleSeen {
                        start: set.start,
                        replicas: set.replicas,
                        decided: set.decided,
                        version,
                    });
                }
                pods.iter().for_each(|p| self.knock(p, knocks));
            }
            Wire::Put(Object::Pod(pod)) => {
                let (ordinal, uid) = (Ordinal(pod.ordinal), (*pod.uid).into());
                self.tell(Command::PodSeen { pod: ordinal, uid, phase: self.phase(&pod), version });
                self.knock(&pod, knocks);
                self.pods.insert(pod.ordinal, pod);
            }
            Wire::Gone(Object::Pod(pod)) => {
                self.tell(Command::PodGone { pod: Ordinal(pod.ordinal), uid: (*pod.uid).into(), version });
                self.pods.remove(&pod.ordinal);
            }
            Wire::Put(Object::Set(set)) => {
                self.tell(Command::ScaleSeen {
                    start: set.start,
                    replicas: set.replicas,
                    decided: set.decided,
                    version,
                });
            }
            Wire::Gone(Object::Set(_)) => {}
        }
    }

    /// Until it answers, or nobody is interested any more.
    fn knock(&self, pod: &Pod, knocks: &mpsc::UnboundedSender<String>) {
        if !is_ready(pod) || self.knocked.contains(&pod.uid) {
            return;
        }
        let (net, knocks, pod) = (self.net.clone(), knocks.clone(), pod.clone());
        tokio::spawn(async move {
            // A partition may last longer than anybody would count tries.
            while !knocks.is_closed() {
                if knock(&*net, pod.address).await {
                    let _ = knocks.send(pod.uid);
                    return;
                }
                tokio::time::sleep(BREATH).await;
            }
        });
    }

    fn answers(&mut self, uid: &str) {
        if !self.knocked.insert(uid.to_owned()) {
            return;
        }
        if let Some(pod) = self.pods.values().find(|p| p.uid == uid && is_ready(p)) {
            let version = self.version + 1;
            let phase = self.phase(pod);
            self.tell(Command::PodSeen { pod: Ordinal(pod.ordinal), uid: (*pod.uid).into(), phase, version });
        }
    }

    fn phase(&self, pod: &Pod) -> Phase {
        if pod.terminating.is_some() {
            return Phase::Terminating;
        }
        match pod.stage {
            Stage::Stuck => Phase::Pending { why: "no GPU is free".into() },
            Stage::Ready { .. } if self.knocked.contains(&pod.uid) => Phase::Ready { address: pod.address },
            Stage::Starting { .. } => Phase::Starting,
            // Who has been ready may have been used: a list after a lost journal must not call it new.
            Stage::Ready { .. } | Stage::Unready => Phase::Unready,
            Stage::Failed => Phase::Failed { why: "it was evicted".into() },
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    matches!(pod.stage, Stage::Ready { .. }) && pod.terminating.is_none()
}

async fn knock(net: &dyn Net, at: SocketAddr) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(1), net.dial(at)).await, Ok(Ok(_)))
}
