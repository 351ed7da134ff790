//! Stands between a visitor's socket and the HTTP library: what is ambiguous about where a request ends never gets
//! through (both `Content-Length` and `Transfer-Encoding`, bare CR or LF, folded lines, unknown codings, two hosts: RFC 9112
//! §§2.2, 3.2, 5.1, 5.2, 6.3), and a head that takes too long ends the connection. What passes is not changed.
//!
//! A violation is turned into a byte no request may have, so that the library itself answers `400` and closes.

use crate::outside::{Stream, now};
use prometheus::IntGauge;
use slotkeeper_core::planted;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// Refused by every HTTP parser, wherever in a head it stands (RFC 9110 §5.5).
const POISON: u8 = 0;

pub struct Guard {
    stream: Stream,
    /// Kept as long as the socket is: what becomes a tunnel is still a connection.
    place: Place,
    framing: Framing,
    /// A head must have come within this time of its first byte. (How long the next one is waited for is the library's matter.)
    header_time: Duration,
    /// Since when the present head comes.
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Guard {
    #[must_use]
    pub fn new(stream: Stream, place: Place, header_time: Duration) -> Guard {
        Guard { stream, place, framing: Framing::default(), header_time, since: now(), timer: None }
    }

    /// The socket, and its place among the connections.
    #[must_use]
    pub fn into_parts(self) -> (Stream, Place) {
        (self.stream, self.place)
    }

    /// Pending, unless a head has begun and takes too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        planted!(HeadTimeOff => Poll::Pending);
        if self.framing.state != State::Head || self.framing.is_idle() {
            return Poll::Pending;
        }
        let due = self.since + self.header_time;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// One of the connections that are allowed at once; given back when dropped.
pub struct Place {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    #[must_use]
    pub fn take(open: &IntGauge, permit: OwnedSemaphorePermit) -> Place {
        open.inc();
        Place { open: open.clone(), _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl AsyncRead for Guard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.framing.state == State::Refused {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Pending => {
                // The end of the stream: the library closes without a word.
                return this.poll_patience(cx).map(Ok);
            }
            Poll::Ready(read) => read?,
        }
        let head = (this.framing.heads, this.framing.is_idle());
        if let Err(at) = this.framing.follow(&buf.filled()[before..]) {
            tracing::debug!("a request was refused: its end is ambiguous");
            buf.set_filled(before + at);
            buf.put_slice(&[POISON]);
        }
        if head != (this.framing.heads, this.framing.is_idle()) {
            this.since = now();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Follows where requests begin and end.
#[derive(Default)]
struct Framing {
    state: State,
    /// The present line, as far as it has come in earlier reads.
    line: Vec<u8>,
    /// Lines of the present head so far.
    lines: usize,
    length: Option<u64>,
    /// Requests that have ended.
    heads: u64,
    chunked: bool,
    upgrade: bool,
    host: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Bytes of a body still to come.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Trailers,
    /// After a request to switch protocols: what follows is not followed. (The door closes the connection if the
    /// answer is no `101`.)
    Other,
    Refused,
}

/// A line longer than this is not kept for looking at: the library has refused the head by then.
const LONGEST_LINE: usize = 1 << 20;

/// Something ambiguous.
struct Ambiguous;

impl Framing {
    fn is_idle(&self) -> bool {
        self.state == State::Head && self.lines == 0 && self.line.is_empty()
    }

    /// Goes over bytes just read. An error says how many of them may pass.
    fn follow(&mut self, bytes: &[u8]) -> Result<(), usize> {
        planted!(GuardOff => self.ignore(bytes));
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Other => return Ok(()),
                State::Refused => return Err(at),
                State::Length(left) | State::Chunk(left) => {
                    let n = (*left).min(rest.len() as u64);
                    *left -= n;
                    at += n as usize;
                    if *left == 0 {
                        self.state = if matches!(self.state, State::Length(_)) { State::Head } else { State::ChunkEnd };
                    }
                }
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                        self.line.extend_from_slice(rest);
                        let bad = self.line.len() > LONGEST_LINE || self.has_bare_cr();
                        return if bad { self.refuse(at) } else { Ok(()) };
                    };
                    let start = at;
                    at += end + 1;
                    let done = if self.line.is_empty() {
                        self.line_ends(&rest[..end])
                    } else {
                        self.line.extend_from_slice(&rest[..end]);
                        let line = std::mem::take(&mut self.line);
                        self.line_ends(&line)
                    };
                    if done.is_err() {
                        return self.refuse(start);
                    }
                }
            }
        }
        Ok(())
    }

    #[cfg(feature = "planted")]
    fn ignore(&mut self, bytes: &[u8]) -> Result<(), usize> {
        self.lines += bytes.len();
        Ok(())
    }

    fn refuse(&mut self, at: usize) -> Result<(), usize> {
        self.state = State::Refused;
        Err(at)
    }

    /// A CR that no LF follows; the very last byte may still be followed by one.
    fn has_bare_cr(&self) -> bool {
        self.line.strip_suffix(b"\r").unwrap_or(&self.line).contains(&b'\r')
    }

    /// A line, without its LF.
    fn line_ends(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let line = line.strip_suffix(b"\r").ok_or(Ambiguous)?;
        if line.contains(&b'\r') {
            return Err(Ambiguous);
        }
        match self.state {
            State::Head => self.head_line(line),
            State::ChunkSize => self.chunk_size(line),
            State::ChunkEnd if line.is_empty() => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::ChunkEnd => Err(Ambiguous),
            State::Trailers => {
                if line.is_empty() {
                    self.next_request();
                }
                Ok(())
            }
            State::Length(_) | State::Chunk(_) | State::Other | State::Refused => Ok(()),
        }
    }

    fn next_request(&mut self) {
        *self = Framing { heads: self.heads + 1, ..Framing::default() };
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        if line.is_empty() {
            if self.lines > 0 {
                self.head_ends();
            }
            return Ok(()); // empty lines before a request are let pass (RFC 9112 §2.2)
        }
        self.lines += 1;
        if self.lines == 1 {
            return Ok(()); // the request line: the library looks at it
        }
        if line[0] == b' ' || line[0] == b'\t' {
            return Err(Ambiguous);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(Ambiguous)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.last().is_none_or(u8::is_ascii_whitespace) {
            return Err(Ambiguous);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length =
                std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok()).ok_or(Ambiguous)?;
            if self.length.replace(length).is_some() {
                return Err(Ambiguous);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"host") && std::mem::replace(&mut self.host, true) {
            return Err(Ambiguous);
        }
        if self.chunked && self.length.is_some() {
            return Err(Ambiguous);
        }
        Ok(())
    }

    fn head_ends(&mut self) {
        let (upgrade, chunked, length) = (self.upgrade, self.chunked, self.length.unwrap_or(0));
        self.next_request();
        if upgrade {
            self.state = State::Other;
        } else if chunked {
            self.state = State::ChunkSize;
        } else if length > 0 {
            self.state = State::Length(length);
        }
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
        let hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
        let size = u64::from_str_radix(text, 16).ok().filter(|_| hex).ok_or(Ambiguous)?;
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Framing;

    /// How many bytes pass, fed in pieces of `cut`; `None` if all do.
    fn stops_at(request: &str, cut: usize) -> Option<usize> {
        let mut framing = Framing::default();
        let mut passed = 0;
        for piece in request.as_bytes().chunks(cut) {
            match framing.follow(piece) {
                Ok(()) => passed += piece.len(),
                Err(at) => return Some(passed + at),
            }
        }
        None
    }

    #[test]
    fn what_is_clear_passes_however_it_is_cut() {
        let requests = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\n\r\n\rxGET / HTTP/1.1\r\nA: b\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n\n\n\n\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nanything \n\r at all",
        ];
        for request in requests {
            for cut in [1, 2, 3, 7, 1000] {
                assert_eq!(stops_at(request, cut), None, "{request:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn what_is_ambiguous_does_not() {
        let heads = [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: +5\r\n\r\n",
            "Content-Length: 5, 5\r\n\r\n",
            "Content-Length: 0x5\r\n\r\n",
            "Content-Length:\r\n\r\n",
            "Content-Length: 99999999999999999999\r\n\r\n",
            "Content-Length : 5\r\n\r\n",
            "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n",
            "Host: b\r\n\r\n",
            "A: b\n\r\n",
            "A: b\r\n c\r\n\r\n",
            "A: b\rContent-Length: 3\r\n\r\n",
            "A\r\n\r\n",
            ": b\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5x\r\n",
            "Transfer-Encoding: chunked\r\n\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1\na",
        ];
        for head in heads {
            for cut in [1, 2, 5, 1000] {
                let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}GET /smuggled HTTP/1.1\r\n\r\n");
                let smuggled = request.find("GET /smuggled").unwrap();
                let stop = stops_at(&request, cut);
                assert!(stop.is_some_and(|at| at < smuggled + 4), "{head:?} in pieces of {cut}: {stop:?}");
            }
        }
    }
}
