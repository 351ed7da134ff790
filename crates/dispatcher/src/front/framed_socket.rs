//! Filters the bytes between a visitor's socket and the HTTP library. A request with an ambiguous end is refused (both
//! `Content-Length` and `Transfer-Encoding`, bare CR or LF, folded lines, unknown codings, two hosts: RFC 9112 §§2.2, 3.2,
//! 5.1, 5.2, 6.3), and a head that takes too long ends the connection. A visitor that has finished sending still gets its
//! response; one that has left is detected by probes. Before a connection with unread input is closed, that input is read
//! and discarded for a while (a lingering close, RFC 9112 §9.6): a reset would destroy the response.
//!
//! A violation is replaced by a byte that no request may contain, so that the library itself responds with `400` and closes.

mod exchange;
mod framing;
mod head_time;
mod linger;

pub use exchange::{Exchange, TargetEnd};

use crate::config::Limits;
use crate::io::{Socket, now};
use exchange::Phase;
use framing::Framing;
pub(crate) use head_time::HeadTime;
pub(crate) use linger::Linger;
use prometheus::IntGauge;
use slotkeeper_core::planted;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// Every HTTP parser refuses the first byte anywhere in a head (RFC 9110 §5.5). The library parses a partly received head
/// again only when it ends, so these bytes also end the head.
const POISON: &[u8] = b"\0\r\n\r\n";

/// A visitor that finishes sending within this time of its request is assumed to wait for the response (`nc -N`, BusyBox
/// wget). It is probed later than one that finishes afterwards, which has probably left.
const AT_ONCE: Duration = Duration::from_millis(100);
/// From the visitor's end of sending to the first probe, in these two cases.
const FIRST_PROBE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(200));
/// How often the socket is checked for a reset, which is how a closed socket answers a probe.
const LOOK: Duration = Duration::from_millis(200);
/// A probe is sent with the first check and then with every 25th.
const LOOKS_PER_PROBE: u32 = 25;

/// An interim response that every client of HTTP/1.1 must be able to skip (RFC 9110 §15.2).
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The first digit of the next chunk's size, which may have leading zeros (RFC 9112 §7.1).
const LEADING_ZERO: &[u8] = b"0";
/// Some clients accept only a limited number of digits of a chunk's size.
const MOST_ZEROS: u8 = 4;

pub struct FramedSocket {
    stream: Socket,
    /// Kept as long as the socket: a tunnel still counts as a connection.
    permit: Option<ConnectionPermit>,
    framing: Framing,
    exchange: Arc<Exchange>,
    /// (The library limits the wait for the next head.)
    head_time: HeadTime,
    /// The visitor has finished sending.
    ended: bool,
    probes: Option<Box<Probes>>,
    /// All of the library's output has been written: before that, a probe would land between two parts of the response.
    flushed: bool,
    /// Something has been written since the current response became due.
    spoken: bool,
    /// Leading zeros since the last write.
    zeros: u8,
    /// Only the end of the connection marks the end of the current response: dropping the socket resets it, so that a
    /// truncated response does not look complete.
    resets: bool,
    linger: Linger,
    /// The bytes in place of a refused request that the library has not read yet.
    poison: &'static [u8],
}

struct Probes {
    timer: Pin<Box<Sleep>>,
    looks: u32,
}

impl FramedSocket {
    /// `permit`: that of this connection, if such connections are counted and limited.
    #[must_use]
    pub fn new(
        stream: Socket,
        permit: Option<ConnectionPermit>,
        limits: &Limits,
        exchange: Arc<Exchange>,
    ) -> FramedSocket {
        FramedSocket {
            stream,
            permit,
            framing: Framing::new(limits.header_bytes),
            exchange,
            head_time: HeadTime::new(limits),
            ended: false,
            probes: None,
            flushed: true,
            spoken: false,
            zeros: 0,
            resets: false,
            linger: Linger::new(limits),
            poison: b"",
        }
    }

    /// Writes as much of the poison as there is room for.
    fn put_poison(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let (now, later) = self.poison.split_at(self.poison.len().min(buf.remaining()));
        buf.put_slice(now);
        self.poison = later;
        now.len()
    }

    /// Returns the socket, and its permit.
    #[must_use]
    pub fn into_parts(self) -> (Socket, Option<ConnectionPermit>) {
        (self.stream, self.permit)
    }

