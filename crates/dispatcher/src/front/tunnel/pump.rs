//! One direction of a tunnel: reads available bytes, follows the frames, and writes the bytes to the other side. Bytes that
//! the other side does not accept at once are kept, and reading stops until they are written.

use super::frames::{Frames, Head, PONG, Parsed};
use crate::front::activity::Counts;
use crate::metrics::PoolMetrics;
use slotkeeper_core::planted;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest read, and so the memory that a blocked peer can cost.
const MOST: usize = 128 * 1024;
/// The size of a read while the other side does not keep up.
const LEAST: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST].into_boxed_slice());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the visitor to the pod.
    In,
    Out,
}

pub(super) struct Pump {
    direction: Direction,
    state: State,
    /// Follows the frames of a WebSocket; `None` for any other protocol.
    frames: Option<Frames>,
    /// Bytes that the other side has not accepted completely, and how many of them it has.
    left: Vec<u8>,
    sent: usize,
    /// The other side has refused to accept more, and not caught up yet.
    blocked: bool,
    /// The size of the next read.
    appetite: usize,
    /// Present only while a frame is to be inserted or held back.
    edit: Option<Box<Edit>>,
    signs: Signs,
    /// Which events count as activity, and whether the current frame does.
    counts: Counts,
    counting: bool,
    /// Bytes that the source has sent.
    bytes: u64,
}

/// Events that a pump has noticed since the last call of `take_signs`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// The source has sent something.
    pub(super) heard: bool,
    /// The other side has accepted something after it was blocked.
    pub(super) taken: bool,
    /// The application at the source has sent something.
    pub(super) active: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// After the frame that is to be inserted, nothing more follows.
    Closing,
    /// Nothing more is sent, and the other side is still to be notified. `rest`: further bytes of the source are read and
    /// discarded, so that a reset does not overtake the last bytes sent.
    Ended {
        rest: bool,
    },
    Rest,
    Done,
}

/// Changes to the stream of frames.
#[derive(Default)]
struct Edit {
    /// To be inserted at the next boundary.
    insert: Vec<u8>,
    /// The payload of the pong that the dispatcher consumes.
    pong: Option<[u8; 8]>,
    /// A frame that may be that pong, as far as received.
    held: Vec<u8>,
    holding: bool,
    mask: Option<[u8; 4]>,
}

impl Pump {
    /// `early`: bytes that were read before the tunnel began.
    pub(super) fn new(
        direction: Direction,
        is_websocket: bool,
        counts: Counts,
        early: &[u8],
        metrics: &PoolMetrics,
    ) -> Pump {
        let mut pump = Pump {
            direction,
            state: State::Open,
            frames: is_websocket.then(Frames::default),
            left: Vec::new(),
            sent: 0,
            blocked: false,
            appetite: LEAST,
            edit: None,
            signs: Signs::default(),
            counts,
            counting: false,
            bytes: 0,
        };
        pump.take_early(early, metrics);
        pump
    }

    fn take_early(&mut self, early: &[u8], metrics: &PoolMetrics) {
        planted!(EarlyBytesLost => ());
        if !early.is_empty() {
            self.follow(early, metrics);
            self.left = early.to_vec();
        }
    }

    /// Inserts a frame at the next boundary.
    pub(super) fn put_in(&mut self, frame: Vec<u8>) {
        if self.state == State::Open && self.frames.is_some() {
            self.edit.get_or_insert_default().insert = frame;
        }
    }

    /// Ends this direction with a frame: further bytes of the source are discarded.
    pub(super) fn finish_with(&mut self, frame: Vec<u8>) {
        planted!(NoCloseFrame => drop(frame));
        if self.state == State::Open {
            self.edit.get_or_insert_default().insert = frame;
            self.state = State::Closing;
        }
    }

    /// Consumes the pong to the dispatcher's own ping instead of passing it on.
    pub(super) fn keep_pong(&mut self, payload: [u8; 8]) {
        if self.frames.is_some() {
            self.edit.get_or_insert_default().pong = Some(payload);
        }
    }

