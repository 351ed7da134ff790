//! Bodies in transit: streamed frame by frame, with trailers and end-to-end backpressure.

use super::fields;
use super::pace::{Late, Progress};
use super::pod_socket::PodConnection;
use super::upstreams::Lease;
use crate::front::access_log::Logged;
use crate::front::error::{BoxError, RequestError, Step};
use crate::front::visit::{Cut, InFlight, Seat};
use bytes::Bytes;
use http::HeaderMap;
use http::header;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use slotkeeper_core::planted;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a pod may take to respond to `Expect: 100-continue` before the body is sent anyway (RFC 9110 §10.1.1 forbids
/// waiting indefinitely).
const CONTINUE: Duration = Duration::from_secs(1);

/// `Expect: 100-continue`: the body is not read from the visitor before the pod wants it. (Over HTTP/1.1, the library then sends the
/// visitor a `100 Continue`.)
#[derive(Clone)]
pub struct Expectation(Arc<Waiting>);

struct Waiting {
    met: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Expectation {
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Expectation> {
        let expects = headers.get(header::EXPECT)?.as_bytes().eq_ignore_ascii_case(b"100-continue");
        expects.then(|| Expectation(Arc::new(Waiting { met: AtomicBool::new(false), waker: Mutex::default() })))
    }

    pub fn met(&self) {
        self.0.met.store(true, Ordering::Release);
        if let Some(waker) = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        planted!(ContinueNotAwaited => Poll::Ready(()));
        *self.0.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.0.met.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A body in transit, and the resources that it holds. It can be cut from outside: a body that its receiver does not read is
/// not polled, and a pod's slot is not free while bytes of its session are in transit.
struct Cargo<T>(Mutex<Loaded<T>>);

struct Loaded<T> {
    load: Option<T>,
    waker: Option<Waker>,
}

impl<T> Cargo<T> {
    fn new(load: T) -> Arc<Cargo<T>> {
        Arc::new(Cargo(Mutex::new(Loaded { load: Some(load), waker: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Loaded<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Cargo<T> {
    fn unload(&self) -> Option<T> {
        let (load, waker) = {
            let mut cargo = self.lock();
            (cargo.load.take(), cargo.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        load
    }
}

impl Cut for Cargo<Inbound> {
    fn cut(&self) {
        drop(self.unload());
    }

    fn stalled(&self, stall: Duration) -> Option<Late> {
        self.lock().load.as_ref()?.progress.stalled_upload(stall)
    }
}

impl Cut for Cargo<Outbound> {
    fn cut(&self) {
        if let Some(outbound) = self.unload() {
            // The request may still be in transit to a pod that does not read it.
            outbound.lease.line.abandon();
        }
    }

    fn stalled(&self, stall: Duration) -> Option<Late> {
        let cargo = self.lock();
        let outbound = cargo.load.as_ref()?;
        outbound.progress.stalled_download(stall, outbound.may_be_silent, &outbound.uploaded)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the session has ended, or nothing of the body moved for too long")]
struct CutOff;

#[derive(Debug, thiserror::Error)]
#[error("the visitor has cancelled the request")]
struct Cancelled;

#[derive(Debug, thiserror::Error)]
#[error("the pod's response ended early")]
struct EndedEarly;

/// The request's body, from the visitor to the pod.
pub struct Upload {
    cargo: Arc<Cargo<Inbound>>,
    seat: Arc<Seat>,
    watched: bool,
    left: Option<u64>,
    expectation: Option<(Expectation, Pin<Box<tokio::time::Sleep>>)>,
    /// The connection that it is sent on, until its first part has been read.
    line: Option<Arc<PodConnection>>,
    progress: Arc<Progress>,
}

struct Inbound {
    incoming: Incoming,
    /// It came over HTTP/2. There, the library takes a cancelled request (`RST_STREAM` with `NO_ERROR`) for the end of its body.
    is_http2: bool,
    progress: Arc<Progress>,
    stream: Arc<InFlight>,
}

impl Upload {
    /// `limit`: in bytes.
    #[must_use]
    pub fn new(
        (incoming, is_http2): (Incoming, bool),
        stream: Arc<InFlight>,
        seat: Arc<Seat>,
        limit: Option<u64>,
        expectation: Option<Expectation>,
    ) -> Upload {
        let expectation = expectation.map(|e| (e, Box::pin(tokio::time::sleep(CONTINUE))));
        let progress = Arc::new(Progress::new(incoming.is_end_stream()));
        Upload {
            cargo: Cargo::new(Inbound { incoming, is_http2, progress: progress.clone(), stream }),
            seat,
            watched: false,
            left: limit,
            expectation,
            line: None,
            progress,
        }
    }

    /// Sets the connection that it is sent on.
    pub fn sent_on(&mut self, line: Arc<PodConnection>) {
        self.line = Some(line);
    }

    /// The right to send it.
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Its progress.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request's body is larger than allowed")]
pub struct TooLarge;

/// The bytes of data in a part of a body.
pub(crate) fn size(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

/// The rest of a limit after this many bytes.
fn rest_of(left: u64, size: u64) -> Option<u64> {
    planted!(UploadUnlimited => Some(left));
    left.checked_sub(size)
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some((expectation, patience)) = &mut this.expectation {
            if expectation.poll(cx).is_pending() && patience.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.expectation = None;
        }
        if !this.watched {
            this.watched = true;
            let cargo: Arc<dyn Cut> = this.cargo.clone();
            this.seat.watch(Arc::downgrade(&cargo));
        }
        let mut cargo = this.cargo.lock();
        if this.seat.is_void() {
            return Poll::Ready(Some(Err(CutOff.into())));
        }
        let Some(inbound) = &mut cargo.load else { return Poll::Ready(Some(Err(CutOff.into()))) };
        let Poll::Ready(frame) = Pin::new(&mut inbound.incoming).poll_frame(cx) else {
            cargo.waker = Some(cx.waker().clone());
            this.progress.waits_for_source();
            return Poll::Pending;
        };
        if frame.is_none() && inbound.is_http2 && !inbound.incoming.is_end_stream() {
            return Poll::Ready(Some(Err(Cancelled.into())));
        }
        if inbound.stream.counts().requests {
            this.seat.mark_active();
        }
        if let Some(line) = this.line.take() {
            line.is_not_repeatable();
        }
        let frame = frame.map(|frame| {
            frame.map(|mut frame| {
                if let Some(trailers) = frame.trailers_mut() {
                    fields::drop_from_request_trailers(trailers);
                }
                frame
            })
        });
        if frame.is_none() || matches!(&frame, Some(Ok(_))) && inbound.incoming.is_end_stream() {
            this.progress.is_over();
        } else {
            this.progress.moved();
        }
        let size = frame.as_ref().map_or(0, |frame| frame.as_ref().map_or(0, size)) as u64;
        if let Some(record) = inbound.stream.record() {
            record.received(size);
        }
        if let (Some(Ok(_)), Some(left)) = (&frame, &mut this.left) {
            match rest_of(*left, size) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Some(Err(TooLarge.into()))),
            }
        }
        Poll::Ready(frame.map(|f| f.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.cargo.lock().load.as_ref().is_some_and(|l| l.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.cargo.lock().load.as_ref().map(|l| l.incoming.size_hint()).unwrap_or_default()
    }
}

/// The response's body, from the pod to the visitor. Keeps the session's stream open until its end, and then releases the
/// connection for reuse.
pub struct Download {
    cargo: Arc<Cargo<Outbound>>,
    seat: Arc<Seat>,
    watched: bool,
    /// Whether progress counts as activity, because the visitor reads it.
    reads: bool,
    /// It has been received completely.
    done: bool,
}

struct Outbound {
    incoming: Incoming,
    lease: Lease,
    /// Its connection may carry another request, once this one has been sent completely.
    keeps: bool,
    uploaded: Arc<Progress>,
    progress: Progress,
    /// The pod sends events only when they happen.
    may_be_silent: bool,
    stream: Arc<InFlight>,
}

impl Download {
    /// `lease`: the connection, whether it may be kept, and the progress of the request's body on it. `reads`: whether
    /// progress counts as activity.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        (lease, keeps, uploaded): (Lease, bool, Arc<Progress>),
        may_be_silent: bool,
        stream: Arc<InFlight>,
        seat: Arc<Seat>,
        reads: bool,
    ) -> Download {
        let whole = incoming.is_end_stream();
        let cargo = Cargo::new(Outbound {
            incoming,
            lease,
            keeps,
            uploaded,
            progress: Progress::new(false),
            may_be_silent,
            stream,
        });
        let mut download = Download { cargo, seat, watched: false, reads, done: false };
        if whole {
            download.finish(true);
        }
        download
    }

    /// Ends the stream; if the response was received completely, the connection can take the next request.
    fn finish(&mut self, well: bool) {
        self.done = true;
        let Some(outbound) = self.cargo.lock().load.take() else { return };
        if well {
            outbound.lease.line.is_answered();
            if outbound.keeps && outbound.uploaded.is_whole() {
                self.seat.upstream.keep(outbound.lease);
            }
        }
    }

    /// The rest of the response is missing or invalid. Its head has been passed on, so this can only be reported.
    fn break_off(&mut self, error: hyper::Error) -> BoxError {
        if let Some(outbound) = &self.cargo.lock().load {
            let error = RequestError::pod(Step::Respond, "the pod's response ended early", error);
            outbound.stream.report(self.seat.pod, &error);
        }
        self.finish(false);
        EndedEarly.into()
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let (frame, whole) = {
            let mut cargo = self.cargo.lock();
            let Some(outbound) = &mut cargo.load else {
                return Poll::Ready(Some(Err(CutOff.into())));
            };
            match Pin::new(&mut outbound.incoming).poll_frame(cx) {
                Poll::Ready(mut frame) => {
                    if let Some(Ok(frame)) = &mut frame
                        && let Some(trailers) = frame.trailers_mut()
                    {
                        fields::drop_from_response_trailers(trailers);
                    }
                    outbound.progress.moved();
                    outbound.uploaded.touch();
                    (Some(frame), outbound.incoming.is_end_stream())
                }
                Poll::Pending => {
                    outbound.progress.waits_for_source();
                    cargo.waker = Some(cx.waker().clone());
                    (None, false)
                }
            }
        };
        if self.reads && matches!(frame, Some(Some(Ok(_)))) {
            self.seat.mark_active();
        }
        let frame = frame.map(|frame| frame.map(|frame| frame.map_err(|error| self.break_off(error))));
        match &frame {
            Some(Some(Ok(_))) if !whole => {}
            Some(Some(Ok(_)) | None) => self.finish(true),
            Some(Some(Err(_))) | None => {}
        }
        if !self.done && !self.watched {
            self.watched = true;
            let cargo: Arc<dyn Cut> = self.cargo.clone();
            self.seat.watch(Arc::downgrade(&cargo));
        }
        frame.map_or(Poll::Pending, Poll::Ready)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        if self.done {
            return SizeHint::with_exact(0);
        }
        self.cargo.lock().load.as_ref().map(|l| l.incoming.size_hint()).unwrap_or_default()
    }
}

/// The body of any response to a visitor.
pub enum ResponseBody {
    Empty,
    Whole(Bytes),
    Pod(Box<Download>),
    Events(mpsc::Receiver<Bytes>),
    /// One of the others, of a request that is logged.
    Logged(Box<Logged>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            ResponseBody::Empty => Poll::Ready(None),
            ResponseBody::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = ResponseBody::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            ResponseBody::Pod(download) => Pin::new(&mut **download).poll_frame(cx),
            ResponseBody::Logged(logged) => Pin::new(&mut **logged).poll_frame(cx),
            ResponseBody::Events(events) => events.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Empty => true,
            ResponseBody::Whole(bytes) => bytes.is_empty(),
            ResponseBody::Pod(download) => download.is_end_stream(),
            ResponseBody::Logged(logged) => logged.is_end_stream(),
            ResponseBody::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Empty => SizeHint::with_exact(0),
            ResponseBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ResponseBody::Pod(download) => download.size_hint(),
            ResponseBody::Logged(logged) => logged.size_hint(),
            ResponseBody::Events(_) => SizeHint::new(),
        }
    }
}

/// A response's body, and something that is dropped with it.
pub struct Holding<T> {
    body: ResponseBody,
    _held: T,
}

impl<T> Holding<T> {
    /// `held`: dropped when the body has been sent, or is not needed any more.
    pub(crate) fn new(body: ResponseBody, held: T) -> Holding<T> {
        Holding { body, _held: held }
    }
}

impl<T: Unpin> Body for Holding<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
