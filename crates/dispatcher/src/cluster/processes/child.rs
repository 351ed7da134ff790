//! One process from its start to its end: prepares its folder and port, starts it, asks it whether it is ready, stops it
//! when told. It reports to the keeper, which decides.

use super::group::{self, Exit, Group, Signal, Started};
use super::output;
use super::template::Values;
use crate::cluster::probe::{self, Health};
use crate::config::Processes;
use crate::outside::Net;
use slotkeeper_core::{PoolId, Uid};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How soon a new process is asked for the first time; doubles up to `probe.every`.
const FIRST_PROBE: Duration = Duration::from_millis(20);
/// Nobody is asked more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long the last lines of an ended process are waited for.
const LAST_LINES: Duration = Duration::from_millis(500);
/// How often a stopping group is looked at after its leader has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What all processes of a pool have in common.
pub(super) struct Pool {
    pub(super) id: PoolId,
    pub(super) config: Processes,
    pub(super) net: Arc<dyn Net>,
}

/// News of one process for the keeper.
pub(super) struct Event {
    pub(super) ordinal: u32,
    pub(super) uid: Uid,
    pub(super) what: What,
}

pub(super) enum What {
    Running,
    Ready(SocketAddr),
    Unready,
    /// Nothing was started. The last event of this process.
    NotStarted(String),
    /// It and all its descendants are no more. The last event; no status if it was stopped before it had started.
    Ended(Option<ExitStatus>),
}

pub(super) struct Life {
    pub(super) pool: Arc<Pool>,
    pub(super) ordinal: u32,
    pub(super) uid: Uid,
    pub(super) events: mpsc::Sender<Event>,
}

