//! The pods of a pool: `[pools.NAME.fixed]` (`processes.rs` and `kubernetes.rs` read the other kinds), and how their readiness
//! is probed.

use super::addresses::{asked_path, host_port};
use super::table::Table;
use super::{ClusterConfig, FixedPods, Probe, ProbeKind, file, kubernetes, processes};
use slotkeeper_core::Rules;

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
    file::distinct(&list.iter().map(|(text, at)| (*text, at)).collect::<Vec<_>>());
    let pods = list.iter().filter_map(|(text, at)| at.accept(host_port(text))).collect();
    let resolve = table.seconds("resolve_seconds", FixedPods::RESOLVE, 0.1..=30.0);
    let fixed = FixedPods { pods, resolve, probe: probe(table) };
    table.finish();
    fixed
}

pub(super) fn probe(pods: &Table<'_>) -> Probe {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Tcp,
        Http,
    }
    let default = Probe::default();
    let Some(table) = pods.table("probe") else { return default };
    let kinds = [("tcp", Kind::Tcp), ("http", Kind::Http)];
    let kind = table.choice("kind", if table.has("path") { Kind::Http } else { Kind::Tcp }, &kinds);
    let path = table.string("path");
    if kind == Kind::Tcp && table.has("path") {
        table.wrong("path", "a probe of kind \"tcp\" has no path; allowed: with kind \"http\"");
    } else if kind == Kind::Http && !table.has("path") {
        table.missing("path", "allowed: the path to request, such as \"/readyz\"");
    }
    if let Some(path) = path {
        table.accept("path", asked_path(path, "/readyz"));
    }
    let probe = Probe {
        kind: match (kind, path) {
            (Kind::Http, Some(path)) => ProbeKind::Http { path: path.to_owned() },
            (Kind::Http, None) | (Kind::Tcp, _) => ProbeKind::Tcp,
        },
        every: table.seconds("every_seconds", default.every, 0.05..=3600.0),
        timeout: table.seconds("timeout_seconds", default.timeout, 0.05..=3600.0),
        failures: table.number("failures", default.failures, 1..=1000),
    };
    table.finish();
    probe
}
