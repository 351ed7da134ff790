//! `[pools.NAME.processes]`: pods are local processes. Commands that look wrong are reported as warnings before they are
//! started: they may be right on the machine where they will run.

use super::addresses::ip_address;
use super::pods::probe;
use super::table::{Table, Value, quoted};
use super::template::{self, NAMES, variable_matches};
use super::{DataBetween, OnRestart, PodLimits, Probe, Processes};
use crate::io::cgroup::Limits;
use crate::io::{accounts, cgroup};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

pub(super) fn processes(table: &Table<'_>) -> Processes {
    let default = Processes::new(Vec::new(), PathBuf::new());
    let environment = environment(table);
    let command = command(table, &environment);
    let data_folder = table.path("data_folder");
    if !table.has("data_folder") {
        table.missing("data_folder", "allowed: a folder; each pod gets one in it, named by its ordinal");
    }
    let processes = Processes {
        command,
        environment,
        inherit: inherit(table),
        working_folder: table.path("working_folder"),
        data_folder: data_folder.unwrap_or_default(),
        data: table.choice("data", default.data, &[("keep", DataBetween::Keep), ("wipe", DataBetween::Wipe)]),
        user: account(table, "user"),
        group: account(table, "group"),
        limits: table.table("limits").map(|table| limits(&table)).unwrap_or_default(),
        cgroup: table.choice("cgroup", default.cgroup, &[("auto", true), ("off", false)]),
        on_restart: table.choice(
            "on_restart",
            default.on_restart,
            &[("stop", OnRestart::Stop), ("adopt", OnRestart::Adopt)],
        ),
        adopt_within: table.seconds("adopt_within_seconds", default.adopt_within, 1.0..=86_400.0),
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
        restart_unready: table.seconds_or_off("restart_unready_seconds", default.restart_unready, 1.0..=86_400.0),
        log_lines: table
            .number_or_off("log_lines_per_second", default.log_lines.map(u64::from), &(1..=1_000_000))
            .map(|lines| lines as u32),
    };
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

fn command(table: &Table<'_>, environment: &[(String, String)]) -> Vec<String> {
    let allowed = "allowed: a list, the program first, each argument by itself";
    let mut command: Vec<String> = Vec::new();
    let Some(items) = table.list("command") else {
        if !table.has("command") {
            table.missing("command", allowed);
        }
        return command;
    };
    if table.has_empty_list("command") || items.first().is_some_and(|(program, _)| program.is_empty()) {
        table.wrong("command", format_args!("there is no program in it; {allowed}"));
    }
    let is_shell = items.first().is_some_and(|(program, _)| is_shell(program));
    let mut is_script = false;
    for (text, at) in &items {
        if let Some(what) = unfilled(text, is_script) {
            at.doubt(what);
        }
        is_script |= is_shell && text.starts_with('-') && text.ends_with('c');
        command.extend(at.accept(argument(text)));
    }
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = table.source.folder.join(&*program).to_string_lossy().into_owned();
    }
    if let (Some(program), Some((_, at))) = (command.first().filter(|p| !p.is_empty()), items.first())
        && let Some(what) = cannot_run(program, environment)
    {
        at.doubt(what);
    }
    command
}

fn environment(table: &Table<'_>) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    for (name, value) in table.table("environment").map(|table| table.named()).unwrap_or_default() {
        if name.is_empty() || name.contains(['=', '\0']) {
            value.wrong(format_args!(
                "{} is not the name of an environment variable; allowed: no = in it",
                quoted(&name)
            ));
        }
        if let Some(text) = value.string("text").and_then(|text| value.accept(argument(text))) {
            if let Some(what) = unfilled(&text, false) {
                value.doubt(what);
            }
            environment.push((name, text));
        }
    }
    environment
}

fn inherit(table: &Table<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, at) in table.list("inherit").unwrap_or_default() {
        let secrets = table.source.secrets.borrow();
        if name.is_empty() || name.trim_end_matches('*').contains(['=', '\0', '*']) {
            let allowed = "a name, or the beginning of names and a star";
            at.wrong(format_args!("{} is not the name of an environment variable; allowed: {allowed}", quoted(name)));
        } else if let Some(secret) = secrets.iter().find(|secret| variable_matches(name, secret)) {
            at.wrong(format_args!("{secret} is a secret of the dispatcher; allowed: other variables"));
        } else {
            names.push(name.to_owned());
        }
    }
    names
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

