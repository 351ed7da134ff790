//! Ends the remaining processes of a pod whose supervisor does not end them (any more), because the supervisor or the
//! dispatcher was killed. They are found by the pod's record.

use super::link::Link;
use super::output::Output;
use super::records::Record;
use super::{MARK, children, family};
use crate::io::cgroup;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

/// How long a supervisor that has lost its dispatcher may take to end its pod itself.
const SUPERVISOR: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);
/// A warning is logged if processes still exist this long after they were killed.
const STUBBORN: Duration = Duration::from_secs(5);

/// Returns when no process can be found any more. `grace`: how long a supervisor that runs on without a dispatcher may take
/// to end its pod when it is asked to.
pub(super) async fn end(record: &Record, pool: &str, socket: &Path, grace: Duration) {
    let ordinal = record.ordinal;
    let patience = if record.adopt { grace + SUPERVISOR } else { SUPERVISOR };
    // Held until the supervisor has ended.
    let _link = ask(record, pool, socket).await;
    let waited = async {
        while record.is_supervised() {
            sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(patience, waited).await.is_err() {
        tracing::warn!(pool, ordinal, "supervisor of a former pod does not end: killing it");
    }
    let mut looks = 0_u32;
    while kill(record) {
        if LOOK * looks == STUBBORN {
            tracing::warn!(pool, ordinal, "processes of a former pod still exist although they were killed");
        }
        looks = looks.saturating_add(1);
        sleep(LOOK).await;
    }
    if looks > 0 {
        tracing::info!(pool, ordinal, "remaining processes of a former pod killed");
    }
    if let Some(folder) = &record.cgroup {
        cgroup::remove(folder);
    }
}

/// Asks a supervisor that would wait for another dispatcher to end its pod.
async fn ask(record: &Record, pool: &str, socket: &Path) -> Option<Link> {
    if !record.adopt || !record.is_supervised() {
        return None;
    }
    let output = Output::new(format!("{pool}/{}", record.ordinal), Some(0), None);
    let mut link = Link::find(socket, &record.uid, output).await.ok()?;
    tracing::info!(pool, ordinal = record.ordinal, "ending a pod of a former dispatcher");
    link.end().await;
    Some(link)
}

/// Kills all processes that can be found. Returns true if there were any.
fn kill(record: &Record) -> bool {
    let group = record.cgroup.as_deref().filter(|folder| !cgroup::is_empty(folder));
    if let Some(folder) = group {
        cgroup::kill(folder);
    }
    let found = find(record, &family::all());
    found.iter().for_each(|pid| children::kill(*pid));
    children::kill_orphans() | group.is_some() | !found.is_empty()
}

/// Returns the supervisor, the pod's own process, its group and session while it lives, every process that was started
/// with the pod's environment variable, and all their descendants. A pid counts only together with a start time, since
/// pids are reused.
fn find(record: &Record, all: &[family::Process]) -> Vec<i32> {
    if record.boot != family::boot() {
        return Vec::new();
    }
    let is = |process: &family::Process, known: super::wire::Leader| {
        process.pid == known.pid && process.started == known.started
    };
    let leader = record.leader.filter(|leader| all.iter().any(|process| is(process, *leader)));
    let belongs = |process: &&family::Process| {
        is(process, record.supervisor)
            || leader.is_some_and(|l| is(process, l) || process.group == l.pid || process.session == l.pid)
            || family::has_variable(process.pid, MARK, &record.uid)
    };
    let mut found: Vec<i32> = Vec::new();
    for root in all.iter().filter(belongs) {
        found.push(root.pid);
        found.extend(family::descendants(root.pid, all).iter().map(|process| process.pid));
    }
    let is_alive = |pid: &i32| all.iter().any(|process| process.pid == *pid && !process.is_zombie);
    found.retain(is_alive);
    found.sort_unstable();
    found.dedup();
    found
}
