//! Control groups, version 2: one for each pod, if this process may create them. The kernel kills all processes of a group
//! together (`cgroup.kill`), so none can escape, and its limits apply to all of them together.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A pod's group is named by this prefix and the incarnation.
const PREFIX: &str = "slotkeeper-";
/// The group that the dispatcher moves itself to if its own group has to enable controllers for subgroups: a group with
/// processes cannot (cgroups(7), "no internal processes").
const OWN: &str = "slotkeeper-dispatcher";
/// The period of `cpu.max`, in microseconds.
const WINDOW: u64 = 100_000;

/// Limits of one pod, as in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_millis: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) processes: Option<u64>,
}

/// The parent of the pods' groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    folder: PathBuf,
}

impl Base {
    /// Returns the group of this process, if groups can be created in it.
    ///
    /// # Errors
    /// Why none can be created, in words.
    pub(crate) fn find() -> Result<Base, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path} cannot be read: {e}"));
        let folder = own_folder(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
            .ok_or("no hierarchy of version 2 is mounted")?;
        // A dispatcher that was restarted is still in the group that it had moved itself to.
        let folder = folder.parent().filter(|_| folder.ends_with(OWN)).unwrap_or(&folder).to_owned();
        let trial = folder.join(format!("{PREFIX}trial-{}", std::process::id()));
        fs::create_dir(&trial).map_err(|e| format!("no group can be made in {}: {e}", folder.display()))?;
        let can_kill = trial.join("cgroup.kill").exists();
        let can_move = fs::OpenOptions::new().write(true).open(trial.join("cgroup.procs")).is_ok();
        let _ = fs::remove_dir(&trial);
        match (can_kill, can_move) {
            (true, true) => Ok(Base { folder }),
            (false, _) => Err("cgroup.kill is missing (Linux 5.14 has it)".into()),
            (true, false) => Err(format!("no process can be moved into groups in {}", folder.display())),
        }
    }

    /// Returns the group of one pod.
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.folder.join(format!("{PREFIX}{uid}"))
    }

    /// Enables the controllers of these limits for the pods' groups.
    ///
    /// # Errors
    /// The controllers that cannot be enabled.
    pub(crate) fn pass_on(&self, limits: &Limits) -> Result<(), Vec<&'static str>> {
        let missing: Vec<&str> = needed(limits).into_iter().filter(|name| !self.passes_on(name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// As [`Base::pass_on`], as far as it can be predicted without a change.
    pub(crate) fn can_pass_on(&self, limits: &Limits) -> Result<(), Vec<&'static str>> {
        let names = fs::read_to_string(self.folder.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &&str| names.split_ascii_whitespace().any(|controller| controller == *name);
        let missing: Vec<&str> = needed(limits).into_iter().filter(|name| !has(name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    fn passes_on(&self, controller: &str) -> bool {
        let has = |file: &str| {
            let names = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            names.split_ascii_whitespace().any(|name| name == controller)
        };
        if has("cgroup.subtree_control") {
            return true;
        }
        if !has("cgroup.controllers") {
            return false;
        }
        let control = self.folder.join("cgroup.subtree_control");
        let enable = || write(&control, &format!("+{controller}"));
        enable().or_else(|_| self.step_down().and_then(|()| enable())).is_ok()
    }

    /// Moves this process into a subgroup, if it is the only process in its group.
    fn step_down(&self) -> io::Result<()> {
        let own = std::process::id().to_string();
        if fs::read_to_string(self.folder.join("cgroup.procs"))?.lines().any(|pid| pid != own) {
            return Err(io::Error::other("other processes are in the group"));
        }
        let folder = self.folder.join(OWN);
        match fs::create_dir(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        write(&folder.join("cgroup.procs"), &own)
    }
}

/// Returns the controllers that these limits need.
fn needed(limits: &Limits) -> Vec<&'static str> {
    let wanted = [("memory", limits.memory_bytes), ("cpu", limits.cpu_millis), ("pids", limits.processes)];
    wanted.into_iter().filter(|(_, limit)| limit.is_some()).map(|(name, _)| name).collect()
}

/// Returns the folder of this process's group, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and `/proc/self/cgroup`.
fn own_folder(mounts: &str, groups: &str) -> Option<PathBuf> {
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        if !filesystem.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        Some(Path::new(point).join(group.strip_prefix(root).ok()?))
    })
}

/// Creates the group and sets its limits. Returns the limits that could not be set, to be enforced in another way.
///
/// # Errors
/// If the group cannot be created.
pub(crate) fn make(folder: &Path, mut limits: Limits) -> io::Result<Limits> {
    match fs::create_dir(folder) {
        // Left by a start that failed.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_empty(folder) => {}
        made => made?,
    }
    let set = |file: &str, value: String| write(&folder.join(file), &value).is_ok();
    limits.memory_bytes = limits.memory_bytes.filter(|bytes| !set("memory.max", bytes.to_string()));
    // If memory runs out, the kernel kills the whole pod, not one of its processes.
    set("memory.oom.group", "1".into());
    let quota = |millis: u64| format!("{} {WINDOW}", millis * WINDOW / 1000);
    limits.cpu_millis = limits.cpu_millis.filter(|millis| !set("cpu.max", quota(*millis)));
    limits.processes = limits.processes.filter(|count| !set("pids.max", count.to_string()));
    Ok(limits)
}

/// Kills every process in the group and its subgroups.
pub(crate) fn kill(folder: &Path) {
    let _ = write(&folder.join("cgroup.kill"), "1");
}

pub(crate) fn is_empty(folder: &Path) -> bool {
    match fs::read_to_string(folder.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 0"),
        Err(_) => true,
    }
}

/// Removes the group with the subgroups that its processes have created; all must be empty.
pub(crate) fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Writes to an existing file: a control group has all of its files.
fn write(file: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_its_own_group_where_the_hierarchy_is_mounted() {
        let unified =
            "24 1 0:22 / /proc rw - proc proc rw\n30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let groups = "0::/system.slice/slotkeeper.service\n";
        assert_eq!(own_folder(unified, groups), Some("/sys/fs/cgroup/system.slice/slotkeeper.service".into()));
        let hybrid = "31 24 0:28 /a /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_folder(hybrid, "3:cpu:/\n0::/a/b\n"), Some("/sys/fs/cgroup/unified/b".into()));
        assert_eq!(own_folder(hybrid, "0::/c\n"), None, "not below what is mounted");
        assert_eq!(own_folder("24 1 0:22 / /proc rw - proc proc rw\n", groups), None);
        assert_eq!(own_folder(unified, "3:cpu:/\n"), None);
    }

    #[test]
    fn limits_that_the_group_cannot_enforce_are_returned() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { memory_bytes: Some(1), cpu_millis: Some(1500), files: Some(3), processes: Some(4) };
        // An ordinary folder has none of a group's files.
        assert_eq!(make(&folder.path().join("a"), limits).unwrap(), limits);
        fs::write(folder.path().join("a").join("cgroup.events"), "populated 1\n").unwrap();
        assert!(make(&folder.path().join("a"), limits).is_err(), "never one with processes in it");
        assert_eq!(needed(&limits), ["memory", "cpu", "pids"]);
        assert!(needed(&Limits { files: Some(1), ..Limits::default() }).is_empty());
    }
}
