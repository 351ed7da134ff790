//! The table of paths. The dispatcher finds the operation of a request with [`find`]; a client writes a path with
//! [`Operation::path`].

use std::fmt::Write as _;

/// An operation of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whether the process runs.
    Health,
    /// Whether the dispatcher is ready.
    Ready,
    /// The metrics, for Prometheus.
    Metrics,
    /// The description of this API.
    OpenApi,
    /// All pools.
    ListPools,
    /// One pool.
    GetPool,
    /// Removes a pool from the journal.
    RemovePool,
    /// A pool's sessions.
    ListSessions,
    /// Ends a session.
    KickSession,
    /// Extends a session.
    ExtendSession,
    /// Counts as activity of a session.
    BusySession,
    /// Places no more sessions in a pod.
    CordonPod,
    /// The same, and moves its sessions.
    DrainPod,
    /// Undoes a cordon or drain.
    UncordonPod,
}

/// A method. `HEAD` is allowed where `GET` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads.
    Get,
    /// Acts.
    Post,
    /// Removes.
    Delete,
}

/// The permission that an operation requires. Today one token has all of them; the table is ready for narrower tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing: a probe needs no token.
    Probe,
    /// Sees pools, sessions and metrics.
    Read,
    /// Changes something.
    Operate,
}

/// The content of an answer with status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// A line of plain text.
    Line,
    /// Metrics in Prometheus' text format.
    Metrics,
    /// An OpenAPI document.
    OpenApi,
    /// A [`PoolList`](crate::PoolList).
    PoolList,
    /// A [`Pool`](crate::Pool): as it is after the request.
    Pool,
    /// A [`PoolRemoved`](crate::PoolRemoved).
    PoolRemoved,
    /// A [`SessionList`](crate::SessionList).
    SessionList,
}

/// An answer to a request that failed. Its body is a [`Problem`](crate::Problem), except that of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// When it is sent.
    pub when: &'static str,
}

/// A variable part of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in a path's braces.
    pub name: &'static str,
    /// Whether it is a number; otherwise it is text.
    pub is_number: bool,
    /// What it names.
    pub description: &'static str,
}

/// One operation: how it is called, and how it answers.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Which one it is.
    pub operation: Operation,
    /// Its name for programs: the `operationId` of the OpenAPI document. Never changes.
    pub id: &'static str,
    /// The method.
    pub verb: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// The permission that the caller must have.
    pub role: Role,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The answer with status 200.
    pub answer: Body,
    /// The failures of its own. [`Route::failures`] has all.
    own: &'static [Failure],
}

/// The values of a path's parameters. Those that the path does not have are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a> {
    /// A pool's name.
    pub pool: &'a str,
    /// A session's public name.
    pub session: &'a str,
    /// A pod's ordinal, as it is written in the path.
    pub ordinal: &'a str,
}

/// Why no operation matches a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No operation has this path.
    Path,
    /// Operations have this path, but with these methods.
    Method(Vec<Verb>),
}

/// The parameters that paths have.
pub const PARAMETERS: [Parameter; 3] = [
    Parameter { name: "pool", is_number: false, description: "The pool's name in the configuration." },
    Parameter {
        name: "session",
        is_number: false,
        description: "The session's public name: `session` in the list of sessions, and the `X-Session-Id` that pods receive.",
    },
    Parameter { name: "ordinal", is_number: true, description: "The pod's number in its pool, from 0." },
];

/// The failures of every operation that is not a probe.
const COMMON: [Failure; 3] = [
    Failure { status: 401, when: "a token is configured, and the request has no valid one" },
    Failure { status: 403, when: "a web page may have sent the request" },
    Failure { status: 413, when: "the request has a body of more than 64 KiB" },
];

const NOT_READ: Failure = Failure { status: 503, when: "the journal has not been read yet" };
const NOT_WRITTEN: Failure =
    Failure { status: 503, when: "the journal does not answer: the command is written as soon as it does" };
