//! A lingering close (RFC 9112 §9.6): before a connection with unread input is closed, that input is read and discarded for
//! a while, because a reset would destroy what was sent last.

use crate::config::Limits;
use crate::io::{Socket, now};
use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite as _, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Ends it after this time without any input.
const IDLE: Duration = Duration::from_secs(5);
/// The size of a read while lingering.
const DISCARDED: usize = 16 * 1024;

/// How unread input is treated when the connection is closed.
pub(crate) struct Linger {
    time: Duration,
    bytes: u64,
    closing: Option<Box<Closing>>,
}

struct Closing {
    until: Instant,
    timer: Pin<Box<Sleep>>,
    left: u64,
    /// Input is expected.
    waits: bool,
}

impl Linger {
    pub(crate) fn new(limits: &Limits) -> Linger {
        Linger { time: limits.linger, bytes: limits.linger_bytes, closing: None }
    }

    /// Shuts the sending side down, and discards further input. `ended`: the visitor has finished sending. `waits`: more input is
    /// expected.
    pub(crate) fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Socket,
        ended: bool,
        waits: bool,
    ) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            if ended || self.time.is_zero() {
                return Poll::Ready(Ok(()));
            }
            self.begin(waits);
        }
        self.poll(cx, stream).map(Ok)
    }

    fn begin(&mut self, waits: bool) {
        let until = now() + self.time;
        let timer = Box::pin(tokio::time::sleep_until((now() + IDLE).min(until)));
        self.closing = Some(Box::new(Closing { until, timer, left: self.bytes, waits }));
    }

    /// Discards further input of the visitor, until it ends, or the visitor has had enough time to read the response.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Socket) -> Poll<()> {
        let Some(closing) = &mut self.closing else { return Poll::Ready(()) };
        let mut scratch = [MaybeUninit::uninit(); DISCARDED];
        loop {
            let mut read = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    let Some(left) = closing.left.checked_sub(read.filled().len() as u64) else {
                        tracing::debug!("visitor still sending after its response: closing the connection");
                        return Poll::Ready(());
                    };
                    closing.left = left;
                    closing.waits = true;
                    closing.timer.as_mut().reset((now() + IDLE).min(closing.until));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if !closing.waits => return Poll::Ready(()),
                Poll::Pending => return closing.timer.as_mut().poll(cx),
            }
        }
    }
}
