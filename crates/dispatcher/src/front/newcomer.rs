//! Decides which requests without a session's cookie may begin a session. A session is only worth a slot if its client can
//! return the cookie. Addresses are not used as identities: two visitors behind one address are two sessions.

use crate::config::Admission;
use crate::front::arrival::Arrival;
use crate::front::client;
use crate::front::cookie;
use crate::front::error::{RequestError, Step};
use crate::front::forward::body::ResponseBody;
use crate::front::forward::headers::{Hop, upgrade};
use crate::front::framed_socket::TargetEnd;
use crate::front::waiting::{answer, page::local_path};
use crate::front::{Dispatcher, Pool};
use crate::io::{duration, now};
use crate::metrics::Sessionless;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use slotkeeper_core::{Command, Place, SessionId, planted};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Returns a Fetch Metadata field of a request (W3C Fetch Metadata). Scripts cannot set these fields.
#[must_use]
pub fn metadata<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

/// Answers a CORS preflight, which browsers send without cookies (W3C Fetch §4.8). `allowed_origins` decides, because
/// without a session no pod can be asked.
///
/// # Errors
/// If the origin is not one of `allowed_origins`.
pub fn preflight<B>(pool: &Pool, request: &Request<B>) -> Option<Result<Response<ResponseBody>, RequestError>> {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN)?;
    let method = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if request.method() != Method::OPTIONS {
        return None;
    }
    let allows = |origin: &str| pool.config.allowed_origins.iter().any(|pattern| pattern.allows(origin));
    if !origin.to_str().is_ok_and(allows) {
        let message = "this origin is not in the pool's allowed_origins";
        return Some(Err(RequestError::visitor(Step::Cookie, StatusCode::FORBIDDEN, message)));
    }
    let mut response = answer(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", "".into());
    let answered = response.headers_mut();
    answered.remove(header::CONTENT_TYPE);
    answered.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answered.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answered.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(fields) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answered.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
    }
    answered.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answered.insert(header::VARY, HeaderValue::from_static("Origin"));
    Some(Ok(response))
}

/// Whether the browser that sent this request drops the cookie of the response: the request belongs to a page of another
/// site (the cookie is `SameSite=Lax`), or fetches a manifest, which browsers do without credentials. A navigation keeps the
/// cookie, in a frame only if the cookie is one for `frames`.
#[must_use]
pub fn drops_cookie(headers: &HeaderMap, frames: bool) -> bool {
    let is_navigation = metadata(headers, "sec-fetch-mode") == Some(b"navigate");
    let is_foreign = metadata(headers, "sec-fetch-site") == Some(b"cross-site");
    is_foreign && (!is_navigation || !frames && is_framed(headers))
        || metadata(headers, "sec-fetch-dest") == Some(b"manifest")
}

/// Whether the request is for a page embedded in another page.
fn is_framed(headers: &HeaderMap) -> bool {
    matches!(metadata(headers, "sec-fetch-dest"), Some(b"iframe" | b"frame" | b"embed" | b"object" | b"fencedframe"))
}

/// Ends a new session unless its first response, which carries the cookie, has been handed to the connection.
pub struct Undelivered<'a> {
    dispatcher: &'a Dispatcher,
    pool: &'a Pool,
    session: Option<SessionId>,
}

impl<'a> Undelivered<'a> {
    #[must_use]
    pub fn new(dispatcher: &'a Dispatcher, pool: &'a Pool, session: Option<SessionId>) -> Undelivered<'a> {
        Undelivered { dispatcher, pool, session }
    }

    pub fn delivered(&mut self) {
        self.session = None;
    }
}

impl Drop for Undelivered<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.pool.metrics.sessionless(Sessionless::Gone);
            self.dispatcher.driver.post(&self.pool.config.id, Command::Leave { session });
        }
    }
}

/// Whether a request without a cookie may begin a session.
pub(crate) enum Begin {
    Session(Turn),
    Not(Response<ResponseBody>),
}

