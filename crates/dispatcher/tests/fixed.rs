//! A fixed list of addresses: servers of this test on the real network, or a network with names of this test.

use crate::processes::Watch;
use crate::size;
use slotkeeper::cluster::{ClusterError, fixed};
use slotkeeper::config::{FixedPods, Probe, ProbeKind};
use slotkeeper::io::{BoxFuture, Listener, Net, RealNet, Socket};
use slotkeeper_core::{Command, Ordinal, Phase, Sighting, Time};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::JoinHandle;

fn probe(kind: ProbeKind) -> Probe {
    Probe { kind, every: Duration::from_millis(10), timeout: Duration::from_secs(60), failures: 3, proxy: None }
}

const RESOLVE: Duration = Duration::from_millis(20);

fn health() -> ProbeKind {
    ProbeKind::Http { path: "/health?of=pod".into() }
}

fn start(pods: &[&str], kind: ProbeKind, net: Arc<dyn Net>) -> Watch {
    let pods = pods.iter().map(|&p| p.to_owned()).collect();
    Watch::new(fixed::start(FixedPods { pods, resolve: RESOLVE, probe: probe(kind) }, net, Time(1)))
}

/// The first observations: the list of pods, and its length.
async fn list(pool: &mut Watch) -> Vec<Sighting> {
    let Command::PodsListed { pods, .. } = pool.next().await else { panic!("the list comes first") };
    assert_eq!(pool.scale().await, (0, pods.len() as u32, 0));
    pods
}

/// A server that answers every request with the same status, which can be changed.
struct Server {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Server {
    async fn at(address: &str) -> Server {
        let mut listener = RealNet.listen(address.parse().unwrap()).await.unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (address, answer) = (listener.address(), status.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if matches!(stream.read_buf(&mut head).await, Ok(0) | Err(_)) {
                            return;
                        }
                    }
                    let status = answer.load(Ordering::Relaxed);
                    let answer = format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 {status} X\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Server { address, status, task }
    }

    async fn new() -> Server {
        Server::at("127.0.0.1:0").await
    }

    async fn close(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }
}

#[tokio::test]
async fn running_pods_are_ready_in_the_first_list() {
    let (one, two) = (Server::new().await, Server::new().await);
    let names = [one.address.to_string(), two.address.to_string()];
    let mut pool = start(&[&names[0], &names[1]], health(), Arc::new(RealNet));
    let pods = list(&mut pool).await;
    assert_eq!(pods[0].phase, Phase::Ready { address: one.address });
    assert_eq!(pods[1].phase, Phase::Ready { address: two.address });
    assert_eq!(*pods[1].uid.0, format!("fixed-1-{}", two.address));
    assert_eq!(pods[1].pod, Ordinal(1));
}

#[tokio::test]
async fn a_pod_keeps_its_identity_through_an_outage() {
    let address = Server::new().await.close().await;
    let name = address.to_string();
    let mut pool = start(&[&name], health(), Arc::new(RealNet));
    let pods = list(&mut pool).await;
    assert_eq!(pods[0].phase, Phase::Pending { why: format!("{address} refuses connections").into() });
    let uid = pods[0].uid.clone();
    let server = Server::at(&name).await;
    assert_eq!(pool.ready(0).await, (uid.clone(), address));
    server.close().await;
    assert_eq!(pool.phase(0).await, (uid.clone(), Phase::Unready));
    let _server = Server::at(&name).await;
    assert_eq!(pool.ready(0).await, (uid, address));
}

#[tokio::test]
async fn a_pod_is_ready_only_while_its_health_check_succeeds() {
    let server = Server::new().await;
    server.status.store(503, Ordering::Relaxed);
    let mut pool = start(&[&server.address.to_string()], health(), Arc::new(RealNet));
    let pods = list(&mut pool).await;
    let why = format!("{} answers its health check with 503", server.address);
    assert_eq!(pods[0].phase, Phase::Pending { why: why.into() });
    server.status.store(302, Ordering::Relaxed);
    pool.ready(0).await;
    server.status.store(404, Ordering::Relaxed);
    assert_eq!(pool.phase(0).await.1, Phase::Unready);
    server.status.store(204, Ordering::Relaxed);
    pool.ready(0).await;
}

#[tokio::test]
async fn a_fixed_list_cannot_be_changed() {
    let mut pool = start(&[], ProbeKind::Tcp, Arc::new(RealNet));
    assert!(list(&mut pool).await.is_empty());
    assert!(matches!(pool.cluster.scale(size(0, 1, 1)).await, Err(ClusterError::Fixed)));
    assert!(matches!(pool.cluster.recycle(Ordinal(0), "x".into()).await, Err(ClusterError::Fixed)));
    pool.cluster.stop().await;
}

/// A connection that stays open and delivers nothing.
struct Quiet;

impl AsyncRead for Quiet {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Quiet {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The real network with names of this test: `silent:PORT` never answers, the address `ALIVE` always does.
#[derive(Default)]
struct Names {
    known: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
    asking: AtomicUsize,
    most: AtomicUsize,
}

const SILENT: [u8; 4] = [192, 0, 2, 1];
const ALIVE: [u8; 4] = [192, 0, 2, 2];

impl Names {
    fn say(&self, name: &str, means: &[SocketAddr]) {
        self.known.lock().unwrap().insert(name.into(), means.to_vec());
    }

