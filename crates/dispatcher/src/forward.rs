//! From a seat to its pod and back: headers, the kept connections of one incarnation, bodies that stream and are never
//! buffered whole. A request is sent again only if nothing of it was sent.

pub mod body;
pub mod headers;

use crate::cookie;
use crate::dispatcher::Dispatcher;
use crate::error::{RequestError, Step};
use crate::metrics::Outcome;
use crate::outside::Net;
use crate::tunnel;
use crate::visit::{SESSION_OVER, Seat, Stream};
use body::{Answer, Download, Expectation, TooLarge, Upload};
use headers::Hop;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use slotkeeper_core::{Incarnation, Uid};
use std::collections::HashMap;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A pod that does not take a connection in this time is not there.
const DIAL: Duration = Duration::from_secs(5);
/// Idle connections kept to one incarnation.
const KEPT: usize = 1024;

pub(crate) const TOO_LARGE: &str = "the request's body is larger than allowed";

/// The incarnations that this replica has connections to.
#[derive(Default)]
pub struct Pods(Mutex<HashMap<Uid, Weak<Upstream>>>);

/// The connections to one incarnation.
pub struct Upstream {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Upload>>>,
}

impl Pods {
    /// The connections to this incarnation: shared by all its seats, gone with the last of them.
    #[must_use]
    pub fn upstream(&self, incarnation: &Incarnation) -> Arc<Upstream> {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pods.get(&incarnation.uid).and_then(Weak::upgrade);
        if let Some(upstream) = known.filter(|u| u.address == incarnation.address) {
            return upstream;
        }
        pods.retain(|_, u| u.strong_count() > 0);
        let upstream = Arc::new(Upstream { address: incarnation.address, idle: Mutex::default() });
        pods.insert(incarnation.uid.clone(), Arc::downgrade(&upstream));
        upstream
    }
}

const GOES_AWAY: &str = "the pod or the dispatcher goes away: come again";

impl Upstream {
    /// A kept connection that is ready for a request.
    fn kept(&self) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    pub(crate) fn keep(&self, sender: SendRequest<Upload>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= KEPT / 2 {
            idle.retain(|s| !s.is_closed());
        }
        if idle.len() < KEPT && !sender.is_closed() {
            idle.push(sender);
        }
    }

    async fn dial(&self, net: &dyn Net) -> Result<SendRequest<Upload>, RequestError> {
        let dialled = tokio::time::timeout(DIAL, net.dial(self.address)).await;
        let stream = dialled
            .map_err(|e| RequestError::pod(Step::Dial, "the pod does not answer", e))?
            .map_err(|e| RequestError::pod(Step::Dial, "the pod cannot be reached", e))?;
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| RequestError::pod(Step::Dial, "the pod cannot be reached", e))?;
        tokio::spawn(async move {
            // Its errors reach whoever waits for the answer; an idle connection that ends is nobody's news.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Sends, on a kept connection if there is one. Retries only what was not sent.
    async fn send(
        &self,
        net: &dyn Net,
        mut request: Request<Upload>,
    ) -> Result<(Response<Incoming>, SendRequest<Upload>), RequestError> {
        loop {
            let (mut sender, kept) = match self.kept() {
                Some(sender) => (sender, true),
                None => (self.dial(net).await?, false),
            };
            if request.body().is_void() {
                return Err(RequestError::visitor(Step::Send, StatusCode::SERVICE_UNAVAILABLE, GOES_AWAY));
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if kept => request = unsent,
                    Some(_) | None => {
                        return Err(broken_off(failed.into_error()));
                    }
                },
            }
        }
    }
}

/// The pod's fault, unless it was the visitor who sent too much, or not all.
fn broken_off(error: hyper::Error) -> RequestError {
    if error.source().is_some_and(|s| s.is::<TooLarge>()) {
        return RequestError::visitor(Step::Send, StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE);
    }
    if error.is_user() {
        return RequestError::visitor(Step::Send, StatusCode::BAD_REQUEST, "the request's body broke off");
    }
    RequestError::pod(Step::Send, "the pod broke off", error)
}

/// Sends the request to its pod: the answer's head comes back, its body streams. After a `101` both connections become a
/// tunnel.
///
/// # Errors
/// Whose fault it was, and at which step.
pub async fn forward(
    dispatcher: &Arc<Dispatcher>,
    stream: Stream,
    seat: Arc<Seat>,
    mut request: Request<Incoming>,
    hop: &Hop<'_>,
) -> Result<(Response<Answer>, Outcome), RequestError> {
    let pool = stream.pool().clone();
    let upgrade = headers::upgrade(&request);
    let visitor_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let expectation = Expectation::of(request.headers());
    headers::for_pod(&mut request, hop, &stream.visitor.name, upgrade.as_ref());
    if let Ok(own) = header::HeaderValue::from_str(&pool.own) {
        request.headers_mut().insert(headers::X_SLOTKEEPER_PATH, own);
    }
    for pool in &dispatcher.config.pools {
        cookie::strip(request.headers_mut(), &pool.cookie_name);
    }
    let limit = dispatcher.config.limits.body_bytes;
    let stream = Arc::new(stream);
    let upload = |incoming| Upload::new(incoming, stream.clone(), seat.clone(), limit, expectation.clone());
    let mut request = request.map(upload);
    if let Some(expectation) = expectation {
        hyper::ext::on_informational(&mut request, move |head| {
            if head.status() == StatusCode::CONTINUE {
                expectation.met();
            }
        });
    }
    let (mut response, sender) = tokio::select! {
        biased;
        sent = seat.upstream.send(&*dispatcher.net, request) => sent?,
        ending = seat.over(1000) => {
            let over = ending.code == SESSION_OVER;
            let message = if over { "the session has ended" } else { GOES_AWAY };
            return Err(RequestError::visitor(Step::Send, StatusCode::SERVICE_UNAVAILABLE, message));
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(visitor_side), Some(protocol)) = (visitor_side, upgrade) else {
            return Err(RequestError::pod(Step::Respond, "the pod switched protocols unasked", "unexpected 101"));
        };
        let pod_side = hyper::upgrade::on(&mut response);
        headers::for_visitor(response.headers_mut(), Some(&protocol));
        // What the pod has chosen, of perhaps several that were asked for.
        let chosen = response.headers().get(header::UPGRADE).unwrap_or(&protocol);
        let is_websocket = chosen.as_bytes().eq_ignore_ascii_case(b"websocket");
        let answer = response.map(|_| Answer::Empty);
        tunnel::start(dispatcher.clone(), pool, stream, seat, visitor_side, pod_side, is_websocket);
        return Ok((answer, Outcome::Upgraded));
    }
    headers::for_visitor(response.headers_mut(), None);
    // Whatever the pod speaks, the visitor's connection is HTTP/1.1.
    *response.version_mut() = http::Version::HTTP_11;
    let answer = response.map(|incoming| Answer::Pod(Box::new(Download::new(incoming, sender, stream, seat))));
    Ok((answer, Outcome::Forwarded))
}
