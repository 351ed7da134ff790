//! The state that a visitor's connection and the handler of its requests share: whether a response is due, whether its
//! framing allows a probe, and the ends of targets that the HTTP library cannot hold.

use crate::front::forward::body::{Holding, ResponseBody};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Method, Request, Response, StatusCode, Version, header};
use hyper::body::Body;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// The state of the current exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// No request is being answered.
    Idle,
    /// A response head is due, and the visitor understands interim responses (HTTP/1.1).
    Due,
    /// A response head is due to an HTTP/1.0 visitor.
    DueOld,
    /// A chunked response is being sent.
    Chunked,
    /// A response is being sent whose end only the end of the connection marks (HTTP/1.0).
    OpenEnded,
    /// Any other response is being sent.
    Other,
}

const PHASES: [Phase; 6] = [Phase::Idle, Phase::Due, Phase::DueOld, Phase::Chunked, Phase::OpenEnded, Phase::Other];

#[derive(Default)]
pub struct Exchange {
    phase: AtomicU8,
    /// Wakes the connection, which hides from the library that the visitor has finished sending.
    hidden: AtomicWaker,
    is_hidden: AtomicBool,
    /// Requests begun.
    requests: AtomicU64,
    overflows: Mutex<VecDeque<(u64, Vec<u8>)>>,
}

impl Exchange {
    pub(super) fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Ordering::Acquire))).copied().unwrap_or(Phase::Other)
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Registers the connection to be woken when the response has ended.
    pub(super) fn hide(&self, waker: &Waker) {
        self.hidden.register(waker);
        self.is_hidden.store(true, Ordering::Release);
    }

    pub(super) fn overflow(&self, overflows: Vec<(u64, Vec<u8>)>) {
        self.overflows.lock().unwrap_or_else(PoisonError::into_inner).extend(overflows);
    }

    /// Begins a request. If its target is too long for the library, the end of it is added to the request's extensions.
    pub fn begin<B>(self: &Arc<Self>, request: &mut Request<B>) -> Turn {
        let is_old = request.version() == Version::HTTP_10;
        self.set(if is_old { Phase::DueOld } else { Phase::Due });
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if request
            .uri()
            .path_and_query()
            .is_some_and(|target| target.as_str().len() > super::framing::LONGEST_TARGET / 2)
        {
            let mut overflows = self.overflows.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some((of, end)) = overflows.pop_front() {
                if of == number {
                    request.extensions_mut().insert(TargetEnd(end.into()));
                    break;
                }
            }
        }
        Turn { exchange: self.clone(), is_old, head_only: request.method() == Method::HEAD }
    }
}

/// The end of a target that the library cannot hold; it follows the target in the request.
#[derive(Clone, Debug)]
pub struct TargetEnd(pub Bytes);

/// A request that is being answered, until this is dropped.
pub struct Turn {
    exchange: Arc<Exchange>,
    is_old: bool,
    head_only: bool,
}

impl Turn {
    /// Follows the response to its end.
    #[must_use]
    pub fn answer(self, response: Response<ResponseBody>) -> Response<Holding<Turn>> {
        let status = response.status();
        let has_body = !self.head_only
            && !status.is_informational()
            && status != StatusCode::NO_CONTENT
            && status != StatusCode::NOT_MODIFIED
            && !response.body().is_end_stream();
        let is_sized =
            response.headers().contains_key(header::CONTENT_LENGTH) || response.body().size_hint().exact().is_some();
        self.exchange.set(match has_body && !is_sized {
            true if self.is_old => Phase::OpenEnded,
            true => Phase::Chunked,
            false => Phase::Other,
        });
        response.map(|body| Holding::new(body, self))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.exchange.set(Phase::Idle);
        if self.exchange.is_hidden.load(Ordering::Acquire) {
            self.exchange.hidden.wake();
        }
    }
}
