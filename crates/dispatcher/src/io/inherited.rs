//! Resets attributes that a process inherits from its parent: signal dispositions, blocked signals, and the limit of open
//! files. Local pods get default signals and the original limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

/// The limit of open files that this process was started with.
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// Signals that a parent may ignore or block (`nohup`, a background job of a script), and that programs rely on. The standard
/// library handles `SIGPIPE`.
const ORDINARY: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
];

/// Resets signals, and raises the limit of open files to the hard limit. Must be called before there are other threads.
///
/// # Errors
/// When the operating system does not allow it; the caller only logs that.
pub fn settle() -> io::Result<()> {
    reset_signals()?;
    let former = getrlimit(Resource::Nofile);
    if former.current != former.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: former.maximum, maximum: former.maximum })?;
        let _ = FORMER.set(former);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "no safe wrapper in the standard library")]
fn reset_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset before it is used; no handler of ours is installed, and none is replaced
    // while another thread may rely on it, since there is none yet.
    unsafe {
        let mut none = std::mem::MaybeUninit::uninit();
        if libc::sigemptyset(none.as_mut_ptr()) != 0
            || libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) != 0
        {
            return Err(io::Error::last_os_error());
        }
        for signal in ORDINARY {
            if libc::signal(signal, libc::SIG_DFL) == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Gives the command's process the limit of open files that this process was started with.
#[expect(unsafe_code, reason = "the only way to run something between fork and exec")]
pub fn give_back(command: &mut Command) {
    let Some(former) = FORMER.get().copied() else { return };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: setrlimit is a plain system call, and nothing is
    // allocated (`io::Error` from a number does not).
    unsafe {
        command.pre_exec(move || setrlimit(Resource::Nofile, former).map_err(io::Error::from));
    }
}

/// The limit of open files; `None`: no limit.
#[must_use]
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Descriptors that a local process needs in the dispatcher: for its output, and for starting it.
const OF_A_PROCESS: u64 = 4;

/// The maximum of visitors' connections for this limit of open files: each needs one descriptor, and one for its
/// connection to a pod. The reserve is for the journal, the admin listener, probes and local `processes`.
#[must_use]
pub fn connections(open_files: u64, processes: u64) -> usize {
    usize::try_from(open_files.saturating_sub(reserve(open_files) + processes * OF_A_PROCESS) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Descriptors that connections from visitors leave.
fn reserve(open_files: u64) -> u64 {
    (open_files / 4).clamp(32, 512)
}

/// Connections to the admin listener at once: at most half of the reserve.
#[must_use]
pub fn operators() -> usize {
    let most = open_files().map_or(u64::MAX, |open_files| reserve(open_files) / 2);
    usize::try_from(most).unwrap_or(usize::MAX).min(64)
}

/// Whether the error means that no descriptor is free, in this process or on this machine.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_connections_leave_descriptors_for_everything_else() {
        for (open_files, pods, most) in [(64, 1, 14), (1024, 5, 374), (20_000, 100, 9544), (1 << 20, 0, 524_032)] {
            assert_eq!(connections(open_files, pods), most, "{open_files} files, {pods} pods");
        }
        assert_eq!(connections(16, 1000), 1, "never 0");
    }

    #[test]
    fn lack_of_descriptors_is_distinguished_from_other_errors() {
        assert!(is_out_of_files(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(is_out_of_files(&io::Error::from_raw_os_error(libc::ENFILE)));
        assert!(!is_out_of_files(&io::Error::from_raw_os_error(libc::ECONNREFUSED)));
    }
}
