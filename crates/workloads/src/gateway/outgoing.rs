//! A message that is being written, in frames of a few KiB, so that a socket's buffer never grows beyond one frame, however
//! large the message is (RFC 6455 §5.4). All sockets that get a message share its memory.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::mailbox::Letter;

/// The size of a frame in bytes.
pub(super) const FRAME: usize = 4096;

pub(super) struct Outgoing {
    kind: Data,
    rest: Bytes,
}

impl Outgoing {
    pub(super) fn new(letter: Letter) -> Outgoing {
        match letter {
            Letter::Text(text) => Outgoing { kind: Data::Text, rest: text.into() },
            Letter::Binary(bytes) => Outgoing { kind: Data::Binary, rest: bytes },
        }
    }

    /// Returns the next frame, and whether it is the last one.
    pub(super) fn frame(&mut self) -> (Message, bool) {
        let kind = std::mem::replace(&mut self.kind, Data::Continue);
        let part = self.rest.split_to(self.rest.len().min(FRAME));
        let is_last = self.rest.is_empty();
        (Message::Frame(Frame::message(part, OpCode::Data(kind), is_last)), is_last)
    }
}
