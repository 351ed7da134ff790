//! `[pools.NAME.processes]`: pods are local processes.

use super::Probe;
use super::addresses::ip_address;
use super::choices::Groups;
use super::field::{Choices as _, choice};
use super::pods::probe;
use super::setting::{
    Access, DAY, Kind, Row, Setting, Shown, field, number, number_or, read_all, read_field, seconds, seconds_or_off,
};
use super::table::{Table, Value, quoted};
use super::template;
use crate::io::cgroup::Limits;
use crate::io::{accounts, cgroup};
use command::{OF_A_VISITOR, command, environment, inherit, is_of_a_visitor};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod command;

/// Local processes, started and stopped by the dispatcher.
#[derive(Clone, Debug)]
pub struct Processes {
    /// Program and arguments; `{ordinal}`, `{port}`, `{host}`, `{data}` and `{pool}` are filled in.
    pub command: Vec<String>,
    /// Additional environment variables, filled in the same way.
    pub environment: Vec<(String, String)>,
    /// `None`: the dispatcher's.
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
    /// The group that they run as, by name or number; `None`: the user's.
    pub group: Option<String>,
    /// The resource limits of each pod.
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
    /// How readiness is probed.
    pub probe: Probe,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    /// Restart delays after a crash: doubling from the first up to the second.
    pub backoff: (Duration, Duration),
    /// A pod that was ready, and has not answered for this long, is ended; `None`: never.
    pub restart_unready: Option<Duration>,
    /// Maximum lines of a pod's output that are logged per second; `None`: all.
    pub log_lines: Option<u32>,
}

/// What happens to a pod's data folder between two incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataBetween {
    /// The next incarnation gets it unchanged.
    Keep,
    /// It is emptied before the next incarnation starts.
    Wipe,
}

/// What happens to pods when the dispatcher ends.
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
    /// `None`, here and below: no limit.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Open files of each process.
    pub files: Option<u64>,
    /// With threads, as the kernel counts them.
    pub processes: Option<u64>,
}

pub(super) const ROWS: &[Row<Processes>] = &[
    Row::new(
        "command",
        Kind::List("texts"),
        Access::shown(|_, processes: &Processes| Some(Shown::Text(processes.command.join(" ")))),
    )
    .help("the program and its arguments", ". A program name with a slash is a path relative to this file")
    .restart()
    .required(),
    Row::new("environment", Kind::Texts, Access::shown(shown_environment))
        .help("additional variables", "")
        .default("none")
        .restart(),
    Row::new(
        "inherit",
        Kind::List("names"),
        Access::shown(|_, processes: &Processes| Some(Shown::list(&processes.inherit, "none"))),
    )
    .help(
        "variables of the dispatcher's environment that pods inherit, too",
        "; never those that hold its secrets (`cookie_keys_env` and the like)",
    )
    .range("list of names, or prefixes with `*` (`\"CUDA_*\"`)")
    .restart(),
    Row::new("working_folder", Kind::Path, Access { shown: shown_working_folder, ..field!(Processes, working_folder) })
        .help("where the command runs", "")
        .default("the dispatcher's; with `data = \"wipe\"` the pod's own")
        .restart(),
    Row::new(
        "data_folder",
        Kind::Path,
        Access::shown(|_, processes: &Processes| Some(Shown::text(processes.data_folder.display()))),
    )
    .help(
        "each pod has its data in the subfolder `ORDINAL`",
        ". The dispatcher's own records are in `.slotkeeper`; each pool of each dispatcher needs a data \
         folder of its own",
    )
    .restart()
    .required(),
    Row::new("data", choice::<DataBetween>(), field!(Processes, data))
        .help(
            "the content of a pod's folder when the pod starts again",
            ". With `\"wipe\"`, `HOME`, `TMPDIR` and `XDG_RUNTIME_DIR` point into that folder (`home`, `tmp`, \
             `run`). Together with `after_session = \"recycle\"`, the next visitor finds no data of the previous \
             one there. Folders belong to ordinals, not to sessions or people: OPERATING.md, \"Data that follow a \
             person\"",
        )
        .restart(),
    Row::new(
        "user",
        Kind::Account,
        Access {
            read: |setting, table, processes: &mut Processes| processes.user = account(table, setting.key),
            shown: |_, processes: &Processes| Some(Shown::or(&processes.user, "the dispatcher's")),
            ..Access::NONE
        },
    )
    .help(
        "the user that the pods run as",
        ", with the supplementary groups of `/etc/group`; requires a dispatcher that runs as root. The \
         pod's folder belongs to this user",
    )
    .restart(),
    Row::new(
        "group",
        Kind::Account,
        Access {
            read: |setting, table, processes: &mut Processes| processes.group = account(table, setting.key),
            shown: |_, processes: &Processes| Some(Shown::or(&processes.group, "the user's")),
            ..Access::NONE
        },
    )
    .help("the group that the pods run as", "")
    .restart(),
    Row::new("limits", Kind::Table, Access::NONE)
        .help(
            "resource limits of one pod",
            ". With a control group they apply to all its processes together; without one, rlimits enforce what \
             they can",
        )
        .default("none")
        .restart(),
    Row::new(
        "cgroup",
        choice::<Groups>(),
        Access {
            read: groups,
            shown: |_, processes: &Processes| Some(Shown::text(Groups::of(processes).name())),
            ..Access::NONE
        },
    )
    .help("control groups (version 2) of pods", "")
    .restart(),
    Row::new("on_restart", choice::<OnRestart>(), field!(Processes, on_restart))
        .help("what happens to pods when the dispatcher ends", "")
        .restart(),
    Row::new("adopt_within_seconds", seconds(1.0, DAY), field!(Processes, adopt_within))
        .help("how long pods wait for the next dispatcher before they end by themselves", "; with `\"adopt\"` only")
        .restart(),
    Row::new("host", Kind::Text("IP address"), field!(Processes, host = ip_address, ""))
        .help("the address that the pods listen on", "")
        .restart(),
    Row::new("first_port", number_or(1, u16::MAX as u64, "any"), field!(Processes, first_port))
        .help("port of ordinal 0", "; the others use the following ports")
        .restart(),
    Row::new("stop_grace_seconds", seconds(0.0, 3600.0), field!(Processes, stop_grace))
        .help("from SIGTERM to SIGKILL", "")
        .restart(),
    Row::new("restart_backoff_seconds", seconds(0.01, 3600.0), field!(Processes, backoff.0))
        .help("first delay after a crash", "; it doubles with each further one")
        .restart(),
    Row::new("restart_backoff_limit_seconds", seconds(0.01, DAY), field!(Processes, backoff.1))
        .help("longest delay", "")
        .restart(),
    Row::new("restart_unready_seconds", seconds_or_off(1.0, DAY), field!(Processes, restart_unready))
        .help(
            "a pod that was ready and has given its probe no answer at all for this long is restarted",
            "; an error response is an answer",
        )
        .restart(),
    Row::new("log_lines_per_second", number_or(1, 1_000_000, Shown::OFF), field!(Processes, log_lines))
        .help(
            "maximum lines of a pod's output that are logged",
            " (bursts of ten times as many after a pause); suppressed lines are counted in a WARN",
        )
        .restart(),
    Row::new("probe", Kind::Table, Access::NONE).help("how readiness is determined", "").default("TCP").restart(),
];