/// Decides whether a request without a cookie may begin a session.
///
/// # Errors
/// If its client cannot keep the cookie, or its origin is not allowed.
pub(crate) async fn begin<B>(arrival: &Arrival<'_>, request: &Request<B>) -> Result<Begin, RequestError> {
    let pool = arrival.pool;
    if let Some(answered) = preflight(pool, request) {
        pool.metrics.sessionless(Sessionless::Preflight);
        return answered.map(Begin::Not);
    }
    if must_return(pool) {
        return Ok(Begin::Session(Turn::Free));
    }
    let frames = cookie::is_framed(&pool.config, arrival.secure);
    if drops_cookie(request.headers(), frames) && upgrade(request).is_none() {
        pool.metrics.sessionless(Sessionless::Cookie);
        let message = "a session needs a cookie, and browsers do not keep the cookie of a response to such a request";
        return Err(RequestError::visitor(Step::Cookie, StatusCode::FORBIDDEN, message));
    }
    if !arrival.is_repeatable_page {
        return Ok(Begin::Session(Turn::Free));
    }
    match Firsts::turn(pool, exact_likeness(request, &arrival.hop)) {
        Turn::Again(again) => {
            pool.metrics.sessionless(Sessionless::Again);
            again.settled().await;
            Ok(Begin::Not(same_again(request)))
        }
        turn @ (Turn::Free | Turn::First(_)) => Ok(Begin::Session(turn)),
    }
}

/// Holds back a request for a page whose cookie returns at once: the cookie may be one of several that a browser was given
/// at the same time, of which it keeps the last. None of them gets a place before it is known which one that is.
pub(crate) async fn settle<B>(arrival: &Arrival<'_>, request: &Request<B>) -> Option<Response<ResponseBody>> {
    let until = unsettled(arrival, request)?;
    tokio::time::sleep_until(until).await;
    arrival.pool.metrics.sessionless(Sessionless::Again);
    Some(same_again(request))
}

/// Whether a session gets a slot only after the client has sent its cookie back.
pub(crate) fn must_return(pool: &Pool) -> bool {
    planted!(RoomWakesPods => false);
    pool.config.admission == Admission::Returning
}

/// First requests for a page, in pools that place at once. A browser that restores five tabs sends five of them before it
/// has a cookie, and nothing in them proves that they come from one browser. So of requests that look alike (address and
/// headers), the first begins a session, and the others wait until its response has been sent. Then they are redirected to
/// the same address: a tab of the same browser now sends the cookie; another visitor still has none and begins a session. A
/// wrong guess costs a moment, never a session.
#[derive(Default)]
pub struct Firsts(Mutex<HashMap<u64, Alike>>);

/// For pools where the cookie must return first: cookies given at the same time to requests that look alike. A browser keeps
/// only the last of its own, so none of them gets a place before all responses have reached it.
#[derive(Default)]
pub struct Bursts(Mutex<HashMap<u64, Burst>>);

struct Burst {
    began: Instant,
    last: Instant,
    cookies: u32,
}

impl Bursts {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Burst>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a cookie is given to a request with this likeness.
    pub fn minted(&self, key: u64) {
        let at = now();
        let mut all = self.lock();
        match all.get_mut(&key).filter(|burst| at < burst.last + SETTLED) {
            Some(burst) => {
                burst.last = at;
                burst.cookies += 1;
            }
            None => {
                if all.len() >= MOST {
                    all.retain(|_, burst| at < burst.last + SETTLED);
                }
                if all.len() < MOST {
                    all.insert(key, Burst { began: at, last: at, cookies: 1 });
                }
            }
        }
    }

    /// A cookie of this age that returns with such a request may be one of several of its browser: returns until when it has
    /// to wait.
    #[must_use]
    pub fn unsettled(&self, key: u64, age: Duration) -> Option<Instant> {
        if age >= UNSETTLED {
            return None;
        }
        let at = now();
        let mut all = self.lock();
        let burst = all.get(&key).filter(|burst| at <= burst.last + SETTLED)?;
        if burst.cookies == 1 {
            // It is the only cookie so far and gets its place. Later ones are compared with each other only.
            all.remove(&key);
            return None;
        }
        let is_of_it = age <= at.duration_since(burst.began) + Duration::from_millis(10);
        let until = (burst.last + SETTLED).min(at + (UNSETTLED - age));
        (is_of_it && at < until).then_some(until)
    }
}

