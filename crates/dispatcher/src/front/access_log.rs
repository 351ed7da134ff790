//! The access log: one line for each request, written when its stream has ended. It is off by default. A line contains no
//! cookie, no credentials, no session id (but the session's public name), and no query unless that is enabled.

mod format;

use crate::config::{AccessFormat, AccessLog as Settings, Config};
use crate::front::client;
use crate::front::error::{BoxError, RequestError};
use crate::front::forward::body::{ResponseBody, size};
use crate::front::forward::headers::Hop;
use crate::io::lines::{Fates, Lines};
use crate::io::{Clock, now};
use crate::metrics::Outcome;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Frame, SizeHint};
use slotkeeper_core::{Ordinal, PoolId, Time};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The status of a request whose client disconnected before it was answered, as nginx logs it.
const CLIENT_CLOSED: u16 = 499;

/// The access log of a process.
pub struct AccessLog {
    lines: Arc<Lines>,
    requests: AtomicU64,
}

/// What is known of a request. Dropping it writes the line, if the request is sampled or has failed.
pub struct Record {
    lines: Arc<Lines>,
    format: AccessFormat,
    sampled: bool,
    time: Time,
    began: Instant,
    asked: Asked,
    sent: AtomicU64,
    received: AtomicU64,
    result: Mutex<Result>,
}

/// What the head of the request says.
struct Asked {
    address: Option<IpAddr>,
    method: Method,
    /// With the query, if that is enabled.
    target: String,
    version: Version,
    is_tls: bool,
    referrer: String,
    agent: String,
}

#[derive(Default)]
struct Result {
    status: Option<StatusCode>,
    outcome: Option<&'static str>,
    pool: Option<PoolId>,
    pod: Option<Ordinal>,
    session: Option<String>,
    fault: Option<&'static str>,
    step: Option<&'static str>,
    reason: Option<&'static str>,
}

impl AccessLog {
    /// A log without an output.
    #[must_use]
    pub fn new(fates: Fates) -> AccessLog {
        AccessLog { lines: Arc::new(Lines::new(fates)), requests: AtomicU64::new(0) }
    }

    /// Opens the file again, or another one.
    ///
    /// # Errors
    /// If it cannot be opened: the former one stays in use.
    pub fn open(&self, settings: &Settings) -> std::io::Result<()> {
        settings.output.as_ref().map_or(Ok(()), |output| self.lines.open(output))
    }

    /// As [`AccessLog::open`]; logs the error.
    pub fn reopen(&self, settings: &Settings) {
        if let (Err(error), Some(output)) = (self.open(settings), &settings.output) {
            tracing::warn!(%output, "access log not opened again, the former file stays in use: {error}");
        }
    }

    /// Writes what is queued, before the process ends.
    pub async fn flush(&self) {
        self.lines.flush(Duration::from_secs(1)).await;
    }

    /// Begins the record of a request, which the request carries from then on. `None`: requests are not logged.
    pub fn begin<B>(
        &self,
        config: &Config,
        clock: &Clock,
        request: &mut Request<B>,
        hop: &Hop<'_>,
    ) -> Option<Arc<Record>> {
        let settings = &config.access_log;
        settings.output.as_ref()?;
        let record = Arc::new(Record {
            lines: self.lines.clone(),
            format: settings.format,
            sampled: self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(settings.sample),
            time: clock.wall(),
            began: now(),
            asked: Asked::of(request, hop, settings),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            result: Mutex::default(),
        });
        request.extensions_mut().insert(record.clone());
        Some(record)
    }
}

impl Asked {
    fn of<B>(request: &Request<B>, hop: &Hop<'_>, settings: &Settings) -> Asked {
        let (uri, headers) = (request.uri(), request.headers());
        let query = uri.query().filter(|_| settings.query);
        let target = query.map_or_else(|| uri.path().to_owned(), |query| format!("{}?{query}", uri.path()));
        let is_combined = settings.format == AccessFormat::Combined;
        let field = |name: &HeaderName| if is_combined { text(headers, name) } else { String::new() };
        let mut referrer = field(&header::REFERER);
        if !settings.query {
            let end = referrer.find(['?', '#']).unwrap_or(referrer.len());
            referrer.truncate(end);
        }
        Asked {
            address: client::address(hop, headers),
            method: request.method().clone(),
            target: format::target(target.as_bytes()),
            version: if hop.is_http2 { Version::HTTP_2 } else { request.version() },
            is_tls: hop.is_tls,
            referrer,
            agent: field(&header::USER_AGENT),
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    value.unwrap_or_default()
}

impl Record {
    /// The record that a request carries.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<Arc<Record>> {
        request.extensions().get::<Arc<Record>>().cloned()
    }

    fn result(&self) -> MutexGuard<'_, Result> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool that the request goes to.
    pub fn pool(&self, pool: &PoolId) {
        self.result().pool = Some(pool.clone());
    }

    /// `session`: its public name.
    pub fn session(&self, session: &str) {
        self.result().session = Some(session.to_owned());
    }

    /// The pod that it goes to.
    pub fn pod(&self, pod: Ordinal) {
        self.result().pod = Some(pod);
    }

    /// How it was answered.
    pub fn outcome(&self, outcome: Outcome) {
        self.result().outcome = Some(outcome.word());
    }

    /// Why it has failed.
    pub fn failed(&self, error: &RequestError) {
        let mut result = self.result();
        (result.fault, result.step) = (Some(error.fault.word()), Some(error.step.word()));
        result.reason = Some(error.message);
    }

    /// The body or the tunnel has ended early, unless a reason is known already.
    pub fn ended(&self, reason: &'static str) {
        self.result().reason.get_or_insert(reason);
    }

    /// Bytes of the request's body, or of the tunnel, that came from the client.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of the response's body, or of the tunnel, that went to the client.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Has the response carry its record until its body has ended.
pub fn follow(record: Option<Arc<Record>>, response: Response<ResponseBody>) -> Response<ResponseBody> {
    let Some(record) = record else { return response };
    record.result().status = Some(response.status());
    // The library does not read the body of a response that has none.
    let has_body = record.asked.method != Method::HEAD && !response.body().is_end_stream();
    response.map(|answer| ResponseBody::Logged(Box::new(Logged { answer, record, is_whole: !has_body })))
}

/// The body of a response that is logged.
pub struct Logged {
    answer: ResponseBody,
    record: Arc<Record>,
    is_whole: bool,
}

impl Body for Logged {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.answer).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => self.record.sent(size(frame) as u64),
            Poll::Ready(Some(Err(_))) => self.record.ended("body_cut"),
            Poll::Ready(None) | Poll::Pending => {}
        }
        self.is_whole |= matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.answer.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if !self.is_whole {
            self.record.ended("client_closed");
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let mut result = std::mem::take(&mut *self.result());
        if result.status.is_none() {
            result.reason.get_or_insert("client_closed");
        }
        if self.sampled || result.reason.is_some() {
            self.lines.write(format::line(self, &result, now().duration_since(self.began)));
        }
    }
}

#[cfg(test)]
mod tests;
