//! The pods of a pool: `[pools.NAME.fixed]` (`processes.rs` and `kubernetes.rs` read the other kinds), and how their readiness
//! is probed.

use super::addresses::{asked_path, host_port};
use super::choices::Probing;
use super::field::{Choices as _, choice};
use super::setting::{Access, Kind, Row, Shown, field, number, read_all, seconds};
use super::table::Table;
use super::{ClusterConfig, file, kubernetes, processes};
use crate::io::proxy::ProxyVersion;
use slotkeeper_core::Rules;
use std::time::Duration;

/// `None` if the file does not define any pods, which has been reported then.
pub(super) fn cluster(pool: &Table<'_>) -> Option<ClusterConfig> {
    let said: Vec<&str> = ["kubernetes", "processes", "fixed"].into_iter().filter(|kind| pool.has(kind)).collect();
    match said.as_slice() {
        [] => {
            let name = &pool.path;
            let what = format!(
                "no pods are configured; allowed: a table [{name}.kubernetes], [{name}.processes] or [{name}.fixed]"
            );
            pool.source.problem(pool.start(), format_args!("key `{name}`: {what}"));
        }
        [first, others @ ..] => {
            for other in others {
                pool.wrong(first, format_args!("contradicts `{other}`; allowed: one of the two"));
            }
        }
    }
    let kubernetes = pool.table("kubernetes").map(|table| ClusterConfig::Kubernetes(kubernetes::pods(&table)));
    let processes = pool.table("processes").map(|table| ClusterConfig::Processes(processes::processes(&table)));
    let fixed = pool.table("fixed").map(|table| ClusterConfig::Fixed(fixed(&table)));
    kubernetes.or(processes).or(fixed)
}

/// A list of addresses.
#[derive(Clone, Debug)]
pub struct FixedPods {
    /// `host:port`, in order of their ordinals.
    pub pods: Vec<String>,
    /// How often names are looked up again.
    pub resolve: Duration,
    /// How readiness is probed.
    pub probe: Probe,
}

impl FixedPods {
    /// Short, because the resolver of the operating system does not return the TTL of an answer.
    pub const RESOLVE: Duration = Duration::from_secs(5);

    /// These pods, with defaults for everything else.
    #[must_use]
    pub fn new(pods: Vec<String>) -> FixedPods {
        FixedPods { pods, resolve: FixedPods::RESOLVE, probe: Probe::default() }
    }
}

/// How readiness is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The check that has to succeed.
    pub kind: ProbeKind,
    /// The pause between two probes of a pod; shorter while a process starts.
    pub every: Duration,
    /// A probe without an answer after this long has failed.
    pub timeout: Duration,
    /// Failures in a row before a ready pod counts as unready.
    pub failures: u32,
    /// The pods expect a PROXY header (`connections.proxy_protocol` of the pool).
    pub proxy: Option<ProxyVersion>,
}

/// The check that has to succeed for a pod to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection succeeds.
    Tcp,
    /// `GET path` answers 2xx or 3xx.
    Http {
        /// With its query, if it has one.
        path: String,
    },
}

impl Default for Probe {
    fn default() -> Probe {
        Probe {
            kind: ProbeKind::Tcp,
            every: Duration::from_millis(500),
            timeout: Duration::from_secs(2),
            failures: 3,
            proxy: None,
        }
    }
}

pub(super) const FIXED: &[Row<FixedPods>] = &[
    Row::new(
        "pods",
        Kind::List("`HOST:PORT`"),
        Access::shown(|_, fixed: &FixedPods| Some(Shown::list(&fixed.pods, "none"))),
    )
    .help("the pods, in order of their ordinals", "")
    .restart()
    .required(),
    Row::new("resolve_seconds", seconds(0.1, 30.0), field!(FixedPods, resolve))
        .help(
            "how often names are resolved again (the operating system's resolver does not report the TTL of an \
             answer)",
            "; also when no address answers. A pod keeps its address while the name resolves to it. Afterwards \
             the pod's sessions follow the name: their streams to the old address are closed, and new ones go to \
             the new address",
        )
        .restart(),
    Row::new("probe", Kind::Table, Access::NONE).help("how readiness is determined", "").default("TCP").restart(),
];

fn fixed(table: &Table<'_>) -> FixedPods {
    let list = table.list("pods");
    if !table.has("pods") {
        table.missing("pods", "allowed: a list of HOST:PORT");
    }
    let list = list.unwrap_or_default();
    if table.has_empty_list("pods") {
        table.wrong("pods", "the list is empty; allowed: at least one HOST:PORT");
    }
    if list.len() > Rules::MAX_PODS as usize {
        table.wrong("pods", format_args!("the list has {} pods; allowed: at most {}", list.len(), Rules::MAX_PODS));
    }
    file::distinct(list.iter().map(|(text, at)| (*text, at)));
    let pods = list.iter().filter_map(|(text, at)| at.accept(host_port(text))).collect();
    let mut fixed = FixedPods::new(pods);
    read_all(FIXED, table, &mut fixed);
    fixed.probe = probe(table);
    table.finish();
    fixed
}

pub(super) const PROBE: &[Row<Probe>] = &[
    Row::new("kind", choice::<Probing>(), Access::shown(|_, probe: &Probe| Some(Shown::text(probing(probe).name()))))
        .help("how a pod is probed", "")
        .default("`\"tcp\"`; with `path`: `\"http\"`")
        .restart(),
    Row::new("path", Kind::Text("path"), Access::shown(|_, probe: &Probe| path(probe)))
        .help("the path of the request", "")
        .default("required for `\"http\"`")
        .restart(),
    Row::new("every_seconds", seconds(0.05, 3600.0), field!(Probe, every)).help("how often", "").restart(),
    Row::new("timeout_seconds", seconds(0.05, 3600.0), field!(Probe, timeout))
        .help("how long an answer may take", "")
        .restart(),
    Row::new("failures", number(1, 1000), field!(Probe, failures))
        .help("this many failures in a row make a ready pod unready", "")
        .restart(),
];

fn probing(probe: &Probe) -> Probing {
    if probe.kind == ProbeKind::Tcp { Probing::Tcp } else { Probing::Http }
}

fn path(probe: &Probe) -> Option<Shown> {
    if let ProbeKind::Http { path } = &probe.kind { Some(Shown::text(path)) } else { None }
}

/// Reads the table `probe` of a kind of pods.
pub(super) fn probe(pods: &Table<'_>) -> Probe {
    let mut probe = Probe::default();
    let Some(table) = pods.table("probe") else { return probe };
    read_all(PROBE, &table, &mut probe);
    let usual = if table.has("path") { Probing::Http } else { Probing::Tcp };
    let kind = table.value("kind").and_then(|value| value.choice(Probing::ALL)).unwrap_or(usual);
    let path = table.string("path");
    if kind == Probing::Tcp && table.has("path") {
        table.wrong("path", "a probe of kind \"tcp\" has no path; allowed: with kind \"http\"");
    } else if kind == Probing::Http && !table.has("path") {
        table.missing("path", "allowed: the path to request, such as \"/readyz\"");
    }
    if let Some(path) = path {
        table.accept("path", asked_path(path, "/readyz"));
    }
    if let (Probing::Http, Some(path)) = (kind, path) {
        probe.kind = ProbeKind::Http { path: path.to_owned() };
    }
    table.finish();
    probe
}
