//! Linux-only system calls for pools of local processes. On other systems they do nothing, and a descendant of a pod that
//! starts its own session outlives the pod.

use crate::io::accounts::Account;
use std::io;
use std::os::fd::OwnedFd;

/// Makes orphans among this process's descendants its children.
pub(crate) fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Makes the kernel kill this process when its parent ends. Async-signal-safe.
pub(crate) fn die_with(parent: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // If the parent ended before the call, the kernel sends no signal.
    let found = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if found == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// Changes to another account, without a way back. Async-signal-safe if `groups` is the account's own list.
#[cfg(target_os = "linux")]
pub(crate) fn become_account(account: &Account, groups: &[rustix::thread::Gid]) -> io::Result<()> {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    set_thread_groups(groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn become_account(_: &Account, _: &[rustix::process::Gid]) -> io::Result<()> {
    Err(io::Error::other("another user is possible on Linux only"))
}

/// Returns a descriptor that becomes readable when the process ends.
pub(crate) fn exit_of(pid: rustix::process::Pid) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Prevents other processes of the same user from reading this process's memory and environment (`/proc/PID/environ`).
pub fn hide_memory() {
    #[cfg(target_os = "linux")]
    if let Err(e) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!("cannot hide the environment of this process from processes of the same user: {e}");
    }
}

/// Blocks the signals that ask this process to end: it ends when its work is done.
pub(crate) fn block_requests_to_end() {
    let requests = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
    set_signal_mask(&requests);
}

/// Unblocks all signals, for the program that this process executes. Async-signal-safe.
pub(crate) fn unblock_signals() {
    set_signal_mask(&[]);
}

#[expect(unsafe_code, reason = "no safe wrapper in the standard library")]
fn set_signal_mask(blocked: &[libc::c_int]) {
    // SAFETY: `set` is initialised by `sigemptyset` before it is read, and lives longer than the calls.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for signal in blocked {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}
