//! One connection to a pod, below the HTTP library. Repeats a request once on a new connection if the pod has closed this
//! one meanwhile, passes on an early response of a pod that no longer reads, and completes targets that the library cannot
//! hold.

use super::upstreams::connect;
use crate::front::visit::Seat;
use crate::io::{BoxFuture, Net, Socket, now};
use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use prometheus::IntCounter;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Starts with the end of the response: how long a pod may accept no bytes of the request before the rest is discarded.
const STALL: Duration = Duration::from_secs(3);
/// Larger request heads are not kept to be repeated.
const REPEATED: usize = 64 * 1024;

/// The state that a connection and its current request share.
#[derive(Default)]
pub struct PodConnection {
    flags: AtomicU8,
    /// Counts requests.
    turn: AtomicU32,
    /// Wakes the connection while the pod accepts no bytes.
    stalled: AtomicWaker,
    /// Bytes to insert into the current request, and after how many of its bytes.
    insert: Mutex<Option<(usize, Bytes)>>,
    /// The right to send the current request.
    seat: Mutex<Weak<Seat>>,
}

/// The current request may be sent again on a new connection.
const REPEATABLE: u8 = 1;
/// Its response has been received completely.
const ANSWERED: u8 = 2;
/// The connection must not carry another request.
const UNFIT: u8 = 4;
/// There is something to insert.
const INSERT: u8 = 8;
/// The response is no longer needed: the connection is to be closed, whatever the pod does.
const ABANDONED: u8 = 16;

impl PodConnection {
    /// Begins a request. `insert`: bytes missing from the library's head, and after how many bytes they belong. `seat`: the
    /// right to send it, which may have become void before it can be sent again.
    pub fn begin(&self, repeatable: bool, insert: Option<(usize, Bytes)>, seat: &Arc<Seat>) {
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(seat);
        let flags = if repeatable { REPEATABLE } else { 0 } | if insert.is_some() { INSERT } else { 0 };
        if insert.is_some() {
            *self.insert.lock().unwrap_or_else(PoisonError::into_inner) = insert;
        }
        self.turn.fetch_add(1, Ordering::Relaxed);
        let unfit = self.flags.load(Ordering::Relaxed) & UNFIT;
        self.flags.store(flags | unfit, Ordering::Release);
    }

    /// A part of its body has been read, or the response is no longer needed: the request is not sent again.
    pub fn is_not_repeatable(&self) {
        self.flags.fetch_and(!REPEATABLE, Ordering::AcqRel);
    }

    /// Whether the current request may be sent again now.
    fn is_repeatable(&self) -> bool {
        let seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        self.has(REPEATABLE) && seat.is_some_and(|seat| !seat.is_void())
    }

    /// The response has been received completely. (The pod may still read the request.)
    pub fn is_answered(&self) {
        self.flags.fetch_or(ANSWERED, Ordering::AcqRel);
        self.stalled.wake();
    }

    /// The response, or its rest, is no longer needed. Without this, a pod that reads nothing would keep the connection
    /// open.
    pub fn abandon(&self) {
        self.flags.fetch_or(ABANDONED | UNFIT, Ordering::AcqRel);
        self.stalled.wake();
    }

    /// Whether the connection may carry another request.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !self.has(UNFIT)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }
}

/// What is needed to open another connection.
pub struct Redial {
    pub net: Arc<dyn Net>,
    pub address: SocketAddr,
    /// The bytes before the first request.
    pub header: Vec<u8>,
    pub within: Duration,
    /// Counts repeated requests.
    pub repeated: IntCounter,
}

pub struct PodSocket {
    stream: Socket,
    line: Arc<PodConnection>,
    redial: Redial,
    /// The number of the request that these fields belong to.
    turn: u32,
    /// The bytes sent of it, while it may be sent again.
    sent: Vec<u8>,
    /// Some of its response has been received.
    heard: bool,
    /// The pod accepts no more bytes: the rest of the request is discarded.
    discards: bool,
    repair: Repair,
    stall: Option<Pin<Box<Sleep>>>,
}