pub(super) const LIMITS: &[Row<PodLimits>] = &[
    Row::new("memory_bytes", number(1 << 20, 1 << 50), field!(PodLimits, memory_bytes))
        .help("memory (`memory.max`)", "; without a control group, the data of each process (`RLIMIT_DATA`)")
        .restart(),
    Row::new(
        "cpus",
        Kind::Decimal { least: 0.01, most: 4096.0 },
        Access {
            read: cpus,
            shown: |_, limits: &PodLimits| {
                Some(limits.cpu_millis.map_or(Shown::Words("none"), |millis| Shown::plain(millis as f64 / 1000.0)))
            },
            ..Access::NONE
        },
    )
    .help("cores (`cpu.max`)", "; not enforced without a control group")
    .restart(),
    Row::new("files", number(16, 1 << 30), field!(PodLimits, files))
        .help("open files of each process (`RLIMIT_NOFILE`)", "")
        .restart(),
    Row::new("processes", number(1, 1 << 22), field!(PodLimits, processes))
        .help(
            "processes and threads (`pids.max`)",
            "; without a control group, of all processes of the same user, root excepted (`RLIMIT_NPROC`)",
        )
        .restart(),
];

impl Processes {
    /// Any free port on loopback, a TCP probe, 10 s to stop, restarts after 1 to 60 s.
    #[must_use]
    pub fn new(command: Vec<String>, data_folder: PathBuf) -> Processes {
        Processes {
            command,
            environment: Vec::new(),
            inherit: Vec::new(),
            working_folder: None,
            data_folder,
            data: DataBetween::Keep,
            user: None,
            group: None,
            limits: PodLimits::default(),
            cgroup: true,
            on_restart: OnRestart::Stop,
            adopt_within: Duration::from_secs(60),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            first_port: None,
            probe: Probe::default(),
            stop_grace: Duration::from_secs(10),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            restart_unready: Some(Duration::from_secs(300)),
            log_lines: Some(100),
        }
    }
}

fn shown_environment(_: &Setting, processes: &Processes) -> Option<Shown> {
    // Values may be secrets.
    Some(Shown::list(processes.environment.iter().map(|(name, _)| name), "none"))
}

fn shown_working_folder(_: &Setting, processes: &Processes) -> Option<Shown> {
    let usual = if processes.data == DataBetween::Wipe { "its own" } else { "inherited" };
    Some(Shown::or(&processes.working_folder.as_ref().map(|path| path.display()), usual))
}

