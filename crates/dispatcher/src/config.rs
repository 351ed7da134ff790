//! The configuration, parsed once into [`Config`]. How a TOML file is read, and every message about a wrong one, starts in
//! `config/file.rs`; configurations without a file are in `config/preset.rs`; the weekly schedule of spare slots in
//! `config/schedule.rs`. `CONFIG.md` lists every setting for operators.

use redis::RedisJournal;
use request_rules::{Passive, Pattern, Rejoin};
use slotkeeper_core::{PoolId, Rules};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

mod addresses;
mod describe;
pub mod duration;
pub mod file;
mod journal;
mod keda;
mod kubernetes;
mod passive;
mod permissions;
mod pods;
mod pool;
mod preset;
mod processes;
pub mod redis;
pub mod request_rules;
mod rules;
pub mod schedule;
mod secrets;
mod spare;
mod table;
mod targets;
pub(crate) mod template;
mod tls;
mod together;

/// The file in a journal folder with the signing key, used if the configuration has none.
pub const KEY_FILE: &str = "cookie-key";

pub use crate::authority::{HostPattern, OriginPattern};
pub use crate::io::tls::{TlsFiles, TlsVersion};
pub use describe::describe;
pub use file::{parse, read};
pub use journal::from_arg as journal_from_arg;
pub use preset::{demo, from_args};
pub use table::ConfigError;
pub use tls::{Hsts, TlsListeners};
pub(crate) use together::{clash, share_machine};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where visitors connect.
    pub listen: Vec<SocketAddr>,
    pub tls: TlsListeners,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    pub admin: Admin,
    pub keda: Keda,
    pub journal: JournalConfig,
    /// Keys of the session cookies: the first signs, all verify. Empty: a random key is generated, and stored in the journal's
    /// folder if there is one.
    pub cookie_keys: Vec<Secret>,
    /// The proxies whose `X-Forwarded-*` headers are trusted.
    pub trusted_proxies: Vec<Network>,
    pub limits: Limits,
    /// How long streams may take to end when the dispatcher stops or a pod drains; close frames are spread over it.
    pub drain: Duration,
    /// How to reach the Kubernetes API, if a pool needs it.
    pub kubernetes: KubernetesAccess,
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

/// How to reach the Kubernetes API: by default with the pod's own service account, if there is one, else with the kubeconfig
/// named by the environment variable `KUBECONFIG`, else with `~/.kube/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesAccess {
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; `None`: its current one.
    pub context: Option<String>,
}

/// The listener for operators: metrics, health, the admin API.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    pub listen: Option<SocketAddr>,
    /// Required (as `Authorization: Bearer`) for everything but health when set; must be set unless `listen` is loopback.
    pub token: Option<Secret>,
}

/// The gRPC listener from which KEDA gets the numbers of pods.
#[derive(Clone, Debug, Default)]
pub struct Keda {
    pub listen: Option<SocketAddr>,
    pub tls: Option<TlsFiles>,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of a request's head.
    pub header_bytes: usize,
    /// Most fields of a request's or a response's head.
    pub header_fields: usize,
    /// Most time for a request's head to arrive.
    pub header_time: Duration,
    /// Most bytes of a request's body; `None`: no limit (it is never kept in memory).
    pub body_bytes: Option<u64>,
    /// An idle keep-alive connection is closed after this.
    pub idle: Duration,
    /// Before a connection with unread input is closed, that input is read and discarded for at most this long; zero: not at all.
    pub linger: Duration,
    /// ... and at most this many bytes of it.
    pub linger_bytes: u64,
    /// Most connections from visitors at once.
    pub connections: usize,
    /// Most streams (requests in flight and upgraded connections) of one session at once.
    pub streams_per_session: usize,
    /// Most new sessions minted per second, over all pools.
    pub new_sessions_per_second: u32,
}

/// One pool and the route to it.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    pub id: PoolId,
    /// The name that visitors see: "Your console is starting".
    pub title: String,
    /// Hosts routed here; empty: any.
    pub hosts: Vec<HostPattern>,
    /// Path prefix routed here (whole segments), `/` for all.
    pub path: String,
    pub rules: Rules,
    /// How KEDA gets the number of pods, if it scales this pool.
    pub trigger: Trigger,
    pub admission: Admission,
    /// A session that only speaks HTTP counts as present this long after its last request.
    pub linger: Duration,
    /// A WebSocket client that has sent nothing for this long is pinged, and has the same time to answer; `None`: never.
    pub half_open: Option<Duration>,
    /// How long an upgrade or API call waits for a slot instead of a `503`; zero: not at all.
    pub hold: Duration,
    /// Most requests held at once.
    pub hold_limit: usize,
    pub cookie_name: String,
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
    pub cluster: ClusterConfig,
}

