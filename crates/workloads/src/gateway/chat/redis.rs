//! The chat's Redis: one task reads and delivers, another one writes. `chat.rs` says how they keep the promise.

mod follow;
mod publish;

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::protocol::{Draft, Refusal};
use super::{Chat, refuse};
use crate::gateway::mailbox::Mailbox;
use crate::gateway::settings::RedisAddress;

/// Messages of this pod that may wait for Redis.
const WAITING: usize = 1024;
/// Entries that the stream keeps at least, for pods that were away.
const KEPT: usize = 1000;

/// A message of a client's, and where the answer goes.
struct Parcel {
    draft: Draft,
    mailbox: Arc<Mailbox>,
}

/// Where sockets put what they have to say.
pub(super) struct Post(mpsc::Sender<Parcel>);

/// The other side, before it is open.
pub(super) struct Desk {
    place: Place,
    parcels: mpsc::Receiver<Parcel>,
}

/// Where the chat is.
struct Place {
    address: RedisAddress,
    /// Keys: the stream; the least id that comes next; what has been said (and the id that the client gave to it).
    log: String,
    floor: String,
    said: String,
    channel: String,
    history: usize,
}

pub(super) fn office(address: &RedisAddress, prefix: &str, history: usize) -> (Post, Desk) {
    let (sender, parcels) = mpsc::channel(WAITING);
    let key = |name| format!("{prefix}:{name}");
    let place = Place {
        address: address.clone(),
        log: key("log"),
        floor: key("floor"),
        said: key("said:"),
        // Pub/sub knows no databases; the chats in two of them are two.
        channel: format!("{prefix}:live:{}", address.info().redis_settings().db()),
        history,
    };
    (Post(sender), Desk { place, parcels })
}

impl Post {
    pub(super) fn say(&self, draft: Draft, mailbox: &Arc<Mailbox>) {
        if let Err(full) = self.0.try_send(Parcel { draft, mailbox: mailbox.clone() }) {
            let parcel = full.into_inner();
            refuse(mailbox, Some(&parcel.draft.client_id), Refusal::Busy);
        }
    }
}

impl Desk {
    pub(super) fn open(self, chat: &Arc<Chat>, tasks: &mut JoinSet<()>) {
        let place = Arc::new(self.place);
        // There is a connection to write to exactly while the other task reads.
        let (found, connection) = watch::channel::<Option<MultiplexedConnection>>(None);
        tasks.spawn(follow::follow(chat.clone(), place.clone(), found));
        tasks.spawn(publish::publish(chat.clone(), place, self.parcels, connection));
    }
}
