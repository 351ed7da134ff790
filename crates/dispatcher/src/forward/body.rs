//! Bodies on their way: streamed frame by frame, trailers included, with backpressure from end to end.

use crate::error::BoxError;
use crate::forward::over;
use crate::visit::{Seat, Stream};
use bytes::Bytes;
use http::HeaderMap;
use http::header;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a pod that was asked for `100 Continue` may say nothing before the body is sent anyway (RFC 9110 §10.1.1
/// forbids waiting indefinitely).
const CONTINUE: Duration = Duration::from_secs(1);

/// `Expect: 100-continue`: the body is not read from the visitor (who is then told to continue) before the pod wants it.
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
        *self.0.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.0.met.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// From the visitor to the pod.
pub struct Upload {
    incoming: Incoming,
    left: Option<u64>,
    expectation: Option<(Expectation, Pin<Box<tokio::time::Sleep>>)>,
}

impl Upload {
    #[must_use]
    pub fn new(incoming: Incoming, limit: Option<u64>, expectation: Option<Expectation>) -> Upload {
        let expectation = expectation.map(|e| (e, Box::pin(tokio::time::sleep(CONTINUE))));
        Upload { incoming, left: limit, expectation }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request's body is larger than allowed")]
pub struct TooLarge;

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((expectation, patience)) = &mut self.expectation {
            if expectation.poll(cx).is_pending() && patience.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.expectation = None;
        }
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let (Some(Ok(frame)), Some(left)) = (&frame, &mut self.left) {
            let size = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(size) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Some(Err(TooLarge.into()))),
            }
        }
        Poll::Ready(frame.map(|f| f.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// From the pod to the visitor. Keeps the session's stream open as long as it runs, and the connection afterwards.
pub struct Download {
    incoming: Incoming,
    sender: Option<SendRequest<Upload>>,
    seat: Arc<Seat>,
    stream: Option<Stream>,
    /// Waits for the session's end; made when the pod lets us wait at all.
    over: Option<Pin<Box<dyn Future<Output = &'static str> + Send>>>,
}

impl Download {
    #[must_use]
    pub fn new(incoming: Incoming, sender: SendRequest<Upload>, stream: Stream, seat: Arc<Seat>) -> Download {
        let mut download = Download { incoming, sender: Some(sender), seat, stream: Some(stream), over: None };
        if download.incoming.is_end_stream() {
            download.finish();
        }
        download
    }

    /// All of it has come: the connection can take the next request, and the stream is over.
    fn finish(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.seat.upstream.keep(sender);
        }
        self.stream = None;
        self.over = None;
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                if self.incoming.is_end_stream() || !matches!(frame, Some(Ok(_))) {
                    if matches!(frame, Some(Err(_))) {
                        self.sender = None;
                    }
                    self.finish();
                }
                Poll::Ready(frame.map(|f| f.map_err(Into::into)))
            }
            Poll::Pending => {
                if self.stream.is_some() {
                    let seat = self.seat.clone();
                    let over = self.over.get_or_insert_with(|| Box::pin(async move { over(&seat).await }));
                    if let Poll::Ready(ending) = over.as_mut().poll(cx) {
                        self.sender = None;
                        self.finish();
                        return Poll::Ready(Some(Err(ending.into())));
                    }
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Any answer to a visitor.
pub enum Answer {
    Empty,
    Whole(Bytes),
    Pod(Box<Download>),
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Answer::Empty => Poll::Ready(None),
            Answer::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Answer::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Answer::Pod(download) => Pin::new(&mut **download).poll_frame(cx),
            Answer::Events(events) => events.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Empty => true,
            Answer::Whole(bytes) => bytes.is_empty(),
            Answer::Pod(download) => download.is_end_stream(),
            Answer::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Empty => SizeHint::with_exact(0),
            Answer::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Answer::Pod(download) => download.size_hint(),
            Answer::Events(_) => SizeHint::new(),
        }
    }
}
