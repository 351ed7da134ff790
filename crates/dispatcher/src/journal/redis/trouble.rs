//! What can be in the way of a Redis, in words that say what to do; and waiting until it has passed. Nothing of this ends
//! the dispatcher: all of it can be repaired while it runs.

use crate::journal::figures::Figures;
use crate::outside::now;
use redis::ServerError;
use std::time::Duration;
use tokio::time::Instant;

/// One thing in the way.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    why: String,
}

/// Told apart in the metrics; a new one is a new warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Tls,
    Late,
    Closed,
    Password,
    Permission,
    Loading,
    Replica,
    Full,
    Unsaved,
    Lapsed,
    Refused,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::Tls => "tls",
            Kind::Late => "timeout",
            Kind::Closed => "closed",
            Kind::Password => "password",
            Kind::Permission => "permission",
            Kind::Loading => "loading",
            Kind::Replica => "replica",
            Kind::Full => "full",
            Kind::Unsaved => "unsaved",
            Kind::Lapsed => "lapsed",
            Kind::Refused => "refused",
        }
    }
}

impl Trouble {
    pub(super) fn new(kind: Kind, why: impl Into<String>) -> Trouble {
        Trouble { kind, why: why.into() }
    }

    pub(super) fn late(after: Duration) -> Trouble {
        Trouble::new(Kind::Late, format!("no answer within {} s: it is stopped, slow, or cut off", after.as_secs()))
    }

    pub(super) fn answered_with(what: impl std::fmt::Display) -> Trouble {
        Trouble::new(Kind::Refused, format!("it answered with what no Redis says here: {what}"))
    }
}

/// An error that the server answered with.
impl From<ServerError> for Trouble {
    fn from(error: ServerError) -> Trouble {
        let (code, details) = (error.code().to_owned(), error.details().unwrap_or_default().to_owned());
        let (kind, hint) = match code.as_str() {
            "LAPSED" => (Kind::Lapsed, "entries may be lost"),
            "NOAUTH" => (Kind::Password, "it wants a password, and none is configured (or it was not accepted)"),
            "WRONGPASS" => (Kind::Password, "it does not accept the user and password that are configured"),
            "ERR" if details.contains("without any password configured") => {
                (Kind::Password, "a password is configured, and it has none")
            }
            "NOPERM" => (Kind::Permission, "its ACL does not let this user do what a journal needs"),
            "LOADING" => (Kind::Loading, "it is still loading its data"),
            "BUSY" => (Kind::Loading, "it is busy with somebody's script"),
            "READONLY" | "MASTERDOWN" | "UNBLOCKED" => {
                (Kind::Replica, "it is a replica: the journal is written to the primary")
            }
            "OOM" => (Kind::Full, "it is full: raise its maxmemory, or give it a Redis of its own"),
            "MISCONF" => {
                (Kind::Unsaved, "it cannot persist, and takes nothing until it can: look at its disk and its log")
            }
            "NOREPLICAS" => (Kind::Unsaved, "it wants more replicas before it takes anything (min-replicas-to-write)"),
            _ => (Kind::Refused, "it refused"),
        };
        Trouble::new(kind, format!("{hint} ({code} {details})"))
    }
}

const LEAST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A while in which something is in the way. Says so once, and again only if it is something else.
pub(super) struct Outage {
    who: &'static str,
    server: String,
    figures: Figures,
    pause: Duration,
    since: Option<(Instant, Kind)>,
}

impl Outage {
    pub(super) fn new(who: &'static str, server: String, figures: Figures) -> Outage {
        Outage { who, server, figures, pause: LEAST_PAUSE, since: None }
    }

    /// Waits before the next try.
    pub(super) async fn wait(&mut self, trouble: &Trouble) {
        let (who, server, kind) = (self.who, &self.server, trouble.kind);
        self.figures.errors.with_label_values(&[kind.word()]).inc();
        match self.since {
            Some((_, last)) if last == kind => tracing::debug!(who, server, "still: {trouble}"),
            _ => tracing::warn!(who, server, "the journal is out of reach: {trouble}; trying again until it is back"),
        }
        let since = self.since.map_or_else(now, |(since, _)| since);
        self.since = Some((since, kind));
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    pub(super) fn is_over(&mut self) {
        self.pause = LEAST_PAUSE;
        if let Some((since, _)) = self.since.take() {
            let (who, server) = (self.who, &self.server);
            let after_ms = now().duration_since(since).as_millis() as u64;
            tracing::info!(who, server, after_ms, "the journal is back");
        }
    }
}