const NO_POOL: Failure = Failure { status: 404, when: "there is no such pool" };
const NO_SESSION: Failure = Failure { status: 404, when: "the pool has no such session" };
const NO_POD: Failure = Failure { status: 404, when: "the pool cannot have a pod with this ordinal" };
const READ: &[Failure] = &[NO_POOL, NOT_READ];
const ON_SESSION: &[Failure] = &[NO_POOL, NO_SESSION, NOT_READ, NOT_WRITTEN];
const ON_POD: &[Failure] = &[NO_POOL, NO_POD, NOT_READ, NOT_WRITTEN];
const DRAIN: &[Failure] = &[
    NO_POOL,
    NO_POD,
    Failure { status: 409, when: "an older dispatcher shares the journal, and does not support draining" },
    NOT_READ,
    NOT_WRITTEN,
];

/// Every operation of the admin listener.
pub const ROUTES: &[Route] = &[
    Route {
        operation: Operation::Health,
        id: "health",
        verb: Verb::Get,
        path: "/healthz",
        role: Role::Probe,
        summary: "Whether the process runs, also while it waits for its journal.",
        answer: Body::Line,
        own: &[],
    },
    Route {
        operation: Operation::Ready,
        id: "ready",
        verb: Verb::Get,
        path: "/readyz",
        role: Role::Probe,
        summary: "Whether visitors can be served: the journal answers, and every pool's pods have been listed.",
        answer: Body::Line,
        own: &[Failure {
            status: 503,
            when: "the dispatcher is not ready, or is stopping; the reason is in plain text",
        }],
    },
    Route {
        operation: Operation::Metrics,
        id: "metrics",
        verb: Verb::Get,
        path: "/metrics",
        role: Role::Read,
        summary: "The metrics. Without the gauges of pools until the journal has been read.",
        answer: Body::Metrics,
        own: &[Failure { status: 500, when: "the metrics cannot be encoded" }],
    },
    Route {
        operation: Operation::OpenApi,
        id: "openapi",
        verb: Verb::Get,
        path: "/openapi.json",
        role: Role::Read,
        summary: "This document.",
        answer: Body::OpenApi,
        own: &[],
    },
    Route {
        operation: Operation::ListPools,
        id: "listPools",
        verb: Verb::Get,
        path: "/api/v1/pools",
        role: Role::Read,
        summary: "All pools that are configured on this dispatcher.",
        answer: Body::PoolList,
        own: &[NOT_READ],
    },
    Route {
        operation: Operation::GetPool,
        id: "getPool",
        verb: Verb::Get,
        path: "/api/v1/pools/{pool}",
        role: Role::Read,
        summary: "One pool.",
        answer: Body::Pool,
        own: READ,
    },
    Route {
        operation: Operation::RemovePool,
        id: "removePool",
        verb: Verb::Delete,
        path: "/api/v1/pools/{pool}",
        role: Role::Operate,
        summary: "Removes a pool from the journal, also one that is no longer configured: its sessions end, and its pods are not \
                  touched. If it is still configured, the next start of a dispatcher adds it again.",
        answer: Body::PoolRemoved,
        own: &[NO_POOL, NOT_READ, NOT_WRITTEN],
    },
    Route {
        operation: Operation::ListSessions,
        id: "listSessions",
        verb: Verb::Get,
        path: "/api/v1/pools/{pool}/sessions",
        role: Role::Read,
        summary: "A pool's sessions: 1 000 at most, and how many there are.",
        answer: Body::SessionList,
        own: READ,
    },
    Route {
        operation: Operation::KickSession,
        id: "kickSession",
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/sessions/{session}/kick",
        role: Role::Operate,
        summary: "Ends a session.",
        answer: Body::Pool,
        own: ON_SESSION,
    },
    Route {
        operation: Operation::ExtendSession,
        id: "extendSession",
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/sessions/{session}/extend",
        role: Role::Operate,
        summary: "Extends a session that `max_session_seconds` would end.",
        answer: Body::Pool,
        own: ON_SESSION,
    },
    Route {
        operation: Operation::BusySession,
        id: "busySession",
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/sessions/{session}/busy",
        role: Role::Operate,
        summary: "Counts as activity of a session: for programs that work without the visitor's input.",
        answer: Body::Pool,
        own: ON_SESSION,
    },
    Route {
        operation: Operation::CordonPod,
        id: "cordonPod",
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/pods/{ordinal}/cordon",
        role: Role::Operate,
        summary: "Places no new session in a pod; its sessions stay.",
        answer: Body::Pool,
        own: ON_POD,
    },
    Route {
        operation: Operation::DrainPod,
        id: "drainPod",
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/pods/{ordinal}/drain",
        role: Role::Operate,
        summary: "Cordons a pod and moves its sessions: their streams are closed over `drain_seconds`. It is empty when its \
                  `sessions` are 0.",
        answer: Body::Pool,
        own: DRAIN,
    },
    Route {
        operation: Operation::UncordonPod,
        id: "uncordonPod",
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/pods/{ordinal}/uncordon",
        role: Role::Operate,
        summary: "Undoes a cordon or drain.",
        answer: Body::Pool,
        own: ON_POD,
    },
];

