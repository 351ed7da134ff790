//! `[limits]`: bounds on the resources of one visitor, and of all visitors.

use super::setting::{DAY, Row, Shown, field, number, number_or, read_all, seconds, seconds_or_off};
use super::table::Table;
use std::time::Duration;

/// Limits of visitors' connections and requests, against clients that use more than a browser does.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum bytes of a request's head.
    pub header_bytes: usize,
    /// Maximum fields of a request's or a response's head.
    pub header_fields: usize,
    /// How long a request's head may take to arrive.
    pub header_time: Duration,
    /// Maximum bytes of a request's body; `None`: no limit (it is never kept in memory).
    pub body_bytes: Option<u64>,
    /// An idle keep-alive connection is closed after this.
    pub idle: Duration,
    /// Before a connection with unread input is closed, that input is read and discarded for at most this long; zero: not at all.
    pub linger: Duration,
    /// At most this many bytes are discarded that way.
    pub linger_bytes: u64,
    /// Maximum connections from visitors at once.
    pub connections: usize,
    /// Maximum streams (requests in flight and upgraded connections) of one session at once.
    pub streams_per_session: usize,
    /// Maximum new sessions minted per second, over all pools.
    pub new_sessions_per_second: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_bytes: 64 * 1024,
            header_fields: 100,
            header_time: Duration::from_secs(10),
            body_bytes: None,
            idle: Duration::from_secs(75),
            linger: Duration::from_secs(30),
            linger_bytes: 256 * 1024 * 1024,
            connections: 20_000,
            streams_per_session: 256,
            new_sessions_per_second: 1000,
        }
    }
}

pub(crate) const ROWS: &[Row<Limits>] = &[
    Row::new("header_bytes", number(1024, 16 << 20), field!(Limits, header_bytes))
        .help("maximum bytes of a request's head", "; also the limit of its target and of its fields"),
    Row::new("header_fields", number(16, 10_000), field!(Limits, header_fields))
        .help("maximum fields of a head", ": a request with more gets 431; a response with more is replaced by a 502")
        .restart(),
    Row::new("header_seconds", seconds(0.1, 3600.0), field!(Limits, header_time))
        .help("how long the head may take to arrive", ""),
    Row::new("body_bytes", number_or(1, 1 << 50, Shown::OFF), field!(Limits, body_bytes))
        .help("maximum bytes of a request's body (never buffered as a whole)", ""),
    Row::new("idle_seconds", seconds(0.1, DAY), field!(Limits, idle))
        .help("an idle keep-alive connection is closed after this", ""),
    Row::new("linger_seconds", seconds_or_off(0.1, 3600.0), field!(Limits, linger)).help(
        "before a connection with unread input is closed, that input is discarded for at most this long",
        ", or until none arrives for 5 s, so that an early answer reaches a visitor who is still uploading",
    ),
    Row::new("linger_bytes", number(0, 1 << 50), field!(Limits, linger_bytes))
        .help("maximum bytes that are discarded that way", ""),
    Row::new("connections", number(1, 10_000_000), field!(Limits, connections)).help(
        "maximum connections from visitors at once",
        "; fewer if the hard limit of open files does not allow as many (OPERATING.md, \"Open files\")",
    ),
    Row::new("streams_per_session", number(1, 100_000), field!(Limits, streams_per_session))
        .help("maximum streams of one session at once", ""),
    Row::new("new_sessions_per_second", number(1, 1_000_000), field!(Limits, new_sessions_per_second))
        .help("maximum new sessions per second, over all pools", ""),
];

pub(super) fn limits(top: &Table<'_>, limits: &mut Limits) {
    if let Some(table) = top.table("limits") {
        read_all(ROWS, &table, limits);
        table.finish();
    }
}
