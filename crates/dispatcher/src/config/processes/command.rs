//! The command of a pod and its variables. Commands that look wrong are reported as warnings before they are started: they may
//! be right on the machine where they will run.

use crate::config::table::{Table, quoted};
use crate::config::template::{self, NAMES, variable_matches};
use std::os::unix::fs::PermissionsExt;

pub(super) fn command(table: &Table<'_>, environment: &[(String, String)]) -> Vec<String> {
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

pub(super) fn environment(table: &Table<'_>) -> Vec<(String, String)> {
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

pub(super) fn inherit(table: &Table<'_>) -> Vec<String> {
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
pub(super) fn is_of_a_visitor(name: &str) -> bool {
    matches!(name, "session" | "session_id" | "user" | "visitor")
}

pub(super) const OF_A_VISITOR: &str =
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
