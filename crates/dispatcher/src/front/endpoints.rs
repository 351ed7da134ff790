//! Serves the dispatcher's own paths below `/.slotkeeper/`: the waiting room's files and status, the client library for the
//! pods' pages, and the visitor's actions (join, leave, extend, report activity).

use crate::front::activity::{self, Reporter};
use crate::front::arrival::Arrival;
use crate::front::cookie::Ticket;
use crate::front::error::{RequestError, Step};
use crate::front::forward::body::ResponseBody;
use crate::front::newcomer;
use crate::front::visit::{Visits, answered};
use crate::front::waiting::page::local_path;
use crate::front::waiting::{self, Facts, answer as reply};
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use slotkeeper_api::Condition;
use slotkeeper_core::{Census, Command, Place, Rules};
use std::sync::Arc;

pub(crate) const PREFIX: &str = "/.slotkeeper/";

/// The client library with which the pods' pages reconnect (CLIENT.md), served like the room's files: name, content type,
/// body.
pub(crate) const CLIENT: (&str, &str, &str) =
    ("client.js", "text/javascript; charset=utf-8", include_str!("client/client.js"));

/// The body limit: the dispatcher's forms have one short field.
const LARGEST_FORM: usize = 16 * 1024;

pub(crate) async fn answer(
    arrival: &Arrival<'_>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, RequestError> {
    let (dispatcher, pool, ticket, class) = (arrival.dispatcher, arrival.pool, arrival.ticket, arrival.class);
    let reads = [Method::GET, Method::HEAD];
    let path = arrival.own_path().unwrap_or_default();
    if let Some(asset) = waiting::asset(path) {
        return allow(&request, &reads).map(|()| asset);
    }
    let unsettled = newcomer::unsettled(arrival, &request);
    match path {
        "status" | "events" if unsettled.is_some() => {
            allow(&request, &reads)?;
            if path == "status" {
                return Ok(waiting::status(&Facts::arriving(pool)));
            }
            // The reconnect carries the cookie that the browser has kept.
            tokio::time::sleep_until(unsettled.unwrap_or_else(now)).await;
            Ok(waiting::events::again())
        }
        "health" => allow(&request, &reads).map(|()| health(dispatcher, pool)),
        "status" => {
            allow(&request, &reads)?;
            Ok(waiting::status(&ask(dispatcher, pool, ticket, class).await))
        }
        "events" => {
            allow(&request, &[Method::GET])?;
            events(arrival).await
        }
        "leave" => {
            allow(&request, &[Method::POST])?;
            if let Some(Ticket { session, .. }) = ticket {
                let _ = answered(dispatcher.driver.write(&pool.config.id, Command::Leave { session })).await;
            }
            Ok(go_to(&form(&mut request).await))
        }
        "extend" => {
            allow(&request, &[Method::POST])?;
            if let Some(Ticket { session, .. }) = ticket {
                let _ = answered(dispatcher.driver.write(&pool.config.id, Command::Extend { session })).await;
            }
            Ok(waiting::status(&ask(dispatcher, pool, ticket, class).await))
        }
        "active" => {
            allow(&request, &[Method::POST])?;
            active(arrival, &mut request).await
        }
        "join" => {
            allow(&request, &[Method::POST])?;
            join(arrival, &form(&mut request).await)
        }
        _ => Err(RequestError::visitor(Step::Route, StatusCode::NOT_FOUND, "the dispatcher has no such page")),
    }
}

/// The waiting room's event stream.
async fn events(arrival: &Arrival<'_>) -> Result<Response<ResponseBody>, RequestError> {
    let (dispatcher, pool, class) = (arrival.dispatcher, arrival.pool, arrival.class);
    let facts = ask(dispatcher, pool, arrival.ticket, class).await;
    // Without the cookie there is no session to follow.
    let Some(ticket) = arrival.ticket else { return Ok(waiting::come_again(&facts)) };
    let stream = Visits::enter(pool, dispatcher, ticket.session);
    if stream.is_one_too_many() {
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(RequestError::visitor(Step::Attach, status, "too many streams of one session"));
    }
    Ok(waiting::events::open(dispatcher.clone(), stream, ticket.last, class))
}

/// A report of activity, by the page with its cookie or by the pod with its token.
async fn active(
    arrival: &Arrival<'_>,
    request: &mut Request<Incoming>,
) -> Result<Response<ResponseBody>, RequestError> {
    let (dispatcher, pool) = (arrival.dispatcher, arrival.pool);
    let reported = match activity::bearer(request.headers()) {
        Some(token) => activity::open_token(&dispatcher.keys, &pool.config.id, token).map(|s| (s, Reporter::Pod)),
        None => arrival.ticket.map(|ticket| (ticket.session, Reporter::Page)),
    };
    let Some((session, from)) = reported else {
        let message = "reporting activity needs the session's cookie or its pod's token";
        return Err(RequestError::visitor(Step::Cookie, StatusCode::UNAUTHORIZED, message));
    };
    let mut form = request.uri().query().unwrap_or_default().as_bytes().to_vec();
    form.push(b'&');
    form.extend(body(request).await);
    let Some(busy) = activity::busy_seconds(&form) else {
        let message = "busy_seconds is not a number of seconds";
        return Err(RequestError::visitor(Step::Route, StatusCode::BAD_REQUEST, message));
    };
    Ok(activity::report(dispatcher, pool, session, from, busy))
}

