//! The pod's history of the chat: the last messages, in order, in the form in which they are sent.

use std::collections::{HashSet, VecDeque};
use std::str::FromStr;

use crate::gateway::mailbox::Letter;

/// A message's position: the id of its entry in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// Milliseconds since 1970.
    pub(super) ms: u64,
    pub(super) number: u64,
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Id, ()> {
        let (ms, number) = text.split_once('-').ok_or(())?;
        Ok(Id { ms: ms.parse().map_err(|_| ())?, number: number.parse().map_err(|_| ())? })
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

pub(super) struct Log {
    limit: usize,
    messages: VecDeque<Kept>,
    /// The clients' ids of the messages that are kept.
    client_ids: HashSet<String>,
    last: Id,
    /// The newest message that is no longer kept.
    forgotten: Id,
}

struct Kept {
    id: Id,
    client_id: String,
    letter: Letter,
}

impl Log {
    pub(super) fn new(limit: usize) -> Log {
        let (messages, client_ids) = (VecDeque::new(), HashSet::new());
        Log { limit, messages, client_ids, last: Id::default(), forgotten: Id::default() }
    }

    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// Returns false if the message is not new.
    pub(super) fn push(&mut self, id: Id, client_id: &str, letter: Letter) -> bool {
        if id <= self.last {
            return false;
        }
        self.last = id;
        // Sent again after Redis had lost the record of it.
        if !self.client_ids.insert(client_id.to_owned()) {
            return false;
        }
        self.messages.push_back(Kept { id, client_id: client_id.to_owned(), letter });
        if self.messages.len() > self.limit
            && let Some(oldest) = self.messages.pop_front()
        {
            self.client_ids.remove(&oldest.client_id);
            self.forgotten = oldest.id;
        }
        true
    }

    pub(super) fn pass_over(&mut self, id: Id) {
        self.last = self.last.max(id);
    }

    /// The messages after this one, or all if there is none.
    pub(super) fn after(&self, after: Option<Id>) -> Vec<Letter> {
        let seen = after.map_or(0, |after| self.messages.partition_point(|kept| kept.id <= after));
        self.messages.range(seen..).map(|kept| kept.letter.clone()).collect()
    }

    /// Whether no message is missing between this one and the history.
    pub(super) fn reaches_back_to(&self, after: Id) -> bool {
        after >= self.forgotten
    }

    /// The id of a message in the history.
    pub(super) fn find(&self, client_id: &str) -> Option<Id> {
        self.client_ids.contains(client_id).then_some(())?;
        self.messages.iter().rev().find(|kept| kept.client_id == client_id).map(|kept| kept.id)
    }
}