    /// The number of bytes that the source has sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a frame still waits for a boundary.
    pub(super) fn is_putting_in(&self) -> bool {
        self.edit.as_ref().is_some_and(|e| !e.insert.is_empty())
    }

    /// Whether the other side does not accept what it is sent.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn take_signs(&mut self) -> Signs {
        std::mem::take(&mut self.signs)
    }

    /// Moves what can be moved. Ready when the source has ended and the other side has been notified.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        metrics: &PoolMetrics,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_left(cx, to))?;
            ready!(self.poll_flush(cx, to))?;
            let put_in = matches!(self.state, State::Open | State::Closing) && self.put_in_now();
            match self.state {
                _ if put_in => {}
                State::Done => return Poll::Ready(Ok(())),
                State::Ended { rest } => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = if rest { State::Rest } else { State::Done };
                }
                State::Open | State::Closing | State::Rest => {
                    ready!(SCRATCH.with_borrow_mut(|scratch| self.poll_read(cx, from, to, scratch, metrics)))?;
                }
            }
        }
    }

    /// Writes the kept bytes; ready when there are none.
    fn poll_left(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while self.sent < self.left.len() {
            let Poll::Ready(taken) = Pin::new(&mut *to).poll_write(cx, &self.left[self.sent..])? else {
                self.blocked = true;
                return Poll::Pending;
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
            self.signs.taken |= self.blocked;
        }
        if !self.left.is_empty() {
            (self.left, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what an encrypting stream still holds; ready when it holds nothing.
    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        if Pin::new(to).poll_flush(cx)?.is_pending() {
            self.blocked = true;
            return Poll::Pending;
        }
        self.signs.taken |= self.blocked;
        self.blocked = false;
        Poll::Ready(Ok(()))
    }

    /// At a boundary: inserts the waiting frame. False if there is nothing to do (yet).
    fn put_in_now(&mut self) -> bool {
        let followed = self.frames.as_ref().filter(|f| !f.is_lost());
        if self.state == State::Closing && followed.is_none() {
            self.edit = None;
            self.state = State::Ended { rest: true };
            return true;
        }
        let Some(edit) = self.edit.as_mut().filter(|e| !e.insert.is_empty()) else { return false };
        if !followed.is_some_and(Frames::between) {
            return false;
        }
        self.left = std::mem::take(&mut edit.insert);
        if self.state == State::Closing {
            self.state = State::Ended { rest: true };
        }
        self.forget_edit();
        true
    }

    fn forget_edit(&mut self) {
        if self.edit.as_ref().is_some_and(|e| e.insert.is_empty() && e.pong.is_none() && e.held.is_empty()) {
            self.edit = None;
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
        metrics: &PoolMetrics,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut scratch[..self.appetite]);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let chunk = buffer.filled();
        if chunk.is_empty() {
            self.end();
            return Poll::Ready(Ok(()));
        }
        if self.state == State::Rest {
            return Poll::Ready(Ok(()));
        }
        let full = chunk.len() == self.appetite;
        if self.edit.is_some() {
            self.left = self.edited(chunk, metrics);
            self.forget_edit();
            return Poll::Ready(Ok(()));
        }
        self.follow(chunk, metrics);
        let taken = match Pin::new(to).poll_write(cx, chunk) {
            Poll::Ready(taken) => taken?,
            Poll::Pending => 0,
        };
        if taken < chunk.len() {
            self.left = chunk[taken..].to_vec();
            self.appetite = LEAST;
        } else if full {
            self.appetite = (self.appetite * 2).min(MOST);
        }
        Poll::Ready(Ok(()))
    }

    /// Handles the end of the source.
    fn end(&mut self) {
        self.left = self.held();
        self.state = if self.state == State::Rest { State::Done } else { State::Ended { rest: false } };
    }

    /// Takes the bytes that were held back: they can no longer become the pong.
    fn held(&mut self) -> Vec<u8> {
        planted!(HeldBytesLost => Vec::new());
        self.edit.as_mut().map(|edit| std::mem::take(&mut edit.held)).unwrap_or_default()
    }

    /// Follows bytes that pass unchanged.
    fn follow(&mut self, bytes: &[u8], metrics: &PoolMetrics) {
        self.note_bytes(bytes.len(), metrics);
        let Some(frames) = &mut self.frames else {
            self.signs.active |= self.counts.requests;
            return;
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            self.signs.active |= self.counting && frames.in_payload();
            let (n, step) = frames.step(rest);
            rest = &rest[n..];
            if let Parsed::Head(head) = step {
                self.counting = head.is_data() && self.counts.frame(head.payload);
                self.signs.active |= self.counting;
                note_head(head, self.direction, metrics);
            }
        }
    }

    fn note_bytes(&mut self, n: usize, metrics: &PoolMetrics) {
        let bytes = match self.direction {
            Direction::In => &metrics.bytes_in,
            Direction::Out => &metrics.bytes_out,
        };
        bytes.inc_by(n as u64);
        self.bytes += n as u64;
        self.signs.heard = true;
    }

    /// Returns the bytes to pass on: with the frame to be inserted, without the pong that is consumed.
    fn edited(&mut self, bytes: &[u8], metrics: &PoolMetrics) -> Vec<u8> {
        self.note_bytes(bytes.len(), metrics);
        let (Some(frames), Some(edit)) = (&mut self.frames, &mut self.edit) else { return bytes.to_vec() };
        let mut out = Vec::with_capacity(bytes.len() + edit.insert.len() + edit.held.len());
        let mut rest = bytes;
        loop {
            if frames.between() && edit.held.is_empty() && !edit.insert.is_empty() {
                out.append(&mut edit.insert);
                if self.state == State::Closing {
                    self.state = State::Ended { rest: true };
                    return out;
                }
            }
            if rest.is_empty() {
                return out;
            }
            if frames.between() {
                edit.holding = edit.pong.is_some();
            }
            self.signs.active |= self.counting && frames.in_payload();
            let (n, step) = frames.step(rest);
            if let Parsed::Head(head) = step {
                self.counting = head.is_data() && self.counts.frame(head.payload);
                self.signs.active |= self.counting;
                note_head(head, self.direction, metrics);
            }
            edit.take(&rest[..n], step, frames, &mut out);
            rest = &rest[n..];
        }
    }
}

impl Edit {
    /// Passes some bytes on, or holds them while they may be the pong.
    fn take(&mut self, bytes: &[u8], step: Parsed, frames: &Frames, out: &mut Vec<u8>) {
        if !self.holding {
            out.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        let undecided = match step {
            Parsed::Head(head) => {
                self.mask = head.mask;
                head.opcode == PONG && head.payload == 8
            }
            // An incomplete head, or the pong's payload.
            Parsed::Bytes => !frames.between() && !frames.is_lost(),
        };
        if undecided {
            return;
        }
        self.holding = false;
        if self.is_ours() {
            self.pong = None;
            self.held = Vec::new();
        } else {
            out.append(&mut self.held);
        }
    }

    fn is_ours(&self) -> bool {
        planted!(OwnPongPassed => false);
        let Some(payload) = self.held.len().checked_sub(8).map(|at| &self.held[at..]) else { return false };
        let mask = self.mask.unwrap_or_default();
        let plain = payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m);
        self.held[0] & 0x0f == PONG && self.pong.is_some_and(|pong| plain.eq(pong))
    }
}

fn note_head(head: Head, direction: Direction, metrics: &PoolMetrics) {
    if head.starts_message() {
        match direction {
            Direction::In => metrics.messages_in.inc(),
            Direction::Out => metrics.messages_out.inc(),
        }
    }
}

#[cfg(test)]
mod tests;
