//! The operators' listener: metrics, health, readiness, and a small JSON API for pools, pods and sessions (`crates/api` has its paths
//! and types). Loopback by default; if a token is configured, everything but the probes requires it. Sessions are named only by their
//! public hash.

mod actions;
mod answers;
mod connections;

use crate::config::{Limits, Trigger};
use crate::engine::view::View;
use crate::front::connection::http;
use crate::front::forward::body::ResponseBody;
use crate::front::framed_socket::{Exchange, FramedSocket};
use crate::front::waiting::answer as reply;
use crate::front::{Dispatcher, Pool};
use crate::io::Listener;
use crate::io::inherited;
use crate::io::listener::{Connection, Serving};
use crate::io::throttle::Throttle;
use crate::metrics::process::Refused;
use crate::ops::gauges::{self, knows};
use actions::{on_pod, on_session};
use connections::{Operators, Usage};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use slotkeeper_api::{Miss, Operation, Parameters, Problem, ROUTES, Role, Route, find};
use slotkeeper_core::planted;
use slotkeeper_core::{Command, Fleet};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// An idle connection is closed after this.
const IDLE: Duration = Duration::from_secs(60);

/// Maximum bytes of a request's body, which is never read.
const LARGEST_BODY: u64 = 64 * 1024;
/// Delay before a request with a wrong token is answered.
const AFTER_WRONG_TOKEN: Duration = Duration::from_millis(100);
static WRONG_TOKENS: Throttle = Throttle::new();

/// Serves until the process ends: probes are also answered while the dispatcher stops.
pub(crate) async fn open(dispatcher: Arc<Dispatcher>, listener: Box<dyn Listener>) {
    let errors = dispatcher.metrics.process.accept_errors("admin");
    let serving = Serving { listener, of: "admin", errors, proxied: None, tls: None, last: Duration::ZERO };
    let limit = Operators::new(inherited::operators(), dispatcher.clone());
    let serve = move |connection, usage| serve(dispatcher.clone(), connection, usage);
    serving.run(std::future::pending(), limit, serve).await;
}

async fn serve(dispatcher: Arc<Dispatcher>, connection: Connection, usage: Arc<Usage>) {
    let Connection { socket, peer, .. } = connection;
    let limits = Limits { idle: IDLE, ..dispatcher.config.limits.clone() };
    let exchange = Arc::<Exchange>::default();
    let framed = FramedSocket::new(socket, None, &limits, exchange.clone());
    let service = service_fn(|mut request| {
        let (dispatcher, turn, at_work) = (dispatcher.clone(), exchange.begin(&mut request), usage.begin());
        async move {
            let answer = answer(&dispatcher, &request, peer.address).await;
            drop(at_work);
            Ok::<_, Infallible>(turn.answer(answer))
        }
    });
    tokio::select! {
        biased;
        () = usage.closed() => {}
        _ = http(&limits, false).serve_connection(TokioIo::new(framed), service) => {}
    }
}

