//! Parses WebSocket frame heads (RFC 6455 §5.2) while the bytes pass through: where frames begin and end, and of what kind
//! they are. Payloads are ignored, except for the pong to the dispatcher's own ping.

use slotkeeper_core::planted;

/// Follows one direction of a WebSocket.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes of the current head, as far as received.
    head: [u8; 14],
    have: u8,
    /// Remaining payload bytes of the current frame.
    payload: u64,
    /// The bytes were not a valid WebSocket frame: boundaries are unknown from there on.
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub opcode: u8,
    /// The last frame of its message.
    pub last: bool,
    pub mask: Option<[u8; 4]>,
    pub payload: u64,
}

impl Head {
    /// Whether it is the first frame of a text or binary message.
    #[must_use]
    pub fn starts_message(self) -> bool {
        matches!(self.opcode, 1 | 2)
    }

    /// Whether it carries the application's data (it is not a ping, pong or close).
    #[must_use]
    pub fn is_data(self) -> bool {
        self.opcode < 8
    }
}

pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The result of a step over some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A head ended here; its payload follows.
    Head(Head),
    /// The bytes or a payload ended here.
    Bytes,
}

impl Frames {
    /// True exactly between two frames, where a frame may be inserted.
    #[must_use]
    pub fn between(&self) -> bool {
        planted!(PingInsideFrame => !self.lost && self.have == 0);
        !self.lost && self.have == 0 && self.payload == 0
    }

    /// Whether the next bytes are a frame's payload.
    #[must_use]
    pub fn in_payload(&self) -> bool {
        self.payload > 0
    }

    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Steps over some of the bytes. Returns how many, and what was found. Never zero bytes unless `bytes` is empty.
    pub fn step(&mut self, bytes: &[u8]) -> (usize, Parsed) {
        if self.lost {
            return (bytes.len(), Parsed::Bytes);
        }
        if self.payload > 0 {
            let n = self.payload.min(bytes.len() as u64);
            self.payload -= n;
            return (n as usize, Parsed::Bytes);
        }
        let mut used = 0;
        while used < bytes.len() {
            self.head[usize::from(self.have)] = bytes[used];
            self.have += 1;
            used += 1;
            if let Some(head) = self.parse() {
                self.have = 0;
                self.payload = head.payload;
                return (used, Parsed::Head(head));
            }
            if self.lost {
                return (bytes.len(), Parsed::Bytes);
            }
        }
        (used, Parsed::Bytes)
    }

    fn parse(&mut self) -> Option<Head> {
        let head = &self.head[..usize::from(self.have)];
        let (&first, &second) = (head.first()?, head.get(1)?);
        let opcode = first & 0x0f;
        let (mut at, payload) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(head.get(2..10)?.try_into().ok()?)),
            n => (2, u64::from(n)),
        };
        // Reserved opcodes, oversized or fragmented control frames, lengths over 63 bits: no longer a WebSocket.
        let control = opcode >= 8;
        if matches!(opcode, 3..=7 | 11..=15) || control && (payload > 125 || first & 0x80 == 0) || payload >> 63 != 0 {
            self.lost = true;
            return None;
        }
        let mask = if second & 0x80 != 0 {
            at += 4;
            Some(head.get(at - 4..at)?.try_into().ok()?)
        } else {
            None
        };
        Some(Head { opcode, last: first & 0x80 != 0, mask, payload })
    }
}

/// Builds a control frame from a server (unmasked) or a client (masked). `payload` has at most 125 bytes.
#[must_use]
pub fn control(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload = &payload[..payload.len().min(125)];
    let mut frame = vec![0x80 | opcode, payload.len() as u8 | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend_from_slice(mask.as_ref().map_or(&[], |m| &m[..]));
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
    frame
}

/// A close frame's payload: code and reason (RFC 6455 §5.5.1).
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..reason.len().min(123)]);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(bytes: &[u8], chunk: usize) -> (Vec<Head>, Frames) {
        let (mut frames, mut heads) = (Frames::default(), Vec::new());
        for mut part in bytes.chunks(chunk) {
            while !part.is_empty() {
                let (n, step) = frames.step(part);
                assert!(n > 0);
                part = &part[n..];
                if let Parsed::Head(head) = step {
                    heads.push(head);
                }
            }
        }
        (heads, frames)
    }

    fn frame(first: u8, len: usize, masked: bool) -> Vec<u8> {
        let m = if masked { 0x80 } else { 0 };
        let mut f = vec![first];
        match len {
            0..126 => f.push(m | len as u8),
            126..65536 => {
                f.push(m | 126);
                f.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                f.push(m | 127);
                f.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        if masked {
            f.extend_from_slice(&[1, 2, 3, 4]);
        }
        f.resize(f.len() + len, 0x81); // payload that looks like heads
        f
    }

    #[test]
    fn heads_are_the_same_however_the_bytes_are_cut() {
        let lengths = [0usize, 1, 125, 126, 127, 65535, 65536, 70000];
        let mut bytes = Vec::new();
        for (i, len) in lengths.iter().enumerate() {
            bytes.extend(frame(if i % 2 == 0 { 0x82 } else { 0x01 }, *len, i % 3 == 0));
        }
        bytes.extend(control(PING, b"hello", None));
        let (whole, _) = heads(&bytes, bytes.len());
        assert_eq!(whole.iter().map(|h| h.payload as usize).take(lengths.len()).collect::<Vec<_>>(), lengths);
        assert_eq!(whole.last().map(|h| (h.opcode, h.payload)), Some((PING, 5)));
        for chunk in [1, 2, 3, 5, 13, 14, 15, 1000, 65536] {
            let (cut, frames) = heads(&bytes, chunk);
            assert_eq!(cut, whole, "chunks of {chunk}");
            assert!(frames.between());
        }
    }

    #[test]
    fn between_is_true_only_between_frames() {
        let bytes = frame(0x82, 300, true);
        let mut frames = Frames::default();
        for (i, byte) in bytes.iter().enumerate() {
            assert_eq!(frames.between(), i == 0, "byte {i}");
            frames.step(&[*byte]);
        }
        assert!(frames.between());
    }

    #[test]
    fn bytes_that_are_not_websocket_pass_but_have_no_boundaries() {
        for rubbish in [&[0x83u8, 0][..], &[0x08, 0], &[0x89, 126, 1, 0], &[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0]] {
            let (heads, frames) = heads(rubbish, 1);
            assert!(heads.is_empty() && frames.is_lost() && !frames.between());
        }
    }

    #[test]
    fn a_masked_control_frame_reads_back() {
        let bytes = control(CLOSE, &close_payload(1001, "bye"), Some([9, 8, 7, 6]));
        let (heads, _) = heads(&bytes, 3);
        assert_eq!(heads, [Head { opcode: CLOSE, last: true, mask: Some([9, 8, 7, 6]), payload: 5 }]);
        let payload: Vec<u8> = bytes[6..].iter().enumerate().map(|(i, b)| b ^ [9, 8, 7, 6][i % 4]).collect();
        assert_eq!(payload, close_payload(1001, "bye"));
    }
}
