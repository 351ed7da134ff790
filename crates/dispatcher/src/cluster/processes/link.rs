//! The dispatcher's end of the socket to a pod's supervisor: starts a supervisor or reconnects to one, sends orders, and
//! reads reports. Dropping it closes the socket; the [`Spec`] determines how the supervisor reacts to that.

use super::children;
use super::output::Output;
use super::wire::{self, Failure, Leader, Spec, order, report};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The hidden command of this program that runs a supervisor.
pub const SUPERVISE: &str = "supervise-pod";

/// Returns the program that runs a supervisor: it must run [`supervise`](super::supervise) when its only argument is
/// [`SUPERVISE`].
#[must_use]
pub fn this_program() -> PathBuf {
    // This link works even after the file has been replaced by another version.
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| "slotkeeper".into()) }
}

pub(super) struct Link {
    orders: OwnedWriteHalf,
    reports: mpsc::Receiver<Report>,
    reader: AbortHandle,
}

pub(super) enum Report {
    Running(Leader),
    Failed(io::Error),
    Ended(ExitStatus),
}

impl Link {
    /// Starts a supervisor, which starts the pod of this `spec`. Returns the supervisor's pid, too.
    ///
    /// # Errors
    /// If the supervisor cannot be started.
    pub(super) async fn start(program: &Path, name: &str, spec: &Spec, output: Output) -> io::Result<(Link, i32)> {
        let (own, other) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let own = UnixStream::from_std(own)?;
        let mut command = Command::new(program);
        // An empty environment: the pod may be able to read its supervisor's.
        command.arg0(format!("slotkeeper: {name}")).arg(SUPERVISE).env_clear();
        command.stdin(Stdio::from(OwnedFd::from(other))).stdout(Stdio::null()).stderr(Stdio::null());
        crate::io::inherited::give_back(&mut command);
        let pid = children::start(command)?;
        let mut link = Link::over(own, output);
        let spec = serde_json::to_vec(spec)?;
        link.orders.write_all(&wire::head(order::START, &spec)).await?;
        link.orders.write_all(&spec).await?;
        Ok((link, pid))
    }

    /// Reconnects to the supervisor of this incarnation.
    ///
    /// # Errors
    /// If no supervisor answers, or that of another incarnation.
    pub(super) async fn find(socket: &Path, uid: &str, output: Output) -> io::Result<Link> {
        let socket = socket.to_owned();
        let connect =
            move || super::supervisor::through_folder(&socket, |path| std::os::unix::net::UnixStream::connect(path));
        let stream = tokio::task::spawn_blocking(connect).await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        let (kind, content) = receive(&mut stream).await?;
        if kind != report::HELLO || content != uid.as_bytes() {
            return Err(io::Error::other("another pod's supervisor answers"));
        }
        Ok(Link::over(stream, output))
    }

    fn over(stream: UnixStream, output: Output) -> Link {
        let (from, orders) = stream.into_split();
        let (sender, reports) = mpsc::channel(4);
        let reader = tokio::spawn(read(from, sender, output)).abort_handle();
        Link { orders, reports, reader }
    }

    /// Returns the next report; `None` when the supervisor has ended.
    pub(super) async fn next(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// Asks the supervisor to end the pod.
    pub(super) async fn end(&mut self) {
        // An error means that the supervisor has ended, which `next` reports.
        let _ = self.orders.write_all(&wire::head(order::END, &[])).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn receive(mut from: impl tokio::io::AsyncRead + Unpin) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).await?;
    let (kind, length) = wire::read_head(head)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content).await?;
    Ok((kind, content))
}

async fn read(mut from: OwnedReadHalf, reports: mpsc::Sender<Report>, mut output: Output) {
    while let Ok((kind, content)) = receive(&mut from).await {
        let report = match kind {
            report::OUTPUT => {
                output.take(&content, false);
                continue;
            }
            report::ERROR => {
                output.take(&content, true);
                continue;
            }
            report::RUNNING => serde_json::from_slice(&content).ok().map(Report::Running),
            report::FAILED => serde_json::from_slice::<Failure>(&content).ok().map(|f| Report::Failed(f.error())),
            report::ENDED => {
                output.end();
                let status = content.try_into().map(i32::from_be_bytes).unwrap_or_default();
                Some(Report::Ended(ExitStatus::from_raw(status)))
            }
            _ => None,
        };
        if let Some(report) = report
            && reports.send(report).await.is_err()
        {
            return;
        }
    }
    output.end();
}
