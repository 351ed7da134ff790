//! The chat within one pod, without Redis: its own log assigns the ids.

use std::time::{SystemTime, UNIX_EPOCH};

use super::log::Id;
use super::protocol::Draft;
use super::{Chat, sent};
use crate::gateway::mailbox::Mailbox;

pub(super) fn say(chat: &Chat, draft: &Draft, mailbox: &Mailbox) {
    let mut table = chat.lock();
    let id = table.log.find(&draft.client_id).unwrap_or_else(|| {
        let id = next(table.log.last());
        table.deliver(id, draft, &chat.metrics);
        chat.metrics.published.inc();
        id
    });
    drop(table);
    sent(mailbox, &draft.client_id, id);
}

fn next(last: Id) -> Id {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    if now > last.ms { Id { ms: now, number: 0 } } else { Id { ms: last.ms, number: last.number.saturating_add(1) } }
}
