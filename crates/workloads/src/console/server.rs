//! The listener: connections, paths, the upgrade to a socket, and the shutdown.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use http::header::{HeaderValue, REFRESH, RETRY_AFTER};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;
use super::page;
use super::seat::{Seat, Sitting};
use super::settings::Config;
use super::socket;
use super::stage::{Order, Stage};
use crate::answer::{self, Answer, answer, text};
use crate::handshake::{accept_key, same_origin};
use crate::listening::{http1, listen};

/// The limit for connections; more wait in the listener's queue.
const CONNECTIONS: usize = 256;
/// How long connections may take to end when the console stops.
const FAREWELL: Duration = Duration::from_millis(1500);
/// Small, so that little data is in transit to a slow client and the latest frame arrives soon. Accepted sockets inherit it.
const SEND_BUFFER: u32 = 32 * 1024;
/// The limit for connections that wait to be accepted.
const WAITING: u32 = 1024;

/// A console that listens, but does not answer before [`Console::run`].
pub struct Console {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

/// The state that all connections share.
struct Shared {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    seat: Seat,
    stage: Stage,
    ready: AtomicBool,
    stop: watch::Receiver<bool>,
}

impl Console {
    /// Listens and prepares everything. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the data folder cannot be created.
    pub fn bind(config: Config) -> anyhow::Result<Console> {
        let listener =
            listen(config.listen, SEND_BUFFER, WAITING).with_context(|| format!("listening on {}", config.listen))?;
        let address = listener.local_addr()?;
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new()?);
        let stage = Stage::start(config.clone(), metrics.clone())?;
        let (stop, stopped) = watch::channel(false);
        let seat = Seat::new(metrics.clone());
        let shared = Shared { config, metrics, seat, stage, ready: AtomicBool::new(false), stop: stopped };
        Ok(Console { listener, address, shared: Arc::new(shared), stop })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then closes sockets with 1001 and waits a short time for them.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Console { listener, address, shared, stop } = self;
        let pod = shared.config.name.clone();
        tracing::info!(pod, %address, "console listening");
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        // Every connection and socket holds a clone; when all have been dropped, the receiver ends.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let mut shutdown = pin!(shutdown);
        let mut cold_start = pin!(sleep(shared.config.cold_start));
        let mut cold = true;
        loop {
            let accept = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = &mut cold_start, if cold => {
                    cold = false;
                    shared.ready.store(true, Ordering::Relaxed);
                    shared.metrics.ready.set(1);
                    tracing::info!(pod, "console ready");
                }
                (place, accepted) = accept => match accepted {
                    Ok((stream, _)) => {
                        let (shared, alive) = (shared.clone(), alive.clone());
                        tokio::spawn(async move {
                            connection(stream, shared, alive).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        // Usually because there are no more file descriptors: other connections have to close first.
                        tracing::warn!(pod, %error, "connection not accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        shared.ready.store(false, Ordering::Relaxed);
        stop.send_replace(true);
        drop((listener, alive));
        let in_time = timeout(FAREWELL, all_gone.recv()).await.is_ok();
        tracing::info!(pod, in_time, "console stopped");
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, alive: mpsc::Sender<()>) {
    // Frames are small and should be sent at once; without this option they are only delayed.
    let _ = stream.set_nodelay(true);
    let mut stop = shared.stop.clone();
    let service = service_fn(|request| {
        let (shared, alive) = (shared.clone(), alive.clone());
        async move { Ok::<_, std::convert::Infallible>(respond(request, shared, alive)) }
    });
    let connection = http1().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(pod = shared.config.name, %error, "connection ended early");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the console has been dropped.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn respond(request: Request<Incoming>, shared: Arc<Shared>, alive: mpsc::Sender<()>) -> Answer {
    let path = request.uri().path();
    let ready = shared.ready.load(Ordering::Relaxed);
    match path {
        "/healthz" => return text(StatusCode::OK, "alive\n"),
        "/readyz" if ready => return text(StatusCode::OK, "ready\n"),
        "/metrics" => return answer::metrics(shared.metrics.text()),
        _ if !ready => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "this console is still starting\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            // A browser without a dispatcher, and so without a waiting room, retries by itself.
            response.headers_mut().insert(REFRESH, HeaderValue::from_static("1"));
            return response;
        }
        _ => {}
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if name == "play" {
        return play(request, shared, alive);
    }
    let page = page::find(name, answer::dispatcher(request.headers()), &shared.config.name);
    answer::found(page, request.method())
}

fn play(mut request: Request<Incoming>, shared: Arc<Shared>, alive: mpsc::Sender<()>) -> Answer {
    let headers = request.headers();
    let session = match headers.get("x-session-id").map(|id| id.to_str().unwrap_or_default().to_owned()) {
        Some(id) if id.is_empty() || id.len() > 128 => return text(StatusCode::BAD_REQUEST, "bad X-Session-Id\n"),
        session => session,
    };
    let Some(accept) = accept_key(request.method(), headers) else {
        // Without an upgrade, this path only shows whether a socket would be accepted: a page cannot see why one was
        // refused.
        let is_taken = shared.seat.is_taken_for(session.as_deref());
        return if is_taken { taken(&shared) } else { answer::upgrade_required() };
    };
    // Behind a dispatcher, the dispatcher has checked the origin, and the host may differ from the one that the visitor
    // sees.
    if session.is_none() && !same_origin(headers) {
        return text(StatusCode::FORBIDDEN, "pages of other origins may not play here\n");
    }
    let Ok(sitting) = shared.seat.sit(session.as_deref()) else {
        return taken(&shared);
    };
    tracing::info!(pod = shared.config.name, socket = sitting.socket, new = sitting.is_new, "player connected");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        attend(upgrade, sitting, &shared).await;
        drop(alive);
    });
    answer::switching(accept)
}

/// Serves a socket. The stage gets its arrival and its departure, in this order, even if the upgrade fails.
async fn attend(upgrade: hyper::upgrade::OnUpgrade, sitting: Sitting, shared: &Shared) {
    let socket = sitting.socket;
    let (done, arrived) = oneshot::channel();
    let order = Order::Arrive { socket, is_new: sitting.is_new, done };
    // This fails only if the stage has stopped, and then everything stops. Waiting ensures that a new player never sees
    // another session's screen.
    if shared.stage.orders.send(order).await.is_err() || arrived.await.is_err() {
        return;
    }
    match upgrade.await {
        Ok(upgraded) => socket::play(upgraded, &shared.stage, socket, &shared.metrics, shared.stop.clone()).await,
        Err(error) => tracing::debug!(pod = shared.config.name, %error, "upgrade failed"),
    }
    let _ = shared.stage.orders.send(Order::Leave { socket }).await;
    tracing::info!(pod = shared.config.name, socket, "player disconnected");
}

fn taken(shared: &Shared) -> Answer {
    let body = serde_json::json!({
        "error": "taken",
        "message": "another session is playing on this console",
        "pod": shared.config.name,
    });
    answer(StatusCode::CONFLICT, "application/json", format!("{body}\n"))
}
