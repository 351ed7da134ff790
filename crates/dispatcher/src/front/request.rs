//! The life of a request, top to bottom:
//! `cookie → place → attach → dial → send → respond | tunnel → detach`.

use crate::authority::{Origin, default_port};
use crate::config::Admission;
use crate::front::activity::Counts;
use crate::front::cookie::{self, Ticket};
use crate::front::endpoints;
use crate::front::error::{Fault, RequestError, Step};
use crate::front::forward::body::Answer;
use crate::front::forward::headers::{self, Hop};
use crate::front::forward::{TOO_LARGE, fields, forward};
use crate::front::guard::TargetEnd;
use crate::front::held;
use crate::front::newcomer::{self, Firsts, Turn, Undelivered};
use crate::front::passive;
use crate::front::visit::{NoSeat, Seat, Visits};
use crate::front::waiting::{self, Facts};
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use crate::metrics::{Outcome, Sessionless};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use slotkeeper_core::{Millis, Ordinal, Why, planted};
use std::sync::Arc;

/// Sends exactly one response to every request, counts the request once, and logs its failure once.
pub async fn answer(dispatcher: &Arc<Dispatcher>, request: Request<Incoming>, hop: &Hop<'_>) -> Response<Answer> {
    let began = now();
    let wants_page = wants_page(request.method(), request.headers());
    let mentions_upgrade = request.headers().contains_key(header::UPGRADE);
    let has_body = !request.body().is_end_stream();
    let is_form = request.method() == Method::POST;
    let mut pool = None;
    let answered = match route(dispatcher, &request, hop) {
        Ok(Routed::Pool(routed)) => {
            pool = Some(routed);
            life(dispatcher, routed, request, hop, wants_page).await
        }
        Ok(Routed::Asset(asset)) => Ok((asset, Outcome::Own)),
        Err(error) => Err(error),
    };
    let (mut response, outcome) = answered.unwrap_or_else(|error| failed(pool, None, &error, wants_page));
    let has_read = match outcome {
        Outcome::Forwarded | Outcome::Upgraded => true,
        Outcome::Own => is_form,
        Outcome::Waiting | Outcome::Failed => false,
    };
    if mentions_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        not_http_any_more(&mut response);
    } else if has_body && !has_read {
        // The rest of the request's body may still arrive, and nothing reads it.
        close_after(&mut response);
    }
    if let Some(pool) = pool {
        pool.metrics.request(outcome, now().duration_since(began));
    }
    response
}

/// The bytes that follow on this connection may be meant for another protocol: they are not read as HTTP.
fn not_http_any_more(response: &mut Response<Answer>) {
    planted!(UpgradeRefusedStaysOpen => ());
    close_after(response);
}

fn close_after(response: &mut Response<Answer>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

enum Routed<'a> {
    Pool(&'a Arc<Pool>),
    /// A file for the dispatcher's own error page at an address where nothing is served.
    Asset(Response<Answer>),
}

/// Finds the pool that a request is for (RFC 9112 §3.2).
fn route<'d>(
    dispatcher: &'d Dispatcher,
    request: &Request<Incoming>,
    hop: &Hop<'_>,
) -> Result<Routed<'d>, RequestError> {
    let refuse = |status, why| RequestError::visitor(Step::Route, status, why);
    if request.method() == Method::CONNECT {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "this is not a forward proxy"));
    }
    let authority = hop.authority(request).map_err(|why| refuse(StatusCode::BAD_REQUEST, why))?;
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(refuse(StatusCode::BAD_REQUEST, "a request must name its host"));
    }
    let path = request.uri().path();
    let Some(pool) = dispatcher.route(authority.map(|a| a.host).as_ref(), path) else {
        let asset = path.strip_prefix(endpoints::PREFIX).and_then(waiting::asset);
        let nothing = refuse(StatusCode::NOT_FOUND, "nothing is served at this address");
        return asset.map(Routed::Asset).ok_or(nothing);
    };
    let id = pool.via.as_bytes();
    let mut via =
        request.headers().get_all(header::VIA).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    if via.any(|hop| hop.trim_ascii() == id) {
        // RFC 9110 §7.6.3, RFC 5842 §7.2
        let message = "the request has passed this dispatcher before: a pod forwards it back";
        return Err(RequestError {
            fault: Fault::Pod,
            step: Step::Route,
            status: StatusCode::LOOP_DETECTED,
            message,
            source: None,
        });
    }
    Ok(Routed::Pool(pool))
}