enum Repair {
    None,
    Dialling(BoxFuture<'static, io::Result<Socket>>),
    /// This many bytes have been sent again.
    Sending(usize),
}

impl PodSocket {
    #[must_use]
    pub fn new(stream: Socket, line: Arc<PodConnection>, redial: Redial) -> PodSocket {
        PodSocket {
            stream,
            line,
            redial,
            turn: 0,
            sent: Vec::new(),
            heard: false,
            discards: false,
            repair: Repair::None,
            stall: None,
        }
    }

    /// The socket inside.
    #[must_use]
    pub fn into_stream(self) -> Socket {
        self.stream
    }

    fn keep_up(&mut self) {
        let turn = self.line.turn.load(Ordering::Relaxed);
        if turn != self.turn {
            self.turn = turn;
            self.sent.clear();
            self.heard = false;
            self.stall = None;
        }
    }

    /// Keeps sent bytes, in case they must be sent again.
    fn note(&mut self, sent: &[u8]) {
        if self.line.has(REPEATABLE) {
            if self.sent.len() + sent.len() > REPEATED {
                self.line.is_not_repeatable();
                self.sent = Vec::new();
            } else {
                self.sent.extend_from_slice(sent);
            }
        }
    }

    /// Handles a connection that the pod has closed. True if the request is sent again.
    fn repeats(&mut self) -> bool {
        let lost = self.line.is_repeatable() && !self.heard && !self.sent.is_empty() && !self.line.has(INSERT);
        if !lost || !matches!(self.repair, Repair::None) {
            return false;
        }
        let Redial { net, address, header, within, .. } = &self.redial;
        let (net, address, header, within) = (net.clone(), *address, header.clone(), *within);
        self.repair = Repair::Dialling(Box::pin(async move {
            tokio::time::timeout(within, connect(&*net, address, &header))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        }));
        true
    }

