//! HTTP/2 of visitors, `[http2]`.

use super::addresses::{ENDPOINT, endpoint};
use super::setting::{Kind, Row, field, number, read_all, seconds_or_off};
use super::table::Table;
use super::tls::{distinct, taken};
use super::{Config, Endpoint, ListenerKind};
use std::time::Duration;

/// Where and how visitors speak HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// TLS listeners offer it (ALPN).
    pub over_tls: bool,
    /// Where visitors speak it without TLS, with prior knowledge (RFC 9113 §3.3).
    pub listen: Vec<Endpoint>,
    /// WebSockets over it are announced (RFC 8441).
    pub websockets: bool,
    /// Most streams of one connection at once.
    pub streams: u32,
    /// Most bytes of one request that are received before they are read.
    pub window: u32,
    /// A connection from which nothing arrives for this long is pinged; without an answer for as long again, it is closed.
    pub ping: Option<Duration>,
}

impl Default for Http2 {
    fn default() -> Http2 {
        Http2 {
            over_tls: true,
            listen: Vec::new(),
            websockets: true,
            streams: 100,
            window: 128 * 1024,
            ping: Some(Duration::from_secs(30)),
        }
    }
}

pub(crate) const ROWS: &[Row<Http2>] = &[
    Row::new("over_tls", Kind::Bool, field!(Http2, over_tls)).help(
        "whether visitors may use HTTP/2 over TLS",
        " (ALPN); a reload takes effect within 5 seconds, for new connections",
    ),
    Row::new("listen", Kind::OneOrList(ENDPOINT), field!(Http2, listen = [endpoint], "nowhere"))
        .help(
            "where visitors speak HTTP/2 without TLS",
            ", for a proxy in front that does (\"h2c\" with prior knowledge). HTTP/1.1 is not understood there",
        )
        .restart(),
    Row::new("websockets", Kind::Bool, field!(Http2, websockets)).help(
        "whether WebSockets may use HTTP/2",
        " (RFC 8441). Otherwise a browser opens another connection, with HTTP/1.1, for each WebSocket",
    ),
    Row::new("max_streams", number(1, 10_000), field!(Http2, streams))
        .help("maximum streams of one connection at once", ": requests in flight and WebSockets"),
    Row::new("window_bytes", number(65_535, 16 << 20), field!(Http2, window)).help(
        "maximum bytes of one stream that are received before they are read",
        ". A connection may have `max_streams` times as many in memory, so that no stream waits for another one",
    ),
    Row::new("ping_seconds", seconds_or_off(1.0, 3600.0), field!(Http2, ping)).help(
        "a connection from which no request, body or ping arrives for this long is pinged",
        "; if the answer takes as long again, the connection is closed",
    ),
];

/// Reads `[http2]`. The other listeners for visitors, and `[admin]`, must have been read before.
pub(super) fn http2(top: &Table<'_>, config: &mut Config) {
    let Some(table) = top.table("http2") else { return };
    read_all(ROWS, &table, &mut config.http2);
    let mut taken = taken(config, &[ListenerKind::Plain, ListenerKind::Tls, ListenerKind::Redirect]);
    distinct(&table, "listen", ListenerKind::Http2, &mut taken);
    table.finish();
}
