//! A journal that several dispatchers share: one stream in a Redis (7 or newer) or a Valkey is its order and its clock.
//! Three scripts are the whole protocol (`redis/{append,begin,keep}.lua`): each does its part in one step of the server.
//!
//! What has been taken can be lost: by a restart, a failover, a flush. So the journal has *lives*: this data on this server.
//! Whoever finds another one than it knows writes that entries may be lost (`Command::Lapse`) before anything else; the
//! fleet places nobody until everyone who may have relied on them has given up. A reader compares what it read last with
//! what is there, and starts over from the newest state that was kept, if it is not the same.
//!
//! All that is ever sent, in this order on each connection (RESP2; the writer, the reader and each keeping of a state have
//! one of their own, and `K` is `{NAME}:`):
//!
//! - on connecting: `AUTH [user] password` if configured, `SELECT db` unless 0, then at once `INFO server` (`run_id`),
//!   `INFO replication` (`role`, `master_replid`, `master_replid2`), `INFO memory` (`maxmemory_policy`)
//! - writer: `EVAL <begin.lua> 3 Kentries Klife Kcheckpoint SERVER LAPSE DOUBTED`,
//!   `EVAL <append.lua> 2 Kentries Klife LIFE ENTRY...`
//! - reader, starting: `HMGET Kcheckpoint position at state`, then `XRANGE Kentries ID ID`; then again and again at once
//!   `XREAD COUNT 256 BLOCK 1000 STREAMS Kentries ID`, `XRANGE Kentries ID ID`, `HMGET Kcheckpoint position at`, `GET Klife`
//! - keeper: `EVAL <keep.lua> 3 Kentries Klife Kcheckpoint LIFE POSITION AT STATE`

pub mod address;
mod append;
mod connection;
mod follow;
mod keep;
mod record;
pub mod tls;
mod trouble;

pub use address::{AddressError, RedisJournal, Trust};

use super::figures::Figures;
use super::{Journal, Patience};
use crate::outside::Net;
use connection::Place;
use slotkeeper_core::ReplicaId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_rustls::rustls::pki_types::ServerName;

/// Why a journal cannot even be tried. (A server that does not answer is waited for.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("{0:?} cannot be the name of a journal; allowed: letters, digits, `-`, `_`, `.` and `:`")]
    Name(String),
    #[error("{0:?} cannot be in a certificate; allowed: a host name or an IP address")]
    Host(String),
    #[error("its certificates cannot be verified")]
    Trust(#[from] tls::TrustError),
    #[error("the metrics contradict each other")]
    Figures(#[from] prometheus::Error),
}

/// Connects when it is first used.
///
/// # Errors
/// What no waiting would mend.
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
    let figures = Figures::new()?;
    let patience = Patience::default();
    let keys = Keys::new(name);
    let place = Place { address: config.clone(), net, tls, warned: false.into() };
    let house = House { place: Arc::new(place), keys, shared: Shared::default(), figures: figures.clone() };
    Ok(Journal {
        append: Box::new(append::Writer::new(house.clone(), patience.clone())),
        follow: Box::new(follow::Follower::new(house.clone())),
        keep: Some(Box::new(keep::Keeper::new(house))),
        shared: true,
        patience,
        folder: None,
        figures: figures.of_server(),
    })
}

/// What all ends of the journal have in common.
#[derive(Clone)]
struct House {
    place: Arc<Place>,
    keys: Keys,
    shared: Shared,
    figures: Figures,
}

/// They hash to one slot, so that a script may touch them all.
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

/// What the ends tell each other.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    /// By the writer: who writes here. By the reader: that one's highest number that has been read.
    ours: Option<(ReplicaId, u64)>,
    /// By the reader: the life in which all that it has read is still there.
    life: Option<String>,
    /// By the reader: a life in which entries are lost that nobody has written a lapse for.
    doubted: Option<String>,
    /// By the reader: the server has become a replica, so it is not the one that the writer knows.
    estranged: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