/// Which signals count as activity of a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    pub signals: Signals,
    /// With [`Signals::Frames`]: the payloads of WebSocket frames that count.
    pub frame_bytes: Vec<Sizes>,
    /// Requests for these paths, and their bodies and WebSockets, never count.
    pub ignored_paths: Vec<Pattern>,
    /// One report makes a session busy for this long at most.
    pub busy_limit: Duration,
}

/// Sizes from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub least: u64,
    pub most: u64,
}

impl Sizes {
    pub const ANY: Sizes = Sizes { least: 0, most: u64::MAX };

    /// `6`, `6-8` or `6-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Sizes> {
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
        let sizes = match text.split_once('-') {
            None => number(text).map(|size| Sizes { least: size, most: size }),
            Some((least, "")) => number(least).map(|least| Sizes { least, most: u64::MAX }),
            Some((least, most)) => number(least).zip(number(most)).map(|(least, most)| Sizes { least, most }),
        };
        sizes.filter(|sizes| sizes.least <= sizes.most)
    }

    #[must_use]
    pub fn has(&self, size: u64) -> bool {
        (self.least..=self.most).contains(&size)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Sizes { least, most: u64::MAX } => write!(f, "{least}-"),
            Sizes { least, most } if least == most => write!(f, "{least}"),
            Sizes { least, most } => write!(f, "{least}-{most}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// Requests, bodies on their way, and WebSocket frames.
    Any,
    /// WebSocket frames of some size.
    Frames,
    /// Reports of pages and pods.
    Reported,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity {
            signals: Signals::Any,
            frame_bytes: vec![Sizes::ANY],
            ignored_paths: Vec::new(),
            busy_limit: Duration::from_secs(4 * 3600),
        }
    }
}

/// How connections to the pods are reused between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptConnections {
    /// An idle connection is closed after this; `None`: no connection is kept.
    pub idle: Option<Duration>,
    /// A connection older than this carries no further request; `None`: no limit.
    pub age: Option<Duration>,
    /// Whether a connection that has carried nothing but requests without a body may serve another session.
    pub share: bool,
}

impl KeptConnections {
    /// The defaults. Common servers close idle connections after 5 seconds or later; 4 seconds stay below that.
    #[must_use]
    pub fn new(exclusive: bool) -> KeptConnections {
        KeptConnections { idle: Some(Duration::from_secs(4)), age: Some(Duration::from_secs(3600)), share: !exclusive }
    }
}

/// A gauge that the pods export in Prometheus' text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodGauge {
    pub name: String,
    /// `None`: the port that visitors' requests go to.
    pub port: Option<u16>,
    pub path: String,
    pub every: Duration,
}

