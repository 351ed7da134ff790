//! The operators' listener: metrics, health, readiness, and a small JSON API for pools, pods and sessions. Loopback by
//! default; if a token is configured, everything but the probes requires it. Sessions are named only by their public hash.

mod connections;

use crate::config::{Limits, Trigger};
use crate::engine::Ended;
use crate::engine::view::View;
use crate::front::connection::http;
use crate::front::cookie::public_name;
use crate::front::endpoints::condition;
use crate::front::forward::body::Answer;
use crate::front::guard::{Exchange, Guard};
use crate::front::visit::{NoSeat, answered};
use crate::front::waiting::answer as reply;
use crate::front::{Dispatcher, Pool};
use crate::io::Listener;
use crate::io::inherited;
use crate::io::listener::{Connection, Serving};
use crate::io::throttle::Throttle;
use crate::metrics::process::Refused;
use crate::ops::gauges::{self, knows};
use connections::{Operators, Usage};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use slotkeeper_core::planted;
use slotkeeper_core::{Command, Fleet, Life, Ordinal, Phase, Pod, Rules, Session, SessionId, Standing, State, Time};
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

/// Maximum number of listed sessions; the total is always reported.
const LISTED: usize = 1000;

/// Serves until the process ends: probes are also answered while the dispatcher stops.
pub async fn open(dispatcher: Arc<Dispatcher>, listener: Box<dyn Listener>) {
    let errors = dispatcher.metrics.process.accept_errors("admin");
    let serving = Serving { listener, of: "admin", errors, tls: None, last: Duration::ZERO };
    let limit = Operators::new(inherited::operators(), dispatcher.clone());
    let serve = move |connection, usage| serve(dispatcher.clone(), connection, usage);
    serving.run(std::future::pending(), limit, serve).await;
}

async fn serve(dispatcher: Arc<Dispatcher>, connection: Connection, usage: Arc<Usage>) {
    let Connection { socket, peer, .. } = connection;
    let limits = Limits { idle: IDLE, ..dispatcher.config.limits.clone() };
    let exchange = Arc::<Exchange>::default();
    let guard = Guard::new(socket, None, &limits, exchange.clone());
    let service = service_fn(|mut request| {
        let (dispatcher, turn, at_work) = (dispatcher.clone(), exchange.begin(&mut request), usage.begin());
        async move {
            let answer = answer(&dispatcher, &request, peer).await;
            drop(at_work);
            Ok::<_, Infallible>(turn.answer(answer))
        }
    });
    tokio::select! {
        biased;
        () = usage.closed() => {}
        _ = http(&limits).serve_connection(TokioIo::new(guard), service) => {}
    }
}

