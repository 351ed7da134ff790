//! The configuration, parsed once into [`Config`]. How a TOML file is read, and every message about a wrong one, starts in
//! `config/file.rs`; configurations without a file are in `config/preset.rs`; the weekly schedule of spare slots in
//! `config/schedule.rs`. Each setting is a row in the file of its table
//! (`setting.rs`), and a field beside it.

use redis::RedisJournal;
use request_rules::{Passive, Rejoin};
use slotkeeper_core::{PoolId, Rules};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

mod access_log;
mod activity;
mod addresses;
mod admin;
mod choices;
mod connections;
mod describe;
pub mod duration;
mod field;
pub mod file;
mod http2;
mod journal;
mod keda;
mod kubernetes;
mod limits;
mod passive;
mod permissions;
mod pods;
mod pool;
mod preset;
mod processes;
pub mod redis;
pub mod reference;
pub mod request_rules;
mod rules;
pub mod schedule;
pub mod schema;
mod secrets;
mod setting;
mod spare;
mod table;
mod targets;
pub(crate) mod template;
mod tls;
mod together;

/// The file in a journal folder with the signing key, used if the configuration has none.
pub const KEY_FILE: &str = "cookie-key";

pub use crate::authority::{HostPattern, OriginPattern};
pub use crate::io::endpoint::{At, Endpoint, UnixSocket};
pub use crate::io::tls::{TlsFiles, TlsVersion};
pub use access_log::{AccessFormat, AccessLog};
pub use activity::{Activity, Signals, Sizes};
pub use addresses::{Landing, Network};
pub use admin::Admin;
pub use connections::KeptConnections;
pub use describe::describe;
pub use file::{parse, read};
pub use http2::Http2;
pub use journal::from_arg as journal_from_arg;
pub use keda::Keda;
pub use kubernetes::{KubernetesAccess, KubernetesPods, Workload};
pub use limits::Limits;
pub use pods::{FixedPods, Probe, ProbeKind};
pub use preset::{demo, from_args, secure_demo};
pub use processes::{DataBetween, OnRestart, PodLimits, Processes};
pub use secrets::Secret;
pub(crate) use setting::{Row, differ, merge_all};
pub use table::ConfigError;
pub use targets::PodGauge;
pub use tls::TlsListeners;
pub(crate) use together::{clash, share_machine};

/// The settings that a reload compares one by one.
pub(crate) mod rows {
    pub(crate) use super::access_log::ROWS as ACCESS_LOG;
    pub(crate) use super::admin::ROWS as ADMIN;
    pub(crate) use super::file::ROWS as TOP;
    pub(crate) use super::http2::ROWS as HTTP2;
    pub(crate) use super::limits::ROWS as LIMITS;
    pub(crate) use super::pool::ROWS as POOL;
    pub(crate) use super::tls::ROWS as TLS;
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where visitors connect.
    pub listen: Vec<Endpoint>,
    /// The listeners with TLS, and the redirects to them.
    pub tls: TlsListeners,
    /// HTTP/2 of visitors.
    pub http2: Http2,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// The listener for operators.
    pub admin: Admin,
    /// The listener for KEDA.
    pub keda: Keda,
    /// Where session state is stored.
    pub journal: JournalConfig,
    /// Keys of the session cookies: the first signs, all verify. Empty: a random key is generated, and stored in the journal's
    /// folder if there is one.
    pub cookie_keys: Vec<Secret>,
    /// The proxies whose `X-Forwarded-*` headers are trusted.
    pub trusted_proxies: Vec<Network>,
    /// The field in which they report the client's address.
    pub address_field: AddressField,
    /// Of visitors' connections and requests.
    pub limits: Limits,
    /// Whether and how requests are logged.
    pub access_log: AccessLog,
    /// How long streams may take to end when the dispatcher stops or a pod drains; close frames are spread over it.
    pub drain: Duration,
    /// How long a start waits for the former process to end; `None`: two processes never listen at the same time.
    pub takeover: Option<Duration>,
    /// How to reach the Kubernetes API, if a pool needs it.
    pub kubernetes: KubernetesAccess,
    /// In the order of the file. No two have the same id.
    pub pools: Vec<PoolConfig>,
    /// Settings that look wrong or unintended on this machine, but may be right: one warning per line.
    pub warnings: Vec<String>,
}

