//! The service manager (systemd): the sockets that it has opened for this process (`LISTEN_FDS`), and the states that this
//! process reports to it (`NOTIFY_SOCKET`, `Type=notify`). Without a service manager, and in a simulation, all of it does
//! nothing.

use sd_notify::NotifyState;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Sockets that no listener has taken yet, with their names.
static PASSED: Mutex<Vec<(String, OwnedFd)>> = Mutex::new(Vec::new());
/// Set if states are reported.
static JOINED: OnceLock<()> = OnceLock::new();

/// Takes over the sockets that the service manager has passed, and begins to report states. Must be called once, before
/// there are other threads.
///
/// # Errors
/// If the service manager's variables are malformed.
pub fn join() -> io::Result<()> {
    let _ = JOINED.set(());
    let passed = sd_notify::listen_fds_with_names()?;
    let owned = passed.map(|(number, name)| (name, own(number)));
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).extend(owned);
    Ok(())
}

#[expect(unsafe_code, reason = "the service manager passes descriptors by their numbers")]
fn own(number: i32) -> OwnedFd {
    // SAFETY: the service manager has opened these descriptors for this process (LISTEN_PID is its id), and nothing else
    // in it uses them: this runs once, before all other code that opens or closes files.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Takes the sockets of this name.
pub(super) fn take_sockets(name: &str) -> Vec<OwnedFd> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let (taken, left) = std::mem::take(&mut *passed).into_iter().partition(|(own, _)| own == name);
    *passed = left;
    let taken: Vec<(String, OwnedFd)> = taken;
    taken.into_iter().map(|(_, socket)| socket).collect()
}

/// The names of the sockets that are left.
#[must_use]
pub fn names() -> Vec<String> {
    let passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    passed.iter().map(|(name, _)| name.clone()).collect()
}

fn tell(states: &[NotifyState<'_>]) {
    if JOINED.get().is_some()
        && let Err(error) = sd_notify::notify(states)
    {
        tracing::debug!("service manager not notified: {error}");
    }
}

/// The start, or a reload, is complete.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]);
    }
}

/// This process waits for another one to release its journal.
pub fn waiting(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// This process is stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: streams end")]);
}

/// Reports that this process is alive, twice in each interval of the service manager's watchdog. Runs on the runtime that
/// serves visitors: if that does not make progress, the service manager restarts the process.
pub async fn watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| *interval > Duration::ZERO) else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval / 2).await;
    }
}