    /// Opens another connection and sends the request there.
    fn poll_repair(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.repair {
                Repair::None => return Poll::Ready(Ok(())),
                Repair::Dialling(dialling) => {
                    let dialled = ready!(dialling.as_mut().poll(cx));
                    self.repair = Repair::None;
                    self.stream = dialled?;
                    if !self.line.is_repeatable() {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    self.line.is_not_repeatable();
                    self.redial.repeated.inc();
                    tracing::debug!("pod closed a kept connection: repeating its request on a new one");
                    self.discards = false;
                    self.repair = Repair::Sending(0);
                }
                Repair::Sending(at) => {
                    let rest = self.sent.get(*at..).unwrap_or_default();
                    if rest.is_empty() {
                        self.repair = Repair::None;
                        continue;
                    }
                    match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Ok(n) => *at += n,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }

    /// The pod accepts no bytes. Once its response is complete, it gets a moment; then the rest of the request is discarded.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.line.stalled.register(cx.waker());
        if !self.line.has(ANSWERED) {
            return Poll::Pending;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(now() + STALL)));
        ready!(stall.as_mut().poll(cx));
        self.discard();
        Poll::Ready(())
    }

    fn discard(&mut self) {
        self.discards = true;
        self.line.flags.fetch_or(UNFIT, Ordering::AcqRel);
    }

    /// Writes the bytes to insert when it is their turn. Returns how many of the library's bytes may be written before them.
    fn poll_insert(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let line = self.line.clone();
        let mut insert = line.insert.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((0, bytes)) = insert.as_mut().filter(|(_, bytes)| bytes.has_remaining()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => bytes.advance(n),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        match insert.as_ref() {
            Some((before, _)) if *before > 0 => Poll::Ready(Ok(*before)),
            Some(_) | None => {
                *insert = None;
                self.line.flags.fetch_and(!INSERT, Ordering::AcqRel);
                Poll::Ready(Ok(usize::MAX))
            }
        }
    }

    fn poll_any_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        vectored: bool,
    ) -> Poll<io::Result<usize>> {
        self.keep_up();
        if self.line.has(ABANDONED) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if !matches!(self.repair, Repair::None) {
            // Reading comes first, wakes the same task, and completes the repair.
            return Poll::Pending;
        }
        let total = || bufs.iter().map(|buf| buf.len()).sum();
        if self.discards {
            bufs.iter().for_each(|buf| self.note(buf));
            return Poll::Ready(Ok(total()));
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&b""[..], |buf| buf);
        let written = if self.line.has(INSERT) {
            let most = ready!(self.poll_insert(cx))?.min(first.len());
            let written = Pin::new(&mut self.stream).poll_write(cx, &first[..most]);
            if let (Poll::Ready(Ok(n)), Some((before, _))) =
                (&written, self.line.insert.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
            {
                *before -= *n;
            }
            written
        } else if vectored {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        } else {
            Pin::new(&mut self.stream).poll_write(cx, first)
        };
        match written {
            Poll::Ready(Ok(n)) => {
                self.stall = None;
                let mut left = n;
                for buf in bufs {
                    let part = left.min(buf.len());
                    self.note(&buf[..part]);
                    left -= part;
                }
                Poll::Ready(Ok(n))
            }
            // The pod no longer reads. Its response can still be read, and the end of it shows the rest.
            Poll::Ready(Err(error)) if is_closed(&error) => {
                self.discard();
                bufs.iter().for_each(|buf| self.note(buf));
                Poll::Ready(Ok(total()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_stall(cx));
                Poll::Ready(Ok(total()))
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl AsyncRead for PodSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            this.keep_up();
            ready!(this.poll_repair(cx))?;
            let before = buf.filled().len();
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
            let is_end = match &read {
                Ok(()) => buf.filled().len() == before && buf.remaining() > 0,
                Err(error) => is_closed(error),
            };
            if is_end && this.repeats() {
                continue;
            }
            this.heard |= buf.filled().len() > before;
            return Poll::Ready(read);
        }
    }
}

impl AsyncWrite for PodSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_any_write(cx, &[IoSlice::new(buf)], false)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.discards || !matches!(self.repair, Repair::None) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_any_write(cx, bufs, true)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeptConnections;
    use crate::engine::view::Limit;
    use crate::front::forward::Upstreams;
    use crate::front::forward::dialled::Dialled;
    use slotkeeper_core::{Incarnation, Ordinal};
    use std::task::Waker;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    /// Sends a request on a kept connection, which the pod then closes. Returns the connections on which it was sent again.
    async fn lost(limit: Limit) -> Vec<DuplexStream> {
        let repeated = IntCounter::new("repeated", "repeated").unwrap();
        let pods = Upstreams::new(KeptConnections::new(false), 100, repeated.clone());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let incarnation = Incarnation { uid: "u".into(), address };
        let seat = Seat::new(Ordinal(0), incarnation.clone(), pods.upstream(&incarnation), limit, true);
        let net = Arc::new(Dialled::default());
        let (near, far) = tokio::io::duplex(64);
        let line = Arc::new(PodConnection::default());
        let redial = Redial { net: net.clone(), address, header: Vec::new(), within: Duration::from_secs(1), repeated };
        let mut socket = PodSocket::new(Socket::Other(Box::new(near)), line.clone(), redial);
        line.begin(true, None, &seat);
        socket.write_all(b"GET").await.unwrap();
        drop(far);
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        // Dials, sends again, and waits for the response; or reports the connection as closed.
        let _ = Pin::new(&mut socket).poll_read(&mut cx, &mut read);
        std::mem::take(&mut *net.0.lock().unwrap())
    }

    #[tokio::test]
    async fn a_request_lost_on_a_closed_connection_is_sent_again_only_while_its_seat_is_valid() {
        let mut again = lost(Limit::new()).await;
        assert_eq!(again.len(), 1);
        let mut sent = [0; 3];
        again[0].read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"GET");
        let passed = Limit::new();
        passed.set(now());
        assert!(lost(passed).await.is_empty(), "the fleet may have given the slot to another session");
    }
}
