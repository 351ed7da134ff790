//! Forwards a request from its seat to the pod and the response back: headers, a connection to one incarnation, bodies that
//! are streamed and never buffered completely. A request is repeated if nothing of it was sent; and once, by its connection
//! (`pod_socket.rs`), if the pod closed a kept connection on it, its method is idempotent and no part of its body was read.

pub mod body;
#[cfg(test)]
mod dialled;
pub mod fields;
pub mod headers;
mod location;
pub mod pace;
pub mod pod_socket;
pub mod upstreams;

use crate::config::{ClusterConfig, PoolConfig};
use crate::engine::view::{self, View};
use crate::front::arrival::Arrival;
use crate::front::client;
use crate::front::cookie;
use crate::front::error::{RequestError, Step};
use crate::front::framed_socket::TargetEnd;
use crate::front::http2::Accept;
use crate::front::tunnel::{self, VisitorSide};
use crate::front::visit::{InFlight, SESSION_OVER, Seat};
use crate::front::{Dispatcher, Pool};
use crate::io::Net;
use crate::metrics::{Corrected, Outcome};
use body::{Download, Expectation, ResponseBody, TooLarge, Upload};
use futures_util::FutureExt as _;
use futures_util::future::OptionFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use pace::{Late, TimeLimits};
use slotkeeper_core::{Ordinal, Phase};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use upstreams::{Asker, Lease, Owner, Upstream};

pub use upstreams::Upstreams;

/// How long a page is waited for from a pod that fails its health probes.
const PAGE_OF_AN_UNREADY_POD: Duration = Duration::from_secs(5);

pub(crate) const TOO_LARGE: &str = "the request's body is larger than allowed";

/// Dropped before the response has arrived: the request is not sent again, and its connection is closed.
struct Waiting<'a> {
    line: &'a pod_socket::PodConnection,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.line.is_not_repeatable();
        if !self.is_over {
            self.line.abandon();
        }
    }
}

const GOES_AWAY: &str = "the pod or the dispatcher is shutting down: try again";

impl Upstream {
    /// Sends the request, on a kept connection if there is one. Repeats it if nothing was sent.
    async fn send(
        &self,
        net: &Arc<dyn Net>,
        asker: Asker,
        mut request: Request<Upload>,
        target_end: Option<TargetEnd>,
    ) -> Result<(Response<Incoming>, Lease), RequestError> {
        loop {
            let mut lease = self.lease(net, asker).await?;
            if request.body().seat().is_void() {
                return Err(RequestError::visitor(Step::Send, StatusCode::SERVICE_UNAVAILABLE, GOES_AWAY));
            }
            let insert = target_end.as_ref().map(|TargetEnd(end)| {
                let before = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
                (request.method().as_str().len() + 1 + before, end.clone())
            });
            // RFC 9110 §9.2.2
            let repeatable = lease.is_kept && request.method().is_idempotent() && insert.is_none();
            lease.line.begin(repeatable, insert, request.body().seat());
            request.body_mut().sent_on(lease.line.clone());
            let mut waiting = Waiting { line: &lease.line, is_over: false };
            let sent = lease.sender.try_send_request(request).await;
            waiting.is_over = true;
            drop(waiting);
            match sent {
                Ok(response) => return Ok((response, lease)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if lease.is_kept => request = unsent,
                    Some(_) | None => return Err(broken_off(failed.into_error())),
                },
            }
        }
    }
}

/// The pod's fault, unless the visitor sent too much or an incomplete body.
fn broken_off(error: hyper::Error) -> RequestError {
    if error.source().is_some_and(|s| s.is::<TooLarge>()) {
        return RequestError::visitor(Step::Send, StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE);
    }
    if error.is_user() {
        return RequestError::visitor(Step::Send, StatusCode::BAD_REQUEST, "the request's body ended early");
    }
    if error.is_parse() || error.is_parse_too_large() {
        return RequestError::pod(Step::Respond, NOT_UNDERSTOOD, error);
    }
    RequestError::pod(Step::Send, "the connection to the pod broke", error)
}

