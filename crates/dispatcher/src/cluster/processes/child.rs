//! One pod from its start to its end: prepares its folder and port, starts it through a supervisor (or adopts one that a
//! former dispatcher started), probes it, and stops it on request. Reports to the keeper, which makes the decisions.

use super::link::{Link, Report};
use super::metrics::ProcessMetrics;
use super::output::Output;
use super::records::{Record, Records};
use super::wire::{Adopt, Leader, Spec};
use super::{MARK, environment, family, folders, leftovers};
use crate::cluster::probe::{self, Health, ProbeError, in_words};
use crate::config::template::Values;
use crate::config::{DataBetween, OnRestart, ProbeKind, Processes};
use crate::io::accounts::User;
use crate::io::cgroup::{self, Limits};
use crate::io::{Net, now};
use slotkeeper_core::{PoolId, Uid, planted};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Half the time from the first probe of a new process to the second; doubles before each further probe, up to `probe.every`.
const FIRST_PROBE: Duration = Duration::from_millis(20);
/// Shortest time between two probes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// A pod that is not ready this long after its start is logged, and again after four times as long, and so on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shared by all processes of a pool.
pub(super) struct Pool {
    pub(super) id: PoolId,
    pub(super) config: Processes,
    pub(super) net: Arc<dyn Net>,
    pub(super) records: Records,
    /// The program that runs supervisors.
    pub(super) supervisor: PathBuf,
    /// The parent of the pods' control groups, if they have any.
    pub(super) cgroup: Option<cgroup::Base>,
    pub(super) user: Option<User>,
    /// The digest of the settings with which pods are started (`fingerprint`).
    pub(super) settings: String,
    pub(super) metrics: Arc<ProcessMetrics>,
}

impl Pool {
    pub(super) fn name(&self, ordinal: u32) -> String {
        format!("{}/{ordinal}", self.id)
    }

    pub(super) fn output(&self, ordinal: u32) -> Output {
        Output::new(self.name(ordinal), self.config.log_lines, self.metrics.suppressed())
    }

    pub(super) fn folder(&self, ordinal: u32) -> PathBuf {
        self.config.data_folder.join(ordinal.to_string())
    }
}

/// A report about one process to the keeper.
pub(super) struct Event {
    pub(super) ordinal: u32,
    pub(super) uid: Uid,
    pub(super) what: What,
}

pub(super) enum What {
    Running,
    Ready(SocketAddr),
    /// It has never been ready so far, for this reason.
    Silent(String),
    Unready(String),
    /// Nothing was started. The last event of this process.
    NotStarted(String),
    /// The process and all its descendants have ended. The last event.
    Ended(End),
    /// It keeps running without this dispatcher. The last event.
    Left,
}

pub(super) enum End {
    Status(ExitStatus),
    /// Stopped before it was started.
    Before,
    /// Its supervisor was killed.
    Unsupervised,
    /// It did not answer for this long, and was stopped.
    Hung(Duration),
}

/// How a pod's task ends: the pod is stopped, or left to the next dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    End,
    Leave,
}

pub(super) struct Life {
    pub(super) pool: Arc<Pool>,
    pub(super) ordinal: u32,
    pub(super) uid: Uid,
    pub(super) events: mpsc::Sender<Event>,
}

