//! The chat's messages on a socket, and the form of a message in Redis. The README documents them.

use serde::{Deserialize, Serialize};

use crate::gateway::mailbox::Letter;

/// A command of a client, as JSON with a `type`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// Sends a text to all. The client makes the id, and repeats the command with the same id until it receives `sent`.
    Say {
        /// The id, made by the client. It identifies the message in `sent`.
        client_id: String,
        /// The message.
        text: String,
    },
    /// Changes the client's name.
    Name {
        /// The new name.
        name: String,
    },
}

/// A message before it has its id, as stored in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) from: String,
    pub(super) text: String,
    /// The sender's pod.
    pub(super) pod: String,
    pub(super) client_id: String,
}

/// Which clients a message reaches now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reach {
    /// All pods.
    Pods,
    /// This pod: Redis is not configured.
    Pod,
    /// None: Redis is unavailable.
    Away,
}

/// A message to a client.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Out<'a> {
    /// The first message.
    Welcome {
        pod: &'a str,
        /// The requested name without hidden characters.
        name: &'a str,
        here: usize,
        reach: Reach,
        /// The client sent the last id that it saw.
        resumed: bool,
        /// No message is missing between that one and the following ones.
        complete: bool,
        /// The id of the newest message here.
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
    /// The number of the chat's sockets in this pod.
    Presence {
        here: usize,
    },
    /// This many messages were dropped, because the client is slow.
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

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Refusal {
    Malformed,
    Empty,
    TooLong,
    TooFast,
    /// Redis is unavailable.
    Redis,
    /// Redis became unavailable meanwhile: the message may have been published.
    Unsure,
    /// Too many messages of this pod wait for Redis.
    Busy,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Malformed => "not a valid message, see the README",
            Refusal::Empty => "the text is empty",
            Refusal::TooLong => "the text is too long: 2000 characters are allowed",
            Refusal::TooFast => "too many messages: wait a second",
            Refusal::Redis => "not delivered, Redis is unavailable: send it again later with the same client_id",
            Refusal::Unsure => "perhaps not delivered: send it again with the same client_id",
            Refusal::Busy => "not delivered, too many messages are waiting: send it again with the same client_id",
        }
    }
}

impl Out<'_> {
    pub(super) fn letter(&self) -> Letter {
        match serde_json::to_string(self) {
            Ok(text) => Letter::Text(text.into()),
            // Strings and numbers always serialize.
            Err(error) => unreachable!("message of the chat not written: {error}"),
        }
    }
}