const NOT_UNDERSTOOD: &str = "the pod's response is invalid";

/// How a connection may be used after a request.
#[derive(Clone, Copy)]
struct Reuse {
    /// The connection may carry another request at all.
    keeps: bool,
    /// If false, a lenient pod may mistake a part of the request for another one: the connection then stays with its
    /// session.
    is_clean: bool,
    signs_in: bool,
}

impl Reuse {
    fn after(request: &Request<impl hyper::body::Body>, upgrade: bool) -> Reuse {
        let has_body = !request.body().is_end_stream();
        // A pod may mistake the body of a request that should have none for another request.
        let odd_body = has_body && !matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        Reuse {
            keeps: !upgrade && !odd_body,
            is_clean: !has_body && *request.method() != Method::HEAD,
            signs_in: fields::signs_in(request.headers(), &header::AUTHORIZATION),
        }
    }

    /// Updates how the connection may be used, from the head of the response. Returns whether it may carry another request.
    fn of(self, lease: &mut Lease, response: &Response<Incoming>, asker: Asker) -> bool {
        // To an HTTP/1.0 pod, the library would not send the next body completely.
        let keeps = self.keeps && response.version() == Version::HTTP_11;
        let signs_in = self.signs_in || fields::signs_in(response.headers(), &header::WWW_AUTHENTICATE);
        match lease.owner {
            Owner::Anybody | Owner::Session(_) if signs_in => {
                lease.owner = Owner::Visitor(asker.session, asker.connection);
            }
            // A body may follow where none is allowed.
            Owner::Anybody if !self.is_clean || fields::has_no_body_but_a_length(response) => {
                lease.owner = Owner::Session(asker.session);
            }
            Owner::Anybody | Owner::Session(_) | Owner::Visitor(..) => {}
        }
        lease.idle = fields::keep_alive(response.headers()).map(|timeout| {
            // A little less: the pod's clock started before its response arrived here.
            timeout.saturating_sub((timeout / 4).min(Duration::from_secs(1)))
        });
        lease.is_kept = true;
        keeps
    }
}

/// Returns once a page has been waited for long enough whose pod failed its health probes when it was asked, and still does. A pod
/// that became unready since may be busy with this very page.
fn hangs(dispatcher: &Dispatcher, pool: &Pool, seat: &Seat) -> impl Future<Output = ()> + use<> {
    let (mut view, id) = (dispatcher.view.clone(), pool.config.id.clone());
    let (pod, uid) = (seat.pod, seat.incarnation.uid.clone());
    let is_unready = move |view: &View| {
        let life = view.fleet.pod(&id, pod).and_then(|pod| pod.life.as_ref());
        life.is_some_and(|life| life.uid == uid && life.phase == Phase::Unready)
    };
    let was_unready = is_unready(&view.borrow());
    async move {
        if !was_unready {
            return std::future::pending().await;
        }
        tokio::time::sleep(PAGE_OF_AN_UNREADY_POD).await;
        if !view::until(&mut view, is_unready).await {
            std::future::pending::<()>().await;
        }
    }
}

/// How the configuration calls a pod, with its port.
fn name_of(pool: &Pool, pod: Ordinal) -> Option<&str> {
    let pool: &PoolConfig = &pool.config;
    match &pool.cluster {
        ClusterConfig::Fixed(fixed) => fixed.pods.get(pod.0 as usize).map(String::as_str),
        ClusterConfig::Processes(_) | ClusterConfig::Kubernetes(_) => None,
    }
}

/// The parts of a sent request that its response needs.
struct Departed {
    upgrade: Option<HeaderValue>,
    visitor_side: Option<VisitorSide>,
    /// How the pod must accept a WebSocket that was opened over HTTP/2.
    accept: Option<Accept>,
    reuse: Reuse,
    target_end: Option<TargetEnd>,
    expectation: Option<Expectation>,
}