impl Default for PodGauge {
    fn default() -> PodGauge {
        PodGauge { name: String::new(), port: None, path: "/metrics".into(), every: Duration::from_secs(15) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Trigger {
    /// KEDA calls the dispatcher over gRPC, and gets pushes on a stream (`scaling = "keda-push"`).
    Push,
    /// KEDA queries Prometheus, which scrapes the dispatcher's gauges (`scaling = "prometheus"`).
    Prometheus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Admission {
    /// No slot is allocated before the browser has returned the cookie once.
    Returning,
    /// The first request is placed at once, and its response sets the cookie.
    Immediate,
}

/// A plain-HTTP address of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// `host:port`.
    pub authority: String,
    pub path: String,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each pool, read once")]
pub enum ClusterConfig {
    Fixed(FixedPods),
    Processes(Processes),
    Kubernetes(KubernetesPods),
}

/// A list of addresses.
#[derive(Clone, Debug)]
pub struct FixedPods {
    /// `host:port`, in order of their ordinals.
    pub pods: Vec<String>,
    /// How often names are looked up again.
    pub resolve: Duration,
    pub probe: Probe,
}

impl FixedPods {
    /// Short, because the resolver of the operating system does not return the TTL of an answer.
    pub const RESOLVE: Duration = Duration::from_secs(5);
}

/// Local processes, started and stopped by the dispatcher.
#[derive(Clone, Debug)]
pub struct Processes {
    /// Program and arguments; `{ordinal}`, `{port}`, `{host}`, `{data}` and `{pool}` are filled in.
    pub command: Vec<String>,
    /// Additional environment variables, filled in the same way.
    pub environment: Vec<(String, String)>,
    pub working_folder: Option<PathBuf>,
    /// Variables of the dispatcher's environment that are passed on in addition to the usual ones; a star at the end matches
    /// any rest of the name.
    pub inherit: Vec<String>,
    /// Each ordinal gets the folder `data_folder/ORDINAL`.
    pub data_folder: PathBuf,
    /// What happens to the folder's content between two incarnations.
    pub data: DataBetween,
    /// The user that the processes run as, by name or number; `None`: the dispatcher's.
    pub user: Option<String>,
    pub group: Option<String>,
    pub limits: PodLimits,
    /// Each pod gets a control group, if that is possible.
    pub cgroup: bool,
    /// What happens to pods when the dispatcher ends, however it ends.
    pub on_restart: OnRestart,
    /// With [`OnRestart::Adopt`]: how long they wait for the next dispatcher.
    pub adopt_within: Duration,
    /// The address the processes listen on.
    pub host: IpAddr,
    /// Ordinal n listens on `first_port + n`; `None`: any free port.
    pub first_port: Option<u16>,
    pub probe: Probe,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    /// Restart delays after a crash: doubling from the first up to the second.
    pub backoff: (Duration, Duration),
    /// A pod that was ready, and has not answered for this long, is ended; `None`: never.
    pub restart_unready: Option<Duration>,
    /// Most lines of a pod's output that are logged per second; `None`: all.
    pub log_lines: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataBetween {
    Keep,
    Wipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRestart {
    /// They end with the dispatcher.
    Stop,
    /// They keep running, and the next dispatcher adopts them.
    Adopt,
}

/// The resource limits of one pod: of all its processes together if there is a control group, otherwise of each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    pub memory_bytes: Option<u64>,
    /// Thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Open files of each process.
    pub files: Option<u64>,
    pub processes: Option<u64>,
}

/// The pods of a StatefulSet or a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesPods {
    pub workload: Workload,
    /// `None`: the dispatcher's own, or that of the kubeconfig's context.
    pub namespace: Option<String>,
    /// The container port the pods listen on.
    pub port: u16,
    /// How a new incarnation is probed, until it answers once, after the pod's own readiness.
    pub probe: Probe,
    /// KEDA's ScaledObject of this workload.
    pub scaled_object: Option<String>,
    /// While any session exists, an annotation on the ScaledObject keeps KEDA from scaling in.
    pub keda_guard: bool,
    /// A pod on a node that Kubernetes has lost is deleted if it has not answered for this long. `None`: never.
    pub give_up: Option<Duration>,
}

impl KubernetesPods {
    pub const GIVE_UP: Option<Duration> = Some(Duration::from_secs(10));
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    StatefulSet(String),
    Deployment(String),
}

impl Workload {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Workload::StatefulSet(name) | Workload::Deployment(name) => name,
        }
    }

    /// The Kubernetes kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Workload::StatefulSet(_) => "StatefulSet",
            Workload::Deployment(_) => "Deployment",
        }
    }
}

/// How readiness is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub kind: ProbeKind,
    pub every: Duration,
    pub timeout: Duration,
    /// Failures in a row before a ready pod counts as unready.
    pub failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection succeeds.
    Tcp,
    /// `GET path` answers 2xx or 3xx.
    Http { path: String },
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { kind: ProbeKind::Tcp, every: Duration::from_millis(500), timeout: Duration::from_secs(2), failures: 3 }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_bytes: 64 * 1024,
            header_fields: 100,
            header_time: Duration::from_secs(10),
            body_bytes: None,
            idle: Duration::from_secs(75),
            linger: Duration::from_secs(30),
            linger_bytes: 256 * 1024 * 1024,
            connections: 20_000,
            streams_per_session: 256,
            new_sessions_per_second: 1000,
        }
    }
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
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080)],
            tls: TlsListeners::default(),
            threads: 0,
            admin: Admin::default(),
            keda: Keda::default(),
            journal: JournalConfig::Memory,
            cookie_keys: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            drain: Duration::from_secs(20),
            kubernetes: KubernetesAccess::default(),
            pools,
            warnings: Vec::new(),
        }
    }
}

impl Admin {
    /// The address of the admin listener if the file does not set it.
    pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
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

/// An IP network, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Network {
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, bits) = match (self.address, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96, 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let prefix = u32::from(self.prefix.min(bits));
        prefix == 0 || (own ^ other) >> (128 - prefix) == 0
    }
}

/// Bytes that are never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
