//! The waiting room: shows a visitor's state until the slot is ready, as a page, as an event stream, and as JSON. This file
//! has the facts and the responses; `waiting/page.rs` has the page, `waiting/events.rs` the event stream.

pub mod events;
pub mod failure;
pub mod landing;
pub mod page;
pub mod starting;

use crate::front::arrival::Arrival;
use crate::front::cookie;
use crate::front::forward::body::ResponseBody;
use crate::front::{Dispatcher, Pool};
use crate::io::duration;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use slotkeeper_core::{Fleet, Ordinal, Phase, Place, SessionId, State, Why, planted};

/// The visitor's state, the same for the page, the event stream and the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The pool's title.
    pub pool: String,
    pub state: RoomState,
    /// Position in the queue, from 1. Only while queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Estimated seconds until a slot is ready, if an estimate is possible.
    pub estimate_seconds: Option<u64>,
    /// What is happening now, in order; the first one that is not `done` is in progress.
    pub steps: Vec<StartStep>,
    /// Why the session ended (`state` is `ended`), will end (`ready` with `ends_in_seconds`), waits again (`pod_lost`), or
    /// waits until it is certain which session has which slot (`checking`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// In how many seconds a session that has a slot is going to be ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_in_seconds: Option<u64>,
    /// `false`: the session has a slot (`state` is `ready`), and its pod fails its health probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_answers: Option<bool>,
    /// No pod can be started (`state` is `failing`): the id of the log line with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    /// The first visit: the client has not sent the cookie back yet.
    Arriving,
    /// Queued, and a pod for this visitor is being started.
    Starting,
    /// Queued, and all slots are taken.
    Queued,
    /// Queued, and no pod can be started: the command does not exist, the pod crashes again and again, or it never becomes
    /// ready.
    Failing,
    /// The slot is ready: reload.
    Ready,
    /// The queue is full as well.
    Full,
    /// The session is over, for the given `reason`.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartStep {
    pub name: &'static str,
    /// In plain words; from the cluster if it reports a reason ("no GPU is free").
    pub text: String,
    pub done: bool,
}

/// Entries of the journal may be lost: it is not certain which session has which slot.
const CHECKING: &str = "checking";

impl StartStep {
    fn checking() -> StartStep {
        StartStep { name: CHECKING, text: "making sure that nobody else is using these places".into(), done: false }
    }
}

impl Facts {
    fn new(pool: &Pool, state: RoomState) -> Facts {
        Facts::titled(pool.config.title.clone(), state)
    }

    /// Facts of a pool with this title, of which only the state is known.
    fn titled(pool: String, state: RoomState) -> Facts {
        Facts {
            pool,
            state,
            position: None,
            estimate_seconds: None,
            steps: Vec::new(),
            reason: None,
            ends_in_seconds: None,
            pod_answers: None,
            problem: None,
        }
    }

    /// The facts of a first visit.
    #[must_use]
    pub fn arriving(pool: &Pool) -> Facts {
        Facts::new(pool, RoomState::Arriving)
    }

    #[must_use]
    pub fn full(pool: &Pool) -> Facts {
        Facts::new(pool, RoomState::Full)
    }

    #[must_use]
    pub fn ended(pool: &Pool, why: Why) -> Facts {
        Facts { reason: Some(why.word()), ..Facts::new(pool, RoomState::Ended) }
    }

    /// The facts of this session now.
    #[must_use]
    pub fn of(dispatcher: &Dispatcher, pool: &Pool, session: SessionId) -> Facts {
        let view = dispatcher.view.borrow();
        let fleet = &view.fleet;
        match fleet.place(&pool.config.id, session) {
            Place::Queued { .. } | Place::Unknown if pool.is_being_removed() => Facts::ended(pool, Why::PoolRemoved),
            Place::At { pod, .. } => Facts::ready(pool, fleet, pod, session, view.age().0),
            Place::Ending { why } => Facts::ended(pool, why),
            Place::Unknown => match pool.barred(session) {
                Some(why) => Facts::ended(pool, why),
                None if fleet.is_full(&pool.config.id) => Facts::full(pool),
                None => Facts::arriving(pool),
            },
            Place::Queued { ahead, estimate } => {
                let pods = pool.starting.get(fleet, &pool.config.id);
                let estimate = estimate.map(|e| e.0.saturating_sub(view.age().0).div_ceil(1000));
                let quiet = fleet.is_quiet();
                let starting = !quiet && (ahead as u64) < pods.slots;
                let problem = pods.problem.clone().filter(|_| !quiet);
                let state = match (&problem, starting) {
                    (Some(_), _) => RoomState::Failing,
                    (None, true) => RoomState::Starting,
                    (None, false) => RoomState::Queued,
                };
                let starting = state == RoomState::Starting;
                let estimate = estimate.filter(|_| problem.is_none());
                let steps = match (quiet, starting) {
                    (true, _) => vec![StartStep::checking()],
                    (false, true) => pods.steps.clone(),
                    (false, false) => Vec::new(),
                };
                let lost = fleet
                    .session(&pool.config.id, session)
                    .is_some_and(|s| matches!(s.state, State::Queued { lost: true, .. }));
                let reason = lost.then_some(Why::PodLost.word()).or(quiet.then_some(CHECKING));
                let position = Some(place_in_line(ahead));
                Facts { position, estimate_seconds: estimate, steps, reason, problem, ..Facts::new(pool, state) }
            }
        }
    }

