//! HTTP/1.1 by hand, on either side of a connection: tests can send what a library would correct, and see what it would
//! hide. Only as much as the tests need; strict about what it reads.

use crate::patience::patiently;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Wire {
    stream: TcpStream,
    /// Bytes that were read, but not yet consumed.
    buffer: Vec<u8>,
}

/// A request's or answer's first line and fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
    /// The bytes as they were received, the empty line included.
    pub raw: Vec<u8>,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Exact(u64),
    Chunked,
    /// The body ends with the connection.
    Open,
}

#[derive(Clone, Debug, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// True if the body was complete, false if it was cut off.
    pub whole: bool,
}

impl Head {
    /// The first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> + use<'h> {
        let name = name.to_owned();
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(&name)).map(|(_, v)| v.as_str())
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(1).parse().expect("a status")
    }

    #[must_use]
    pub fn method(&self) -> &str {
        self.word(0)
    }

    #[must_use]
    pub fn path(&self) -> &str {
        self.word(1)
    }

    fn word(&self, n: usize) -> &str {
        self.line.split(' ').nth(n).unwrap_or_default()
    }

    /// Where the body of a request with this head ends.
    #[must_use]
    pub fn request_length(&self) -> Length {
        self.stated_length().unwrap_or(Length::Exact(0))
    }

    /// Where the body of an answer with this head ends.
    #[must_use]
    pub fn answer_length(&self, method: &str) -> Length {
        if method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304) {
            return Length::Exact(0);
        }
        self.stated_length().unwrap_or(Length::Open)
    }

    fn stated_length(&self) -> Option<Length> {
        if let Some(coding) = self.get("transfer-encoding") {
            assert_eq!(coding.to_ascii_lowercase(), "chunked");
            assert_eq!(self.get("content-length"), None, "both lengths in {self:?}");
            return Some(Length::Chunked);
        }
        self.get("content-length").map(|n| Length::Exact(n.parse().expect("a number")))
    }

    fn parse(raw: Vec<u8>) -> Head {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(&text).split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Head { line, fields: lines.map(field).collect(), raw }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_owned(), value.trim().to_owned())
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Wire {
        Wire::over(patiently("a connection", TcpStream::connect(address)).await.expect("a listener"))
    }

    #[must_use]
    pub fn over(stream: TcpStream) -> Wire {
        let _ = stream.set_nodelay(true);
        Wire { stream, buffer: Vec::new() }
    }

    /// Our end's address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }

    /// Sends the bytes; only a later read notices that the other side has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = patiently("the other side to read", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends the bytes; false if the other side has closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Sends one chunk of a chunked body.
    pub async fn send_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let mut chunk = format!("{:x}\r\n", bytes.as_ref().len()).into_bytes();
        chunk.extend_from_slice(bytes.as_ref());
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk).await;
    }

    /// Closes the sending direction.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The socket, and what had been read of it.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Breaks the connection off: the other side sees a reset.
    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Reads some more; false at the end.
    async fn more(&mut self) -> bool {
        let read = patiently("bytes", self.stream.read_buf(&mut self.buffer)).await;
        matches!(read, Ok(n) if n > 0)
    }

    /// The next head; `None` when the connection ends before it.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                return Some(Head::parse(self.buffer.drain(..end + 4).collect()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The `1xx` responses, and the head of the final response.
    pub async fn final_head(&mut self) -> (Vec<Head>, Option<Head>) {
        let mut before = Vec::new();
        loop {
            match self.head().await {
                Some(head) if matches!(head.status(), 100 | 102..=199) => before.push(head),
                last => return (before, last),
            }
        }
    }

    /// This many bytes, or fewer at the end.
    pub async fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n && self.more().await {}
        let n = n.min(self.buffer.len());
        self.buffer.drain(..n).collect()
    }

    /// Some bytes; none at the end.
    pub async fn some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.more().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Everything until the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next chunk of a chunked body: empty for the last one, `None` if it is cut off.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await?, 16).expect("a chunk's size");
        if size == 0 {
            return Some(Vec::new());
        }
        let mut chunk = self.bytes(size + 2).await;
        (chunk.len() == size + 2).then(|| {
            assert!(chunk.ends_with(b"\r\n"));
            chunk.truncate(size);
            chunk
        })
    }

    /// The fields after the last chunk.
    pub async fn trailers(&mut self) -> Option<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Some(trailers),
                line => trailers.push(field(&line)),
            }
        }
    }

    pub async fn body(&mut self, length: Length) -> Body {
        match length {
            Length::Exact(n) => {
                let bytes = self.bytes(n as usize).await;
                let whole = bytes.len() as u64 == n;
                Body { bytes, whole, ..Body::default() }
            }
            Length::Open => {
                let bytes = self.rest().await;
                Body { bytes, whole: true, ..Body::default() }
            }
            Length::Chunked => {
                let mut body = Body::default();
                while let Some(chunk) = self.chunk().await {
                    if chunk.is_empty() {
                        if let Some(trailers) = self.trailers().await {
                            (body.trailers, body.whole) = (trailers, true);
                        }
                        break;
                    }
                    body.bytes.extend(chunk);
                }
                body
            }
        }
    }
}