impl Life {
    /// Lives it. Ends early when `stop` is sent or dropped.
    pub(super) async fn live(self, mut stop: oneshot::Receiver<()>) {
        let config = &self.pool.config;
        let prepared = tokio::select! {
            biased;
            _ = &mut stop => return self.tell(What::Ended(None)).await,
            prepared = self.prepare() => prepared,
        };
        let (command, address) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return self.tell(What::NotStarted(why)).await,
        };
        let Started { group, mut exit, stdout, stderr } = match group::start(command).await {
            Ok(started) => started,
            Err(e) => return self.tell(What::NotStarted(self.cannot_start(&e))).await,
        };
        let mut output = JoinSet::new();
        self.read(&mut output, stdout.map(ChildStdout::from_std));
        self.read(&mut output, stderr.map(ChildStderr::from_std));
        self.tell(What::Running).await;
        let status = tokio::select! {
            biased;
            _ = &mut stop => end(&group, &mut exit, config.stop_grace).await,
            status = exit.wait() => status,
            () = self.watch(address) => return,
        };
        group.end();
        let _ = tokio::time::timeout(LAST_LINES, async { while output.join_next().await.is_some() {} }).await;
        self.tell(What::Ended(Some(status))).await;
    }

    async fn tell(&self, what: What) {
        // The keeper lives as long as any process does, unless the whole runtime ends.
        let _ = self.events.send(Event { ordinal: self.ordinal, uid: self.uid.clone(), what }).await;
    }

    /// The command to start, and where it will listen.
    async fn prepare(&self) -> Result<(Command, SocketAddr), String> {
        let Pool { id, config, net } = &*self.pool;
        let data = writable(&config.data_folder.join(self.ordinal.to_string())).await?;
        if let Some(folder) = &config.working_folder
            && !tokio::fs::metadata(folder).await.is_ok_and(|m| m.is_dir())
        {
            return Err(format!("the working folder {} is not there", folder.display()));
        }
        let address = self.free_address(&**net).await?;
        let host = config.host.to_string();
        let data = data.to_str().ok_or_else(|| format!("the name of the folder {} is not UTF-8", data.display()))?;
        let values = Values { ordinal: self.ordinal, port: address.port(), data, pool: &id.0, host: &host };
        let (program, arguments) = config.command.split_first().ok_or("no command is configured")?;
        let mut command = Command::new(values.fill(program));
        command.args(arguments.iter().map(|a| values.fill(a)));
        command.env("SLOTKEEPER_POOL", &*id.0).env("SLOTKEEPER_ORDINAL", self.ordinal.to_string());
        command.env("PORT", address.port().to_string());
        command.envs(config.environment.iter().map(|(name, value)| (name, values.fill(value))));
        if let Some(folder) = &config.working_folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok((command, address))
    }

    /// Its own port, or any; in any case one where nobody else would answer in its place. (Somebody may still take it
    /// before the process does: then the process fails, and the next one gets another.)
    async fn free_address(&self, net: &dyn Net) -> Result<SocketAddr, String> {
        let config = &self.pool.config;
        let port = match config.first_port {
            Some(first) => u16::try_from(u32::from(first).saturating_add(self.ordinal))
                .map_err(|_| format!("there is no port {first} + {}", self.ordinal))?,
            None => 0,
        };
        let wanted = SocketAddr::new(config.host, port);
        match net.listen(wanted).await {
            Ok(listener) => Ok(listener.address()),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                Err(format!("port {port} is used by another program already"))
            }
            Err(e) => Err(format!("cannot listen at {wanted}: {e}")),
        }
    }

    fn cannot_start(&self, error: &io::Error) -> String {
        let program = self.pool.config.command.first().map_or("", String::as_str);
        if error.kind() == io::ErrorKind::NotFound {
            format!("cannot start {program}: there is no such program")
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            format!("cannot start {program}: it may not be executed")
        } else {
            format!("cannot start {program}: {error}")
        }
    }

    fn read(&self, readers: &mut JoinSet<()>, pipe: Option<io::Result<impl AsyncRead + Send + Unpin + 'static>>) {
        let name: Arc<str> = format!("{}/{}", self.pool.id, self.ordinal).into();
        match pipe {
            Some(Ok(pipe)) => drop(readers.spawn(output::log(pipe, name))),
            Some(Err(e)) => tracing::warn!(target: "pod", "{name}: cannot read what it says: {e}"),
            None => {}
        }
    }

    /// Asks for ever, and tells what changes.
    async fn watch(&self, address: SocketAddr) {
        let probe = &self.pool.config.probe;
        let mut health = Health::default();
        let mut pause = FIRST_PROBE;
        loop {
            let answer = probe::ask(&*self.pool.net, address, probe).await;
            if let Err(why) = &answer {
                tracing::debug!(pool = %self.pool.id, ordinal = self.ordinal, "{why}");
            }
            if health.take(answer.is_ok(), probe.failures) {
                self.tell(if health.ready { What::Ready(address) } else { What::Unready }).await;
            }
            pause = if health.ready { probe.every } else { (pause * 2).min(probe.every) };
            tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
        }
    }
}

/// Asks the group to end, and after `grace` ends it. Returns when the child has been waited for; if it ends first, its
/// descendants have the rest of the time (a shell may be gone long before the program that it ran has saved its work).
async fn end(group: &Group, exit: &mut Exit, grace: Duration) -> ExitStatus {
    group.signal(Signal::Term);
    let all_gone = async {
        let status = exit.wait().await;
        while group.exists() {
            tokio::time::sleep(LOOK).await;
        }
        status
    };
    match tokio::time::timeout(grace, all_gone).await {
        Ok(status) => status,
        Err(_) => {
            group.signal(Signal::Kill);
            exit.wait().await
        }
    }
}

/// Makes the folder if need be, and makes sure that something can be written there.
async fn writable(folder: &Path) -> Result<PathBuf, String> {
    let problem = |e: io::Error| format!("cannot write in the data folder {}: {e}", folder.display());
    let folder = std::path::absolute(folder).map_err(problem)?;
    tokio::fs::create_dir_all(&folder).await.map_err(problem)?;
    let trial = folder.join(".slotkeeper-trial");
    tokio::fs::write(&trial, b"").await.map_err(problem)?;
    tokio::fs::remove_file(&trial).await.map_err(problem)?;
    Ok(folder)
}