/// Starting again creates a new session that remembers the previous pod. If the visitor has already done so in another tab,
/// this tab joins that session.
fn join(arrival: &Arrival<'_>, to: &str) -> Result<Response<ResponseBody>, RequestError> {
    let (dispatcher, pool, ticket) = (arrival.dispatcher, arrival.pool, arrival.ticket);
    let mut response = go_to(to);
    if !ticket.is_some_and(|t| lives(dispatcher, pool, t)) {
        let ticket = dispatcher.mint(pool, ticket.and_then(|t| t.last))?;
        arrival.set_cookie(&mut response, &ticket);
    }
    Ok(response)
}

/// Whether the session waits or has a slot.
fn lives(dispatcher: &Dispatcher, pool: &Pool, ticket: Ticket) -> bool {
    match dispatcher.view.borrow().fleet.place(&pool.config.id, ticket.session) {
        Place::Queued { .. } | Place::At { .. } => true,
        Place::Ending { .. } | Place::Unknown => false,
    }
}

/// Allows only these methods. (Actions from pages of other origins have already been refused in `front/request.rs`.)
fn allow(request: &Request<Incoming>, methods: &[Method]) -> Result<(), RequestError> {
    if methods.contains(request.method()) {
        return Ok(());
    }
    Err(RequestError::visitor(Step::Route, StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here"))
}

/// The client has sent its cookie back: requests a place for the session, unless it has just ended.
async fn ask(dispatcher: &Arc<Dispatcher>, pool: &Arc<Pool>, ticket: Option<Ticket>, class: u8) -> Facts {
    let Some(Ticket { session, last, .. }) = ticket else { return Facts::arriving(pool) };
    let (unknown, queued) = match dispatcher.view.borrow().fleet.place(&pool.config.id, session) {
        Place::Unknown => (true, false),
        Place::Queued { .. } => (false, true),
        Place::At { .. } | Place::Ending { .. } => (false, false),
    };
    if unknown && pool.barred(session).is_none() {
        // If the dispatcher is ending, the facts report what is known.
        let _ = Visits::ask(pool, dispatcher, Command::Visit { session, hint: last, class }).await;
    } else if queued {
        pool.visits.still_waits(session);
    }
    Facts::of(dispatcher, pool, session)
}

/// For monitors and load balancers: reports the pool's condition and starts no pod.
pub(crate) fn health(dispatcher: &Dispatcher, pool: &Pool) -> Response<ResponseBody> {
    let view = dispatcher.view.borrow();
    let rules = view.fleet.rules(&pool.config.id);
    let state = view
        .fleet
        .census(&pool.config.id)
        .zip(rules)
        .map_or(Condition::Dormant, |(census, rules)| condition(&census, rules));
    reply(
        StatusCode::OK,
        "application/json",
        format!("{{\"pool\":\"{}\",\"state\":\"{}\"}}", pool.config.id, state.word()).into(),
    )
}

/// The pool's condition in one word.
#[must_use]
pub(crate) fn condition(census: &Census, rules: &Rules) -> Condition {
    let all_slots = u64::from(rules.max) * u64::from(rules.slots_per_pod);
    if census.busy_slots >= all_slots || census.queued > 0 && census.ready > 0 && census.desired.len() >= rules.max {
        Condition::Full
    } else if census.ready > 0 {
        Condition::Awake
    } else if census.desired.is_empty() {
        Condition::Dormant
    } else {
        Condition::Waking
    }
}

fn go_to(path: &str) -> Response<ResponseBody> {
    let mut response = reply(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "see there\n".into());
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// The response to a failed request: a page for people, JSON for programs.
#[must_use]
pub(crate) fn failure(error: &RequestError, wants_page: bool, pool: Option<&Pool>) -> Response<ResponseBody> {
    let mut response = if wants_page {
        waiting::failure::page(error, pool)
    } else {
        let body =
            serde_json::json!({ "error": error.message, "fault": error.fault.word(), "step": error.step.word() });
        reply(error.status, "application/json", body.to_string().into())
    };
    if matches!(error.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        if wants_page {
            // A browser retries by itself: the part that failed is usually about to be replaced.
            headers.insert("refresh", HeaderValue::from_static("3"));
        }
    }
    response
}

async fn body(request: &mut Request<Incoming>) -> Bytes {
    Limited::new(request.body_mut(), LARGEST_FORM).collect().await.map(|b| b.to_bytes()).unwrap_or_default()
}

/// The path of this host that one of the dispatcher's forms returns to.
async fn form(request: &mut Request<Incoming>) -> String {
    let body = body(request).await;
    let to = form_urlencoded::parse(&body).find(|(name, _)| name == "to").map(|(_, to)| to.into_owned());
    to.map(|to| local_path(&to).to_owned()).unwrap_or_else(|| "/".into())
}