fn limits(table: &Table<'_>) -> PodLimits {
    let count = |key: &'static str, least: u64, most: u64| table.value(key).and_then(|v| v.number(&(least..=most)));
    let limits = PodLimits {
        memory_bytes: count("memory_bytes", 1 << 20, 1 << 50),
        cpu_millis: table
            .value("cpus")
            .and_then(|value| value.decimal(&(0.01..=4096.0)))
            .map(|cpus| (cpus * 1000.0).round() as u64),
        files: count("files", 16, 1 << 30),
        processes: count("processes", 1, 1 << 22),
    };
    table.finish();
    limits
}

/// A text that the operating system accepts as an argument or a variable.
fn argument(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{} contains a zero byte; allowed: any other text", quoted(text)));
    }
    Ok(text.to_owned())
}

fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox"].contains(&name)
}

/// A warning about placeholders that a shell or another program would expand, but that are not expanded here. `is_script`:
/// the text is a script for a shell.
fn unfilled(text: &str, is_script: bool) -> Option<String> {
    let shell = "arguments are not interpreted by a shell";
    if !is_script && (text == "~" || text.starts_with("~/") || text.contains("=~/")) {
        return Some(format!("{}: ~ stays as it is, {shell}; write the folder", quoted(text)));
    }
    if let Some(name) = variable(text).filter(|_| !is_script) {
        let what = format!("${name} stays as it is, {shell}");
        return Some(format!("{}: {what}; write its value, or run sh -c with it", quoted(text)));
    }
    let unknown = template::unknown(text)?;
    let known = NAMES.map(|name| format!("{{{name}}}")).join(", ");
    if is_of_a_visitor(unknown) {
        return Some(format!(
            "{}: {{{unknown}}} stays as it is: {OF_A_VISITOR}; what is filled in: {known}",
            quoted(text)
        ));
    }
    Some(format!("{}: {{{unknown}}} stays as it is; what is filled in: {known}", quoted(text)))
}

/// Names that people expect to be filled in, and that cannot be.
fn is_of_a_visitor(name: &str) -> bool {
    matches!(name, "session" | "session_id" | "user" | "visitor")
}

const OF_A_VISITOR: &str =
    "pods start before it is known whose they will be, see \"Data that follow a person\" in OPERATING.md";

/// The first `$NAME` or `${NAME}`.
fn variable(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let rest = text[at + 1..].strip_prefix('{').unwrap_or(&text[at + 1..]);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(name)
    })
}

/// Why this program could not be started on this machine now.
fn cannot_run(program: &str, environment: &[(String, String)]) -> Option<String> {
    if program.contains(['{', '$']) {
        return None;
    }
    if program.contains('/') {
        let Ok(found) = std::fs::metadata(program) else {
            return Some(format!("there is no program {program} on this machine"));
        };
        let good = found.is_file() && found.permissions().mode() & 0o111 != 0;
        return (!good).then(|| format!("{program} may not be executed: it is a folder, or not marked as a program"));
    }
    let configured = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.into());
    let path = configured.or_else(|| std::env::var_os("PATH"))?;
    let is_there = std::env::split_paths(&path).any(|folder| {
        let found = std::fs::metadata(folder.join(program));
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    });
    let shown = path.to_string_lossy();
    (!is_there).then(|| format!("there is no program {program} in any folder of PATH ({shown})"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_that_a_shell_would_expand_are_reported() {
        let said = |text| unfilled(text, false).unwrap_or_default();
        assert!(said("~/bin/x").contains("arguments are not interpreted by a shell"));
        assert!(said("--dir=~/data").contains('~'));
        assert!(said("$HOME/x").starts_with("\"$HOME/x\": $HOME stays as it is"));
        assert!(said("--x=${NAME}").contains("$NAME stays"));
        assert!(said("--port={prot}").contains("{prot} stays as it is; what is filled in: {ordinal}, {port}"));
        for fine in ["--port={port}", "a~b", "5$", "$1", "{\"a\": {}}", "{ x }", "{data}/x", "{A}", "{0}"] {
            assert_eq!(said(fine), "", "{fine}");
        }
        assert_eq!(unfilled("exec x ~/y $HOME ${PORT}", true), None);
        assert!(unfilled("exec x {prot}", true).is_some());
    }
}
