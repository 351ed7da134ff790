//! The supervisor of one pod: a small process between the dispatcher and the program. It starts the program, forwards its
//! output, and ends it with all descendants when the dispatcher orders it, when the program ends by itself, or when the
//! dispatcher has ended (at once, or, if the pod may be adopted, when no other dispatcher has connected in time).
//!
//! As a subreaper it becomes the parent of every orphan among the pod's descendants, so that it finds daemons and programs
//! in their own sessions. It ends last: while it lives, the pod's folder and port are in use.
//!
//! It runs in this same binary, started through `/proc/self/exe`, without a Tokio runtime and without a log.

use super::wire::{self, Failure, Leader, Spec, order, report};
use super::{family, os};
use crate::io::cgroup;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Interval at which ended orphans are waited for while nothing else happens.
const CALM: Duration = Duration::from_secs(1);
/// The same if the kernel cannot report the end of the pod's own process.
const WATCHFUL: Duration = Duration::from_millis(50);
/// The same while the pod is ending.
const ENDING: Duration = Duration::from_millis(20);
/// Interval at which its remaining processes are killed.
const KILLING: Duration = Duration::from_millis(5);
/// How many times in a row the descendants are listed and killed: some may have been started meanwhile.
const ROUNDS: usize = 20;

/// Runs until the pod has ended. The dispatcher is at the other end of standard input.
#[must_use]
pub fn run() -> ExitCode {
    os::block_requests_to_end();
    os::hide_memory();
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut dispatcher = UnixStream::from(stdin);
    let Ok((order::START, spec)) = wire::receive(&mut dispatcher) else { return ExitCode::FAILURE };
    let Ok(spec) = serde_json::from_slice::<Spec>(&spec) else { return ExitCode::FAILURE };
    let cgroup = spec.cgroup.clone();
    match Supervisor::start(spec, &dispatcher) {
        Ok(supervisor) => supervisor.run(dispatcher),
        Err(error) => {
            let failure = serde_json::to_vec(&Failure::of(&error)).unwrap_or_default();
            let _ = wire::send(&mut dispatcher, report::FAILED, &failure);
            cgroup.iter().for_each(|folder| cgroup::remove(folder));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

struct Supervisor {
    spec: Spec,
    own: Pid,
    leader: Leader,
    /// Becomes readable when the leader ends.
    exit: Option<OwnedFd>,
    /// The leader's wait status. Once it is set, the leader's pid may belong to another process.
    status: Option<i32>,
    stage: Stage,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    listener: Option<UnixListener>,
    dispatcher: Option<UnixStream>,
    /// Since when there is no dispatcher.
    alone: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Running,
    /// SIGTERM has been sent.
    Ending {
        until: Instant,
    },
    Killing,
}

/// A descriptor that can be read.
#[derive(Clone, Copy)]
enum Source {
    Exit,
    Output,
    Errors,
    Dispatcher,
    Listener,
}

impl Supervisor {
    fn start(mut spec: Spec, dispatcher: &UnixStream) -> io::Result<Supervisor> {
        os::become_subreaper()?;
        let _ = rustix::process::setsid();
        let listener = spec.adopt.as_ref().map(|adopt| listen(&adopt.socket)).transpose()?;
        let mut child = spawn(&mut spec)?;
        let pid = child.id() as i32;
        let started = family::of(pid).map_or(0, |process| process.started);
        let exit = Pid::from_raw(pid).and_then(os::exit_of);
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        Ok(Supervisor {
            own: rustix::process::getpid(),
            leader: Leader { pid, started },
            exit,
            status: None,
            stage: Stage::Running,
            output,
            errors,
            listener,
            dispatcher: dispatcher.try_clone().ok(),
            alone: None,
            spec,
        })
    }

    fn run(mut self, dispatcher: UnixStream) {
        drop(dispatcher);
        self.report_running();
        while !self.is_over() {
            match self.stage {
                Stage::Running if self.status.is_some() => self.stage = Stage::Killing,
                Stage::Running if self.is_forgotten() => self.end(),
                Stage::Ending { until } if now() >= until => self.stage = Stage::Killing,
                Stage::Running | Stage::Ending { .. } => self.attend(),
                Stage::Killing => {
                    self.kill();
                    self.attend();
                }
            }
        }
        self.read_rest();
        if let Some(folder) = &self.spec.cgroup {
            cgroup::remove(folder);
        }
        if let Some(adopt) = &self.spec.adopt {
            let _ = std::fs::remove_file(&adopt.socket);
        }
        self.send(report::ENDED, &self.status.unwrap_or_default().to_be_bytes());
    }

    /// Waits for children that have ended. Returns true if no process is left.
    fn is_over(&mut self) -> bool {
        let childless = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == self.leader.pid => {
                    self.status = Some(status.as_raw());
                    self.exit = None;
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        if self.spec.leader_only {
            return self.status.is_some();
        }
        childless && self.spec.cgroup.as_deref().is_none_or(cgroup::is_empty)
    }

    /// Reports whether no dispatcher has connected in time.
    fn is_forgotten(&self) -> bool {
        let within = self.spec.adopt.as_ref().map_or(0, |adopt| adopt.within_ms);
        self.alone.is_some_and(|since| since.elapsed() >= Duration::from_millis(within))
    }

    fn end(&mut self) {
        if self.stage != Stage::Running {
            return;
        }
        self.stage = Stage::Ending { until: now() + Duration::from_millis(self.spec.grace_ms) };
        self.signal(Signal::TERM);
        if self.spec.leader_only {
            return;
        }
        // Processes in other process groups, too: they may also have data to save.
        for process in family::descendants(self.own.as_raw_nonzero().get(), &family::all()) {
            if process.group != self.leader.pid {
                send_signal(process.pid, Signal::TERM);
            }
        }
    }

    /// Signals the pod's own process and its group; does nothing once that process has been waited for.
    fn signal(&self, signal: Signal) {
        let leader = Pid::from_raw(self.leader.pid).filter(|_| self.status.is_none());
        if let Some(leader) = leader {
            let _ = if self.spec.leader_only {
                rustix::process::kill_process(leader, signal)
            } else {
                rustix::process::kill_process_group(leader, signal)
            };
        }
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
        if self.spec.leader_only {
            return;
        }
        if let Some(folder) = &self.spec.cgroup {
            cgroup::kill(folder);
        }
        for _ in 0..ROUNDS {
            let all = family::all();
            let left = family::descendants(self.own.as_raw_nonzero().get(), &all);
            let mut left = left.into_iter().filter(|process| !process.is_zombie).peekable();
            if left.peek().is_none() {
                return;
            }
            left.for_each(|process| send_signal(process.pid, Signal::KILL));
        }
    }

    /// Waits for readable descriptors, and handles them.
    fn attend(&mut self) {
        let pause = match self.stage {
            Stage::Running if self.exit.is_some() => CALM,
            Stage::Running => WATCHFUL,
            Stage::Ending { .. } => ENDING,
            Stage::Killing => KILLING,
        };
        for source in self.readable(pause) {
            match source {
                Source::Exit => {}
                Source::Output => self.read_output(),
                Source::Errors => self.read_errors(),
                Source::Dispatcher => self.execute(),
                Source::Listener => self.accept(),
            }
        }
    }

    fn readable(&self, pause: Duration) -> Vec<Source> {
        let sources: Vec<(Source, BorrowedFd<'_>)> = [
            self.exit.as_ref().map(|fd| (Source::Exit, fd.as_fd())),
            self.output.as_ref().map(|fd| (Source::Output, fd.as_fd())),
            self.errors.as_ref().map(|fd| (Source::Errors, fd.as_fd())),
            self.dispatcher.as_ref().map(|fd| (Source::Dispatcher, fd.as_fd())),
            self.listener.as_ref().map(|fd| (Source::Listener, fd.as_fd())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        match poll(&mut polled, Some(&timeout)) {
            Ok(1..) => {
                let ready = polled.iter().map(|fd| !fd.revents().is_empty());
                sources.iter().zip(ready).filter(|(_, ready)| *ready).map(|((source, _), _)| *source).collect()
            }
            Ok(0) => Vec::new(),
            Err(rustix::io::Errno::INTR) => Vec::new(),
            Err(_) => {
                std::thread::sleep(pause);
                Vec::new()
            }
        }
    }

    fn read_output(&mut self) {
        let mut chunk = [0; 32 * 1024];
        match self.output.as_mut().map(|pipe| pipe.read(&mut chunk)) {
            Some(Ok(length @ 1..)) => self.send(report::OUTPUT, &chunk[..length]),
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => self.output = None,
        }
    }

    fn read_errors(&mut self) {
        let mut chunk = [0; 32 * 1024];
        match self.errors.as_mut().map(|pipe| pipe.read(&mut chunk)) {
            Some(Ok(length @ 1..)) => self.send(report::ERROR, &chunk[..length]),
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => self.errors = None,
        }
    }

    /// Reads the rest of the output. All writers have ended, so every pipe has an end; a pipe that a foreign process holds
    /// open is not waited for.
    fn read_rest(&mut self) {
        self.exit = None;
        self.listener = None;
        loop {
            let ready = self.readable(Duration::ZERO);
            if !ready.iter().any(|source| matches!(source, Source::Output | Source::Errors)) {
                return;
            }
            for source in ready {
                match source {
                    Source::Output => self.read_output(),
                    Source::Errors => self.read_errors(),
                    Source::Dispatcher => self.execute(),
                    Source::Exit | Source::Listener => {}
                }
            }
        }
    }

    fn execute(&mut self) {
        let mut orders = [0; 64];
        match self.dispatcher.as_mut().map(|stream| stream.read(&mut orders)) {
            Some(Ok(length @ 1..)) if orders[..length].contains(&order::END) => self.end(),
            Some(Ok(1..)) => {}
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => self.lose_dispatcher(),
        }
    }

    fn lose_dispatcher(&mut self) {
        self.dispatcher = None;
        self.alone = Some(now());
        if self.spec.adopt.is_none() {
            self.stage = Stage::Killing;
        }
    }

    /// Accepts another dispatcher, unless one is connected.
    fn accept(&mut self) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) else { return };
        if self.dispatcher.is_some() || stream.set_nonblocking(false).is_err() {
            return;
        }
        self.dispatcher = Some(stream);
        self.alone = None;
        let uid = self.spec.uid.clone();
        self.send(report::HELLO, uid.as_bytes());
        self.report_running();
    }

    fn report_running(&mut self) {
        let leader = serde_json::to_vec(&self.leader).unwrap_or_default();
        self.send(report::RUNNING, &leader);
    }

    fn send(&mut self, kind: u8, content: &[u8]) {
        if let Some(dispatcher) = &self.dispatcher
            && wire::send(dispatcher, kind, content).is_err()
        {
            self.lose_dispatcher();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a process of its own, which no simulation runs")]
fn now() -> Instant {
    Instant::now()
}

fn send_signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Names a socket through its opened folder, since the path of a socket is limited to 108 bytes.
pub(super) fn through_folder<T>(socket: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::other("the socket has no folder"));
    };
    if !cfg!(target_os = "linux") {
        return act(socket);
    }
    let folder = File::open(folder)?;
    act(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = through_folder(socket, |path| UnixListener::bind(path))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts the program as the leader of a new session. The kernel kills it if this process ends.
#[expect(unsafe_code, reason = "the only way to run something between fork and exec")]
fn spawn(spec: &mut Spec) -> io::Result<Child> {
    let enter = |folder: &Path| {
        let left = cgroup::make(folder, spec.limits)?;
        io::Result::Ok((left, File::options().write(true).open(folder.join("cgroup.procs"))?))
    };
    let (limits, entry) = match spec.cgroup.as_deref().map(enter) {
        Some(Ok((left, entry))) => (left, Some(entry)),
        // If no group can be created, the pod runs without one, as on a machine without control groups.
        Some(Err(_)) | None => {
            spec.cgroup = None;
            (spec.limits, None)
        }
    };
    let bounds =
        [(Resource::Nofile, limits.files), (Resource::Nproc, limits.processes), (Resource::Data, limits.memory_bytes)];
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments).env_clear().envs(spec.environment.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &spec.folder {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let account = spec.account.clone();
    let ids = account.as_ref().map(|account| account.groups.clone()).unwrap_or_default();
    let groups: Vec<_> = ids.into_iter().map(rustix::process::Gid::from_raw).collect();
    let own = std::process::id() as i32;
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: all of these are plain system calls, and
    // nothing is allocated (`io::Error` from a number does not).
    unsafe {
        command.pre_exec(move || {
            os::unblock_signals();
            rustix::process::setsid()?;
            if let Some(entry) = &entry {
                rustix::io::write(entry, b"0")?;
            }
            for (resource, limit) in bounds {
                if limit.is_some() {
                    rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
                }
            }
            if let Some(account) = &account {
                os::become_account(account, &groups)?;
            }
            // Last, because a change of user resets it.
            os::die_with(own)
        });
    }
    command.spawn()
}
