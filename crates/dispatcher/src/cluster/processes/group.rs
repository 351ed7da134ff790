//! A process and all its descendants, as one thing to signal: each pod leads its own process group. It ends with the
//! dispatcher in every case: by [`Group`]'s drop, and on Linux, when the dispatcher itself is killed, by the kernel
//! (`PR_SET_PDEATHSIG`, which reaches the pod's own process only; a descendant that must not outlive it needs the same).
//! A descendant that makes itself a session of its own (a daemon) escapes; programs in a pool must stay in the foreground.

use slotkeeper_core::planted;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use tokio::sync::oneshot;

/// A started process and its group. (Not tokio's `Child`: when that cannot be registered, because the runtime is just
/// ending, a process that has already been started is left running.)
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) exit: Exit,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// The end of a started process.
pub(super) struct Exit {
    receiver: oneshot::Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Exit {
    /// Waits for it; may be asked again. The process has been waited for then: only its descendants may be left.
    pub(super) async fn wait(&mut self) -> ExitStatus {
        match self.status {
            Some(status) => status,
            // Its thread always answers, unless the operating system does not know the process: then it has ended.
            None => *self.status.insert((&mut self.receiver).await.unwrap_or_default()),
        }
    }
}

/// A process group; killed when dropped.
pub(super) struct Group {
    leader: i32,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Term,
    Kill,
}

impl Group {
    fn of(child: &Child) -> io::Result<Group> {
        // Group 0 would be our own, group 1 everybody's.
        let leader = i32::try_from(child.id()).ok().filter(|id| *id > 1);
        let leader = leader.ok_or_else(|| io::Error::other("the process has no id"))?;
        Ok(Group { leader, over: false })
    }

    pub(super) fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Term => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        // The only possible error is that nobody is left.
        let _ = send_to_all(self.leader, number);
    }

    /// Whether any process of it is left. While one is, the kernel gives the group's number to nobody else.
    pub(super) fn exists(&self) -> bool {
        send(self.leader, 0).is_ok()
    }

    /// The leader has been waited for: kills who is left, and from now on the number may mean somebody else.
    pub(super) fn end(mut self) {
        self.signal(Signal::Kill);
        self.over = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.signal(Signal::Kill);
        }
    }
}

/// To the leader and all its descendants.
fn send_to_all(group: i32, signal: i32) -> io::Result<()> {
    planted!(DescendantsLeft => send_to_leader(group, signal));
    send(group, signal)
}

#[cfg(feature = "planted")]
#[expect(unsafe_code, reason = "no safe wrapper in the standard library")]
fn send_to_leader(leader: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two numbers and touches no memory of ours.
    match unsafe { libc::kill(leader, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "no safe wrapper in the standard library")]
fn send(group: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two numbers and touches no memory of ours.
    match unsafe { libc::killpg(group, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Started>>,
}

/// The kernel ends a process with the *thread* that started it, and threads of the runtime come and go: all are started
/// by one thread, which lives as long as the process.
static STARTER: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);

/// Starts `command` as the leader of a new group.
///
/// # Errors
/// As the operating system says: no such program, no permission, no room for another process.
pub(super) async fn start(mut command: Command) -> io::Result<Started> {
    command.process_group(0);
    die_with_us(&mut command);
    let (reply, answer) = oneshot::channel();
    order(Order { command, reply })?;
    answer.await.map_err(|_| io::Error::other("the starting thread has ended"))?
}

fn order(mut order: Order) -> io::Result<()> {
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(orders) = &*starter {
        match orders.send(order) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(back)) => order = back,
        }
    }
    new_starter(&mut starter, order)
}

fn new_starter(starter: &mut Option<mpsc::Sender<Order>>, first: Order) -> io::Result<()> {
    let (sender, orders) = mpsc::channel::<Order>();
    thread::Builder::new().name("starter".into()).spawn(move || {
        for Order { mut command, reply } in orders {
            // If nobody waits any more: dropping what was started kills it.
            let _ = reply.send(command.spawn().and_then(attend));
        }
    })?;
    let _ = sender.send(first);
    *starter = Some(sender);
    Ok(())
}

/// Stack of a thread that only waits.
const SMALL: usize = 128 * 1024;

/// Takes charge of a new process: from here on it ends in every case. A thread waits for it, so that it is buried even
/// when the runtime has ended before.
fn attend(mut child: Child) -> io::Result<Started> {
    let group = Group::of(&child)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = oneshot::channel();
    let wait = move || match child.wait() {
        Ok(status) => drop(sender.send(status)),
        Err(e) => tracing::warn!(target: "pod", "cannot wait for process {}: {e}", child.id()),
    };
    thread::Builder::new().name("waiter".into()).stack_size(SMALL).spawn(wait)?;
    Ok(Started { group, exit: Exit { receiver, status: None }, stdout, stderr })
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the only way to run something between fork and exec")]
fn die_with_us(command: &mut Command) {
    let us = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: prctl, setrlimit and getppid are plain system calls,
    // and nothing is allocated (`io::Error` from a number does not).
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            crate::inherited::give_back()?;
            // We may have died before the call: then nobody would send the signal.
            match u32::try_from(libc::getppid()) {
                Ok(parent) if parent == us => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_: &mut Command) {}
