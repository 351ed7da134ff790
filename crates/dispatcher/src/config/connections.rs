//! `[pools.NAME.connections]`: connections to the pods.

use super::PoolConfig;
use super::field::{Choices, choice};
use super::setting::{DAY, Kind, Row, field, read_all, seconds_or_off};
use super::table::Table;
use crate::io::proxy::ProxyVersion;
use std::time::Duration;

/// How connections to the pods are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptConnections {
    /// An idle connection is closed after this; `None`: no connection is kept.
    pub idle: Option<Duration>,
    /// A connection older than this carries no further request; `None`: no limit.
    pub age: Option<Duration>,
    /// Whether a connection that has carried nothing but requests without a body may serve another session.
    pub share: bool,
    /// Whether a connection begins with a PROXY header that states the client's address.
    pub proxy: Option<ProxyVersion>,
    /// Whether names of fields keep their case in both directions.
    pub preserve_case: bool,
}

impl Choices for Option<ProxyVersion> {
    const ALL: &'static [(&'static str, Option<ProxyVersion>, &'static str)] =
        &[("off", None, ""), ("v1", Some(ProxyVersion::V1), ""), ("v2", Some(ProxyVersion::V2), "")];
}

impl KeptConnections {
    /// The defaults. Common servers close idle connections after 5 seconds or later; 4 seconds stay below that.
    #[must_use]
    pub fn new(exclusive: bool) -> KeptConnections {
        KeptConnections {
            idle: Some(Duration::from_secs(4)),
            age: Some(Duration::from_secs(3600)),
            share: !exclusive,
            proxy: None,
            preserve_case: false,
        }
    }
}

pub(super) const ROWS: &[Row<KeptConnections>] = &[
    Row::new("idle_seconds", seconds_or_off(0.1, 3600.0), field!(KeptConnections, idle))
        .help(
            "an idle connection is closed after this",
            "; `\"off\"`: none is kept. Keep it below the pods' own limit, so that no request is sent on a \
             connection that the pod is closing",
        )
        .restart(),
    Row::new("age_seconds", seconds_or_off(1.0, DAY), field!(KeptConnections, age))
        .help("a connection older than this carries no further request", "")
        .restart(),
    Row::new("share", Kind::Bool, field!(KeptConnections, share))
        .help(
            "whether a connection that has carried no body may serve another session",
            "; exclusive pools allow false only",
        )
        .restart(),
    Row::new("proxy_protocol", choice::<Option<ProxyVersion>>(), field!(KeptConnections, proxy))
        .help(
            "version of the PROXY header that states the client's address to the pod",
            ", at the start of each connection, also of probes. A connection then serves requests of one client address only",
        )
        .restart(),
    Row::new("preserve_case", Kind::Bool, field!(KeptConnections, preserve_case))
        .help(
            "whether names of header fields keep their case in both directions",
            ", for HTTP/1 programs that depend on it. Names are case-insensitive (RFC 9110 §5.1); otherwise they \
             are passed on in lower case, which costs less",
        )
        .restart(),
];

/// Reads `[pools.NAME.connections]`. The pool's slots must have been read before.
pub(super) fn connections(table: &Table<'_>, pool: &mut PoolConfig) {
    let Some(table) = table.table("connections") else { return };
    read_all(ROWS, &table, &mut pool.connections);
    if pool.rules.slots_per_pod == 1 && pool.connections.share {
        table.wrong(
            "share",
            "a pod of an exclusive pool never serves two sessions on one connection; allowed: false, or `slots_per_pod` above 1",
        );
    }
    table.finish();
}
