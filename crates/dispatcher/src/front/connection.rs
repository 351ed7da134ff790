//! Visitors' connections: how many there may be, and the HTTP library on each of them.

use crate::config::{Limits, ListenerKind};
use crate::front::forward::body::ResponseBody;
use crate::front::forward::headers::Hop;
use crate::front::framed_socket::{ConnectionPermit, Exchange, FramedSocket};
use crate::front::{Dispatcher, access_log, http2, redirect, request};
use crate::io::Listener;
use crate::io::listener::{Connection, Limit, Secured, Serving, no_first_request};
use crate::io::proxy::Proxied;
use crate::io::throttle::Throttle;
use crate::shell::stopped;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Serves visitors until the dispatcher stops, and returns when their connections have ended.
pub(crate) async fn open(
    dispatcher: Arc<Dispatcher>,
    listener: Box<dyn Listener>,
    kind: ListenerKind,
    tls: Option<Secured>,
    proxy: bool,
    connections: Arc<Semaphore>,
) {
    let errors = dispatcher.metrics.process.accept_errors("visitors");
    // `run` decides how long open connections may take.
    let proxied = proxy.then(|| proxied(&dispatcher));
    let serving = Serving { listener, of: "visitors", errors, proxied, tls, last: Duration::MAX };
    let mut stopping = dispatcher.stopping.clone();
    let limit =
        Visitors { dispatcher: dispatcher.clone(), connections, next: None, waits: false, full: Throttle::new() };
    serving
        .run(stopped(&mut stopping), limit, move |connection, permit| {
            serve(dispatcher.clone(), connection, permit, kind)
        })
        .await;
}

/// Only trusted proxies may send a PROXY header. It has as much time as the head of a request.
fn proxied(dispatcher: &Arc<Dispatcher>) -> Proxied {
    let headers = dispatcher.metrics.process.proxy_headers();
    let dispatcher = dispatcher.clone();
    let admits = move |peer: IpAddr| {
        let config = &dispatcher.config;
        config.trusts(peer).then_some(config.limits.header_time)
    };
    Proxied { admits: Arc::new(admits), headers }
}

/// The limit of all visitors' listeners together. At the limit, new connections wait.
struct Visitors {
    dispatcher: Arc<Dispatcher>,
    connections: Arc<Semaphore>,
    /// The permit of the next connection.
    next: Option<OwnedSemaphorePermit>,
    /// The wait for the next permit has been counted.
    waits: bool,
    full: Throttle,
}

impl Visitors {
    fn count_wait(&mut self) {
        if std::mem::replace(&mut self.waits, true) || self.connections.available_permits() > 0 {
            return;
        }
        let process = &self.dispatcher.metrics.process;
        process.connections_waited.inc();
        if let Some(times) = self.full.note() {
            let most = process.connections_limit.get();
            tracing::warn!(most, times, "connection limit for visitors reached: new connections wait");
        }
    }
}

impl Limit for Visitors {
    type Permit = ConnectionPermit;

    async fn ready(&mut self) {
        if self.next.is_some() {
            return;
        }
        self.count_wait();
        // The semaphore is never closed.
        self.next = self.connections.clone().acquire_owned().await.ok();
    }

    fn permit(&mut self, _: SocketAddr) -> Option<ConnectionPermit> {
        self.waits = false;
        Some(ConnectionPermit::take(&self.dispatcher.metrics.replica.connections, self.next.take()?))
    }
}

/// The HTTP library, configured with our limits. With `preserve_case`, names of fields keep their case.
#[must_use]
pub fn http(limits: &Limits, preserve_case: bool) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_header_size(limits.header_bytes);
    http.preserve_header_case(preserve_case);
    if limits.header_bytes + BUFFER_BESIDE_HEAD > BUFFER {
        // A head must fit into the library's buffer.
        http.max_buf_size(limits.header_bytes + BUFFER_BESIDE_HEAD);
    }
    if limits.header_fields != Limits::default().header_fields {
        http.max_headers(limits.header_fields);
    }
    http
}

/// The library's default buffer size, and the room that the buffer needs in addition to a head.
const BUFFER: usize = 8192 + 4096 * 100;
const BUFFER_BESIDE_HEAD: usize = 64 * 1024;

/// Serves one connection.
async fn serve(dispatcher: Arc<Dispatcher>, connection: Connection, permit: ConnectionPermit, kind: ListenerKind) {
    let Connection { socket, peer, client, since } = connection;
    let (is_tls, number) = (socket.is_tls(), dispatcher.next_connection());
    let is_http2 = kind == ListenerKind::Http2 || socket.protocol() == Some(b"h2");
    let respond = {
        let dispatcher = dispatcher.clone();
        move |request: Request<Incoming>| {
            let (dispatcher, client) = (dispatcher.clone(), client.clone());
            async move {
                let hop =
                    Hop { is_tls, is_http2, client: client.as_deref(), ..Hop::of(&dispatcher.config, peer, number) };
                answer(&dispatcher, request, &hop, kind).await
            }
        }
    };
    if is_http2 {
        return http2::serve(&dispatcher, socket, peer.address, permit, respond).await;
    }
    let exchange = Arc::<Exchange>::default();
    let io = TokioIo::new(FramedSocket::new(socket, Some(permit), &dispatcher.config.limits, exchange.clone()));
    let mut stopping = dispatcher.stopping.clone();
    let service = {
        let dispatcher = dispatcher.clone();
        service_fn(move |mut request| {
            dispatcher.metrics.process.http.request(request.version());
            let turn = exchange.begin(&mut request);
            let responded = respond(request);
            async move { Ok::<_, Infallible>(turn.answer(responded.await)) }
        })
    };
    // The pool of a request is known only after its head has been read.
    let preserve_case = dispatcher.pools.iter().any(|pool| pool.config.connections.preserve_case);
    let connection = http(&dispatcher.config.limits, preserve_case).serve_connection(io, service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        // Without a request so far, the library would close it at once.
        () = no_first_request(stopped(&mut stopping), since) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection ended: {error}");
    }
}

async fn answer(
    dispatcher: &Arc<Dispatcher>,
    mut request: Request<Incoming>,
    hop: &Hop<'_>,
    kind: ListenerKind,
) -> Response<ResponseBody> {
    let record = dispatcher.access_log.begin(&dispatcher.config, &dispatcher.clock, &mut request, hop);
    if kind == ListenerKind::Redirect {
        dispatcher.metrics.process.tls.redirects.inc();
        return access_log::follow(record, redirect::answer(&dispatcher.config.tls, &request, hop));
    }
    let mut response = request::answer(dispatcher, request, hop).await;
    let tls = &dispatcher.config.tls;
    if let Some(age) = tls.hsts.filter(|_| hop.is_tls) {
        // In place of a pod's: the policy is that of the host, not of one session.
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, policy(age, tls.hsts_subdomains));
    }
    access_log::follow(record, response)
}

/// The policy in the form of RFC 6797 §6.1.
fn policy(age: Duration, subdomains: bool) -> HeaderValue {
    let subdomains = if subdomains { "; includeSubDomains" } else { "" };
    let text = format!("max-age={}{subdomains}", age.as_secs());
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("max-age=0"))
}