/// Makes the visitor's request one of the dispatcher: its head has the dispatcher's fields and none that a pod must not see.
fn prepare(arrival: &Arrival<'_>, stream: &InFlight, request: &mut Request<Incoming>) -> Departed {
    let (dispatcher, pool) = (arrival.dispatcher, arrival.pool);
    let upgrade = headers::upgrade(request);
    let departed = Departed {
        visitor_side: upgrade.is_some().then(|| VisitorSide::of(request)),
        accept: request.extensions_mut().remove::<Accept>(),
        expectation: Expectation::of(request.headers()),
        reuse: Reuse::after(request, request.headers().contains_key(header::UPGRADE)),
        target_end: request.extensions_mut().remove::<TargetEnd>(),
        upgrade,
    };
    headers::for_pod(request, &arrival.hop, &stream.visitor.name, departed.upgrade.as_ref());
    request.headers_mut().insert(headers::X_SLOTKEEPER_PATH, pool.own_field.clone());
    request.headers_mut().remove(headers::X_SLOTKEEPER_REPORT);
    if let Some(token) = stream.report_token() {
        request.headers_mut().insert(headers::X_SLOTKEEPER_REPORT, token);
    }
    request.headers_mut().append(header::VIA, pool.via.clone());
    for pool in &dispatcher.config.pools {
        cookie::strip(request.headers_mut(), &pool.cookie_name);
    }
    departed
}

/// Sends the request to its pod, and returns the head of the response with a streaming body. After a `101`, both connections
/// become a tunnel.
///
/// # Errors
/// Names whose fault it was, and the step that failed.
pub(crate) async fn forward(
    arrival: &Arrival<'_>,
    stream: InFlight,
    seat: Arc<Seat>,
    mut request: Request<Incoming>,
) -> Result<(Response<ResponseBody>, Outcome), RequestError> {
    let (dispatcher, pool) = (arrival.dispatcher, arrival.pool);
    // The pod may be working on a request with another method, so the visitor must not send it again.
    let hangs = arrival.is_repeatable_page.then(|| hangs(dispatcher, pool, &seat));
    let is_page = hangs.is_some();
    let counts_requests = stream.counts().requests;
    let awaits = counts_requests.then(|| seat.awaits());
    let stated = pool.config.connections.proxy;
    let stated = stated.map(|_| client::stated(&arrival.hop, request.headers(), seat.incarnation.address));
    let departed = prepare(arrival, &stream, &mut request);
    let asker = Asker { session: stream.session(), connection: arrival.hop.connection, stated };
    let limit = dispatcher.config.limits.body_bytes;
    let stream = Arc::new(stream);
    let is_http2 = arrival.hop.is_http2;
    let upload =
        |incoming| Upload::new((incoming, is_http2), stream.clone(), seat.clone(), limit, departed.expectation.clone());
    let mut request = request.map(upload);
    let progress = request.body().progress();
    let patience = TimeLimits { answer: pool.config.answer, stall: pool.config.stall };
    if let Some(expectation) = departed.expectation {
        hyper::ext::on_informational(&mut request, move |head| {
            if head.status() == StatusCode::CONTINUE {
                expectation.met();
            }
        });
    }
    let (response, mut lease) = tokio::select! {
        biased;
        sent = seat.upstream.send(&dispatcher.net, asker, request, departed.target_end) => sent?,
        ending = seat.over(1000) => {
            let over = ending.code == SESSION_OVER;
            let message = if over { "the session has ended" } else { GOES_AWAY };
            return Err(RequestError::visitor(Step::Send, StatusCode::SERVICE_UNAVAILABLE, message));
        }
        late = progress.late(patience) => {
            pool.metrics.late(late);
            return Err(late.error());
        }
        () = OptionFuture::from(hangs).map(drop), if is_page => {
            pool.metrics.late(Late::Page);
            return Err(Late::Page.error());
        }
    };
    drop(awaits);
    progress.is_answered();
    let keeps = departed.reuse.of(&mut lease, &response, asker);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if departed.accept.is_some_and(|accept| !accept.is_in(response.headers())) {
            let why = "its 101 has another Upgrade or Sec-WebSocket-Accept";
            return Err(RequestError::pod(Step::Respond, "the pod does not open the WebSocket", why));
        }
        return switch(arrival, stream, seat, departed.visitor_side.zip(departed.upgrade), response);
    }
    let response = for_visitor(arrival, &seat, response)?;
    let lease = (lease, keeps, progress);
    let may_be_silent = fields::may_be_silent(response.headers());
    let reads = counts_requests && !fields::is_event_stream(response.headers());
    let answer = response.map(|incoming| {
        ResponseBody::Pod(Box::new(Download::new(incoming, lease, may_be_silent, stream, seat, reads)))
    });
    Ok((answer, Outcome::Forwarded))
}

