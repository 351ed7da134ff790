//! The two forms of a line. Both consist of printable ASCII only: text of a client cannot end a line, leave its field, or
//! reach a terminal as a control sequence.

use super::{CLIENT_CLOSED, Record, Result};
use crate::config::AccessFormat;
use http::Version;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use slotkeeper_core::Time;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Text of a client is cut after this many bytes.
const MOST: usize = 2048;

#[derive(Serialize)]
struct Json<'a> {
    time: String,
    address: Option<String>,
    session: Option<&'a str>,
    pool: Option<&'a str>,
    pod: Option<u32>,
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    tls: bool,
    status: u16,
    outcome: Option<&'a str>,
    bytes_sent: u64,
    bytes_received: u64,
    seconds: f64,
    fault: Option<&'a str>,
    step: Option<&'a str>,
    reason: Option<&'a str>,
}

pub(super) fn line(record: &Record, result: &Result, took: Duration) -> String {
    match record.format {
        AccessFormat::Json => json(record, result, took),
        AccessFormat::Combined => combined(record, result),
    }
}

fn json(record: &Record, result: &Result, took: Duration) -> String {
    let asked = &record.asked;
    let line = Json {
        time: at(record.time).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        address: asked.address.map(|address| address.to_string()),
        session: result.session.as_deref(),
        pool: result.pool.as_ref().map(|pool| &*pool.0),
        pod: result.pod.map(|pod| pod.0),
        method: asked.method.as_str(),
        path: &asked.target,
        protocol: protocol(asked.version),
        tls: asked.is_tls,
        status: status(result),
        outcome: result.outcome,
        bytes_sent: record.sent.load(Ordering::Relaxed),
        bytes_received: record.received.load(Ordering::Relaxed),
        seconds: took.as_millis() as f64 / 1000.0,
        fault: result.fault,
        step: result.step,
        reason: result.reason,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`, with the session's public name as the user.
fn combined(record: &Record, result: &Result) -> String {
    let asked = &record.asked;
    let address = asked.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let session = result.session.as_deref().unwrap_or("-");
    let time = at(record.time).strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
    let (method, target, protocol) = (&asked.method, quoted(&asked.target), protocol(asked.version));
    let bytes = record.sent.load(Ordering::Relaxed);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { quoted(text) };
    let (referrer, agent, status) = (or_dash(&asked.referrer), or_dash(&asked.agent), status(result));
    format!(r#"{address} - {session} [{time}] "{method} {target} {protocol}" {status} {bytes} "{referrer}" "{agent}""#)
}

fn status(result: &Result) -> u16 {
    result.status.map_or(CLIENT_CLOSED, |status| status.as_u16())
}

fn at(time: Time) -> jiff::Zoned {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// The target of a request: bytes that a URI cannot contain are percent-encoded.
pub(super) fn target(bytes: &[u8]) -> String {
    cut(bytes, |byte, text| match byte {
        b'!'..=b'~' => text.push(char::from(byte)),
        _ => drop(write!(text, "%{byte:02X}")),
    })
}

/// For a field between quotes: escaped as Apache and nginx do.
fn quoted(text: &str) -> String {
    cut(text.as_bytes(), |byte, text| match byte {
        b'"' | b'\\' => drop(write!(text, "\\x{byte:02X}")),
        b' '..=b'~' => text.push(char::from(byte)),
        _ => drop(write!(text, "\\x{byte:02X}")),
    })
}

fn cut(bytes: &[u8], put: impl Fn(u8, &mut String)) -> String {
    let mut text = String::with_capacity(bytes.len().min(MOST));
    bytes.iter().take(MOST).for_each(|byte| put(*byte, &mut text));
    if bytes.len() > MOST {
        text.push_str("...");
    }
    text
}
