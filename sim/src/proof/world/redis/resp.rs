//! The protocol between Redis and its clients (RESP2): requests are arrays of strings, answers are the variants of
//! `Answer`.

use bytes::Bytes;
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Maximum size of a journal's request, in bytes.
const MOST_BYTES: usize = 64 << 20;
const MOST_ARGUMENTS: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    Text(Bytes),
    /// The null string.
    Nothing,
    NoArray,
    Array(Vec<Answer>),
}

impl Answer {
    #[must_use]
    pub fn text(text: impl Into<Bytes>) -> Answer {
        Answer::Text(text.into())
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = |text: String| out.extend_from_slice(text.as_bytes());
        match self {
            Answer::Simple(word) => line(format!("+{word}\r\n")),
            Answer::Error(what) => line(format!("-{what}\r\n")),
            Answer::Integer(number) => line(format!(":{number}\r\n")),
            Answer::Text(text) => {
                line(format!("${}\r\n", text.len()));
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Answer::Nothing => line("$-1\r\n".into()),
            Answer::NoArray => line("*-1\r\n".into()),
            Answer::Array(all) => {
                line(format!("*{}\r\n", all.len()));
                all.iter().for_each(|one| one.write(out));
            }
        }
    }
}

/// Reads the next request; `None` at the end.
///
/// # Errors
/// If the connection breaks, or receives something that is not a request.
pub async fn request(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<Bytes>>> {
    let Some(count) = header(stream, b'*', MOST_ARGUMENTS).await? else { return Ok(None) };
    let mut arguments = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let length = header(stream, b'$', MOST_BYTES).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut text = vec![0; length + 2];
        stream.read_exact(&mut text).await?;
        text.truncate(length);
        arguments.push(text.into());
    }
    Ok(Some(arguments))
}

async fn header(stream: &mut (impl AsyncBufRead + Unpin), kind: u8, most: usize) -> io::Result<Option<usize>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let number =
        line.strip_prefix(&[kind]).and_then(|rest| std::str::from_utf8(rest.trim_ascii_end()).ok()?.parse().ok());
    let number = number.filter(|n| *n <= most);
    number.map(Some).ok_or_else(|| io::Error::other(format!("not a request: {}", String::from_utf8_lossy(&line))))
}