    fn forget(&self, name: &str) {
        self.known.lock().unwrap().remove(name);
    }
}

impl Net for Names {
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { RealNet.listen(at).await })
    }

    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(async move {
            let asking = self.asking.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(asking, Ordering::Relaxed);
            let _asked = Asked(&self.asking);
            if to.ip() == IpAddr::from(SILENT) {
                std::future::pending::<()>().await;
            }
            if to.ip() == IpAddr::from(ALIVE) {
                return Ok(Socket::Other(Box::new(Quiet)));
            }
            RealNet.dial(to).await
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let silent = name.strip_prefix("silent:").map(|port| vec![SocketAddr::from((SILENT, port.parse().unwrap()))]);
        let literal = || Some(vec![name.parse().ok()?]);
        let found = silent.or_else(literal).or_else(|| self.known.lock().unwrap().get(name).cloned());
        Box::pin(async { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

struct Asked<'a>(&'a AtomicUsize);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_name_is_looked_up_again_when_it_fails() {
    let net = Arc::new(Names::default());
    let mut pool = start(&["console.test:80"], ProbeKind::Tcp, net.clone());
    let pods = list(&mut pool).await;
    assert_eq!(pods[0].phase, Phase::Pending { why: "cannot resolve host console.test: no such name".into() });
    let (one, two) = (Server::new().await, Server::new().await);
    let dead = Server::new().await.close().await;
    net.say("console.test:80", &[dead, one.address]);
    assert_eq!(pool.ready(0).await, (pods[0].uid.clone(), one.address));
    net.say("console.test:80", &[two.address]);
    one.close().await;
    // Not an outage: the name resolves to another address, and the sessions continue there.
    assert_eq!(pool.ready(0).await, (pods[0].uid.clone(), two.address));
}

#[tokio::test]
async fn a_changed_address_of_a_name_is_used_even_if_another_name_had_it() {
    let net = Arc::new(Names::default());
    let (one, two) = (Server::new().await, Server::new().await);
    net.say("web1.test:80", &[one.address]);
    net.say("web2.test:80", &[two.address]);
    let mut pool = start(&["web1.test:80", "web2.test:80"], health(), net.clone());
    let pods = list(&mut pool).await;
    assert_eq!(pods[0].phase, Phase::Ready { address: one.address });
    // Both addresses still answer.
    net.say("web1.test:80", &[two.address]);
    assert_eq!(pool.ready(0).await, (pods[0].uid.clone(), two.address));
    net.say("web2.test:80", &[one.address]);
    assert_eq!(pool.ready(1).await, (pods[1].uid.clone(), one.address));
    // A pod keeps its address while the name still resolves to it.
    let first = one.address.min(two.address);
    net.say("web1.test:80", &[one.address, two.address]);
    net.say("web2.test:80", &[first]);
    if first != one.address {
        assert_eq!(pool.ready(1).await, (pods[1].uid.clone(), first));
    }
    net.say("web2.test:80", &[one.address.max(two.address)]);
    assert_eq!(pool.ready(1).await, (pods[1].uid.clone(), one.address.max(two.address)), "no change of web1 before");
    // A resolver that fails does not change the address either.
    net.forget("web1.test:80");
    two.status.store(503, Ordering::Relaxed);
    one.status.store(503, Ordering::Relaxed);
    let mut unready = [pool.sighting().await, pool.sighting().await];
    unready.sort_by_key(|(pod, _)| *pod);
    assert_eq!(unready, [(0, Phase::Unready), (1, Phase::Unready)]);
}

#[tokio::test]
async fn a_port_that_accepts_and_closes_at_once_is_not_a_ready_pod() {
    let mut listener = RealNet.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    // Like a forwarding proxy without a server behind it.
    let proxy = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let mut pool = start(&[&address.to_string()], ProbeKind::Tcp, Arc::new(RealNet));
    let pods = list(&mut pool).await;
    let why = format!("{address} accepts connections and closes them at once");
    assert_eq!(pods[0].phase, Phase::Pending { why: why.into() });
    proxy.abort();
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_long_list_are_probed_at_most_128_at_a_time() {
    let net = Arc::new(Names::default());
    let silent: Vec<String> = (1..=3000).map(|port| format!("silent:{port}")).collect();
    let alive = SocketAddr::from((ALIVE, 80));
    let pods = silent.into_iter().chain([alive.to_string()]).collect();
    let probe = Probe { timeout: Duration::from_secs(1), ..probe(ProbeKind::Tcp) };
    let mut pool = Watch::new(fixed::start(FixedPods { pods, resolve: RESOLVE, probe }, net.clone(), Time(1)));
    let pods = list(&mut pool).await;
    assert_eq!(pods.len(), 3001);
    assert!(
        pods.iter().all(|p| matches!(&p.phase, Phase::Pending { .. })),
        "the first list does not wait for slow probes"
    );
    // The last pod is probed although none before it answers.
    while pool.sighting().await != (3000, Phase::Ready { address: alive }) {}
    assert_eq!(net.most.load(Ordering::Relaxed), 128);
}