/// Removes session cookies that the pod sets or deletes: they are the dispatcher's.
fn strip_cookies(arrival: &Arrival<'_>, seat: &Seat, response: &mut Response<Incoming>) {
    let pool = arrival.pool;
    let names = || arrival.dispatcher.config.pools.iter().map(|pool| pool.cookie_name.as_str());
    if cookie::strip_set(response.headers_mut(), names) {
        pool.metrics.corrected(Corrected::Cookie);
        tracing::debug!(pool = %pool.config.id, pod = seat.pod.0, "pod set or deleted a session cookie: field dropped");
    }
}

/// The pod has switched protocols: both connections become a tunnel. `asked`: the visitor's connection and the protocol that
/// the visitor asked for.
fn switch(
    arrival: &Arrival<'_>,
    stream: Arc<InFlight>,
    seat: Arc<Seat>,
    asked: Option<(VisitorSide, HeaderValue)>,
    mut response: Response<Incoming>,
) -> Result<(Response<ResponseBody>, Outcome), RequestError> {
    strip_cookies(arrival, &seat, &mut response);
    let Some((visitor_side, protocol)) = asked else {
        return Err(RequestError::pod(Step::Respond, "unexpected protocol switch by the pod", "unexpected 101"));
    };
    let pod_side = hyper::upgrade::on(&mut response);
    headers::for_visitor(response.headers_mut(), Some(&protocol));
    // The protocol that the pod has chosen: the request may have offered several.
    let chosen = response.headers().get(header::UPGRADE).unwrap_or(&protocol);
    let is_websocket = chosen.as_bytes().eq_ignore_ascii_case(b"websocket");
    let answer = response.map(|_| ResponseBody::Empty);
    let (dispatcher, pool) = (arrival.dispatcher.clone(), arrival.pool.clone());
    tunnel::start(dispatcher, pool, stream, seat, visitor_side, pod_side, is_websocket);
    Ok((answer, Outcome::Upgraded))
}

/// Makes the pod's response one of the dispatcher: its framing is unambiguous, and its head has no field that concerns the pod
/// only.
fn for_visitor(
    arrival: &Arrival<'_>,
    seat: &Seat,
    mut response: Response<Incoming>,
) -> Result<Response<Incoming>, RequestError> {
    let pool = arrival.pool;
    strip_cookies(arrival, seat, &mut response);
    match fields::frame(response.headers_mut()) {
        Ok(true) => {
            pool.metrics.corrected(Corrected::Framing);
            tracing::debug!(pool = %pool.config.id, pod = seat.pod.0, "pod stated the length of a response twice: corrected");
        }
        Ok(false) => {}
        Err(why) => return Err(RequestError::pod(Step::Respond, NOT_UNDERSTOOD, why)),
    }
    if location::relate(response.headers_mut(), seat.incarnation.address, name_of(pool, seat.pod)) {
        pool.metrics.corrected(Corrected::Location);
    }
    headers::for_visitor(response.headers_mut(), None);
    // The visitor's connection is HTTP/1.1, whatever version the pod speaks.
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}