async fn answer(dispatcher: &Arc<Dispatcher>, request: &Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
    let mut response = answer_to(dispatcher, request, peer).await;
    if !request.body().is_end_stream() {
        // The body is not read, so the connection cannot be reused.
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

async fn answer_to(dispatcher: &Arc<Dispatcher>, request: &Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
    let refused = |why| dispatcher.metrics.process.admin_refused(why);
    if request.body().size_hint().lower() > LARGEST_BODY {
        refused(Refused::Body);
        return error(StatusCode::PAYLOAD_TOO_LARGE, "requests to this listener need no body");
    }
    let path = request.uri().path();
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    match path {
        "/healthz" if reads => text(StatusCode::OK, "alive\n"),
        "/readyz" if reads => match readiness(dispatcher) {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n")),
        },
        _ if !allowed(dispatcher, request.headers()) => {
            refused(Refused::Token);
            if let Some(times) = WRONG_TOKENS.note() {
                tracing::warn!(%peer, times, "admin requests without a valid token");
            }
            // Slows down guessing.
            tokio::time::sleep(AFTER_WRONG_TOKEN).await;
            let mut response =
                error(StatusCode::UNAUTHORIZED, "a valid token is required: Authorization: Bearer TOKEN");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
        _ if from_a_page(dispatcher, request) => {
            refused(Refused::Page);
            error(
                StatusCode::FORBIDDEN,
                "requests from web pages are refused; allowed: other clients, which name the listener by IP address or as localhost",
            )
        }
        "/metrics" if reads => metrics(dispatcher),
        _ => {
            let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
            api(dispatcher, request.method(), &parts).await
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

fn metrics(dispatcher: &Dispatcher) -> Response<Answer> {
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

async fn api(dispatcher: &Arc<Dispatcher>, method: &Method, path: &[&str]) -> Response<Answer> {
    let ["api", "v1", "pools", rest @ ..] = path else { return not_found() };
    if !dispatcher.has_read(&dispatcher.view.borrow()) {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the journal has not been read yet");
    }
    let [id, rest @ ..] = rest else {
        return if method == Method::GET { pools(dispatcher) } else { no_such_method("GET") };
    };
    if rest.is_empty() && method == Method::DELETE {
        return remove(dispatcher, id).await;
    }
    let Some(pool) = dispatcher.pools.iter().find(|p| &*p.config.id.0 == *id) else {
        return error(StatusCode::NOT_FOUND, &format!("there is no pool {id:?}; see /api/v1/pools"));
    };
    match rest {
        [] if method == Method::GET => json_reply(StatusCode::OK, &pool_json(&dispatcher.view.borrow().fleet, pool)),
        ["sessions"] if method == Method::GET => sessions(dispatcher, pool),
        [] => no_such_method("GET, DELETE"),
        ["sessions"] => no_such_method("GET"),
        ["sessions", name, act @ ("kick" | "extend" | "busy")] => {
            if method != Method::POST {
                return no_such_method("POST");
            }
            let Some(session) = find(&dispatcher.view.borrow().fleet, pool, name) else {
                return error(
                    StatusCode::NOT_FOUND,
                    "there is no such session; see the list of sessions for their names",
                );
            };
            tell(dispatcher, pool, act, name, on_session(act, session)).await
        }
        ["pods", ordinal, act @ ("cordon" | "uncordon" | "drain")] => {
            if method != Method::POST {
                return no_such_method("POST");
            }
            let max = pool.rules(&dispatcher.view.borrow().fleet).max;
            let known = ordinal.parse().ok().map(Ordinal).filter(|o| o.0 < max);
            let Some(pod) = known else {
                let last = max.saturating_sub(1);
                return error(
                    StatusCode::NOT_FOUND,
                    &format!("{ordinal:?} is not a pod of this pool; allowed: ordinals from 0 to {last}"),
                );
            };
            if *act == "drain" && !dispatcher.view.borrow().fleet.knows_targets() {
                let what = "an older dispatcher shares this journal, and does not support drain";
                return error(StatusCode::CONFLICT, what);
            }
            let command = match *act {
                "cordon" => Command::Cordon { pod },
                "uncordon" => Command::Uncordon { pod },
                _ => Command::Empty { pod },
            };
            tell(dispatcher, pool, act, ordinal, command).await
        }
        _ => not_found(),
    }
}

fn on_session(act: &str, session: SessionId) -> Command {
    match act {
        "kick" => Command::Kick { session },
        "extend" => Command::Extend { session },
        _ => Command::Active { sessions: vec![session] },
    }
}

/// Writes an operator's command, and answers with the resulting state of the pool.
async fn tell(
    dispatcher: &Arc<Dispatcher>,
    pool: &Pool,
    act: &str,
    object: &str,
    command: Command,
) -> Response<Answer> {
    tracing::info!(pool = %pool.config.id, act, object, "operator action");
    match written(dispatcher.driver.tell(&pool.config.id, command)).await {
        Ok(()) => json_reply(StatusCode::OK, &pool_json(&dispatcher.view.borrow().fleet, pool)),
        Err(response) => response,
    }
}

/// Removes a pool from the journal, also one that is not configured here (any more).
async fn remove(dispatcher: &Arc<Dispatcher>, id: &str) -> Response<Answer> {
    let pool = dispatcher.view.borrow().fleet.pools().find(|p| &*p.0 == id).cloned();
    let Some(pool) = pool else {
        return error(StatusCode::NOT_FOUND, &format!("there is no pool {id:?} in the journal"));
    };
    tracing::info!(%pool, "operator action: removing the pool");
    match written(dispatcher.driver.tell(&pool, Command::Remove)).await {
        Ok(()) => json_reply(StatusCode::OK, &json!({ "pool": id, "removed": true })),
        Err(response) => response,
    }
}

/// Waits for a write, but not for long if the journal does not answer.
async fn written(tell: impl Future<Output = Result<(), Ended>>) -> Result<(), Response<Answer>> {
    let ended_says = Ended.to_string();
    let late = "the journal does not answer now; the command is written as soon as it does";
    answered(tell).await.map_err(|no_seat| {
        let ended = matches!(no_seat, NoSeat::Stopping);
        error(StatusCode::SERVICE_UNAVAILABLE, if ended { &ended_says } else { late })
    })
}

fn pools(dispatcher: &Dispatcher) -> Response<Answer> {
    let view = dispatcher.view.borrow();
    let pools: Vec<Value> = dispatcher.pools.iter().map(|p| pool_json(&view.fleet, p)).collect();
    json_reply(StatusCode::OK, &json!({ "lapse": view.fleet.is_quiet(), "pools": pools }))
}

fn pool_json(fleet: &Fleet, pool: &Pool) -> Value {
    let id = &pool.config.id;
    let Some((census, rules)) = fleet.census(id).zip(fleet.rules(id)) else { return json!({ "pool": &*id.0 }) };
    let pods: Vec<Value> =
        fleet.pods(id).filter(|(_, p)| p.life.is_some() || p.cordoned).map(|(o, p)| pod_json(o, p)).collect();
    json!({
        "pool": &*id.0, "title": pool.config.title, "state": condition(&census, rules),
        "sessions": { "queued": census.queued, "held": census.held, "taken": census.taken, "ending": census.ending },
        "slots": { "busy": census.busy_slots, "free": census.free_slots, "per_pod": rules.slots_per_pod },
        "needed": census.needed.len(), "desired": census.desired.len(), "start": census.desired.start,
        "asked": census.asked, "messages_per_second": census.messages_per_second,
        "gauge": census.gauge.map(|milli| milli as f64 / 1000.0),
        "min": rules.min, "max": rules.max, "frozen": census.frozen, "pods": pods,
    })
}

fn pod_json(ordinal: Ordinal, pod: &Pod) -> Value {
    let life = pod.life.as_ref();
    json!({
        "ordinal": ordinal.0, "uid": life.map(|l| &*l.uid.0), "phase": life.map_or("absent", phase),
        "why": life.and_then(why), "address": life.and_then(|l| l.incarnation.as_ref()).map(|i| i.address.to_string()),
        "sessions": pod.sessions.len(), "slots": pod.slots, "cordoned": pod.cordoned,
        "retiring": life.is_some_and(|l| matches!(l.standing, Standing::Retiring | Standing::Returning { .. })),
        "leaving": life.is_some_and(|l| matches!(l.standing, Standing::Surplus | Standing::Leaving)),
        "dirty": life.is_some_and(|l| l.dirty),
    })
}

fn phase(life: &Life) -> &'static str {
    match life.phase {
        Phase::Pending { .. } => "pending",
        Phase::Starting => "starting",
        Phase::Ready { .. } => "ready",
        Phase::Unready => "unready",
        Phase::Terminating => "terminating",
        Phase::Failed { .. } => "failed",
    }
}

fn why(life: &Life) -> Option<&str> {
    match &life.phase {
        Phase::Pending { why } | Phase::Failed { why } => Some(why),
        Phase::Starting | Phase::Ready { .. } | Phase::Unready | Phase::Terminating => None,
    }
}

fn sessions(dispatcher: &Dispatcher, pool: &Pool) -> Response<Answer> {
    let view = dispatcher.view.borrow();
    // The current time, not that of the last entry.
    let now = view.fleet.now() + view.age();
    let all = view.fleet.sessions(&pool.config.id);
    let rules = pool.rules(&view.fleet);
    let listed: Vec<Value> = all.iter().take(LISTED).map(|(id, s)| session_json(rules, now, *id, s)).collect();
    json_reply(StatusCode::OK, &json!({ "total": all.len(), "sessions": listed }))
}

fn session_json(rules: &Rules, now: Time, id: SessionId, session: &Session) -> Value {
    let seconds_ago = |at: Time| now.since(at).0 / 1000;
    let ends = session.ends(rules);
    json!({
        "session": public_name(id), "state": state(session), "pod": session.pod().map(|o| o.0),
        "since_seconds": seconds_ago(session.since), "active_seconds_ago": seconds_ago(session.active),
        "ends_in_seconds": ends.map(|(at, _)| at.since(now).0 / 1000), "ends_because": ends.map(|(_, why)| why.word()),
    })
}

fn state(session: &Session) -> &'static str {
    match session.state {
        State::Queued { .. } => "queued",
        State::Held { .. } => "held",
        State::Taken { .. } => "taken",
        State::Ending { .. } => "ending",
    }
}

/// Returns the session with this public name. O(n), which is acceptable for operators' requests.
fn find(fleet: &Fleet, pool: &Pool, name: &str) -> Option<SessionId> {
    fleet.sessions(&pool.config.id).into_iter().map(|(id, _)| id).find(|id| public_name(*id) == name)
}

fn json_reply(status: StatusCode, body: &Value) -> Response<Answer> {
    reply(status, "application/json", format!("{body}\n").into())
}

fn error(status: StatusCode, message: &str) -> Response<Answer> {
    json_reply(status, &json!({ "error": message }))
}

fn text(status: StatusCode, body: &str) -> Response<Answer> {
    reply(status, "text/plain; charset=utf-8", body.to_owned().into())
}

fn not_found() -> Response<Answer> {
    error(
        StatusCode::NOT_FOUND,
        "no such path; allowed: /healthz, /readyz, /metrics and /api/v1/pools[/POOL[/sessions[/NAME/kick|extend|busy]|/pods/ORDINAL/cordon|uncordon|drain]]",
    )
}

fn no_such_method(allowed: &str) -> Response<Answer> {
    error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} is allowed here"))
}
