//! A node: its kubelet runs the pods assigned to it. A pod speaks HTTP and WebSocket, serves what it is asked for, and
//! refuses a second session where it belongs to one for ever.

use super::kube::{Kube, Pod, Stage, TERMINATION};
use super::truth::Truth;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use turmoil::net::TcpListener;

const LOOK: Duration = Duration::from_millis(50);

/// What all pods of a world have in common.
#[derive(Clone)]
pub struct Pods {
    pub kube: Kube,
    pub truth: Truth,
    /// Each belongs to its first session for ever.
    pub recycled: bool,
}

/// One container.
struct Container {
    tasks: JoinSet<()>,
    /// True: SIGTERM.
    stopping: watch::Sender<bool>,
    ready_at: u64,
    runs: bool,
}

/// Containers that a fault wants dead: by uid.
pub type Crashes = Arc<std::sync::Mutex<Vec<String>>>;

/// The node's host.
pub async fn run(node: usize, pods: Pods, crashes: Crashes) -> io::Result<()> {
    let mut containers: BTreeMap<String, Container> = BTreeMap::new();
    // What ran here before the node was lost is gone: it starts again.
    for pod in pods.kube.assigned(node) {
        if matches!(pod.stage, Stage::Ready { .. } | Stage::Unready) {
            let ready_at = pods.kube.restarts(&pod.uid);
            containers.insert(pod.uid, Container::new(ready_at));
        }
    }
    loop {
        let assigned = pods.kube.assigned(node);
        let crashed: Vec<String> = {
            let mut crashes = crashes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let here = |uid: &String| assigned.iter().any(|p| p.uid == *uid);
            let (mine, others) = crashes.drain(..).partition(here);
            *crashes = others;
            mine
        };
        for uid in crashed {
            pods.truth.tell(format!("the container of {uid} crashes"));
            let ready_at = pods.kube.restarts(&uid);
            containers.insert(uid, Container::new(ready_at));
        }
        containers.retain(|uid, _| assigned.iter().any(|p| p.uid == *uid));
        let now = pods.truth.now();
        for pod in assigned {
            if let Some(deadline) = pod.terminating {
                match containers.get_mut(&pod.uid).filter(|c| c.runs) {
                    Some(container) => {
                        container.stopping.send_replace(true);
                        if now >= deadline - TERMINATION / 2 {
                            containers.remove(&pod.uid);
                            pods.kube.ended(&pod.uid);
                        }
                    }
                    None => pods.kube.ended(&pod.uid),
                }
                continue;
            }
            if pod.stage == Stage::Failed {
                containers.remove(&pod.uid);
            }
            let ready_at = match (pod.stage, containers.get(&pod.uid)) {
                (Stage::Starting { ready_at }, None) => ready_at,
                // Ready: while it was silent, the kubelet could not say that the container has ended.
                (Stage::Ready { .. } | Stage::Unready, Some(container)) if !container.runs => container.ready_at,
                // The node was taken for lost, and was not; or it started the container in silence.
                (Stage::Starting { .. } | Stage::Unready, Some(_)) => {
                    pods.kube.stage(&pod.uid, Stage::Ready { since: now });
                    continue;
                }
                _ => continue,
            };
            if now >= ready_at {
                containers.insert(pod.uid.clone(), Container::start(&pod, &pods));
                pods.kube.stage(&pod.uid, Stage::Ready { since: now });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Container {
    /// Not running before that moment.
    fn new(ready_at: u64) -> Container {
        Container { tasks: JoinSet::new(), stopping: watch::channel(false).0, ready_at, runs: false }
    }

    fn start(pod: &Pod, pods: &Pods) -> Container {
        let mut container = Container::new(0);
        container.runs = true;
        pods.truth.pod_is_at(pod.address, pod.ordinal, &pod.uid);
        let program = Program {
            ordinal: pod.ordinal,
            uid: pod.uid.clone(),
            pods: pods.clone(),
            stopping: container.stopping.subscribe(),
        };
        container.tasks.spawn(program.serve(pod.address.port()));
        container
    }
}

/// What runs in a pod.
#[derive(Clone)]
struct Program {
    ordinal: u32,
    uid: String,
    pods: Pods,
    stopping: watch::Receiver<bool>,
}

impl Program {
    async fn serve(self, port: u16) {
        let Ok(listener) = TcpListener::bind(("0.0.0.0", port)).await else { return };
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let program = self.clone();
            connections.spawn(async move {
                let upgrades = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
                let kept = upgrades.clone();
                let service = service_fn(move |request| {
                    let (program, upgrades) = (program.clone(), upgrades.clone());
                    async move { Ok::<_, Infallible>(program.answer(request, &upgrades).await) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                // As long as its WebSockets live: they end with the container.
                let mut upgrades = kept.lock().await;
                while upgrades.join_next().await.is_some() {}
            });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        upgrades: &tokio::sync::Mutex<JoinSet<()>>,
    ) -> Response<Full<Bytes>> {
        let session =
            request.headers().get("x-session-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        if request.headers().get(header::COOKIE).is_some_and(|c| c.as_bytes().starts_with(b"slotkeeper")) {
            self.pods
                .truth
                .violate("the cookie stays with the dispatcher", format!("pod {} was sent it", self.ordinal));
        }
        self.pods.truth.arrived(self.ordinal, &self.uid, &session);
        if self.pods.recycled && !self.pods.truth.serves(self.ordinal, &self.uid, &session) {
            return self.plain(StatusCode::CONFLICT, &session, "this pod is somebody else's");
        }
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
            return self.plain(StatusCode::OK, &session, "your desk");
        };
        let program = self.clone();
        let upgraded = hyper::upgrade::on(&mut request);
        let mine = session.clone();
        upgrades.lock().await.spawn(async move {
            if let Ok(io) = upgraded.await {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
                program.converse(socket, &mine).await;
            }
        });
        let mut response = self.plain(StatusCode::SWITCHING_PROTOCOLS, &session, "");
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }

    fn plain(&self, status: StatusCode, session: &str, body: &'static str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = status;
        for (name, value) in [("x-pod", &*self.uid), ("x-session", session)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Says whose it is, sends everything back, and says goodbye when it has to.
    async fn converse<S>(mut self, mut socket: WebSocketStream<S>, session: &str)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let hello = format!("hello {session} from {}", self.uid);
        if socket.send(Message::text(hello)).await.is_err() {
            return;
        }
        loop {
            let stopped = async {
                let _ = self.stopping.wait_for(|s| *s).await;
            };
            tokio::select! {
                biased;
                () = stopped => {
                    let goodbye = CloseFrame { code: CloseCode::Away, reason: "the pod stops".into() };
                    let _ = socket.close(Some(goodbye)).await;
                    return;
                }
                said = socket.next() => match said {
                    Some(Ok(message)) if message.is_text() || message.is_binary() => {
                        if socket.send(message).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
            }
        }
    }
}
