//! What the pods of a pool are: `[pools.NAME.fixed]` or `[pools.NAME.processes]` (`kubernetes.rs` reads the third kind),
//! and how their readiness is found out.

use super::addresses::{asked_path, host_port, ip_address};
use super::table::{Table, quoted};
use super::{ClusterConfig, FixedPods, Probe, ProbeKind, Processes, file, kubernetes};
use slotkeeper_core::Rules;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

impl Processes {
    /// Any free port on loopback, a TCP probe, 10 s to stop, restarts after 1 to 60 s.
    #[must_use]
    pub fn new(command: Vec<String>, data_folder: PathBuf) -> Processes {
        Processes {
            command,
            environment: Vec::new(),
            working_folder: None,
            data_folder,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            first_port: None,
            probe: Probe::default(),
            stop_grace: Duration::from_secs(10),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// `None` after a problem that leaves no pods to speak of.
pub(super) fn cluster(pool: &Table<'_>) -> Option<ClusterConfig> {
    let said: Vec<&str> = ["kubernetes", "processes", "fixed"].into_iter().filter(|kind| pool.has(kind)).collect();
    match said.as_slice() {
        [] => {
            let name = &pool.path;
            let what = format!(
                "what are its pods? allowed: a table [{name}.kubernetes], [{name}.processes] or [{name}.fixed]"
            );
            pool.source.problem(pool.start(), format_args!("key `{name}`: {what}"));
        }
        [first, others @ ..] => {
            for other in others {
                pool.wrong(first, format_args!("contradicts `{other}`; allowed: one of both"));
            }
        }
    }
    let kubernetes = pool.table("kubernetes").map(|table| ClusterConfig::Kubernetes(kubernetes::pods(&table)));
    let processes = pool.table("processes").map(|table| ClusterConfig::Processes(processes(&table)));
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

fn processes(table: &Table<'_>) -> Processes {
    let default = Processes::new(Vec::new(), PathBuf::new());
    let allowed = "allowed: a list, the program first, each argument by itself";
    let mut command = Vec::new();
    if let Some(items) = table.list("command") {
        if table.has_empty_list("command") || items.first().is_some_and(|(program, _)| program.is_empty()) {
            table.wrong("command", format_args!("there is no program in it; {allowed}"));
        }
        command.extend(items.into_iter().filter_map(|(text, at)| at.accept(argument(text))));
    } else if !table.has("command") {
        table.missing("command", allowed);
    }
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = table.source.folder.join(&*program).to_string_lossy().into_owned();
    }
    let mut environment = Vec::new();
    for (name, value) in table.table("environment").map(|table| table.named()).unwrap_or_default() {
        if name.is_empty() || name.contains(['=', '\0']) {
            value.wrong(format_args!("{} is no name of an environment variable; allowed: no = in it", quoted(&name)));
        }
        if let Some(text) = value.string("text").and_then(|text| value.accept(argument(text))) {
            environment.push((name, text));
        }
    }
    let data_folder = table.path("data_folder");
    if !table.has("data_folder") {
        table.missing("data_folder", "allowed: a folder; each pod gets one in it, named by its ordinal");
    }
    let processes = Processes {
        command,
        environment,
        working_folder: table.path("working_folder"),
        data_folder: data_folder.unwrap_or_default(),
        host: table.string("host").and_then(|text| table.accept("host", ip_address(text))).unwrap_or(default.host),
        first_port: table
            .value("first_port")
            .and_then(|port| if port.is_text("any") { None } else { port.number(&(1..=u16::MAX)) }),
        probe: probe(table),
        stop_grace: table.seconds("stop_grace_seconds", default.stop_grace, 0.0..=3600.0),
        backoff: (
            table.seconds("restart_backoff_seconds", default.backoff.0, 0.01..=3600.0),
            table.seconds("restart_backoff_limit_seconds", default.backoff.1, 0.01..=86_400.0),
        ),
    };
    if processes.backoff.0 > processes.backoff.1 {
        let (first, limit) = (processes.backoff.0.as_secs_f64(), processes.backoff.1.as_secs_f64());
        let what = format!("{limit} is less than `restart_backoff_seconds`, {first}; allowed: as much or more");
        table.wrong("restart_backoff_limit_seconds", what);
    }
    table.finish();
    processes
}

/// What the operating system takes as an argument or a variable.
fn argument(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{} has a zero byte in it; allowed: any other text", quoted(text)));
    }
    Ok(text.to_owned())
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
        table.wrong("path", "a probe of kind \"tcp\" asks for nothing; allowed: with kind \"http\"");
    } else if kind == Kind::Http && !table.has("path") {
        table.missing("path", "allowed: what to ask for, such as \"/readyz\"");
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
