//! The bytes of an HTTP/2 connection between the visitor's socket and the HTTP library. Limits that the library does not
//! have are here: the time of a head, frames without use (a flood of PING, SETTINGS, WINDOW_UPDATE, PRIORITY or unknown
//! ones), and cancelled requests (rapid reset: CVE-2023-44487), of which the library counts only those that it has not
//! accepted yet. It also performs a lingering close.
//!
//! A violation is replaced by a frame that is never valid, so that the library itself ends the connection with a GOAWAY.

use super::budget::Budget;
use super::frames::{CONTINUATION, DATA, Frame, Frames, HEADERS, RST_STREAM};
use crate::config::Limits;
use crate::front::framed_socket::{HeadTime, Linger};
use crate::io::{Socket, now};
use crate::metrics::http2::{Ended, HttpMetrics};
use prometheus::IntCounter;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A PING on a stream, which is a connection error (RFC 9113 §6.7).
const POISON: &[u8] = b"\0\0\x08\x06\0\0\0\0\x01\0\0\0\0\0\0\0\0";

/// Frames without use in advance, and per second. Useful ones earn more: a client answers each part of a response with up to
/// two WINDOW_UPDATE frames, and some measure the network with PING.
const FRAMES: (u32, u32) = (4000, 50);
/// Earned by each frame with use; and the bytes of a response that earn one more.
const PER_FRAME: u32 = 4;
const BYTES_PER_FRAME: usize = 512;
/// Cancelled requests in advance, and per second; each response that was sent completely earns another one. (A browser
/// cancels what a page still loads when the visitor leaves it.)
const RESETS: (u32, u32) = (500, 10);

/// Why the connection is ended from here, if it is.
pub(super) type Verdict = Arc<OnceLock<Ended>>;

pub(super) struct Wire {
    stream: Socket,
    inbound: Frames,
    outbound: Frames,
    frames: Budget,
    resets: Budget,
    received: IntCounter,
    sent: IntCounter,
    verdict: Verdict,
    /// The rest of the invalid frame that the library has not read yet.
    poison: &'static [u8],
    head_time: HeadTime,
    /// The visitor has finished sending.
    ended: bool,
    linger: Linger,
}

impl Wire {
    pub(super) fn new(stream: Socket, limits: &Limits, metrics: &HttpMetrics, verdict: Verdict) -> Wire {
        let now = now();
        Wire {
            stream,
            inbound: Frames::of_client(),
            outbound: Frames::of_server(),
            frames: Budget::new(FRAMES.0, FRAMES.1, now),
            resets: Budget::new(RESETS.0, RESETS.1, now),
            received: metrics.resets_received.clone(),
            sent: metrics.resets_sent.clone(),
            verdict,
            poison: b"",
            head_time: HeadTime::new(limits),
            ended: false,
            linger: Linger::new(limits),
        }
    }

    /// Ready if a head has begun and takes too long.
    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inbound.is_in_head() { self.head_time.poll(cx) } else { Poll::Pending }
    }

    /// Follows bytes of the visitor. If they end the connection: why, and how many of them may still be read.
    fn follow(&mut self, bytes: &[u8]) -> Option<(usize, Ended)> {
        let mut at = 0;
        while at < bytes.len() {
            let was_in_head = self.inbound.is_in_head();
            let (taken, ended) = self.inbound.step(&bytes[at..]);
            at += taken;
            if !was_in_head && self.inbound.is_in_head() {
                self.head_time.begin();
            }
            if let Some(why) = ended.and_then(|frame| self.judge(frame)) {
                return Some((at, why));
            }
        }
        None
    }

    fn judge(&mut self, frame: Frame) -> Option<Ended> {
        match frame.kind {
            HEADERS => self.frames.earn(PER_FRAME),
            DATA if frame.length > 0 || frame.ends_stream() => self.frames.earn(PER_FRAME),
            // The library limits those of one head.
            CONTINUATION => {}
            RST_STREAM => {
                self.received.inc();
                return (!self.resets.spend(now)).then_some(Ended::Resets);
            }
            _ => return (!self.frames.spend(now)).then_some(Ended::Flood),
        }
        None
    }

    /// Follows bytes that were sent to the visitor.
    fn follow_out(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, ended) = self.outbound.step(bytes);
            bytes = &bytes[taken..];
            let Some(frame) = ended else { continue };
            if frame.kind == DATA {
                let by_bytes = u32::try_from(frame.length / BYTES_PER_FRAME).unwrap_or(u32::MAX);
                self.frames.earn(PER_FRAME.saturating_add(by_bytes));
            }
            if frame.ends_stream() {
                self.resets.earn(1);
            }
            if frame.kind == RST_STREAM {
                self.sent.inc();
            }
        }
    }

    /// Writes as much of the poison as there is room for.
    fn put_poison(&mut self, buf: &mut ReadBuf<'_>) {
        let (now, later) = self.poison.split_at(self.poison.len().min(buf.remaining()));
        buf.put_slice(now);
        self.poison = later;
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.verdict.get().is_some() {
            // After the last byte of the poison: the end of the stream.
            this.put_poison(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            ready!(this.poll_head_time(cx));
            let _ = this.verdict.set(Ended::Slow);
            return Poll::Ready(Ok(()));
        };
        read?;
        if buf.filled().len() == before {
            this.ended |= buf.remaining() > 0;
            return Poll::Ready(Ok(()));
        }
        if let Some((kept, why)) = this.follow(&buf.filled()[before..]) {
            let _ = this.verdict.set(why);
            buf.set_filled(before + kept);
            this.poison = POISON;
            this.put_poison(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.follow_out(&buf[..written]);
        Poll::Ready(Ok(written))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Frames about a response may still be under way.
        this.linger.poll_close(cx, &mut this.stream, this.ended, true)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = buf.len().min(left);
            self.follow_out(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