    /// Ready if a head has begun and takes too long.
    fn poll_header_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        planted!(HeadTimeOff => Poll::Pending);
        if !self.framing.is_in_head() {
            return Poll::Pending;
        }
        self.head_time.poll(cx)
    }

    /// The visitor has finished sending. The library would treat that as the end of the connection, so it is only notified
    /// when the response has ended. A visitor that has closed its socket answers a probe with a reset.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.exchange.hide(cx.waker());
        let phase = self.exchange.phase();
        if phase == Phase::Idle || !self.framing.is_whole() {
            return Poll::Ready(Ok(()));
        }
        let since = self.head_time.since();
        let probes = self.probes.get_or_insert_with(|| {
            let at_once = now().duration_since(since) < AT_ONCE;
            let first = if at_once { FIRST_PROBE.0 } else { FIRST_PROBE.1 };
            Box::new(Probes { timer: Box::pin(tokio::time::sleep(first)), looks: 0 })
        });
        while probes.timer.as_mut().poll(cx).is_ready() {
            let mut byte = [0];
            let mut look = ReadBuf::new(&mut byte);
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_read(cx, &mut look) {
                return Poll::Ready(Err(error));
            }
            // After the visitor's end of a TLS stream, a read does not reach the socket any more.
            if let Some(Ok(Some(error))) = self.stream.tcp().map(tokio::net::TcpStream::take_error) {
                return Poll::Ready(Err(error));
            }
            let probe = match phase {
                Phase::Due if !self.spoken => INTERIM,
                Phase::Chunked if self.spoken && self.zeros < MOST_ZEROS => LEADING_ZERO,
                Phase::Idle | Phase::Due | Phase::DueOld | Phase::Chunked | Phase::OpenEnded | Phase::Other => b"",
            };
            if probes.looks.is_multiple_of(LOOKS_PER_PROBE) && self.flushed && !probe.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, probe) {
                    Poll::Ready(Ok(n)) if n == probe.len() => self.zeros += u8::from(probe == LEADING_ZERO),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            probes.looks += 1;
            probes.timer.as_mut().reset(now() + LOOK);
        }
        Poll::Pending
    }

    /// Notes a write: the kind of the next probe depends on it.
    fn note_write(&mut self) {
        self.flushed = false;
        let phase = self.exchange.phase();
        self.spoken = !matches!(phase, Phase::Due | Phase::DueOld);
        self.zeros = 0;
        if phase == Phase::OpenEnded
            && !std::mem::replace(&mut self.resets, true)
            && let Some(socket) = self.stream.tcp()
        {
            // In effect until the library shuts the connection down by itself.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// One of the connections that are allowed at the same time; released when dropped.
pub struct ConnectionPermit {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionPermit {
    #[must_use]
    pub fn take(open: &IntGauge, permit: OwnedSemaphorePermit) -> ConnectionPermit {
        open.inc();
        ConnectionPermit { open: open.clone(), _permit: permit }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl AsyncRead for FramedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.framing.is_refused() {
            // After the last byte of the poison: the end of the stream.
            this.put_poison(buf);
            return Poll::Ready(Ok(()));
        }
        if this.ended {
            return this.poll_ended(cx);
        }
        loop {
            let before = buf.filled().len();
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Pending => {
                    // The end of the stream: the library closes without a response.
                    return this.poll_header_time(cx).map(Ok);
                }
                Poll::Ready(read) => read?,
            }
            let read = buf.filled().len() - before;
            if read == 0 {
                if buf.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.ended = true;
                return this.poll_ended(cx);
            }
            let mark = this.framing.mark();
            let kept = match this.framing.follow(&mut buf.filled_mut()[before..]) {
                Ok(kept) => {
                    buf.set_filled(before + kept);
                    kept
                }
                Err(at) => {
                    tracing::debug!("request refused: its end is ambiguous, or its target is too long or malformed");
                    buf.set_filled(before + at);
                    this.poison = POISON;
                    at + this.put_poison(buf)
                }
            };
            let overflows = this.framing.overflows();
            if !overflows.is_empty() {
                this.exchange.overflow(overflows);
            }
            if mark != this.framing.mark() {
                this.head_time.begin();
            }
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
            // All bytes were the end of a long target, which the library does not see: read again.
        }
    }
}

impl AsyncWrite for FramedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.note_write();
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if std::mem::take(&mut this.resets)
            && let Some(socket) = this.stream.tcp()
        {
            let _ = socket2::SockRef::from(socket).set_linger(None);
        }
        this.linger.poll_close(cx, &mut this.stream, this.ended, !this.framing.is_idle())
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note_write();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