/// The same for a request with its cookie. Only a session that the fleet does not know yet has to wait.
#[must_use]
pub(crate) fn unsettled<B>(arrival: &Arrival<'_>, request: &Request<B>) -> Option<Instant> {
    let (dispatcher, pool, ticket) = (arrival.dispatcher, arrival.pool, arrival.ticket?);
    let age = duration(dispatcher.clock.wall().since(ticket.issued));
    if age >= UNSETTLED || pool.config.admission != Admission::Returning {
        return None;
    }
    let is_known = dispatcher.view.borrow().fleet.place(&pool.config.id, ticket.session) != Place::Unknown;
    pool.bursts.unsettled(likeness(request, &arrival.hop), age).filter(|_| !is_known)
}

/// Bounds the wait of visitors behind one address where new ones arrive all the time.
const UNSETTLED: Duration = Duration::from_secs(1);

/// Requests that look alike.
struct Alike {
    began: Instant,
    answered: Option<Instant>,
    /// Closed when the first request has been answered.
    answering: watch::Receiver<()>,
    /// How many requests were redirected: that many may begin sessions of their own afterwards.
    sent_again: u32,
}

/// How long the first request may take; after that, the others no longer wait for it.
const LONGEST: Duration = Duration::from_secs(5);
/// Starts with the first response: after this time its cookie has reached the browser, and requests sent before that have
/// arrived.
const SETTLED: Duration = Duration::from_millis(500);
/// Starts with the first request: after this time the entry is forgotten.
const KEPT: Duration = Duration::from_secs(30);
/// The limit for groups of requests that look alike; requests beyond it are not compared.
const MOST: usize = 4096;

pub enum Turn {
    /// The request begins a session of its own.
    Free,
    /// Others wait until this is dropped.
    #[expect(dead_code, reason = "held until it is dropped")]
    First(First),
    /// The request is redirected to the same address after waiting for [`Again::settled`].
    Again(Again),
}

pub struct First {
    pool: Arc<Pool>,
    key: u64,
    _answering: watch::Sender<()>,
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(alike) = self.pool.firsts.lock().get_mut(&self.key) {
            alike.answered = Some(now());
        }
    }
}

pub struct Again {
    until: Instant,
    answering: watch::Receiver<()>,
}

impl Again {
    /// Waits until the first request's cookie has reached its browser.
    pub async fn settled(mut self) {
        let _ = tokio::time::timeout_at(self.until, async { while self.answering.changed().await.is_ok() {} }).await;
        tokio::time::sleep(SETTLED).await;
    }
}

impl Firsts {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Alike>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn turn(pool: &Arc<Pool>, key: u64) -> Turn {
        let at = now();
        let mut all = pool.firsts.lock();
        if let Some(alike) = all.get_mut(&key) {
            let until = alike.answered.map_or(alike.began + LONGEST, |answered| answered + SETTLED);
            if at < until {
                alike.sent_again = alike.sent_again.saturating_add(1);
                return Turn::Again(Again { until, answering: alike.answering.clone() });
            }
            if alike.sent_again > 0 && at < alike.began + KEPT {
                alike.sent_again -= 1;
                return Turn::Free;
            }
        }
        if all.len() >= MOST {
            all.retain(|_, alike| at < alike.began + KEPT);
            if all.len() >= MOST {
                return Turn::Free;
            }
        }
        let (sender, answering) = watch::channel(());
        all.insert(key, Alike { began: at, answered: None, answering, sent_again: 0 });
        Turn::First(First { pool: pool.clone(), key, _answering: sender })
    }
}

/// Header fields that are equal for browsers of one kind behind one address.
const ALIKE: [HeaderName; 4] = [header::HOST, header::USER_AGENT, header::ACCEPT_LANGUAGE, header::ACCEPT_ENCODING];

/// Whether a request can be sent again by a redirect to the same address.
#[must_use]
pub fn can_be_sent_again<B>(request: &Request<B>) -> bool {
    let path = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    matches!(*request.method(), Method::GET | Method::HEAD)
        && request.extensions().get::<TargetEnd>().is_none()
        && local_path(path) == path
}

