//! The chat's Redis: one task reads and delivers, another one writes. `chat.rs` documents the guarantees.

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

/// The limit for messages of this pod that wait for Redis.
const WAITING: usize = 1024;
/// The minimum of entries that the stream keeps, for pods that were disconnected.
const KEPT: usize = 1000;

/// A message of a client, and the mailbox for the answer.
struct Parcel {
    draft: Draft,
    mailbox: Arc<Mailbox>,
}

/// The sending half: sockets queue their messages here.
pub(super) struct Post(mpsc::Sender<Parcel>);

/// The receiving half, before its tasks are started.
pub(super) struct Desk {
    place: Place,
    parcels: mpsc::Receiver<Parcel>,
}

/// The chat's address and keys in Redis.
struct Place {
    address: RedisAddress,
    /// Keys: the stream; the lower bound for new ids; the prefix for clients' ids of published messages.
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
        // Pub/sub does not distinguish databases; the chats in two databases are separate.
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
        // The writing task has a connection exactly while the reading task has one.
        let (found, connection) = watch::channel::<Option<MultiplexedConnection>>(None);
        tasks.spawn(follow::follow(chat.clone(), place.clone(), found));
        tasks.spawn(publish::publish(chat.clone(), place, self.parcels, connection));
    }
}