    fn ready(pool: &Pool, fleet: &Fleet, pod: Ordinal, session: SessionId, age: u64) -> Facts {
        let life = fleet.pod(&pool.config.id, pod).and_then(|pod| pod.life.as_ref());
        let is_unready = life.is_some_and(|life| life.phase == Phase::Unready);
        let rules = pool.rules(fleet);
        let ends = fleet.session(&pool.config.id, session).and_then(|s| s.ends(rules));
        let left = ends.map(|(at, why)| (at.since(fleet.now()).0.saturating_sub(age), why));
        let warning = left.filter(|(ms, _)| *ms <= rules.warn_before.0);
        Facts {
            reason: warning.map(|(_, why)| why.word()),
            ends_in_seconds: warning.map(|(ms, _)| ms / 1000),
            pod_answers: is_unready.then_some(false),
            ..Facts::new(pool, RoomState::Ready)
        }
    }

    fn retry_after_seconds(&self) -> u64 {
        match self.state {
            RoomState::Arriving | RoomState::Ready => 1,
            RoomState::Starting | RoomState::Queued => self.estimate_seconds.unwrap_or(5).clamp(1, 30),
            RoomState::Failing | RoomState::Full | RoomState::Ended => 15,
        }
    }

    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The position in the queue, from 1, with this many sessions ahead.
fn place_in_line(ahead: usize) -> u64 {
    planted!(PositionFromZero => ahead as u64);
    ahead as u64 + 1
}

/// The response to a request whose session waits or is over: a page for a person (the operator's landing page if there is one),
/// JSON for a program. Sets the cookie of a session that was created for the request.
pub(crate) async fn reply(arrival: &Arrival<'_>, facts: &Facts) -> Response<ResponseBody> {
    let mut response = if arrival.wants_page { room_or_landing(arrival, facts).await } else { come_again(facts) };
    if let Some(ticket) = &arrival.issued {
        arrival.set_cookie(&mut response, ticket);
    }
    response
}

async fn room_or_landing(arrival: &Arrival<'_>, facts: &Facts) -> Response<ResponseBody> {
    let (dispatcher, pool) = (arrival.dispatcher, arrival.pool);
    let waits = !matches!(facts.state, RoomState::Ended | RoomState::Full);
    if let Some(landing) = pool.config.landing.as_ref().filter(|_| waits) {
        match landing::fetch(&*dispatcher.net, landing).await {
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
    let mut room = room(facts, pool, &arrival.target());
    if arrival.method != Method::GET && arrival.method != Method::HEAD {
        // The request has not reached a pod.
        *room.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    room
}

/// The page for people. Never cached; `503` only if waiting cannot help.
#[must_use]
pub fn room(facts: &Facts, pool: &Pool, back: &str) -> Response<ResponseBody> {
    let html = page::html(facts, &page::View { base: back, own: &pool.own });
    let refused = matches!(facts.state, RoomState::Full | RoomState::Failing);
    let status = if refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let mut response = answer(status, "text/html; charset=utf-8", html.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page::policy(Some(&pool.config)));
    if refused {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(facts.retry_after_seconds()));
    }
    response
}

/// The same facts for programs: `503`, `Retry-After`, and JSON.
#[must_use]
pub fn come_again(facts: &Facts) -> Response<ResponseBody> {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, "application/json", facts.json().into());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(facts.retry_after_seconds()));
    response
}

/// The facts without the waiting room: `/.slotkeeper/status`.
#[must_use]
pub fn status(facts: &Facts) -> Response<ResponseBody> {
    answer(StatusCode::OK, "application/json", facts.json().into())
}

/// A response of the dispatcher itself, never to be cached.
#[must_use]
pub fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// One of the dispatcher's own files, which do not change while it runs.
#[must_use]
pub fn asset(name: &str) -> Option<Response<ResponseBody>> {
    let (_, content_type, body) =
        page::ASSETS.iter().chain([&crate::front::endpoints::CLIENT]).find(|(n, _, _)| *n == name)?;
    let mut response = answer(StatusCode::OK, content_type, Bytes::from_static(body.as_bytes()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Some(response)
}

/// The interval of a waiting session's heartbeats.
#[must_use]
pub fn sign_every(dispatcher: &Dispatcher, pool: &Pool) -> std::time::Duration {
    duration(pool.rules(&dispatcher.view.borrow().fleet).queue_lease) / 3
}