fn failed(
    pool: Option<&Arc<Pool>>,
    pod: Option<Ordinal>,
    error: &RequestError,
    wants_page: bool,
) -> (Response<Answer>, Outcome) {
    match pool {
        Some(pool) => {
            pool.repeats.log(&pool.config.id.0, pod, error);
            pool.metrics.fault(error.fault);
        }
        None => error.log("-", pod, 0),
    }
    (endpoints::failure(error, wants_page, pool.map(|p| &**p)), Outcome::Failed)
}

/// Handles a request of a pool, from its cookie to its response.
async fn life(
    dispatcher: &Arc<Dispatcher>,
    pool: &Arc<Pool>,
    request: Request<Incoming>,
    hop: &Hop<'_>,
    wants_page: bool,
) -> Result<(Response<Answer>, Outcome), RequestError> {
    refuse_foreign(pool, &request, hop)?;
    refuse_large(dispatcher, &request)?;

    // cookie
    let age = |issued, limit| dispatcher.ages.age(&dispatcher.clock, issued, limit);
    let found = cookie::find(request.headers(), &pool.config, &dispatcher.keys, age);
    let secure = hop.is_secure(request.headers());
    let class = class(pool, request.headers(), hop);
    if request.uri().path().starts_with(&*pool.own) {
        return Ok((endpoints::answer(dispatcher, pool, request, hop, found, class, secure).await?, Outcome::Own));
    }
    let passive = passive::rule(pool, &request);
    if let Some(rule) = passive.filter(|_| !passive::is_at_its_pod(dispatcher, pool, found)) {
        pool.metrics.sessionless(Sessionless::Passive);
        if rule.is_health_check(&request) {
            return Ok((endpoints::health(dispatcher, pool), Outcome::Own));
        }
        let facts = found.map_or_else(|| Facts::arriving(pool), |t| Facts::of(dispatcher, pool, t.session));
        return Ok((waiting::come_again(&facts), Outcome::Waiting));
    }
    if let Some(ticket) = found.filter(|t| passive::is_forgotten(dispatcher, pool, t, &request, wants_page)) {
        pool.metrics.sessionless(Sessionless::Background);
        let why = pool.recently_ended.of(ticket.session).unwrap_or(Why::Disconnected);
        return Ok((waiting::come_again(&Facts::ended(pool, why)), Outcome::Waiting));
    }
    let first = match found {
        Some(_) => Turn::Free,
        None => match begin(pool, &request, hop, wants_page).await? {
            Begin::Session(turn) => turn,
            Begin::Not(response) => return Ok((response, Outcome::Own)),
        },
    };
    let (ticket, is_new) = ticket(dispatcher, pool, found)?;
    if !is_new
        && wants_page
        && newcomer::can_be_sent_again(&request)
        && let Some(response) = settle(dispatcher, pool, &ticket, &request, hop).await
    {
        return Ok((response, Outcome::Waiting));
    }
    if is_new && must_return(pool) {
        if wants_page {
            pool.bursts.minted(newcomer::likeness(&request, hop));
        }
        // No slot is allocated and no pod is started before the client has sent the cookie back.
        let mut response = wait(dispatcher, pool, &Facts::arriving(pool), &request, wants_page).await;
        set_cookie(dispatcher, pool, &mut response, &ticket, secure);
        return Ok((response, Outcome::Waiting));
    }

    // place, attach
    // A no-show whose browser now asks for a page has arrived after all.
    if let Some(why) = pool.barred(ticket.session).filter(|why| *why != Why::NoShow || !wants_page) {
        let facts = Facts::ended(pool, why);
        return Ok((wait(dispatcher, pool, &facts, &request, wants_page).await, Outcome::Waiting));
    }
    pool.recently_ended.forget(ticket.session);
    let mut undelivered = Undelivered::new(dispatcher, pool, is_new.then_some(ticket.session));
    let mut stream = Visits::enter(pool, dispatcher, ticket.session);
    let counts = match passive {
        Some(_) => Counts::NOTHING,
        None => Counts::of(&pool.config.activity, request.uri().path()),
    };
    stream.counts_as(counts, passive.is_some());
    if is_new && newcomer::drops_cookie(request.headers(), cookie::is_framed(&pool.config, secure)) {
        stream.ends_with_its_streams();
    }
    let seat = match held::seat(dispatcher, pool, &mut stream, &ticket, class, wants_page).await {
        Ok(seat) => seat,
        Err(no_seat) => {
            let facts = no_slot(dispatcher, pool, &ticket, &no_seat)?;
            let mut response = wait(dispatcher, pool, &facts, &request, wants_page).await;
            if is_new {
                set_cookie(dispatcher, pool, &mut response, &ticket, secure);
                undelivered.delivered();
            }
            return Ok((response, Outcome::Waiting));
        }
    };

    // dial, send, respond or tunnel; dropping the stream detaches it
    let renewed = renewed(dispatcher, pool, &ticket, &seat, is_new);
    let pod = Some(seat.pod);
    // The pod may be working on a request with another method, so the visitor must not send it again.
    let is_page = wants_page && newcomer::can_be_sent_again(&request);
    let forwarded = forward(dispatcher, stream, seat, request, hop, is_page).await;
    // A failure carries the cookie as well: a client that retries is the same visitor.
    let (mut response, outcome) = forwarded.unwrap_or_else(|error| failed(Some(pool), pod, &error, wants_page));
    if let Some(ticket) = renewed {
        set_cookie(dispatcher, pool, &mut response, &ticket, secure);
    }
    undelivered.delivered();
    drop(first);
    Ok((response, outcome))
}

