//! A client of HTTP/2 that sends any bytes, and the frames that it receives.

use super::rig::{AT, Rig};
use slotkeeper::io::Socket;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An HTTP/2 connection by hand.
pub(super) struct Raw {
    stream: Socket,
    /// What was received and is not parsed yet.
    buffer: Vec<u8>,
}

/// A frame: its kind, flags, stream and payload.
pub(super) type Received = (u8, u8, u32, Vec<u8>);

pub(super) const CALM: u32 = 11;

impl Raw {
    pub(super) async fn open(rig: &Rig) -> Raw {
        let mut raw = Raw { stream: rig.dial(AT).await, buffer: Vec::new() };
        raw.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.frame(4, 0, 0, &[]).await;
        raw
    }

    /// Without the preface.
    pub(super) async fn silent(rig: &Rig) -> Raw {
        Raw { stream: rig.dial(AT).await, buffer: Vec::new() }
    }

    /// False if the connection has ended.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    pub(super) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.bytes(&raw_frame(kind, flags, stream, payload)).await
    }

    /// Sends and reads at the same time, so that neither side waits for the other. Returns the received frames.
    pub(super) async fn flood(self, bytes: Vec<u8>) -> (Vec<Received>, bool) {
        let Raw { stream, buffer } = self;
        let (mut read, mut write) = tokio::io::split(stream);
        let sending = async {
            for part in bytes.chunks(16 * 1024) {
                if write.write_all(part).await.is_err() {
                    return false;
                }
            }
            true
        };
        let receiving = async {
            let mut received = buffer;
            let all = tokio::time::timeout(Duration::from_secs(2), read.read_to_end(&mut received)).await;
            (parse_all(&received), all.is_ok())
        };
        let (_, (frames, closed)) = tokio::join!(sending, receiving);
        (frames, closed)
    }

    /// Everything that arrives until nothing does for a while, and whether the connection has ended.
    pub(super) async fn rest(&mut self) -> (Vec<Received>, bool) {
        let mut closed = false;
        let mut part = vec![0; 64 * 1024];
        while let Ok(read) = tokio::time::timeout(Duration::from_secs(1), self.stream.read(&mut part)).await {
            match read {
                Ok(0) | Err(_) => {
                    closed = true;
                    break;
                }
                Ok(n) => self.buffer.extend(&part[..n]),
            }
        }
        (parse_all(&std::mem::take(&mut self.buffer)), closed)
    }
}

pub(super) fn raw_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn parse_all(mut rest: &[u8]) -> Vec<Received> {
    let mut frames = Vec::new();
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        let Some(payload) = rest.get(9..9 + length) else { break };
        let stream = u32::from_be_bytes(rest[5..9].try_into().unwrap());
        frames.push((rest[3], rest[4], stream, payload.to_vec()));
        rest = &rest[9 + length..];
    }
    frames
}

/// The error of the last GOAWAY.
pub(super) fn go_away(frames: &[Received]) -> Option<u32> {
    let last = frames.iter().rev().find(|(kind, ..)| *kind == 7)?;
    Some(u32::from_be_bytes(last.3[4..8].try_into().unwrap()))
}

/// The error with which a stream was reset.
pub(super) fn reset(frames: &[Received], of: u32) -> Option<u32> {
    let (.., payload) = frames.iter().find(|(kind, _, stream, _)| *kind == 3 && *stream == of)?;
    Some(u32::from_be_bytes(payload[..4].try_into().unwrap()))
}

/// The status of a response, as the library encodes it: from its static table, or as a literal with an indexed name.
pub(super) fn status(frames: &[Received], of: u32) -> Option<u16> {
    let (.., block) = frames.iter().find(|(kind, _, stream, _)| *kind == 1 && *stream == of)?;
    h2_status(block)
}

fn h2_status(block: &[u8]) -> Option<u16> {
    match *block.first()? {
        0x88 => Some(200),
        0x89 => Some(204),
        0x8a => Some(206),
        0x8b => Some(304),
        0x8c => Some(400),
        0x8d => Some(404),
        0x8e => Some(500),
        // A literal with the name `:status`: three digits, Huffman-coded (RFC 7541, appendix B: 0, 1, 2 have 5 bits each,
        // 3 to 9 have 6) or not.
        _ => literal_status(block),
    }
}

fn literal_status(block: &[u8]) -> Option<u16> {
    let length = *block.get(1)?;
    let value = block.get(2..2 + usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |n| u32::from(byte >> n & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next()?;
        }
        let digit = if code < 3 { code } else { (code << 1 | bits.next()?) - 0x19 + 3 };
        number = number * 10 + digit;
    }
    u16::try_from(number).ok()
}

/// A field of a head as a literal without indexing (RFC 7541 §6.2.2).
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            field.push(length as u8);
        } else {
            let mut rest = length - 127;
            field.push(127);
            while rest >= 128 {
                field.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            field.push(rest as u8);
        }
        field.extend(text.as_bytes());
    }
    field
}

pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// The head of `GET http://play.example/`.
pub(super) const HEAD: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "play.example"), (":path", "/")];

#[test]
fn statuses_are_read() {
    let cases: [(&[u8], u16); 7] = [
        (&[0x8d], 404),
        (&[0x48, 3, b'4', b'3', b'1'], 431),
        (&[0x48, 0x83, 0x68, 0x0d, 0xff], 405),
        (&[0x48, 0x83, 0x69, 0x90, 0xff], 431),
        (&[0x48, 0x82, 0x6c, 0x02], 502),
        (&[0x48, 0x82, 0x64, 0x01], 301),
        (&[0x48, 0x83, 0x78, 0x4f, 0xff], 829),
    ];
    for (block, expected) in cases {
        assert_eq!(h2_status(block), Some(expected), "{block:?}");
    }
}