/// Finds the operation of a request, and the values of its path's parameters. Slashes at the path's ends do not count.
/// The values are not decoded: no name that exists needs an escape.
///
/// # Errors
/// If no operation has this path, or none this path and method.
pub fn find<'a>(method: &str, path: &'a str) -> Result<(&'static Route, Parameters<'a>), Miss> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(parameters) = route.read(path) else { continue };
        if route.verb.name() == method {
            return Ok((route, parameters));
        }
        others.push(route.verb);
    }
    Err(if others.is_empty() { Miss::Path } else { Miss::Method(others) })
}

impl Verb {
    /// Returns the method's name in HTTP.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }
}

impl Role {
    /// Returns the role's name in the OpenAPI document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Probe => "probe",
            Role::Read => "read",
            Role::Operate => "operate",
        }
    }
}

impl Operation {
    /// Returns its row of the table.
    ///
    /// # Panics
    /// Never: a test shows that each operation has a row.
    #[must_use]
    pub fn route(self) -> &'static Route {
        ROUTES.iter().find(|route| route.operation == self).expect("each operation has a row")
    }

    /// Writes the path of a request. A value's characters that have a meaning in a path are escaped.
    #[must_use]
    pub fn path(self, parameters: Parameters<'_>) -> String {
        let mut path = String::new();
        for part in self.route().parts() {
            path.push('/');
            match parameter(part) {
                Some(name) => escape(parameters.get(name), &mut path),
                None => path.push_str(part),
            }
        }
        path
    }
}

impl Route {
    /// Returns the parameters of its path, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        self.parts().filter_map(parameter).filter_map(|name| PARAMETERS.iter().find(|p| p.name == name))
    }

    /// Returns the answers that it may give other than 200.
    pub fn failures(&self) -> impl Iterator<Item = &'static Failure> {
        let common: &'static [Failure] = if self.role == Role::Probe { &COMMON[2..] } else { &COMMON };
        self.own.iter().chain(common)
    }

    fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.path.trim_start_matches('/').split('/')
    }

    /// Returns the values of the parameters if the path is one of this operation.
    fn read<'a>(&self, path: &'a str) -> Option<Parameters<'a>> {
        let mut parameters = Parameters::default();
        let mut given = path.trim_matches('/').split('/');
        for part in self.parts() {
            let value = given.next()?;
            match parameter(part) {
                Some(name) => *parameters.get_mut(name) = value,
                None if part == value => {}
                None => return None,
            }
        }
        given.next().is_none().then_some(parameters)
    }
}

impl<'a> Parameters<'a> {
    fn get(self, name: &str) -> &'a str {
        match name {
            "pool" => self.pool,
            "session" => self.session,
            _ => self.ordinal,
        }
    }

    fn get_mut(&mut self, name: &str) -> &mut &'a str {
        match name {
            "pool" => &mut self.pool,
            "session" => &mut self.session,
            _ => &mut self.ordinal,
        }
    }
}

/// Returns the name of the parameter that this part of a path is.
fn parameter(part: &'static str) -> Option<&'static str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// Everything but RFC 3986's unreserved characters is escaped.
fn escape(value: &str, path: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
}
