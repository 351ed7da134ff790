//! Times in the format of objects: RFC 3339 in whole seconds. Internally, time is in milliseconds since the epoch.

use jiff::Timestamp;

/// `2026-11-21T18:23:44Z`
#[must_use]
pub fn stamp(now_ms: u64) -> String {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

/// `2026-11-21T18:23:44.072000Z`, the scheduler's format for events.
#[must_use]
pub fn fine_stamp(now_ms: u64) -> String {
    let time = Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
    format!("{time:.6}")
}

/// Milliseconds since the epoch, or `None` if the text is not a time.
#[must_use]
pub fn milliseconds(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}