/// Where the journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalConfig {
    /// Sessions end with the process.
    Memory,
    /// In this folder, for one dispatcher.
    File(PathBuf),
    /// Shared by several dispatchers.
    Redis(RedisJournal),
}

/// One pool and the route to it.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The name of its table: in the journal, in metrics, and in the admin API.
    pub id: PoolId,
    /// The name that visitors see: "Your console is starting".
    pub title: String,
    /// Hosts routed here; empty: any.
    pub hosts: Vec<HostPattern>,
    /// Path prefix routed here (whole segments), `/` for all.
    pub path: String,
    /// The rules that this dispatcher proposes. Those in force are in the journal, so that all replicas act on the same ones.
    pub rules: Rules,
    /// How KEDA gets the number of pods, if it scales this pool.
    pub trigger: Trigger,
    /// When a new visitor's session begins.
    pub admission: Admission,
    /// A session that only speaks HTTP counts as present this long after its last request.
    pub linger: Duration,
    /// A WebSocket client that has sent nothing for this long is pinged, and has the same time to answer; `None`: never.
    pub half_open: Option<Duration>,
    /// How long an upgrade or API call waits for a slot instead of a `503`; zero: not at all.
    pub hold: Duration,
    /// Most requests held at once.
    pub hold_limit: usize,
    /// The session cookie's name. Pools whose cookies could reach each other have different ones.
    pub cookie_name: String,
    /// How old a cookie may be. It is renewed while it is used.
    pub cookie_max_age: Duration,
    /// Origins a WebSocket may come from in addition to the same origin: `https://app.example`, `https://*.example`, `null`, or `*`.
    pub allowed_origins: Vec<OriginPattern>,
    /// Origins of pages of other sites that may show this pool's pages in a frame: `https://portal.example`, `https://*.example`.
    pub embedded_in: Vec<OriginPattern>,
    /// A request that the pod has not answered this long after the request's end is given up; `None`: never.
    pub answer: Option<Duration>,
    /// A body without progress for this long is cut, in either direction; `None`: never.
    pub stall: Option<Duration>,
    /// Requests that do not use the pool.
    pub passive: Vec<Passive>,
    /// Which requests restart a session that has ended by itself.
    pub rejoin: Rejoin,
    /// Which signals count as activity of a visitor (`rules.idle`).
    pub activity: Activity,
    /// How connections to the pods are reused between requests.
    pub connections: KeptConnections,
    /// The operator's own waiting page: `http://host:port/path`; the built-in page is the fallback.
    pub landing: Option<Landing>,
    /// An extra gauge of active sessions under this name, as existing scalers expect.
    pub active_sessions_gauge: Option<String>,
    /// A header of a trusted proxy with the visitor's priority class, 0 (first) to 9.
    pub priority_header: Option<http::HeaderName>,
    /// Spare slots by weekly schedule; outside of it `rules.spare`.
    pub schedule: Option<schedule::Schedule>,
    /// Where to read the pods' own gauge, if it is a target (`rules.targets.gauge`).
    pub gauge: Option<PodGauge>,
    /// Where its pods come from.
    pub cluster: ClusterConfig,
}

/// The field in which trusted proxies report the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressField {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// RFC 7239
    Forwarded,
}

/// How KEDA gets the number of pods of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Trigger {
    /// KEDA calls the dispatcher over gRPC, and gets pushes on a stream (`scaling = "keda-push"`).
    Push,
    /// KEDA queries Prometheus, which scrapes the dispatcher's gauges (`scaling = "prometheus"`).
    Prometheus,
}

/// When the session of a new visitor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Admission {
    /// No slot is allocated before the browser has returned the cookie once.
    Returning,
    /// The first request is placed at once, and its response sets the cookie.
    Immediate,
}

/// Where the pods of a pool come from.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each pool, read once")]
pub enum ClusterConfig {
    /// They run elsewhere, at addresses that the file lists.
    Fixed(FixedPods),
    /// The dispatcher starts them, as processes of its machine.
    Processes(Processes),
    /// A workload of the cluster runs them.
    Kubernetes(KubernetesPods),
}

/// Returns warnings: settings that look wrong or unintended on this machine, but may be right, one per line.
#[must_use]
pub fn doubts(config: &Config) -> Vec<String> {
    let mut doubts = config.warnings.clone();
    if let JournalConfig::File(folder) = &config.journal {
        let key = folder.join(KEY_FILE);
        doubts.extend(permissions::of_folder(folder).map(|what| format!("the journal: {what}")));
        doubts.extend(permissions::of_secret(&key).map(|what| format!("the journal's cookie key: {what}")));
    }
    doubts
}