fn groups(setting: &Setting, table: &Table<'_>, processes: &mut Processes) {
    let mut groups = Groups::of(processes);
    read_field(&mut groups, setting, table);
    processes.cgroup = groups == Groups::Auto;
}

fn cpus(setting: &Setting, table: &Table<'_>, limits: &mut PodLimits) {
    let cpus = table.value(setting.key).and_then(|value| value.decimal(setting.kind));
    limits.cpu_millis = cpus.map(|cpus| (cpus * 1000.0).round() as u64);
}

pub(super) fn processes(table: &Table<'_>) -> Processes {
    let environment = environment(table);
    let command = command(table, &environment);
    let data_folder = table.path("data_folder");
    if !table.has("data_folder") {
        table.missing("data_folder", "allowed: a folder; each pod gets one in it, named by its ordinal");
    }
    let mut processes = Processes::new(command, data_folder.unwrap_or_default());
    processes.environment = environment;
    processes.inherit = inherit(table);
    read_all(ROWS, table, &mut processes);
    if let Some(table) = table.table("limits") {
        read_all(LIMITS, &table, &mut processes.limits);
        table.finish();
    }
    processes.probe = probe(table);
    if processes.backoff.0 > processes.backoff.1 {
        let (first, limit) = (processes.backoff.0.as_secs_f64(), processes.backoff.1.as_secs_f64());
        let what = format!("{limit} is less than `restart_backoff_seconds`, {first}; allowed: as much or more");
        table.wrong("restart_backoff_limit_seconds", what);
    }
    if processes.on_restart == OnRestart::Stop && table.has("adopt_within_seconds") {
        table.wrong("adopt_within_seconds", "pods end with the dispatcher; allowed: with `on_restart = \"adopt\"`");
    }
    doubts(table, &processes);
    table.finish();
    processes
}

/// A name, or a number with or without quotes.
fn account(table: &Table<'_>, key: &'static str) -> Option<String> {
    let value: Value<'_> = table.value(key)?;
    if value.is_string() {
        let text = value.string("text")?;
        let good = !text.is_empty() && !text.contains([':', '\n', '\0']);
        if !good {
            value.wrong(format_args!("{} is not a name; allowed: a name or a number", quoted(text)));
        }
        return good.then(|| text.to_owned());
    }
    value.number(&(0..=u32::MAX - 1)).map(|id| id.to_string())
}

/// Warns of what is missing on this machine.
fn doubts(table: &Table<'_>, processes: &Processes) {
    if let Some(folder) = processes.working_folder.as_ref().filter(|folder| !folder.is_dir()) {
        table.doubt("working_folder", format_args!("there is no folder {} on this machine", folder.display()));
    }
    if table.has("data_folder")
        && let Some(what) = cannot_keep(&processes.data_folder)
    {
        table.doubt("data_folder", what);
    }
    for key in ["working_folder", "data_folder"] {
        let is_home = |text: &str| text == "~" || text.starts_with("~/");
        if table.value(key).filter(Value::is_string).and_then(|v| v.string("text")).is_some_and(is_home) {
            table.doubt(key, "~ stays as it is; write the folder");
        }
        let text = table.value(key).filter(Value::is_string).and_then(|v| v.string("text"));
        if let Some(name) = text.and_then(template::unknown).filter(|name| is_of_a_visitor(name)) {
            table.doubt(key, format_args!("{{{name}}} stays as it is: {OF_A_VISITOR}"));
        }
    }
    match accounts::find(processes.user.as_deref(), processes.group.as_deref()) {
        Ok(_) => {}
        Err(what) => table.doubt(if table.has("user") { "user" } else { "group" }, what),
    }
    let limits = Limits {
        memory_bytes: processes.limits.memory_bytes,
        cpu_millis: processes.limits.cpu_millis,
        files: None,
        processes: processes.limits.processes,
    };
    if limits == Limits::default() {
        return;
    }
    let missing = if processes.cgroup {
        cgroup::Base::find().and_then(|base| {
            base.can_pass_on(&limits).map_err(|missing| format!("the controllers {} are missing", missing.join(", ")))
        })
    } else {
        Err("`cgroup` is \"off\"".to_owned())
    };
    if let Err(why) = missing {
        let instead = "memory and processes are limited by rlimits (each process's data; all processes of the user), \
                       cpus not at all";
        table.doubt("limits", format_args!("no control group can hold a pod as a whole here ({why}): {instead}"));
    }
}

/// Why a folder cannot be created or written to.
fn cannot_keep(folder: &Path) -> Option<String> {
    let existing = folder.ancestors().find(|path| path.exists())?;
    if !existing.is_dir() {
        return Some(format!("{} is not a folder", existing.display()));
    }
    let access = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    access.is_err().then(|| format!("this user cannot write in {}", existing.display()))
}
