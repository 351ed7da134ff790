//! What goes over a socket of the chat, and what a message is in Redis. The README describes it from the outside.

use serde::{Deserialize, Serialize};

use crate::gateway::mailbox::Letter;

/// What a client may say, as JSON with a `type`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// To everybody. The client makes the id, and says the same again with the same id until it hears `sent`.
    Say { client_id: String, text: String },
    /// Call me this from now on.
    Name { name: String },
}

/// A message before it has its id, as Redis keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) from: String,
    pub(super) text: String,
    /// Where it was said.
    pub(super) pod: String,
    pub(super) client_id: String,
}

/// How far the chat reaches now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reach {
    /// All pods.
    Pods,
    /// There is no Redis in the settings: this pod.
    Pod,
    /// Redis is away: nobody, until it is back.
    Away,
}

/// What a client hears.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Out<'a> {
    /// First of all.
    Welcome {
        pod: &'a str,
        /// What is left of the name that was asked for.
        name: &'a str,
        here: usize,
        reach: Reach,
        /// The client said what it saw last.
        resumed: bool,
        /// Nothing is missing between that and what follows.
        complete: bool,
        /// The newest message here.
        last: String,
    },
    Message {
        id: String,
        from: &'a str,
        text: &'a str,
        at_ms: u64,
        pod: &'a str,
        client_id: &'a str,
    },
    Sent {
        client_id: &'a str,
        id: String,
    },
    Refused {
        client_id: Option<&'a str>,
        why: Refusal,
        text: &'static str,
    },
    /// Sockets of the chat in this pod.
    Presence {
        here: usize,
    },
    /// So many messages were dropped, since the client is slow.
    Missed {
        messages: u64,
    },
    ServerShutdown {
        in_seconds: u64,
    },
    Redis {
        connected: bool,
    },
}

/// Why a message was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Refusal {
    Malformed,
    Empty,
    TooLong,
    TooFast,
    /// It is away.
    Redis,
    /// It went away meanwhile: perhaps the message is there, perhaps not.
    Unsure,
    /// Too many messages of this pod wait for Redis.
    Busy,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Malformed => "this is not a message as the README describes it",
            Refusal::Empty => "there is nothing in it",
            Refusal::TooLong => "it is too long: 2000 characters are allowed",
            Refusal::TooFast => "too many messages: wait a second",
            Refusal::Redis => "not delivered: Redis is away; say it again with the same client_id when it is back",
            Refusal::Unsure => "perhaps not delivered: say it again with the same client_id",
            Refusal::Busy => "not delivered, there is too much to do: say it again with the same client_id",
        }
    }
}

impl Out<'_> {
    pub(super) fn letter(&self) -> Letter {
        match serde_json::to_string(self) {
            Ok(text) => Letter::Text(text.into()),
            // Strings and numbers can always be written.
            Err(error) => unreachable!("message of the chat not written: {error}"),
        }
    }
}