/// Holds back a request for a page whose cookie returns at once: the cookie may be one of several that a browser was given
/// at the same time, of which it keeps the last. None of them gets a place before it is known which one that is.
async fn settle(
    dispatcher: &Dispatcher,
    pool: &Pool,
    ticket: &Ticket,
    request: &Request<Incoming>,
    hop: &Hop<'_>,
) -> Option<Response<Answer>> {
    let until = newcomer::unsettled(dispatcher, pool, ticket, request, hop)?;
    tokio::time::sleep_until(until).await;
    pool.metrics.sessionless(Sessionless::Again);
    Some(newcomer::same_again(request))
}

enum Begin {
    Session(Turn),
    Not(Response<Answer>),
}

/// Decides whether a request without a cookie may begin a session.
async fn begin(
    pool: &Arc<Pool>,
    request: &Request<Incoming>,
    hop: &Hop<'_>,
    wants_page: bool,
) -> Result<Begin, RequestError> {
    if let Some(answered) = newcomer::preflight(pool, request) {
        pool.metrics.sessionless(Sessionless::Preflight);
        return answered.map(Begin::Not);
    }
    if must_return(pool) {
        return Ok(Begin::Session(Turn::Free));
    }
    let frames = cookie::is_framed(&pool.config, hop.is_secure(request.headers()));
    if newcomer::drops_cookie(request.headers(), frames) && headers::upgrade(request).is_none() {
        pool.metrics.sessionless(Sessionless::Cookie);
        let message = "a session needs a cookie, and browsers do not keep the cookie of a response to such a request";
        return Err(RequestError::visitor(Step::Cookie, StatusCode::FORBIDDEN, message));
    }
    if !wants_page || !newcomer::can_be_sent_again(request) {
        return Ok(Begin::Session(Turn::Free));
    }
    match Firsts::turn(pool, newcomer::exact_likeness(request, hop)) {
        Turn::Again(again) => {
            pool.metrics.sessionless(Sessionless::Again);
            again.settled().await;
            Ok(Begin::Not(newcomer::same_again(request)))
        }
        turn @ (Turn::Free | Turn::First(_)) => Ok(Begin::Session(turn)),
    }
}

