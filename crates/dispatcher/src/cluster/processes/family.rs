//! Reads processes and their descendants from `/proc`. `supervisor.rs` and `leftovers.rs` act on them.

use std::collections::BTreeSet;
use std::fs;

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// The start time in clock ticks since boot: together with the pid, the identity of a process.
    pub(crate) started: u64,
    /// It has ended, but its parent has not waited for it.
    pub(crate) is_zombie: bool,
}

/// Returns every process that is visible in `/proc`.
pub(crate) fn all() -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    folder.filter_map(|entry| of(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// Returns the process with this pid, if there is one.
pub(crate) fn of(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reports whether the process with this pid and start time still runs.
pub(crate) fn is_alive(pid: i32, started: u64) -> bool {
    of(pid).is_some_and(|process| process.started == started && !process.is_zombie)
}

/// Parses `/proc/PID/stat`, see proc_pid_stat(5). The second field is the program's name in parentheses, and may contain
/// any character.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse().ok();
    Some(Process {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// Returns all descendants of `ancestor`, parents before their children.
pub(crate) fn descendants(ancestor: i32, all: &[Process]) -> Vec<Process> {
    let (mut found, mut known, mut next) = (Vec::new(), BTreeSet::from([ancestor]), vec![ancestor]);
    while let Some(parent) = next.pop() {
        for child in all.iter().filter(|p| p.parent == parent) {
            if known.insert(child.pid) {
                found.push(*child);
                next.push(child.pid);
            }
        }
    }
    found
}

/// Reports whether the process was started with this variable in its environment. `false` is no proof: the process may have
/// overwritten that memory since.
pub(crate) fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let wanted = format!("{name}={value}");
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// Returns the id of the current boot of the machine: pids and start times are valid only within one boot.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, group: pid, session: pid, started: 1, is_zombie: false }
    }

    #[test]
    fn a_program_name_may_contain_parentheses_and_spaces() {
        let stat = "12 (a) b (c) S 3 4 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10";
        let expected = Process { pid: 12, parent: 3, group: 4, session: 5, started: 777, is_zombie: false };
        assert_eq!(parse(12, stat), Some(expected));
        assert_eq!(parse(12, "12 (a) S 3"), None);
        assert_eq!(parse(12, ""), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_others_are_not() {
        let all = [process(5, 4), process(4, 3), process(3, 2), process(9, 1), process(2, 1)];
        let found: Vec<i32> = descendants(3, &all).iter().map(|p| p.pid).collect();
        assert_eq!(found, [4, 5]);
        // A list that was read while processes started and ended may contain a cycle.
        assert_eq!(descendants(1, &[process(1, 2), process(2, 1)]).len(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive_and_another_start_time_is_another_process() {
        let me = std::process::id() as i32;
        let own = of(me).unwrap();
        assert!(is_alive(me, own.started) && !is_alive(me, own.started + 1));
        assert!(all().contains(&own));
        assert!(!boot().is_empty());
    }
}
