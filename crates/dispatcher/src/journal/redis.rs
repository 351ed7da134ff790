//! A journal that several dispatchers share: one stream in a Redis (7 or newer) or a Valkey is its order and its clock.
//! Three scripts are the whole protocol (`redis/{append,begin,keep}.lua`): each does its part in one step of the server.
//!
//! Acknowledged entries can be lost: by a restart, a failover, a flush. So the journal has *lives*: a life is this data on this
//! server. A writer that finds another life than it knows writes that entries may be lost (`Command::Lapse`) before anything
//! else; the fleet places no session until every replica that may have relied on lost entries has closed its streams. A reader
//! compares the entry it read last with the server's copy, and starts over from the newest checkpoint if they differ.
//!
//! All commands that are ever sent, in this order on each connection (RESP2; the writer, the reader and each write of a
//! checkpoint use their own connection, and `K` is `{NAME}:`):
//!
//! - on connecting: `AUTH [user] password` if configured, `SELECT db` unless 0, then at once `INFO server` (`run_id`),
//!   `INFO replication` (`role`, `master_replid`, `master_replid2`), `INFO memory` (`maxmemory_policy`)
//! - writer: `EVAL <begin.lua> 3 Kentries Klife Kcheckpoint SERVER LAPSE DOUBTED`,
//!   `EVAL <append.lua> 2 Kentries Klife LIFE ENTRY...`
//! - reader, starting: `HMGET Kcheckpoint position at state`, then `XRANGE Kentries ID ID`; then repeatedly, in one pipeline,
//!   `XREAD COUNT 256 BLOCK 1000 STREAMS Kentries ID`, `GET Klife`, `XRANGE Kentries ID ID`, `HMGET Kcheckpoint position at`
//! - keeper: `EVAL <keep.lua> 3 Kentries Klife Kcheckpoint LIFE POSITION AT STATE`

mod append;
mod connection;
mod follow;
mod keep;
mod record;
pub mod tls;
mod trouble;

pub use crate::config::redis::{AddressError, RedisJournal, Trust};

use super::metrics::JournalMetrics;
use super::{Journal, Patience};
use crate::io::Net;
use connection::Endpoint;
use slotkeeper_core::ReplicaId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_rustls::rustls::pki_types::ServerName;
use trouble::Kind;

/// Why a journal cannot be opened at all. (A server that does not answer is waited for.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A character that a key's name must not have.
    #[error("{0:?} cannot be the name of a journal; allowed: letters, digits, `-`, `_`, `.` and `:`")]
    Name(String),
    /// The host is needed for TLS.
    #[error("{0:?} cannot be in a certificate; allowed: a host name or an IP address")]
    Host(String),
    /// For `rediss://`.
    #[error("its certificates cannot be verified")]
    Trust(#[from] tls::TrustError),
    /// A metric of the journal exists already.
    #[error("duplicate metric name")]
    Metrics(#[from] prometheus::Error),
}

/// Opens the journal. It connects when it is first used.
///
/// # Errors
/// Errors that waiting would not repair.
pub fn open(config: &RedisJournal, net: Arc<dyn Net>) -> Result<Journal, OpenError> {
    let name = &config.name;
    // A brace would end the hash tag that keeps the keys together in a cluster.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
        return Err(OpenError::Name(name.clone()));
    }
    let tls = match &config.tls {
        None => None,
        Some(trust) => {
            let host = ServerName::try_from(config.host.clone()).map_err(|_| OpenError::Host(config.host.clone()))?;
            Some((tls::connector(trust)?, host))
        }
    };
    let metrics = JournalMetrics::new()?;
    for kind in Kind::ALL {
        // Creates the series, so that they start at 0.
        let _ = metrics.errors.with_label_values(&[kind.word()]);
    }
    let patience = Patience::default();
    let keys = Keys::new(name);
    let endpoint = Endpoint { address: config.clone(), net, tls, warned: false.into() };
    let handle =
        RedisHandle { endpoint: Arc::new(endpoint), keys, shared: Shared::default(), metrics: metrics.clone() };
    Ok(Journal {
        append: Box::new(append::Writer::new(handle.clone(), patience.clone())),
        follow: Box::new(follow::Follower::new(handle.clone())),
        keep: Some(Box::new(keep::Keeper::new(handle))),
        shared: true,
        patience,
        folder: None,
        collectors: metrics.of_server(),
    })
}

/// Shared by the writer, the reader and the keeper of the journal.
#[derive(Clone)]
struct RedisHandle {
    endpoint: Arc<Endpoint>,
    keys: Keys,
    shared: Shared,
    metrics: JournalMetrics,
}

/// The keys of the journal. All hash to one cluster slot, so that a script may use all of them.
#[derive(Clone)]
struct Keys {
    entries: String,
    life: String,
    checkpoint: String,
}

impl Keys {
    fn new(name: &str) -> Keys {
        let key = |what| format!("{{{name}}}:{what}");
        Keys { entries: key("entries"), life: key("life"), checkpoint: key("checkpoint") }
    }
}

/// State that the reader and the writer exchange.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<SharedState>>);

#[derive(Default)]
struct SharedState {
    /// Set by the writer: the replica id it writes for. Set by the reader: the highest number of that replica that has
    /// been read.
    ours: Option<(ReplicaId, u64)>,
    /// Set by the reader: the life that still contains everything it has read.
    life: Option<String>,
    /// Set by the reader: a life in which entries are lost without a lapse having been written.
    doubted: Option<String>,
    /// Set by the reader: the server has become a replica, so it is not the primary that the writer knows.
    estranged: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