/// Returns the visitor's session, and whether it is a new one.
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
    let place = |ticket: &Ticket| {
        dispatcher.view.borrow().fleet.place(&pool.config.id, ticket.session) != slotkeeper_core::Place::Unknown
    };
    match found.filter(place) {
        Some(ticket) => Ok((ticket, false)),
        None => Ok((dispatcher.mint(pool, None)?, true)),
    }
}

/// Whether a session gets a slot only after the client has sent its cookie back.
fn must_return(pool: &Pool) -> bool {
    planted!(RoomWakesPods => false);
    pool.config.admission == Admission::Returning
}

/// Refuses upgrades from pages of other origins (RFC 6455 §10.2), and their POST requests to the dispatcher's own paths.
fn refuse_foreign(pool: &Pool, request: &Request<Incoming>, hop: &Hop<'_>) -> Result<(), RequestError> {
    planted!(ForeignOriginAllowed => Ok(()));
    let acts = request.method() == Method::POST && request.uri().path().starts_with(&*pool.own);
    if headers::upgrade(request).is_none() && !acts {
        return Ok(());
    }
    let headers = request.headers();
    // Scripts cannot set this header (W3C Fetch Metadata): a browser's value can be trusted.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let allows = |origin: &str| pool.config.allowed_origins.iter().any(|pattern| pattern.allows(origin));
    let mut origins = headers.get_all(header::ORIGIN).into_iter();
    let allowed = match (origins.next().map(HeaderValue::to_str), origins.next()) {
        (None, _) => !matches!(site, Some(b"cross-site" | b"same-site")) || allows(""),
        (Some(Ok(origin)), None) => {
            is_same_origin(origin, request, hop) || origin == "null" && site == Some(b"same-origin") || allows(origin)
        }
        (Some(_), _) => false,
    };
    if allowed {
        return Ok(());
    }
    Err(RequestError::visitor(Step::Route, StatusCode::FORBIDDEN, "this is not allowed from another origin"))
}

/// Compares with the scheme, host and port of the request itself. Unless a trusted proxy names the scheme, the visitor's may
/// be `http` or `https`.
fn is_same_origin(origin: &str, request: &Request<Incoming>, hop: &Hop<'_>) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    let Some((there, here)) = origin.authority.zip(hop.authority(request).ok().flatten()) else { return false };
    let is_scheme = match hop.scheme(request.headers()) {
        Some(scheme) => origin.scheme.eq_ignore_ascii_case(scheme),
        None => origin.scheme.eq_ignore_ascii_case("https") || origin.scheme.eq_ignore_ascii_case("http"),
    };
    let port = origin.port();
    let forwarded = hop.forwarded_port(request.headers());
    is_scheme
        && there.host == here.host
        && (port == here.port.or_else(|| default_port(origin.scheme)) || forwarded.is_some() && port == forwarded)
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

/// The facts or the error for a request that gets no seat.
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

/// The waiting room for a person, `503` for a program.
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
            Ok(mut response) => {
                let names = || dispatcher.config.pools.iter().map(|pool| pool.cookie_name.as_str());
                cookie::strip_set(response.headers_mut(), names);
                return response;
            }
            Err(error) => {
                tracing::warn!(pool = %pool.config.id, "landing page unavailable, showing the built-in waiting room: {error}");
            }
        }
    }
    let back = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut room = match request.extensions().get::<TargetEnd>() {
        Some(TargetEnd(end)) => waiting::room(facts, pool, &format!("{back}{}", String::from_utf8_lossy(end))),
        None => waiting::room(facts, pool, back),
    };
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        // The request has not reached a pod.
        *room.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    room
}

/// Clocks of several dispatchers differ by less than this.
const OTHERS_AHEAD: Millis = Millis::secs(60);