/// Like [`likeness`], but also compares all header fields that do not depend on the page: a browser sends the same ones with
/// each first request.
#[must_use]
pub fn exact_likeness<B>(request: &Request<B>, hop: &Hop<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    likeness(request, hop).hash(&mut hasher);
    for (name, value) in request.headers() {
        if !ABOUT_THE_PAGE.contains(name) {
            (name.as_str(), value.as_bytes()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

const ABOUT_THE_PAGE: [HeaderName; 7] = [
    header::REFERER,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::COOKIE,
    header::RANGE,
];

/// A hash that differs for requests that cannot come from one browser.
#[must_use]
pub fn likeness<B>(request: &Request<B>, hop: &Hop<'_>) -> u64 {
    let headers = request.headers();
    let mut hasher = DefaultHasher::new();
    client::address(hop, headers).hash(&mut hasher);
    for name in &ALIKE {
        headers.get(name).map(HeaderValue::as_bytes).hash(&mut hasher);
    }
    hasher.finish()
}

/// Redirects to the same address (RFC 9110 §15.4.8), so that the browser sends the cookies that it has by now.
#[must_use]
pub fn same_again<B>(request: &Request<B>) -> Response<ResponseBody> {
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut response = answer(StatusCode::TEMPORARY_REDIRECT, "text/plain; charset=utf-8", "once more\n".into());
    let location = HeaderValue::from_str(local_path(path)).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Peer;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_what_keeps_the_cookie_begins_a_session() {
        let (foreign, navigates) = (("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"));
        for kept in [
            &[][..],
            &[foreign, navigates, ("sec-fetch-dest", "document")],
            &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
            &[("sec-fetch-site", "none"), navigates],
        ] {
            assert!(!drops_cookie(&headers(kept), false), "{kept:?}");
        }
        for dropped in [
            &[foreign, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")][..],
            &[foreign, ("sec-fetch-mode", "cors")],
            &[foreign, navigates, ("sec-fetch-dest", "iframe")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "manifest")],
        ] {
            assert!(drops_cookie(&headers(dropped), false), "{dropped:?}");
            let framed = dropped.contains(&("sec-fetch-mode", "navigate"))
                && dropped.contains(&("sec-fetch-site", "cross-site"));
            assert_eq!(drops_cookie(&headers(dropped), true), !framed, "{dropped:?}");
        }
    }

    #[test]
    fn requests_are_compared_by_address_and_headers_and_only_if_they_can_be_sent_again() {
        let hop = |peer: [u8; 4]| Hop::from(Peer::at((peer, 1234).into()));
        let ask = |method: &str, path: &str, agent: &str| {
            Request::builder().method(method).uri(path).header("user-agent", agent).body(()).unwrap()
        };
        let (here, there) = (hop([10, 0, 0, 1]), hop([10, 0, 0, 2]));
        let tab = likeness(&ask("GET", "/a?x=1", "one"), &here);
        assert_eq!(tab, likeness(&ask("GET", "/b", "one"), &here));
        assert_ne!(tab, likeness(&ask("GET", "/a", "one"), &there));
        assert_ne!(tab, likeness(&ask("GET", "/a", "two"), &here));
        assert!(can_be_sent_again(&ask("GET", "/a?x=1", "one")));
        for odd in [ask("POST", "/a", "one"), ask("GET", "//evil.example/", "one"), ask("GET", "/.slotkeeper/x", "one")]
        {
            assert!(!can_be_sent_again(&odd), "{odd:?}");
        }
        assert_eq!(same_again(&ask("GET", "/a?x=1", "one")).headers()["location"], "/a?x=1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cookie_is_settled_half_a_second_after_the_last_one_of_its_burst_or_after_a_second() {
        let (bursts, none) = (Bursts::default(), Duration::ZERO);
        bursts.minted(1);
        assert_eq!(bursts.unsettled(1, none), None, "the only one");
        bursts.minted(1);
        assert_eq!(bursts.unsettled(1, none), None, "the former one has its place already");
        bursts.minted(1);
        bursts.minted(1);
        assert_eq!(bursts.unsettled(1, none), Some(now() + SETTLED));
        assert_eq!(bursts.unsettled(2, none), None, "another browser's");
        assert_eq!(bursts.unsettled(1, Duration::from_secs(60)), None, "a cookie of a minute ago");
        for _ in 0..4 {
            tokio::time::advance(SETTLED / 2).await;
            bursts.minted(1);
        }
        assert_eq!(bursts.unsettled(1, SETTLED * 2), None, "others do not stop coming");
        tokio::time::advance(SETTLED).await;
        assert_eq!(bursts.unsettled(1, SETTLED), None);
        bursts.minted(1);
        assert_eq!(bursts.unsettled(1, none), None, "the first of a new burst");
    }
}
