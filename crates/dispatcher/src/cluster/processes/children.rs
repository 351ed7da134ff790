//! The processes that this process has started, and the orphans that become its children: those of pods whose supervisor
//! was killed, and, as process 1 of a container, all orphans. All of them are waited for.

use super::{family, os};
use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::BTreeSet;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Started by `start`, and not yet waited for.
static STARTED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// Set if every other child of this process is an orphan.
static OWNS_ORPHANS: AtomicBool = AtomicBool::new(false);
/// Stack of a thread that only waits, in bytes.
const SMALL: usize = 128 * 1024;
/// Delay before ended orphans are waited for: not urgent, and often several end together.
const CALM: Duration = Duration::from_millis(100);

/// Starts `command`, and waits for its end in a separate thread, so that it is waited for even if the Tokio runtime ends
/// first. Returns its pid.
///
/// # Errors
/// If the operating system cannot start it.
pub(super) fn start(mut command: Command) -> io::Result<i32> {
    // Held until the pid is recorded: until then it would count as an orphan.
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut child = command.spawn()?;
    let pid = child.id() as i32;
    started.insert(pid);
    drop(started);
    let wait = move || {
        if let Err(e) = child.wait() {
            tracing::warn!("cannot wait for process {pid}: {e}");
        }
        STARTED.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    };
    thread::Builder::new().name("waiter".into()).stack_size(SMALL).spawn(wait)?;
    Ok(pid)
}

/// Makes orphans among the pods' descendants children of this process, and waits for them. Runs until the process ends.
/// Must be called once, inside a Tokio runtime, by a process that starts all its children through `start`.
pub async fn adopt_orphans() {
    if let Err(e) = os::become_subreaper() {
        tracing::warn!("descendants of a pod whose supervisor is killed may escape: {e}");
    }
    OWNS_ORPHANS.store(true, Ordering::Relaxed);
    let Ok(mut ended) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()) else { return };
    while ended.recv().await.is_some() {
        tokio::time::sleep(CALM).await;
        for orphan in orphans().into_iter().filter(|process| process.is_zombie) {
            bury(orphan.pid);
        }
    }
}

/// Kills every orphan with its descendants. Returns true if there was any.
pub(super) fn kill_orphans() -> bool {
    if !OWNS_ORPHANS.load(Ordering::Relaxed) {
        return false;
    }
    let all = family::all();
    let mut any = false;
    for orphan in orphans() {
        any = true;
        let descendants = family::descendants(orphan.pid, &all);
        for process in std::iter::once(orphan).chain(descendants).filter(|process| !process.is_zombie) {
            kill(process.pid);
        }
        bury(orphan.pid);
    }
    any
}

/// Returns the children of this process that it has not started.
fn orphans() -> Vec<family::Process> {
    let own = std::process::id() as i32;
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    // Read under the lock: meanwhile no child is started.
    let all = family::all();
    all.into_iter().filter(|process| process.parent == own && !started.contains(&process.pid)).collect()
}

pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

fn bury(pid: i32) {
    let _ = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
}