/// Returns the cookie to set, if it is new or changes: the session has moved to another ordinal, or half of the cookie's
/// lifetime is over.
fn renewed(dispatcher: &Dispatcher, pool: &Pool, ticket: &Ticket, seat: &Seat, is_new: bool) -> Option<Ticket> {
    planted!(CookieNotRenewed => is_new.then_some(*ticket));
    let now = dispatcher.clock.wall();
    let half = u128::from(now.since(ticket.issued).0) > pool.config.cookie_max_age.as_millis() / 2;
    // Issued by a clock that was ahead: without this, it would never be renewed.
    let old = half || ticket.issued > now + OTHERS_AHEAD;
    let moved = ticket.last != Some(seat.pod);
    let issued = if old { now } else { ticket.issued };
    (is_new || old || moved).then_some(Ticket { issued, last: Some(seat.pod), ..*ticket })
}

/// Adds the session's cookie to a response, which no shared cache may store from then on.
pub fn set_cookie(
    dispatcher: &Dispatcher,
    pool: &Pool,
    response: &mut Response<Answer>,
    ticket: &Ticket,
    secure: bool,
) {
    let value = cookie::set(&pool.config, &dispatcher.keys, ticket, secure);
    response.headers_mut().append(header::SET_COOKIE, value);
    fields::make_private(response.headers_mut());
}

/// The visitor's priority class, as named by a trusted proxy; otherwise the last class, if the pool uses classes at all.
fn class(pool: &Pool, headers: &HeaderMap, hop: &Hop<'_>) -> u8 {
    let Some(name) = &pool.config.priority_header else { return 0 };
    let named = headers.get(name).filter(|_| hop.is_trusted()).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    named.map_or(9, |class: u8| class.min(9))
}

/// Fields with which libraries mark requests made by scripts.
const SCRIPTS: [&str; 7] =
    ["x-requested-with", "hx-request", "turbo-frame", "x-turbo-request-id", "x-inertia", "x-pjax", "x-up-version"];

/// Whether a person will look at the response. Browsers mark navigations (W3C Fetch Metadata), but not over plain HTTP;
/// there, `Accept` decides.
fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    if headers.contains_key(header::UPGRADE) {
        return false;
    }
    if let Some(mode) = headers.get("sec-fetch-mode") {
        return mode.as_bytes() == b"navigate";
    }
    let accepts = || {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|v| v.as_bytes().windows(9).any(|w| w.eq_ignore_ascii_case(b"text/html")))
    };
    let is_form = || {
        let content = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let form = |kind: &[u8]| content.get(..kind.len()).is_some_and(|c| c.eq_ignore_ascii_case(kind));
        form(b"application/x-www-form-urlencoded") || form(b"multipart/form-data")
    };
    let reads = method == Method::GET || method == Method::HEAD;
    (reads || *method == Method::POST && is_form())
        && accepts()
        && !SCRIPTS.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::wants_page;
    use http::{HeaderMap, HeaderName, Method};

    #[test]
    fn people_get_pages_and_programs_do_not() {
        let wants = |method, fields: &[(&'static str, &'static str)]| {
            let field =
                |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), value.parse().unwrap());
            wants_page(&method, &fields.iter().map(field).collect::<HeaderMap>())
        };
        let html = ("accept", "text/html,*/*;q=0.8");
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        for navigation in [&[("sec-fetch-mode", "navigate"), ("accept", "*/*")][..], &[("sec-fetch-mode", "navigate")]]
        {
            for method in [Method::GET, Method::POST, Method::HEAD] {
                assert!(wants(method, navigation));
            }
        }
        for mode in ["cors", "same-origin", "no-cors", "websocket"] {
            assert!(!wants(Method::GET, &[("sec-fetch-mode", mode), html]), "{mode}");
        }
        assert!(wants(Method::GET, &[html]) && wants(Method::HEAD, &[html]) && wants(Method::POST, &[html, form]));
        assert!(
            !wants(Method::GET, &[("accept", "*/*")]) && !wants(Method::PUT, &[html]) && !wants(Method::POST, &[html])
        );
        for script in ["x-requested-with", "hx-request", "turbo-frame"] {
            assert!(!wants(Method::GET, &[html, (script, "1")]) && !wants(Method::POST, &[html, form, (script, "1")]));
        }
        assert!(!wants(Method::GET, &[html, ("upgrade", "websocket")]));
    }
}
