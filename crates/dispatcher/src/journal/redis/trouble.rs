//! The errors of a Redis, with hints what to do, and retrying with a pause. None of them ends the dispatcher: all can be
//! repaired while it runs.

use crate::io::now;
use crate::journal::metrics::JournalMetrics;
use redis::ServerError;
use std::time::Duration;
use tokio::time::Instant;

/// A temporary error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    why: String,
}

/// The kind of an error, a label in the metrics. A change of the kind logs a new warning.
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
    pub(super) const ALL: [Kind; 12] = [
        Kind::Connect,
        Kind::Tls,
        Kind::Late,
        Kind::Closed,
        Kind::Password,
        Kind::Permission,
        Kind::Loading,
        Kind::Replica,
        Kind::Full,
        Kind::Unsaved,
        Kind::Lapsed,
        Kind::Refused,
    ];

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
        Trouble::new(Kind::Refused, format!("unexpected answer: {what}"))
    }
}

/// An error that the server answered with.
impl From<ServerError> for Trouble {
    fn from(error: ServerError) -> Trouble {
        let (code, details) = (error.code().to_owned(), error.details().unwrap_or_default().to_owned());
        let (kind, hint) = match code.as_str() {
            "LAPSED" => (Kind::Lapsed, "entries may be lost"),
            "NOAUTH" => (Kind::Password, "it requires a password, and none is configured (or it was not accepted)"),
            "WRONGPASS" => (Kind::Password, "it does not accept the user and password that are configured"),
            "ERR" if details.contains("without any password configured") => {
                (Kind::Password, "a password is configured, and the server has none")
            }
            "NOPERM" => (Kind::Permission, "its ACL does not permit this user what a journal needs"),
            "LOADING" => (Kind::Loading, "it is still loading its data"),
            "BUSY" => (Kind::Loading, "it is busy with another client's script"),
            "READONLY" | "MASTERDOWN" | "UNBLOCKED" => {
                (Kind::Replica, "it is a replica: the journal is written to the primary")
            }
            "OOM" => (Kind::Full, "it is full: raise its maxmemory, or give it a Redis of its own"),
            "MISCONF" => {
                (Kind::Unsaved, "it cannot persist, and rejects writes until it can: check its disk and its log")
            }
            "NOREPLICAS" => {
                (Kind::Unsaved, "it requires more replicas before it accepts writes (min-replicas-to-write)")
            }
            _ => (Kind::Refused, "it refused"),
        };
        Trouble::new(kind, format!("{hint} ({code} {details})"))
    }
}

const LEAST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A period of errors. Logs a warning once, and again only if the kind of error changes.
pub(super) struct Outage {
    who: &'static str,
    server: String,
    metrics: JournalMetrics,
    pause: Duration,
    since: Option<(Instant, Kind)>,
}

impl Outage {
    pub(super) fn new(who: &'static str, server: String, metrics: JournalMetrics) -> Outage {
        Outage { who, server, metrics, pause: LEAST_PAUSE, since: None }
    }

    /// Waits before the next attempt.
    pub(super) async fn wait(&mut self, trouble: &Trouble) {
        let (who, server, kind) = (self.who, &self.server, trouble.kind);
        self.metrics.errors.with_label_values(&[kind.word()]).inc();
        match self.since {
            Some((_, last)) if last == kind => tracing::debug!(who, server, "journal still unreachable: {trouble}"),
            _ => tracing::warn!(who, server, "journal unreachable: {trouble}; retrying until it succeeds"),
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
            tracing::info!(who, server, after_ms, "journal reachable again");
        }
    }
}