impl Config {
    /// A configuration with these pools, and defaults for everything else: visitors on port 8080, no admin listener.
    #[must_use]
    pub fn new(pools: Vec<PoolConfig>) -> Config {
        Config {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080).into()],
            tls: TlsListeners::default(),
            http2: Http2::default(),
            threads: 0,
            admin: Admin::default(),
            keda: Keda::default(),
            journal: JournalConfig::Memory,
            cookie_keys: Vec::new(),
            trusted_proxies: Vec::new(),
            address_field: AddressField::XForwardedFor,
            limits: Limits::default(),
            access_log: AccessLog::default(),
            drain: Duration::from_secs(20),
            takeover: None,
            kubernetes: KubernetesAccess::default(),
            pools,
            warnings: Vec::new(),
        }
    }
}

/// A kind of listener for visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// HTTP/1.1 without TLS.
    Plain,
    /// TLS, whose handshake chooses the version of HTTP.
    Tls,
    /// Redirects every request to https.
    Redirect,
    /// HTTP/2 without TLS, with prior knowledge.
    Http2,
}

impl ListenerKind {
    /// The setting with its endpoints.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            ListenerKind::Plain => "`listen`",
            ListenerKind::Tls => "`tls.listen`",
            ListenerKind::Redirect => "`tls.redirect_listen`",
            ListenerKind::Http2 => "`http2.listen`",
        }
    }
}

impl Config {
    /// Where visitors connect, as configured.
    pub fn listeners(&self) -> impl Iterator<Item = (ListenerKind, &Endpoint)> {
        let all = [
            (ListenerKind::Plain, &self.listen),
            (ListenerKind::Tls, &self.tls.listen),
            (ListenerKind::Redirect, &self.tls.redirect),
            (ListenerKind::Http2, &self.http2.listen),
        ];
        all.into_iter().flat_map(|(kind, endpoints)| endpoints.iter().map(move |endpoint| (kind, endpoint)))
    }

    /// Where visitors connect, with the options of sockets that depend on other settings.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(ListenerKind, Endpoint)> {
        let all: Vec<&Endpoint> = self.listeners().map(|(_, endpoint)| endpoint).collect();
        let reuse_port = self.takeover.is_some();
        let opened = |endpoint: &Endpoint| Endpoint { reuse_port, ..endpoint.beside(&all) };
        self.listeners().map(|(kind, endpoint)| (kind, opened(endpoint))).collect()
    }

    /// Whether this is the address of a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxies| proxies.contains(address))
    }

    /// A listener that is not for visitors.
    #[must_use]
    pub fn internal(&self, address: SocketAddr) -> Endpoint {
        Endpoint { reuse_port: self.takeover.is_some(), ..address.into() }
    }
}

impl PoolConfig {
    /// A pool with default values, exclusive (`slots_per_pod` 1) or shared.
    #[must_use]
    pub fn new(name: &str, rules: Rules, cluster: ClusterConfig) -> PoolConfig {
        let exclusive = rules.slots_per_pod == 1;
        PoolConfig {
            id: name.into(),
            title: name.to_owned(),
            hosts: Vec::new(),
            path: "/".into(),
            rules,
            trigger: Trigger::Prometheus,
            admission: if exclusive { Admission::Returning } else { Admission::Immediate },
            linger: Duration::from_secs(60),
            half_open: Some(Duration::from_secs(30)),
            hold: Duration::ZERO,
            hold_limit: 1000,
            cookie_name: "slotkeeper".into(),
            cookie_max_age: Duration::from_secs(30 * 24 * 3600),
            allowed_origins: Vec::new(),
            embedded_in: Vec::new(),
            answer: Some(Duration::from_secs(60)),
            stall: Some(Duration::from_secs(300)),
            passive: Passive::usual(),
            rejoin: Rejoin::usual(if exclusive { Admission::Returning } else { Admission::Immediate }),
            activity: Activity::default(),
            connections: KeptConnections::new(exclusive),
            landing: None,
            active_sessions_gauge: None,
            priority_header: None,
            schedule: None,
            gauge: None,
            cluster,
        }
    }
}
