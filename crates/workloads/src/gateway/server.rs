//! The listeners: connections, paths, the upgrade to a socket, and the shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::capacity::{Capacity, Place, room_for};
use super::chat::{Arrival, Chat};
use super::drain::drain;
use super::hall::Hall;
use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::page;
use super::settings::Config;
use super::socket::{self, Purpose};
use crate::answer::{self, Answer, answer, text};
use crate::handshake::{accept_key, same_origin};
use crate::listening::{http1, listen};

/// The limit for connections that are not (yet) sockets; more wait in the listener's queue.
pub(super) const PLAIN_CONNECTIONS: usize = 512;
/// Small, because the kernel's memory counts for the pod. Accepted sockets inherit it.
const SEND_BUFFER: u32 = 16 * 1024;
/// The limit for connections that wait to be accepted: when a pod ends, all of its clients reconnect at once.
const WAITING: u32 = 4096;
const ROOM_NAME: usize = 64;

/// A gateway that listens, but does not answer before [`Gateway::run`].
pub struct Gateway {
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    shared: Arc<Shared>,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Sockets that were still open when the time was over.
    pub cut: usize,
}

/// The state that all connections share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) metrics: Arc<Metrics>,
    pub(super) capacity: Arc<Capacity>,
    pub(super) hall: Arc<Hall>,
    pub(super) chat: Arc<Chat>,
    draining: AtomicBool,
}

impl Gateway {
    /// Listens and prepares everything. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub fn bind(config: Config) -> anyhow::Result<Gateway> {
        let open = |address: SocketAddr| {
            listen(address, SEND_BUFFER, WAITING).with_context(|| format!("listening on {address}"))
        };
        let listener = open(config.listen)?;
        let metrics_listener = config.metrics_listen.map(open).transpose()?;
        let metrics = Arc::new(Metrics::new()?);
        let capacity = Capacity::new(room_for(config.connections), metrics.clone());
        let chat = Chat::start(&config, metrics.clone());
        let hall = Arc::default();
        let shared = Shared { config, metrics, capacity, hall, chat, draining: AtomicBool::new(false) };
        Ok(Gateway { listener, metrics_listener, shared: Arc::new(shared) })
    }

    /// The address for visitors.
    ///
    /// # Errors
    /// If the system does not return it.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address for metrics, if they are served.
    ///
    /// # Errors
    /// If the system does not return it.
    pub fn metrics_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.metrics_listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `stop` completes, then drains; when `stop` completes again, the drain is cut short.
    pub async fn run(self, mut stop: impl AsyncFnMut()) -> Ended {
        let Gateway { listener, metrics_listener, shared } = self;
        let pod = shared.config.name.clone();
        let address = listener.local_addr().ok();
        tracing::info!(pod, ?address, metrics = ?shared.config.metrics_listen, "gateway listening");
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(serve(listener, shared.clone(), Port::Visitors));
        if let Some(listener) = metrics_listener {
            serving.spawn(serve(listener, shared.clone(), Port::Metrics));
        }
        stop().await;
        shared.draining.store(true, Ordering::Relaxed);
        shared.metrics.drain_started();
        let sockets = shared.capacity.taken();
        tracing::info!(pod, sockets, "gateway draining");
        shared.chat.shut_down(shared.config.drain);
        // The listeners stay open: new visitors get a refusal, and probes an answer.
        let cut = drain(&shared, stop()).await;
        shared.chat.stop();
        if cut == 0 {
            tracing::info!(pod, "gateway stopped, all sockets closed");
        } else {
            tracing::warn!(pod, cut, "gateway stopped, drain time over: sockets cut off");
        }
        Ended { cut }
    }
}