async fn answer(dispatcher: &Arc<Dispatcher>, request: &Request<Incoming>, peer: SocketAddr) -> Response<ResponseBody> {
    let mut response = answer_to(dispatcher, request, peer).await;
    if !request.body().is_end_stream() {
        // The body is not read, so the connection cannot be reused.
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

async fn answer_to(
    dispatcher: &Arc<Dispatcher>,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Response<ResponseBody> {
    let refused = |why| dispatcher.metrics.process.admin_refused(why);
    if request.body().size_hint().lower() > LARGEST_BODY {
        refused(Refused::Body);
        return error(StatusCode::PAYLOAD_TOO_LARGE, "requests to this listener need no body");
    }
    let found = find(request.method().as_str(), request.uri().path());
    let is_probe = matches!(&found, Ok((route, _)) if route.role == Role::Probe);
    if !is_probe && !allowed(dispatcher, request.headers()) {
        refused(Refused::Token);
        if let Some(times) = WRONG_TOKENS.note() {
            tracing::warn!(%peer, times, "admin requests without a valid token");
        }
        // Slows down guessing.
        tokio::time::sleep(AFTER_WRONG_TOKEN).await;
        let mut response = error(StatusCode::UNAUTHORIZED, "a valid token is required: Authorization: Bearer TOKEN");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        return response;
    }
    if !is_probe && from_a_page(dispatcher, request) {
        refused(Refused::Page);
        return error(
            StatusCode::FORBIDDEN,
            "requests from web pages are refused; allowed: other clients, which name the listener by IP address or as localhost",
        );
    }
    match found {
        Ok((route, parameters)) => perform(dispatcher, route, parameters).await,
        Err(miss) => missed(&miss),
    }
}

/// Why an operation is not performed: the status, and the message of the [`Problem`].
struct Refusal(StatusCode, String);

type AdminResult = Result<Response<ResponseBody>, Refusal>;

/// Performs an operation for a caller who may.
async fn perform(dispatcher: &Dispatcher, route: &Route, given: Parameters<'_>) -> Response<ResponseBody> {
    let answer = match route.operation {
        Operation::Health => Ok(text(StatusCode::OK, "alive\n")),
        Operation::Ready => match readiness(dispatcher) {
            Ok(()) => Ok(text(StatusCode::OK, "ready\n")),
            Err(why) => Ok(text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n"))),
        },
        Operation::Metrics => Ok(metrics(dispatcher)),
        Operation::OpenApi => Ok(json_reply(StatusCode::OK, &slotkeeper_api::openapi())),
        Operation::ListPools => answers::pools(dispatcher),
        Operation::GetPool => answers::pool(dispatcher, given.pool),
        Operation::RemovePool => actions::remove(dispatcher, given.pool).await,
        Operation::ListSessions => answers::sessions(dispatcher, given.pool),
        Operation::KickSession => on_session(dispatcher, given, "kick", |session| Command::Kick { session }).await,
        Operation::ExtendSession => {
            on_session(dispatcher, given, "extend", |session| Command::Extend { session }).await
        }
        Operation::BusySession => {
            on_session(dispatcher, given, "busy", |session| Command::Active { sessions: vec![session] }).await
        }
        Operation::CordonPod => on_pod(dispatcher, given, "cordon", |pod| Command::Cordon { pod }).await,
        Operation::DrainPod => on_pod(dispatcher, given, "drain", |pod| Command::Empty { pod }).await,
        Operation::UncordonPod => on_pod(dispatcher, given, "uncordon", |pod| Command::Uncordon { pod }).await,
    };
    answer.unwrap_or_else(|Refusal(status, message)| error(status, &message))
}

fn missed(miss: &Miss) -> Response<ResponseBody> {
    match miss {
        Miss::Path => {
            let mut paths: Vec<&str> = ROUTES.iter().map(|r| r.path).collect();
            paths.dedup();
            error(StatusCode::NOT_FOUND, &format!("no such path; allowed: {}", paths.join(", ")))
        }
        Miss::Method(allowed) => {
            let allowed: Vec<&str> = allowed.iter().map(|verb| verb.name()).collect();
            let allowed = allowed.join(", ");
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} is allowed here"));
            // RFC 9110, section 15.5.6.
            if let Ok(allowed) = header::HeaderValue::from_str(&allowed.replace("GET", "GET, HEAD")) {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            response
        }
    }
}

/// Reports whether the dispatcher is ready: the journal has been read and answers, every pool's pods have been listed, and the
/// dispatcher is not stopping.
fn readiness(dispatcher: &Dispatcher) -> Result<(), String> {
    if *dispatcher.stopping.borrow() {
        return Err("the dispatcher is stopping".into());
    }
    let view = dispatcher.view.borrow();
    if !dispatcher.has_read(&view) {
        return Err("the journal has not been read yet".into());
    }
    if view.is_stale() {
        return Err("the journal does not answer".into());
    }
    unlisted(dispatcher, &view.fleet)
        .map_or(Ok(()), |p| Err(format!("the pods of pool {} have not been listed yet", p.config.id)))
}

/// Returns a pool whose pods have not been listed yet. A pool that an operator has removed does not count, nor one that a
/// reload has added: neither may make a dispatcher that serves other pools unready.
fn unlisted<'a>(dispatcher: &'a Dispatcher, fleet: &Fleet) -> Option<&'a Arc<Pool>> {
    planted!(ReadyUnlisted => None);
    let here = |p: &&Arc<Pool>| !p.is_late && !p.is_being_removed() && fleet.rules(&p.config.id).is_some();
    dispatcher.pools.iter().filter(here).find(|p| !fleet.is_listed(&p.config.id))
}

fn allowed(dispatcher: &Dispatcher, headers: &HeaderMap) -> bool {
    planted!(AdminTokenIgnored => true);
    let Some(token) = &dispatcher.config.admin.token else { return true };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| given.ct_eq(&token.0).into())
}

/// Reports whether a web page may have sent the request. Without a token, any page that an operator visits could act here.
/// Browsers send `Origin` with a POST, and as `Host` the page's own host name, which may resolve to this address (DNS
/// rebinding).
fn from_a_page(dispatcher: &Dispatcher, request: &Request<Incoming>) -> bool {
    planted!(AdminFromPage => false);
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_address = host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok();
    let is_local = is_address || host.split(':').next().is_some_and(|name| name == "localhost");
    request.headers().contains_key(header::ORIGIN) || dispatcher.config.admin.token.is_none() && !is_local
}

fn metrics(dispatcher: &Dispatcher) -> Response<ResponseBody> {
    dispatcher.metrics.replica.ready.set(i64::from(readiness(dispatcher).is_ok()));
    dispatcher.metrics.replica.journal_owed.set(dispatcher.driver.owed() as i64);
    let view = dispatcher.view.borrow();
    let fleet = (may_report(dispatcher, &view) && !view.is_stale()).then_some(&view.fleet);
    dispatcher.metrics.replica.lapse.set(i64::from(fleet.is_some_and(Fleet::is_quiet)));
    for pool in dispatcher.pools.iter() {
        // From now on a scaler may act on this number. (A scaler that uses gRPC does not read it here.)
        let is_read = |f: &&Fleet| pool.config.trigger == Trigger::Prometheus && knows(f, &pool.config.id);
        if let Some(fleet) = fleet.filter(is_read) {
            dispatcher.serve(fleet, pool);
        }
    }
    let pools = dispatcher.pools.iter().map(|p| (&*p.config, &p.metrics));
    match gauges::text(&dispatcher.metrics, fleet, pools) {
        Ok(text) => reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into()),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("the metrics cannot be encoded: {e}")),
    }
}

/// Reports whether the journal has been read: before that, all numbers are 0.
fn may_report(dispatcher: &Dispatcher, view: &View) -> bool {
    planted!(ServeZero => true);
    dispatcher.has_read(view)
}

fn json_reply(status: StatusCode, body: &impl Serialize) -> Response<ResponseBody> {
    match serde_json::to_string(body) {
        Ok(text) => reply(status, "application/json", format!("{text}\n").into()),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the answer cannot be encoded: {e}\n")),
    }
}

fn error(status: StatusCode, message: &str) -> Response<ResponseBody> {
    json_reply(status, &Problem { error: message.to_owned() })
}

fn text(status: StatusCode, body: &str) -> Response<ResponseBody> {
    reply(status, "text/plain; charset=utf-8", body.to_owned().into())
}
