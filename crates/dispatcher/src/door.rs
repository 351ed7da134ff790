//! Accepts connections, and is the one way of a request through the code, top to bottom:
//! `cookie → place → attach → dial → send → respond | tunnel → detach`.

use crate::config::Admission;
use crate::cookie::{self, Ticket};
use crate::dispatcher::{Dispatcher, Pool};
use crate::error::{Fault, RequestError, Step};
use crate::forward::body::Answer;
use crate::forward::headers::{self, Hop};
use crate::forward::{TOO_LARGE, forward};
use crate::guard::Guard;
use crate::metrics::Outcome;
use crate::outside::{Listener, now};
use crate::own;
use crate::view::stopped;
use crate::visit::{NoSeat, Seat, Stream, Visits};
use crate::waiting::{self, Facts};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use slotkeeper_core::{Place, Why, planted};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// After an accept failed (no more files, say).
const BREATH: Duration = Duration::from_millis(50);

/// Accepts until the dispatcher stops.
pub async fn open(dispatcher: Arc<Dispatcher>, mut listener: Box<dyn Listener>, connections: Arc<Semaphore>) {
    let mut stopping = dispatcher.stopping.clone();
    loop {
        let permit = tokio::select! {
            biased;
            () = stopped(&mut stopping) => return,
            permit = connections.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        tokio::select! {
            biased;
            () = stopped(&mut stopping) => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let place = crate::guard::Place::take(&dispatcher.metrics.connections, permit);
                    let guard = Guard::new(socket, place, dispatcher.config.limits.header_time);
                    tokio::spawn(serve(dispatcher.clone(), guard, peer));
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

/// One connection: its requests, one after the other.
async fn serve(dispatcher: Arc<Dispatcher>, guard: Guard, peer: SocketAddr) {
    let limits = &dispatcher.config.limits;
    let io = TokioIo::new(guard);
    let mut stopping: watch::Receiver<bool> = dispatcher.stopping.clone();
    let service = {
        let dispatcher = dispatcher.clone();
        service_fn(move |request| {
            let dispatcher = dispatcher.clone();
            async move { Ok::<_, Infallible>(answer(&dispatcher, request, peer).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_header_size(limits.header_bytes)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Every request gets exactly one answer, is counted once, and its failure is logged once.
async fn answer(dispatcher: &Arc<Dispatcher>, request: Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
    let began = now();
    let hop = Hop { peer: peer.ip(), trusted_proxies: &dispatcher.config.trusted_proxies };
    let wants_page = wants_page(request.method(), request.headers());
    let mentions_upgrade = request.headers().contains_key(header::UPGRADE);
    let pool = dispatcher.route(hop.host(&request).unwrap_or_default(), request.uri().path());
    let answered = match pool {
        Some(pool) => life(dispatcher, pool, request, &hop, wants_page).await,
        None => Err(RequestError::visitor(Step::Route, StatusCode::NOT_FOUND, "nothing is served at this address")),
    };
    let (mut response, outcome) = answered.unwrap_or_else(|error| failed(pool, &error, wants_page));
    if mentions_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        close_after(&mut response);
    }
    if let Some(pool) = pool {
        pool.metrics.request(outcome, now().duration_since(began));
    }
    response
}

/// What follows on this connection may have been meant for another protocol: it is not read as HTTP.
fn close_after(response: &mut Response<Answer>) {
    planted!(UpgradeRefusedStaysOpen => ());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

fn failed(pool: Option<&Arc<Pool>>, error: &RequestError, wants_page: bool) -> (Response<Answer>, Outcome) {
    error.log(pool.map_or("-", |p| &p.config.id.0));
    if let Some(pool) = pool {
        pool.metrics.fault(error.fault);
    }
    (own::failure(error, wants_page), Outcome::Failed)
}

/// The life of a request.
async fn life(
    dispatcher: &Arc<Dispatcher>,
    pool: &Arc<Pool>,
    request: Request<Incoming>,
    hop: &Hop<'_>,
    wants_page: bool,
) -> Result<(Response<Answer>, Outcome), RequestError> {
    if request.method() == Method::CONNECT {
        return Err(RequestError::visitor(Step::Route, StatusCode::METHOD_NOT_ALLOWED, "this is no forward proxy"));
    }
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        // RFC 9112 §3.2.
        return Err(RequestError::visitor(Step::Route, StatusCode::BAD_REQUEST, "a request must name its host"));
    }
    refuse_foreign(pool, &request, hop)?;
    refuse_large(dispatcher, &request)?;

    // cookie
    let found = cookie::find(request.headers(), &pool.config, &dispatcher.keys, dispatcher.clock.now());
    let secure = hop.is_secure(request.headers());
    let class = class(pool, request.headers(), hop);
    if request.uri().path().starts_with(&*pool.own) {
        return Ok((own::answer(dispatcher, pool, request, found, class, secure).await?, Outcome::Own));
    }
    let (ticket, is_new) = ticket(dispatcher, pool, found)?;
    if is_new && must_return(pool) {
        // Nothing is allocated and nothing wakes before the cookie has come back.
        let mut response = wait(dispatcher, pool, &Facts::arriving(pool), &request, wants_page).await;
        set_cookie(dispatcher, pool, &mut response, &ticket, secure);
        return Ok((response, Outcome::Waiting));
    }

    // place, attach
    // A no-show who now asks for a page has come after all.
    if let Some(why) = pool.barred(ticket.session).filter(|why| *why != Why::NoShow || !wants_page) {
        let facts = Facts::ended(pool, why);
        return Ok((wait(dispatcher, pool, &facts, &request, wants_page).await, Outcome::Waiting));
    }
    pool.farewells.forget(ticket.session);
    let mut stream = Visits::enter(pool, dispatcher, ticket.session);
    let seat = match seat(dispatcher, pool, &mut stream, &ticket, class, wants_page).await {
        Ok(seat) => seat,
        Err(no_seat) => {
            let facts = no_slot(dispatcher, pool, &ticket, &no_seat)?;
            let mut response = wait(dispatcher, pool, &facts, &request, wants_page).await;
            if is_new {
                set_cookie(dispatcher, pool, &mut response, &ticket, secure);
            }
            return Ok((response, Outcome::Waiting));
        }
    };

    // dial, send, respond or tunnel; the stream detaches when it is dropped
    let renewed = renewed(dispatcher, pool, &ticket, &seat, is_new);
    let forwarded = forward(dispatcher, stream, seat, request, hop).await;
    // A failure carries the cookie as well: who tries again is the same visitor.
    let (mut response, outcome) = forwarded.unwrap_or_else(|error| failed(Some(pool), &error, wants_page));
    if let Some(ticket) = renewed {
        set_cookie(dispatcher, pool, &mut response, &ticket, secure);
    }
    Ok((response, outcome))
}

/// The visitor's session, and whether it is a new one.
fn ticket(dispatcher: &Dispatcher, pool: &Pool, found: Option<Ticket>) -> Result<(Ticket, bool), RequestError> {
    planted!(MintForUnknown => ticket_if_known(dispatcher, pool, found));
    match found {
        Some(ticket) => Ok((ticket, false)),
        None => Ok((dispatcher.mint(pool, None)?, true)),
    }
}

#[cfg(feature = "planted")]
fn ticket_if_known(
    dispatcher: &Dispatcher,
    pool: &Pool,
    found: Option<Ticket>,
) -> Result<(Ticket, bool), RequestError> {
    let place =
        |ticket: &Ticket| dispatcher.view.borrow().fleet.place(&pool.config.id, ticket.session) != Place::Unknown;
    match found.filter(place) {
        Some(ticket) => Ok((ticket, false)),
        None => Ok((dispatcher.mint(pool, None)?, true)),
    }
}

/// Whether a session gets a slot only once its cookie has come back.
fn must_return(pool: &Pool) -> bool {
    planted!(RoomWakesPods => false);
    pool.config.admission == Admission::Returning
}

/// Upgrades from other people's pages are refused (RFC 6455 §10.2), and so are the visitor's own acts.
fn refuse_foreign(pool: &Pool, request: &Request<Incoming>, hop: &Hop<'_>) -> Result<(), RequestError> {
    planted!(ForeignOriginAllowed => Ok(()));
    let acts = request.method() == Method::POST && request.uri().path().starts_with(&*pool.own);
    if headers::upgrade(request).is_none() && !acts {
        return Ok(());
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let foreign = RequestError::visitor(Step::Route, StatusCode::FORBIDDEN, "this is not allowed from another origin");
    let Ok(origin) = origin.to_str() else { return Err(foreign) };
    let same =
        origin.split_once("://").is_some_and(|(_, host)| hop.host(request).is_some_and(|own| same_host(host, own)));
    let allowed = pool.config.allowed_origins.iter().any(|o| o == "*" || o.eq_ignore_ascii_case(origin));
    if same || allowed { Ok(()) } else { Err(foreign) }
}

/// The same host and port; a port that is a scheme's default may be left out.
fn same_host(a: &str, b: &str) -> bool {
    let bare = |s: &str| s.trim_end_matches(":80").trim_end_matches(":443").to_ascii_lowercase();
    bare(a) == bare(b)
}

fn refuse_large(dispatcher: &Dispatcher, request: &Request<Incoming>) -> Result<(), RequestError> {
    let least = request.body().size_hint().lower();
    match dispatcher.config.limits.body_bytes {
        Some(limit) if least > limit => {
            Err(RequestError::visitor(Step::Send, StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE))
        }
        Some(_) | None => Ok(()),
    }
}

/// A seat now, or after being held for one where the pool allows that and nobody looks at a page.
async fn seat(
    dispatcher: &Arc<Dispatcher>,
    pool: &Arc<Pool>,
    stream: &mut Stream,
    ticket: &Ticket,
    class: u8,
    wants_page: bool,
) -> Result<Arc<Seat>, NoSeat> {
    let first = stream.seat(ticket.last, class).await;
    if !matches!(first, Err(NoSeat::Queued)) || wants_page || pool.config.hold.is_zero() {
        return first;
    }
    let Ok(_held) = pool.holds.try_acquire() else { return first };
    let mut view = dispatcher.view.clone();
    let id = &pool.config.id;
    let ready = crate::view::until(&mut view, |v| !matches!(v.fleet.place(id, ticket.session), Place::Queued { .. }));
    let signs = async {
        loop {
            tokio::time::sleep(waiting::sign_every(pool)).await;
            pool.visits.still_waits(ticket.session);
        }
    };
    tokio::select! {
        biased;
        _ = ready => stream.seat(ticket.last, class).await,
        () = tokio::time::sleep(pool.config.hold) => first,
        () = signs => first,
    }
}

/// What to say where there is no seat.
fn no_slot(dispatcher: &Dispatcher, pool: &Pool, ticket: &Ticket, no_seat: &NoSeat) -> Result<Facts, RequestError> {
    match no_seat {
        NoSeat::Queued => Ok(Facts::of(dispatcher, pool, ticket.session)),
        NoSeat::Full => Ok(Facts::full(pool)),
        NoSeat::Ending(why) => Ok(Facts::ended(pool, *why)),
        NoSeat::TooManyStreams => {
            Err(RequestError::visitor(Step::Attach, StatusCode::TOO_MANY_REQUESTS, "too many streams of one session"))
        }
        NoSeat::Stopping => Err(not_now("the dispatcher is restarting")),
        NoSeat::CutOff => Err(not_now("the journal does not answer")),
    }
}

fn not_now(message: &'static str) -> RequestError {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    RequestError { fault: Fault::Us, step: Step::Attach, status, message, source: None }
}

/// The waiting room for people, `503` for programs.
async fn wait(
    dispatcher: &Dispatcher,
    pool: &Pool,
    facts: &Facts,
    request: &Request<Incoming>,
    wants_page: bool,
) -> Response<Answer> {
    if !wants_page {
        return waiting::come_again(facts);
    }
    let waits = !matches!(facts.state, waiting::RoomState::Ended | waiting::RoomState::Full);
    if let Some(landing) = pool.config.landing.as_ref().filter(|_| waits) {
        match waiting::landing::fetch(&*dispatcher.net, landing).await {
            Ok(response) => return response,
            Err(error) => {
                tracing::warn!(pool = %pool.config.id, "the landing page did not come, ours is shown: {error}");
            }
        }
    }
    let back = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    waiting::room(facts, pool, back)
}

/// The cookie as it should be: it follows the session to another ordinal, and is renewed in time.
fn renewed(dispatcher: &Dispatcher, pool: &Pool, ticket: &Ticket, seat: &Seat, is_new: bool) -> Option<Ticket> {
    planted!(CookieNotRenewed => is_new.then_some(*ticket));
    let now = dispatcher.clock.now();
    let old = u128::from(now.since(ticket.issued).0) > pool.config.cookie_max_age.as_millis() / 2;
    let moved = ticket.last != Some(seat.pod);
    let issued = if old { now } else { ticket.issued };
    (is_new || old || moved).then_some(Ticket { issued, last: Some(seat.pod), ..*ticket })
}

/// Adds our cookie to an answer.
pub fn set_cookie(
    dispatcher: &Dispatcher,
    pool: &Pool,
    response: &mut Response<Answer>,
    ticket: &Ticket,
    secure: bool,
) {
    let value = cookie::set(&pool.config, &dispatcher.keys, ticket, secure);
    response.headers_mut().append(header::SET_COOKIE, value);
}

/// The priority class a trusted proxy gives the visitor; the last one otherwise where classes are used at all.
fn class(pool: &Pool, headers: &HeaderMap, hop: &Hop<'_>) -> u8 {
    let Some(name) = &pool.config.priority_header else { return 0 };
    let named = headers.get(name).filter(|_| hop.is_trusted()).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    named.map_or(9, |class: u8| class.min(9))
}

/// A browser that navigates: it can show a page.
fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    let accepts = || {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|v| v.as_bytes().windows(9).any(|w| w.eq_ignore_ascii_case(b"text/html")))
    };
    (method == Method::GET || method == Method::HEAD) && !headers.contains_key(header::UPGRADE) && accepts()
}
