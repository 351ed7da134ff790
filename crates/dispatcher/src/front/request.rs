//! The life of a request, top to bottom:
//! `route → cookie → place → attach → dial → send → respond | tunnel → detach`. The steps are in other files of this room.

use crate::front::access_log::Record;
use crate::front::activity::Counts;
use crate::front::arrival::{self, Arrival};
use crate::front::cookie::{self, Ticket, public_name};
use crate::front::endpoints;
use crate::front::error::{Fault, RequestError, Step};
use crate::front::forward::body::ResponseBody;
use crate::front::forward::forward;
use crate::front::forward::headers::Hop;
use crate::front::held;
use crate::front::newcomer::{self, Begin, Turn, Undelivered};
use crate::front::passive;
use crate::front::route::{Routed, refuse_foreign, refuse_large, route};
use crate::front::visit::{InFlight, NoSeat, Seat, Visits};
use crate::front::waiting::{self, Facts};
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use crate::metrics::{Outcome, Sessionless};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use slotkeeper_core::{Ordinal, Why, planted};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

/// A response, and how the request ended.
type Answered = (Response<ResponseBody>, Outcome);

/// Sends exactly one response to every request, counts the request once, and logs its failure once.
pub async fn answer(dispatcher: &Arc<Dispatcher>, request: Request<Incoming>, hop: &Hop<'_>) -> Response<ResponseBody> {
    let began = now();
    let wants_page = arrival::wants_page(request.method(), request.headers());
    let mentions_upgrade = request.headers().contains_key(header::UPGRADE);
    let has_body = !request.body().is_end_stream();
    let is_form = request.method() == Method::POST;
    let record = Record::of(&request);
    let mut pool = None;
    let answered = match route(dispatcher, &request, hop) {
        Ok(Routed::Pool(routed)) => {
            pool = Some(routed);
            if let Some(record) = &record {
                record.pool(&routed.config.id);
            }
            life(dispatcher, routed, request, *hop, wants_page).await
        }
        Ok(Routed::Asset(asset)) => Ok((asset, Outcome::Own)),
        Err(error) => Err(error),
    };
    let (mut response, outcome) =
        answered.unwrap_or_else(|error| failed(pool, None, &error, wants_page, record.as_deref()));
    if let Some(record) = &record {
        record.outcome(outcome);
    }
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
fn not_http_any_more(response: &mut Response<ResponseBody>) {
    planted!(UpgradeRefusedStaysOpen => ());
    close_after(response);
}

fn close_after(response: &mut Response<ResponseBody>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

fn failed(
    pool: Option<&Arc<Pool>>,
    pod: Option<Ordinal>,
    error: &RequestError,
    wants_page: bool,
    record: Option<&Record>,
) -> Answered {
    if let Some(record) = record {
        record.failed(error);
    }
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
    hop: Hop<'_>,
    wants_page: bool,
) -> Result<Answered, RequestError> {
    refuse_foreign(pool, &request, &hop)?;
    refuse_large(dispatcher, &request)?;

    // cookie
    let mut arrival = Arrival::read(dispatcher, pool, &request, hop, wants_page);
    name_session(&arrival, arrival.ticket);
    if arrival.own_path().is_some() {
        return Ok((endpoints::answer(&arrival, request).await?, Outcome::Own));
    }
    let is_passive = match without_session(&arrival, &request) {
        Break(answered) => return Ok(answered),
        Continue(is_passive) => is_passive,
    };
    let (ticket, turn) = match session(&mut arrival, &request).await? {
        Break(answered) => return Ok(answered),
        Continue(session) => session,
    };

    name_session(&arrival, Some(ticket));

    // place, attach (laws 3 and 4)
    if let Some(why) = may_not_continue(&arrival, &ticket) {
        return Ok((waiting::reply(&arrival, &Facts::ended(pool, why)).await, Outcome::Waiting));
    }
    let mut undelivered = Undelivered::new(dispatcher, pool, arrival.issued.map(|ticket| ticket.session));
    let mut stream = enter(&arrival, &request, &ticket, is_passive);
    let seat = match held::seat(&arrival, &mut stream, &ticket).await {
        Ok(seat) => seat,
        Err(no_seat) => {
            let facts = no_slot(dispatcher, pool, &ticket, &no_seat)?;
            let response = waiting::reply(&arrival, &facts).await;
            undelivered.delivered();
            return Ok((response, Outcome::Waiting));
        }
    };

    // dial, send, respond or tunnel; dropping the stream detaches it
    let answered = deliver(&arrival, request, &ticket, stream, seat).await;
    undelivered.delivered();
    drop(turn);
    Ok(answered)
}

/// Writes the session into the request's record, if requests are logged.
fn name_session(arrival: &Arrival<'_>, ticket: Option<Ticket>) {
    if let (Some(record), Some(ticket)) = (&arrival.record, ticket) {
        record.session(&public_name(ticket.session));
    }
}

/// Answers requests that use no session: passive ones, and those of a page that was left open. Otherwise returns whether the
/// request is passive.
fn without_session(arrival: &Arrival<'_>, request: &Request<Incoming>) -> ControlFlow<Answered, bool> {
    let (dispatcher, pool, found) = (arrival.dispatcher, arrival.pool, arrival.ticket);
    let passive = passive::rule(pool, request);
    if let Some(rule) = passive.filter(|_| !passive::is_at_its_pod(dispatcher, pool, found)) {
        pool.metrics.sessionless(Sessionless::Passive);
        if rule.is_health_check(request) {
            return Break((endpoints::health(dispatcher, pool), Outcome::Own));
        }
        let facts = found.map_or_else(|| Facts::arriving(pool), |t| Facts::of(dispatcher, pool, t.session));
        return Break((waiting::come_again(&facts), Outcome::Waiting));
    }
    if let Some(ticket) = found.filter(|t| passive::is_forgotten(dispatcher, pool, t, request, arrival.wants_page)) {
        pool.metrics.sessionless(Sessionless::Background);
        let why = pool.recently_ended.of(ticket.session).unwrap_or(Why::Disconnected);
        return Break((waiting::come_again(&Facts::ended(pool, why)), Outcome::Waiting));
    }
    Continue(passive.is_some())
}

/// Returns the request's session: its cookie's, or a new one. Others that look alike wait until the turn is dropped.
async fn session(
    arrival: &mut Arrival<'_>,
    request: &Request<Incoming>,
) -> Result<ControlFlow<Answered, (Ticket, Turn)>, RequestError> {
    let pool = arrival.pool;
    let turn = match arrival.ticket {
        Some(_) => Turn::Free,
        None => match newcomer::begin(arrival, request).await? {
            Begin::Session(turn) => turn,
            Begin::Not(response) => return Ok(Break((response, Outcome::Own))),
        },
    };
    let (ticket, is_new) = ticket(arrival.dispatcher, pool, arrival.ticket)?;
    if !is_new {
        if arrival.is_repeatable_page
            && let Some(response) = newcomer::settle(arrival, request).await
        {
            return Ok(Break((response, Outcome::Waiting)));
        }
        return Ok(Continue((ticket, turn)));
    }
    arrival.issued = Some(ticket);
    if !newcomer::must_return(pool) {
        return Ok(Continue((ticket, turn)));
    }
    if arrival.wants_page {
        pool.bursts.minted(newcomer::likeness(request, &arrival.hop));
    }
    // No slot is allocated and no pod is started before the client has sent the cookie back.
    Ok(Break((waiting::reply(arrival, &Facts::arriving(pool)).await, Outcome::Waiting)))
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

/// Why the session has ended, if a visitor must act to start again. A no-show whose browser now asks for a page has arrived
/// after all.
fn may_not_continue(arrival: &Arrival<'_>, ticket: &Ticket) -> Option<Why> {
    let why = arrival.pool.barred(ticket.session).filter(|why| *why != Why::NoShow || !arrival.wants_page);
    if why.is_none() {
        arrival.pool.recently_ended.forget(ticket.session);
    }
    why
}

/// The session's stream for this request.
fn enter(arrival: &Arrival<'_>, request: &Request<Incoming>, ticket: &Ticket, is_passive: bool) -> InFlight {
    let pool = arrival.pool;
    let mut stream = Visits::enter(pool, arrival.dispatcher, ticket.session);
    let counts = if is_passive { Counts::NOTHING } else { Counts::of(&pool.config.activity, arrival.path()) };
    stream.counts_as(counts, is_passive);
    stream.is_recorded(arrival.record.clone());
    let is_framed = cookie::is_framed(&pool.config, arrival.secure);
    if arrival.issued.is_some() && newcomer::drops_cookie(request.headers(), is_framed) {
        stream.ends_with_its_streams();
    }
    stream
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

/// Has the pod answer, and adds the cookie if it is new or changes. A failure carries the cookie as well: a client that retries is
/// the same visitor.
async fn deliver(
    arrival: &Arrival<'_>,
    request: Request<Incoming>,
    ticket: &Ticket,
    stream: InFlight,
    seat: Arc<Seat>,
) -> Answered {
    let (pool, pod) = (arrival.pool, seat.pod);
    if let Some(record) = &arrival.record {
        record.pod(pod);
    }
    let wall = arrival.dispatcher.clock.wall();
    let renewed = cookie::renewed(&pool.config, wall, ticket, pod, arrival.issued.is_some());
    let forwarded = forward(arrival, stream, seat, request).await;
    let (mut response, outcome) = forwarded
        .unwrap_or_else(|error| failed(Some(pool), Some(pod), &error, arrival.wants_page, arrival.record.as_deref()));
    if let Some(ticket) = renewed {
        arrival.set_cookie(&mut response, &ticket);
    }
    (response, outcome)
}