impl Life {
    /// Runs the pod until it has ended. Ends it early when `stop` is sent or dropped.
    pub(super) async fn live(self, mut stop: oneshot::Receiver<Stop>) {
        // Never cancelled halfway: the next life must find either all of it done or nothing.
        let prepared = self.prepare().await;
        if stop.try_recv() != Err(TryRecvError::Empty) {
            self.wipe_or_warn().await;
            return self.report(What::Ended(End::Before)).await;
        }
        let (spec, address) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return self.report(What::NotStarted(why)).await,
        };
        let pool = &self.pool;
        let started = Link::start(&pool.supervisor, &pool.name(self.ordinal), &spec, pool.output(self.ordinal)).await;
        let (link, supervisor) = match started {
            Ok(started) => started,
            Err(e) => return self.report(What::NotStarted(format!("cannot start its supervisor: {e}"))).await,
        };
        let record = Record {
            uid: spec.uid,
            ordinal: self.ordinal,
            address,
            settings: pool.settings.clone(),
            boot: family::boot(),
            supervisor: Leader { pid: supervisor, started: family::of(supervisor).map_or(0, |p| p.started) },
            leader: None,
            cgroup: spec.cgroup,
            adopt: spec.adopt.is_some(),
        };
        self.write(&record);
        self.attend(link, record, Health::default(), stop).await;
    }

    /// Runs an adopted pod of a former dispatcher. `health`: the result of the first probe.
    pub(super) async fn go_on(self, link: Link, record: Record, health: Health, stop: oneshot::Receiver<Stop>) {
        self.attend(link, record, health, stop).await;
    }

    async fn attend(self, mut link: Link, mut record: Record, health: Health, mut stop: oneshot::Receiver<Stop>) {
        let mut watch = Box::pin(self.watch(record.address, health));
        let (mut is_running, mut is_ending, mut hung) = (record.leader.is_some(), false, false);
        let end = loop {
            tokio::select! {
                biased;
                stopped = &mut stop, if !is_ending => {
                    if stopped == Ok(Stop::Leave) {
                        return self.report(What::Left).await;
                    }
                    is_ending = true;
                    link.end().await;
                }
                report = link.next() => match report {
                    Some(Report::Running(leader)) => {
                        record.leader = Some(leader);
                        self.write(&record);
                        if !is_running {
                            is_running = true;
                            self.report(What::Running).await;
                        }
                    }
                    Some(Report::Failed(error)) => {
                        self.pool.records.remove(self.ordinal, &record.uid);
                        return self.report(What::NotStarted(self.cannot_start(&error))).await;
                    }
                    Some(Report::Ended(status)) => break End::Status(status),
                    None => {
                        self.clear(&record).await;
                        break End::Unsupervised;
                    }
                },
                () = &mut watch, if is_running && !is_ending => {
                    (is_ending, hung) = (true, true);
                    link.end().await;
                }
            }
        };
        drop(watch);
        self.pool.records.remove(self.ordinal, &record.uid);
        self.wipe_or_warn().await;
        let limit = self.pool.config.restart_unready.filter(|_| hung);
        self.report(What::Ended(limit.map_or(end, End::Hung))).await;
    }

    async fn report(&self, what: What) {
        // The keeper outlives all processes, unless the whole runtime ends.
        let _ = self.events.send(Event { ordinal: self.ordinal, uid: self.uid.clone(), what }).await;
    }

    fn write(&self, record: &Record) {
        if let Err(e) = self.pool.records.put(record) {
            let what =
                "cannot write the pod's record: if this dispatcher is killed, the next one does not find the pod";
            tracing::warn!(pool = %self.pool.id, ordinal = self.ordinal, "{what}: {e}");
        }
    }

    /// Ends the remaining processes of a former life.
    async fn clear(&self, record: &Record) {
        let Pool { id, config, records, .. } = &*self.pool;
        leftovers::end(record, &id.0, &records.socket(record.ordinal), config.stop_grace).await;
    }

    /// Empties the folder, if the pool keeps no data between two lives.
    async fn wipe(&self) -> Result<(), String> {
        if self.pool.config.data != DataBetween::Wipe {
            return Ok(());
        }
        let (pool, uid, folder) = (self.pool.clone(), self.uid.clone(), self.pool.folder(self.ordinal));
        let shown = folder.display().to_string();
        let wiped = tokio::task::spawn_blocking(move || folders::wipe(&folder, &uid.0, &pool.records)).await;
        wiped.map_err(io::Error::other).and_then(|wiped| wiped).map_err(|e| format!("cannot empty {shown}: {e}"))
    }

    /// Empties the folder at the end of a life. If that fails, `prepare` tries again before the next life starts.
    async fn wipe_or_warn(&self) {
        if let Err(why) = self.wipe().await {
            tracing::warn!(pool = %self.pool.id, ordinal = self.ordinal, "{why}");
        }
    }

    /// Returns the spec of the pod, and the address where it will listen.
    async fn prepare(&self) -> Result<(Spec, SocketAddr), String> {
        let Pool { id, config, net, records, user, .. } = &*self.pool;
        if let Some(record) = records.get(self.ordinal) {
            self.clear(&record).await;
            records.remove(self.ordinal, &record.uid);
        }
        self.wipe().await?;
        let data = self.data().await?;
        if let Some(folder) = &config.working_folder
            && !tokio::fs::metadata(folder).await.is_ok_and(|m| m.is_dir())
        {
            return Err(format!("the working folder {} does not exist", folder.display()));
        }
        let address = self.free_address(&**net).await?;
        let host = config.host.to_string();
        let data = data.to_str().ok_or_else(|| format!("the name of the folder {} is not UTF-8", data.display()))?;
        let values = Values { ordinal: self.ordinal, port: address.port(), data, pool: &id.0, host: &host };
        let (program, arguments) = config.command.split_first().ok_or("no command is configured")?;
        let environment = environment::of(config, user.as_ref(), &values, (MARK, &self.uid.0), std::env::vars_os());
        // Files that the program writes to its working folder belong to a visitor, too: they must be wiped with the data.
        let wiped = config.data == DataBetween::Wipe;
        let adopt = (config.on_restart == OnRestart::Adopt)
            .then(|| Adopt { socket: records.socket(self.ordinal), within_ms: config.adopt_within.as_millis() as u64 });
        let spec = Spec {
            uid: self.uid.0.to_string(),
            program: values.fill(program),
            arguments: arguments.iter().map(|a| values.fill(a)).collect(),
            environment,
            folder: config.working_folder.clone().or_else(|| wiped.then(|| data.into())),
            grace_ms: config.stop_grace.as_millis() as u64,
            account: user.as_ref().map(|user| user.account.clone()),
            limits: limits(config),
            cgroup: self.pool.cgroup.as_ref().map(|base| base.pod(&self.uid.0)),
            adopt,
            leader_only: leaves_descendants(),
        };
        Ok((spec, address))
    }

    /// Returns the pod's data folder, which exists and is writable.
    async fn data(&self) -> Result<PathBuf, String> {
        let folder = self.pool.folder(self.ordinal);
        let folder = std::path::absolute(&folder)
            .map_err(|e| format!("the data folder {} cannot be found: {e}", folder.display()))?;
        let (pool, uid, made) = (self.pool.clone(), self.uid.clone(), folder.clone());
        let make = move || {
            let account = pool.user.as_ref().map(|user| &user.account);
            folders::prepare(&made, &uid.0, account)?;
            if pool.config.data == DataBetween::Wipe {
                let names: Vec<&str> = environment::PRIVATE.iter().map(|(_, folder)| *folder).collect();
                folders::make_private(&made, &names, account)?;
            }
            Ok(())
        };
        tokio::task::spawn_blocking(make).await.map_err(|e| e.to_string()).and_then(|made| made)?;
        Ok(folder)
    }

    /// Returns an address with the ordinal's own port, or any port; never one where another program answers in the pod's
    /// place. (Another program may still bind it before the pod does: then the pod fails, and its successor gets another.)
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
        match error.raw_os_error() {
            Some(libc::ENOENT) => format!("cannot start {program}: there is no such program"),
            Some(libc::EACCES) => format!("cannot start {program}: it may not be executed"),
            Some(libc::EPERM) => format!("cannot start {program}: its user, group or limits cannot be set"),
            _ => format!("cannot start {program}: {error}"),
        }
    }

    /// Probes the pod and reports changes. Returns when the pod has been ready, and then has not answered for too long.
    async fn watch(&self, address: SocketAddr, mut health: Health) {
        let Pool { config, net, .. } = &*self.pool;
        let probe = &config.probe;
        let mut pause = FIRST_PROBE;
        let mut patience = PATIENCE;
        let (begin, mut was_ready, mut mute): (Instant, bool, Option<Instant>) = (now(), health.ready, None);
        loop {
            let answer = probe::ask(&**net, address, probe).await;
            // A pod that answers with an error still runs, and may be busy.
            let answers = matches!(answer, Ok(()) | Err(ProbeError::Answered(..)));
            let answer = answer.map_err(|e| tried(&e, &probe.kind));
            if health.take(answer.is_ok(), probe.failures) {
                let what = match &answer {
                    Err(why) if !health.ready => What::Unready(why.clone()),
                    _ => What::Ready(address),
                };
                self.report(what).await;
            }
            was_ready |= health.ready;
            mute = if answers || health.ready { None } else { mute.or_else(|| Some(now())) };
            if let Err(why) = &answer
                && !was_ready
                && begin.elapsed() >= patience
            {
                patience *= 4;
                self.report(What::Silent(format!("{why} ({} after its start)", in_words(whole(begin.elapsed())))))
                    .await;
            }
            let mute_for = mute.filter(|_| was_ready).map(|since| since.elapsed());
            if config.restart_unready.zip(mute_for).is_some_and(|(limit, passed)| passed >= limit) {
                return;
            }
            pause = if health.ready { probe.every } else { (pause * 2).min(probe.every) };
            tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
        }
    }
}

/// Describes the failed probe.
fn tried(error: &ProbeError, kind: &ProbeKind) -> String {
    let path = match kind {
        ProbeKind::Tcp => "",
        ProbeKind::Http { path } => path,
    };
    match error {
        ProbeError::Refused(at) => format!("nothing listens on {at} yet"),
        ProbeError::Answered(_, code) => format!("GET {path} answers {code}"),
        ProbeError::NotHttp(_) => format!("GET {path} is not answered in HTTP"),
        ProbeError::Silent { timeout, .. } if *kind != ProbeKind::Tcp => {
            format!("GET {path} has no answer within {}", in_words(*timeout))
        }
        ProbeError::Silent { .. } | ProbeError::Unreachable(..) | ProbeError::Closed(_) | ProbeError::Path => {
            error.to_string()
        }
    }
}

fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

pub(super) fn limits(config: &Processes) -> Limits {
    let limits = &config.limits;
    Limits {
        memory_bytes: limits.memory_bytes,
        cpu_millis: limits.cpu_millis,
        files: limits.files,
        processes: limits.processes,
    }
}

fn leaves_descendants() -> bool {
    planted!(DescendantsLeft => true);
    false
}