#[derive(Clone, Copy)]
enum Port {
    Visitors,
    Metrics,
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, port: Port) {
    let places = Arc::new(Semaphore::new(PLAIN_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    connection(stream, shared, port).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Usually because there are no more file descriptors: other connections have to close first.
                tracing::warn!(pod = shared.config.name, %error, "connection not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection until it ends or becomes a socket.
async fn connection(stream: TcpStream, shared: Arc<Shared>, port: Port) {
    // Messages are small and should be sent at once; without this option they are only delayed.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(respond(request, shared, port)) }
    });
    if let Err(error) = http1().serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(pod = shared.config.name, %error, "connection ended early");
    }
}

fn respond(request: Request<Incoming>, shared: Arc<Shared>, port: Port) -> Answer {
    let path = request.uri().path();
    match (path, port) {
        ("/healthz", _) => return text(StatusCode::OK, "alive\n"),
        ("/readyz", _) => {
            return match shared.unready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            };
        }
        ("/metrics", Port::Metrics) => return answer::metrics(shared.metrics.text()),
        (_, Port::Metrics) => return text(StatusCode::NOT_FOUND, "only /metrics, /healthz and /readyz here\n"),
        (_, Port::Visitors) => {}
    }
    match path.rsplit('/').next().unwrap_or_default() {
        "ws" | "chat" => upgrade(request, shared),
        name => {
            let across = shared.config.redis.is_some();
            let page = page::find(name, answer::dispatcher(request.headers()), &shared.config.name, across);
            answer::found(page, request.method())
        }
    }
}

impl Shared {
    /// Why new visitors should go to other pods.
    fn unready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        if self.capacity.is_crowded() {
            return Some("nearly full");
        }
        // A later loss of Redis does not count: sockets, rooms and the chat's history work without it, and otherwise all
        // pods would be unready at once.
        self.chat.is_waiting_for_first_contact().then_some("no contact with Redis yet")
    }

    fn refuse(&self, status: StatusCode, reason: &str, message: &str) -> Answer {
        self.metrics.refused.with_label_values(&[reason]).inc();
        let body = serde_json::json!({ "error": reason, "message": message, "pod": self.config.name });
        let mut response = answer(status, "application/json", format!("{body}\n"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // Random, so that clients do not all return at the same time.
            let seconds = 1 + getrandom::u32().unwrap_or(0) % 5;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn upgrade(mut request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
    let headers = request.headers();
    if shared.draining.load(Ordering::Relaxed) {
        return shared.refuse(StatusCode::SERVICE_UNAVAILABLE, "draining", "this pod is shutting down");
    }
    let full = || shared.refuse(StatusCode::SERVICE_UNAVAILABLE, "full", "this pod has no room for more sockets");
    let Some(accept) = accept_key(request.method(), headers) else {
        // Without an upgrade, this path only shows whether a socket would be accepted: a page cannot see why one was
        // refused.
        return if shared.capacity.is_full() { full() } else { answer::upgrade_required() };
    };
    // Behind a dispatcher, the dispatcher has checked the origin, and the host may differ from the one that the visitor
    // sees.
    if !headers.contains_key("x-session-id") && !same_origin(headers) {
        return shared.refuse(StatusCode::FORBIDDEN, "origin", "pages of other origins get no socket here");
    }
    let purpose = match purpose(&request) {
        Ok(purpose) => purpose,
        Err(message) => return shared.refuse(StatusCode::BAD_REQUEST, "bad_request", message),
    };
    let Some(place) = shared.capacity.take() else { return full() };
    shared.metrics.connections.inc();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(attend(upgrade, purpose, place, shared));
    answer::switching(accept)
}

fn purpose(request: &Request<Incoming>) -> Result<Purpose, &'static str> {
    let query = request.uri().query().unwrap_or_default();
    let asked = |key: &str| form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key).map(|(_, v)| v);
    if request.uri().path().ends_with("chat") {
        return Arrival::new(asked("name").as_deref(), asked("after").as_deref()).map(Purpose::Chat);
    }
    match asked("room") {
        None => Ok(Purpose::Echo),
        Some(room) if room.is_empty() || room.len() > ROOM_NAME => Err("room: allowed are 1 to 64 bytes"),
        Some(room) => Ok(Purpose::Room(room.into_owned())),
    }
}

/// Serves a socket from its upgrade to its end.
async fn attend(upgrade: hyper::upgrade::OnUpgrade, purpose: Purpose, place: Place, shared: Arc<Shared>) {
    let why = match upgrade.await {
        Ok(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => {
                let mailbox =
                    Mailbox::new(shared.config.send_queue, shared.config.slow_consumer, shared.metrics.clone());
                Box::pin(socket::live(parts.io.into_inner(), parts.read_buf, purpose, &mailbox, &shared)).await
            }
            // This cannot happen: all connections have this type.
            Err(_) => "error",
        },
        Err(error) => {
            tracing::debug!(pod = shared.config.name, %error, "upgrade failed");
            "error"
        }
    };
    shared.metrics.closed.with_label_values(&[why]).inc();
    drop(place);
}
