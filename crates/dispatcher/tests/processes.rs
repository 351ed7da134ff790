//! A pool of local processes, with real ones: shell scripts, and this test binary itself as a small web server.
//! No test depends on durations: each waits until a condition holds.
#![expect(clippy::wildcard_enum_match_arm, reason = "everything else is a failure")]

mod escapes;
mod restarts;
mod settings;

use crate::size;
use slotkeeper::cluster::{Cluster, ClusterError, processes};
use slotkeeper::config::{Probe, ProbeKind, Processes};
use slotkeeper::io::{Ids, RealNet};
use slotkeeper_core::{Command, Ordinal, Phase, Time, Uid};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// Time limit of every wait, far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads a pool's observations and checks that their versions grow.
pub(crate) struct Watch {
    pub(crate) cluster: Arc<dyn Cluster>,
    version: u64,
    /// All observations so far, as text.
    heard: Vec<String>,
}

impl Watch {
    pub(crate) fn new(cluster: Arc<dyn Cluster>) -> Watch {
        Watch { cluster, version: 0, heard: Vec::new() }
    }

    pub(crate) async fn next(&mut self) -> Command {
        let Ok(news) = tokio::time::timeout(PATIENCE, self.cluster.next_observation()).await else {
            panic!("no observation after {:#?}", self.heard)
        };
        let version = match &news {
            Command::PodSeen { version, .. }
            | Command::PodGone { version, .. }
            | Command::PodsListed { version, .. }
            | Command::ScaleSeen { version, .. } => *version,
            _ => panic!("not an observation: {news:?}"),
        };
        self.heard.push(format!("{news:?}"));
        assert!(version > self.version, "versions must grow: {:#?}", self.heard);
        self.version = version;
        news
    }

    /// The next observation, which must be a phase of this pod.
    pub(crate) async fn phase(&mut self, ordinal: u32) -> (Uid, Phase) {
        match self.next().await {
            Command::PodSeen { pod, uid, phase, .. } if pod.0 == ordinal => (uid, phase),
            other => panic!("not a sighting of {ordinal}: {other:?} after {:#?}", self.heard),
        }
    }

    pub(crate) async fn ready(&mut self, ordinal: u32) -> (Uid, SocketAddr) {
        match self.phase(ordinal).await {
            (uid, Phase::Ready { address }) => (uid, address),
            (_, other) => panic!("{ordinal} is not ready: {other:?}"),
        }
    }

    pub(crate) async fn failed(&mut self, ordinal: u32) -> (Uid, String) {
        match self.phase(ordinal).await {
            (uid, Phase::Failed { why }) => (uid, why.to_string()),
            (_, other) => panic!("{ordinal} has not failed: {other:?}"),
        }
    }

    async fn is(&mut self, ordinal: u32, uid: &Uid, phase: Phase) {
        assert_eq!(self.phase(ordinal).await, (uid.clone(), phase), "after {:#?}", self.heard);
    }

    async fn gone(&mut self, ordinal: u32) -> Uid {
        match self.next().await {
            Command::PodGone { pod, uid, .. } if pod.0 == ordinal => uid,
            other => panic!("{ordinal} has not ended: {other:?} after {:#?}", self.heard),
        }
    }

    /// The next observation, which must be the scale: start, replicas, decided.
    pub(crate) async fn scale(&mut self) -> (u32, u32, u64) {
        match self.next().await {
            Command::ScaleSeen { start, replicas, decided, .. } => (start, replicas, decided),
            other => panic!("not the scale: {other:?} after {:#?}", self.heard),
        }
    }

    async fn order(&mut self, replicas: u32, decided: u64) {
        self.cluster.scale(size(0, replicas, decided)).await.unwrap();
    }

    /// The next sighting, of any pod.
    pub(crate) async fn sighting(&mut self) -> (u32, Phase) {
        match self.next().await {
            Command::PodSeen { pod, phase, .. } => (pod.0, phase),
            other => panic!("not a sighting: {other:?} after {:#?}", self.heard),
        }
    }

    async fn starting(&mut self, ordinal: u32) -> Uid {
        let (uid, phase) = self.phase(ordinal).await;
        assert_eq!(phase, Phase::Starting);
        uid
    }
}

/// Waits until `look` returns something.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A pool in a temporary folder.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, ordinal: u32, name: &str) -> PathBuf {
        self.folder.path().join(ordinal.to_string()).join(name)
    }

    fn settings(&self, command: &[&str]) -> Processes {
        Processes {
            probe: Probe {
                kind: ProbeKind::Tcp,
                every: Duration::from_millis(10),
                timeout: Duration::from_secs(30),
                failures: 2,
                proxy: None,
            },
            stop_grace: PATIENCE,
            backoff: (Duration::from_millis(1), Duration::from_millis(4)),
            ..Processes::new(command.iter().map(|&c| c.to_owned()).collect(), self.folder.path().to_owned())
        }
    }

    /// A pool that runs a shell script. Its first observations have been read.
    async fn script(&self, script: &str) -> Watch {
        start(self.settings(&["/bin/sh", "-c", script])).await
    }

    /// A pool that runs [`serve_if_asked`]. Files in the pod's folder control it: unhealthy while `sick` exists, mute while
    /// `hang` exists; at the next connection after `die` was made, it exits.
    fn server(&self) -> Processes {
        let exe = std::env::current_exe().unwrap();
        let mut settings = self.settings(&[exe.to_str().unwrap(), "--exact", "processes::serve_if_asked"]);
        settings.environment.push((SERVE.into(), "{host}:{port} {data}".into()));
        settings.probe.kind = ProbeKind::Http { path: "/health".into() };
        settings
    }

    /// The process that wrote its id into this file.
    async fn pid(&self, ordinal: u32, name: &str) -> u32 {
        let file = self.file(ordinal, name);
        until("a process id", || std::fs::read_to_string(&file).ok()?.strip_suffix('\n')?.parse().ok()).await
    }
}

/// The dispatcher's own program: it runs the pods' supervisors.
pub(crate) const SUPERVISOR: &str = env!("CARGO_BIN_EXE_slotkeeper");

fn begin(settings: Processes, since: Time) -> Arc<dyn Cluster> {
    // Control groups are named after incarnations, so those of other tests have other names.
    let (net, ids) = (Arc::new(RealNet), Ids::Os);
    processes::start(&"games".into(), settings, net, &ids, Path::new(SUPERVISOR), since).unwrap()
}

async fn start(settings: Processes) -> Watch {
    let mut watch = Watch::new(begin(settings, Time(1)));
    assert!(matches!(watch.next().await, Command::PodsListed { pods, .. } if pods.is_empty()));
    assert_eq!(watch.scale().await, (0, 0, 0));
    watch
}

fn alive(pid: u32) -> bool {
    // A zombie is not alive: it has ended, but its parent (perhaps the container's init) has not waited for it.
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        return !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']);
    }
    let kill = format!("kill -0 {pid} 2>/dev/null");
    std::process::Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success()
}

async fn is_dead(pid: u32) {
    until("the process has ended", || (!alive(pid)).then_some(())).await;
}

fn touch(file: &Path) {
    std::fs::write(file, "").unwrap();
}

const SERVE: &str = "SLOTKEEPER_TEST_SERVER";

/// Not a test, but the server that pods run.
#[test]
fn serve_if_asked() {
    let Ok(asked) = std::env::var(SERVE) else { return };
    let (address, data) = asked.split_once(' ').unwrap();
    let environment = ["SLOTKEEPER_POOL", "SLOTKEEPER_ORDINAL", "PORT"].map(|name| std::env::var(name).unwrap());
    std::fs::write(format!("{data}/environment"), environment.join(" ")).unwrap();
    for stream in TcpListener::bind(address).unwrap().incoming() {
        if Path::new(data).join("die").exists() {
            std::fs::remove_file(format!("{data}/die")).unwrap();
            std::process::exit(7);
        }
        while Path::new(data).join("hang").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sick = Path::new(data).join("sick").exists();
        let Ok(mut stream) = stream else { continue };
        let mut head = Vec::new();
        let mut chunk = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            head.extend_from_slice(&chunk[..n]);
            if head.ends_with(b"\r\n\r\n") {
                let asked = head.starts_with(b"GET /health HTTP/1.1\r\n");
                let status = if asked && !sick { "204 No Content" } else { "503 Service Unavailable" };
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_pod_starts_becomes_ready_and_has_its_identity_in_the_environment() {
    let place = Place::new();
    let mut pool = start(place.server()).await;
    pool.order(2, 7).await;
    assert_eq!(pool.scale().await, (0, 2, 7));
    let mut ready = [None, None];
    let mut uids = Vec::new();
    while ready.contains(&None) {
        let Command::PodSeen { pod, uid, phase, .. } = pool.next().await else { panic!("{:?}", pool.heard) };
        match phase {
            Phase::Starting => uids.push(uid),
            Phase::Ready { address } => ready[pod.0 as usize] = Some(address),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(uids.len(), 2);
    assert_ne!(uids[0], uids[1]);
    assert_ne!(ready[0], ready[1]);
    for (n, address) in ready.iter().enumerate() {
        let environment = std::fs::read_to_string(place.file(n as u32, "environment")).unwrap();
        assert_eq!(environment, format!("games {n} {}", address.unwrap().port()));
    }
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_pod_is_ready_only_while_its_health_check_succeeds() {
    let place = Place::new();
    std::fs::create_dir(place.folder.path().join("0")).unwrap();
    touch(&place.file(0, "sick"));
    let mut pool = start(place.server()).await;
    pool.order(1, 1).await;
    pool.scale().await;
    let uid = pool.starting(0).await;
    until("the server answers", || place.file(0, "environment").exists().then_some(())).await;
    let quiet = tokio::time::timeout(Duration::from_millis(100), pool.next()).await;
    assert!(quiet.is_err(), "503 is not ready: {quiet:?}");
    std::fs::remove_file(place.file(0, "sick")).unwrap();
    let (same, address) = pool.ready(0).await;
    assert_eq!(same, uid);
    touch(&place.file(0, "sick"));
    pool.is(0, &uid, Phase::Unready).await;
    std::fs::remove_file(place.file(0, "sick")).unwrap();
    pool.is(0, &uid, Phase::Ready { address }).await;
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_stopped_pod_gets_sigterm_and_is_reported_before_the_size_that_stops_it() {
    let place = Place::new();
    let mut pool =
        place.script("trap 'echo bye > {data}/bye; exit 0' TERM; touch {data}/up; while :; do sleep 1; done").await;
    pool.order(2, 1).await;
    pool.scale().await;
    pool.sighting().await;
    pool.sighting().await;
    until("both are up", || (place.file(0, "up").exists() && place.file(1, "up").exists()).then_some(())).await;
    pool.order(1, 2).await;
    let (second, phase) = pool.phase(1).await;
    assert_eq!(phase, Phase::Terminating);
    assert_eq!(pool.scale().await, (0, 1, 2));
    assert_eq!(pool.gone(1).await, second);
    assert!(place.file(1, "bye").exists(), "it had time to stop");
    assert!(!place.file(0, "bye").exists());
    pool.cluster.stop().await;
    assert!(place.file(0, "bye").exists());
}

#[tokio::test]
async fn a_pod_that_ignores_term_is_killed_after_its_grace() {
    let place = Place::new();
    let mut settings =
        place.settings(&["/bin/sh", "-c", "trap '' TERM; echo $$ > {data}/pid; while :; do sleep 1; done"]);
    settings.stop_grace = Duration::from_millis(50);
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    pool.scale().await;
    let uid = pool.starting(0).await;
    let pid = place.pid(0, "pid").await;
    pool.order(0, 2).await;
    pool.is(0, &uid, Phase::Terminating).await;
    pool.scale().await;
    assert_eq!(pool.gone(0).await, uid);
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_crashed_pod_is_reported_as_gone_then_failed_then_started_again() {
    let place = Place::new();
    let mut pool = start(place.server()).await;
    pool.order(1, 1).await;
    pool.scale().await;
    pool.starting(0).await;
    let (first, _) = pool.ready(0).await;
    touch(&place.file(0, "die"));
    assert_eq!(pool.gone(0).await, first);
    let (second, why) = pool.failed(0).await;
    assert_ne!(second, first);
    assert_eq!(why, "crashed once, last: exit status 7; next try in 1 ms");
    pool.is(0, &second, Phase::Starting).await;
    assert_eq!(pool.ready(0).await.0, second);
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_crash_loop_is_reported_in_plain_words_and_every_try_is_an_incarnation() {
    let place = Place::new();
    let mut pool = place.script("kill -9 $$").await;
    pool.order(1, 1).await;
    pool.scale().await;
    let mut uid = pool.starting(0).await;
    for why in ["once", "2 times", "3 times", "4 times"] {
        assert_eq!(pool.gone(0).await, uid);
        let (next, said) = pool.failed(0).await;
        assert!(said.starts_with(&format!("crashed {why}, last: killed by signal 9; next try in ")), "{said}");
        assert_ne!(next, uid);
        uid = next;
        pool.is(0, &uid, Phase::Starting).await;
    }
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_pod_that_waits_for_its_next_try_ends_at_once_when_scaled_in() {
    let place = Place::new();
    let mut settings = place.settings(&["/bin/sh", "-c", "exit 1"]);
    settings.backoff = (PATIENCE, PATIENCE);
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    pool.scale().await;
    pool.starting(0).await;
    pool.gone(0).await;
    let (waiting, _) = pool.failed(0).await;
    // A recycle triggers the next try at once.
    pool.cluster.recycle(Ordinal(0), waiting.clone()).await.unwrap();
    assert_eq!(pool.gone(0).await, waiting);
    pool.starting(0).await;
    pool.gone(0).await;
    let (waiting, _) = pool.failed(0).await;
    pool.order(0, 2).await;
    assert_eq!(pool.gone(0).await, waiting);
    assert_eq!(pool.scale().await, (0, 0, 2));
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_missing_program_is_reported() {
    let place = Place::new();
    let mut pool = start(place.settings(&["/nowhere/console", "--port", "{port}"])).await;
    pool.order(1, 1).await;
    pool.scale().await;
    let (uid, why) = pool.failed(0).await;
    assert_eq!(why, "cannot start /nowhere/console: there is no such program; next try in 1 ms");
    let (same, _) = pool.failed(0).await;
    assert_eq!(same, uid, "no process ran meanwhile");
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_file_that_is_not_executable_is_reported() {
    let place = Place::new();
    let file = place.folder.path().join("notes.txt");
    touch(&file);
    let mut pool = start(place.settings(&[file.to_str().unwrap()])).await;
    pool.order(1, 1).await;
    pool.scale().await;
    let (_, why) = pool.failed(0).await;
    assert!(why.starts_with(&format!("cannot start {}: it may not be executed", file.display())), "{why}");
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_is_reported() {
    let place = Place::new();
    let settings = place.settings(&["/bin/sh", "-c", "sleep 60"]);
    let folder = place.folder.path().join("0");
    touch(&folder);
    let mut pool = start(settings.clone()).await;
    pool.order(1, 1).await;
    pool.scale().await;
    let (_, why) = pool.failed(0).await;
    assert!(why.starts_with(&format!("cannot write in the data folder {}: ", folder.display())), "{why}");
    pool.cluster.stop().await;
    let no_folder = Processes { data_folder: folder.clone(), ..settings };
    let (net, ids) = (Arc::new(RealNet), Ids::seeded(1));
    let refused =
        processes::start(&"games".into(), no_folder, net, &ids, Path::new(SUPERVISOR), Time(1)).err().unwrap();
    let said = format!("[pools.games.processes]: {}/.slotkeeper cannot be used: ", folder.display());
    assert!(refused.to_string().starts_with(&said), "{refused}");
}

#[tokio::test]
async fn a_port_that_another_program_uses_is_waited_for() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let mut settings = place.server();
    settings.first_port = Some(address.port());
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    pool.scale().await;
    let (uid, why) = pool.failed(0).await;
    assert!(why.starts_with(&format!("port {} is used by another program already", address.port())), "{why}");
    drop(other);
    let (same, last) = loop {
        match pool.phase(0).await {
            (_, Phase::Failed { .. }) => {}
            other => break other,
        }
    };
    assert_eq!((same, last), (uid.clone(), Phase::Starting));
    pool.is(0, &uid, Phase::Ready { address }).await;
    pool.cluster.stop().await;
}

#[tokio::test]
async fn only_the_named_incarnation_is_recycled() {
    let place = Place::new();
    let mut pool = place.script("sleep 600").await;
    pool.order(1, 1).await;
    pool.scale().await;
    let uid = pool.starting(0).await;
    pool.cluster.recycle(Ordinal(0), "somebody-else".into()).await.unwrap();
    pool.cluster.recycle(Ordinal(1), uid.clone()).await.unwrap();
    pool.cluster.recycle(Ordinal(0), uid.clone()).await.unwrap();
    pool.cluster.recycle(Ordinal(0), uid.clone()).await.unwrap();
    pool.is(0, &uid, Phase::Terminating).await;
    assert_eq!(pool.gone(0).await, uid);
    let next = pool.starting(0).await;
    assert_ne!(next, uid);
    pool.cluster.recycle(Ordinal(0), uid).await.unwrap();
    // The response to a later order shows that the recycle was processed: the current incarnation continues.
    pool.order(1, 2).await;
    assert_eq!(pool.scale().await, (0, 1, 2), "the recycle named the former incarnation");
    pool.order(0, 3).await;
    pool.is(0, &next, Phase::Terminating).await;
    pool.cluster.stop().await;
}

#[tokio::test]
async fn an_order_older_than_the_last_one_changes_nothing() {
    let place = Place::new();
    let mut pool = place.script("sleep 600").await;
    pool.order(1, 5).await;
    assert_eq!(pool.scale().await, (0, 1, 5));
    let uid = pool.starting(0).await;
    pool.order(0, 4).await;
    pool.order(1, 5).await;
    assert_eq!(pool.scale().await, (0, 1, 5), "the size is reported again, without the outdated order");
    pool.order(0, 6).await;
    pool.is(0, &uid, Phase::Terminating).await;
    assert_eq!(pool.scale().await, (0, 0, 6));
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_pod_wanted_again_while_it_ends_is_started_again() {
    let place = Place::new();
    let mut pool =
        place.script("trap 'while [ ! -e {data}/go ]; do sleep 0.01; done; exit 0' TERM; touch {data}/up; while :; do sleep 1; done").await;
    pool.order(1, 1).await;
    pool.scale().await;
    let uid = pool.starting(0).await;
    until("it is up", || place.file(0, "up").exists().then_some(())).await;
    pool.order(0, 2).await;
    pool.is(0, &uid, Phase::Terminating).await;
    assert_eq!(pool.scale().await, (0, 0, 2));
    pool.order(1, 3).await;
    assert_eq!(pool.scale().await, (0, 1, 3));
    touch(&place.file(0, "go"));
    assert_eq!(pool.gone(0).await, uid);
    assert_ne!(pool.starting(0).await, uid);
    pool.cluster.stop().await;
}

#[tokio::test]
async fn the_window_may_start_above_zero() {
    let place = Place::new();
    let mut pool = place.script("sleep 600").await;
    pool.cluster.scale(size(3, 1, 1)).await.unwrap();
    assert_eq!(pool.scale().await, (3, 1, 1));
    let uid = pool.starting(3).await;
    pool.cluster.scale(size(4, 1, 2)).await.unwrap();
    pool.is(3, &uid, Phase::Terminating).await;
    assert_eq!(pool.scale().await, (4, 1, 2));
    pool.cluster.stop().await;
}

/// A process with a child that ignores SIGTERM and has a child of its own.
const FAMILY: &str = "echo $$ > {data}/pid; sh -c 'trap \"\" TERM; echo $$ > {data}/child; \
                      sleep 600 & while :; do sleep 1; done; :'; :";

#[tokio::test]
async fn no_process_is_left_after_stop() {
    let place = Place::new();
    let mut settings = place.settings(&["/bin/sh", "-c", FAMILY]);
    settings.stop_grace = Duration::from_millis(50);
    let mut pool = start(settings).await;
    pool.order(3, 1).await;
    let mut pids = Vec::new();
    for ordinal in 0..3 {
        pids.push(place.pid(ordinal, "pid").await);
        pids.push(place.pid(ordinal, "child").await);
    }
    tokio::join!(pool.cluster.stop(), pool.cluster.stop());
    for pid in pids {
        is_dead(pid).await;
    }
    assert!(matches!(pool.cluster.scale(size(0, 1, 2)).await, Err(ClusterError::Stopping)));
    assert!(matches!(pool.cluster.recycle(Ordinal(0), "x".into()).await, Err(ClusterError::Stopping)));
    pool.cluster.stop().await;
}

#[tokio::test]
async fn no_process_is_left_after_drop() {
    let place = Place::new();
    let mut settings = place.settings(&["/bin/sh", "-c", FAMILY]);
    settings.stop_grace = Duration::from_millis(50);
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    let pids = [place.pid(0, "pid").await, place.pid(0, "child").await];
    drop(pool);
    for pid in pids {
        is_dead(pid).await;
    }
}

#[test]
fn no_process_is_left_after_the_runtime_has_ended() {
    let place = Place::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let (pool, pids) = first.block_on(async {
        let mut pool = start(place.settings(&["/bin/sh", "-c", FAMILY])).await;
        pool.order(1, 1).await;
        (pool, [place.pid(0, "pid").await, place.pid(0, "child").await])
    });
    drop(first);
    runtime().block_on(async {
        for pid in pids {
            is_dead(pid).await;
        }
    });
    drop(pool);
}

#[tokio::test]
async fn grandchildren_of_a_crashed_pod_die_with_it() {
    let place = Place::new();
    let mut pool = place
        .script(
            "[ -e {data}/go ] && exit; trap '' TERM; sleep 600 & echo $! > {data}/child; \
             while [ ! -e {data}/go ]; do sleep 0.01; done; exit 3",
        )
        .await;
    pool.order(1, 1).await;
    pool.scale().await;
    let uid = pool.starting(0).await;
    let child = place.pid(0, "child").await;
    touch(&place.file(0, "go"));
    assert_eq!(pool.gone(0).await, uid);
    is_dead(child).await;
    pool.cluster.stop().await;
}

const DISPATCH: &str = "SLOTKEEPER_TEST_DISPATCHER";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_output_of_a_pod_is_logged_with_its_name() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let place = Place::new();
    let mut pool = place
        .script("echo ordinal $SLOTKEEPER_ORDINAL on {port}; printf 'no \\033[31mgpu' >&2; head -c 1000000 /dev/zero | tr '\\0' x; exit 1")
        .await;
    pool.order(1, 1).await;
    pool.scale().await;
    pool.starting(0).await;
    pool.gone(0).await;
    let lines = log.lines();
    let said = |what: &str| lines.iter().any(|l| l.starts_with(" INFO pod: games/0: ") && l.contains(what));
    assert!(said("ordinal 0 on "), "{lines:?}");
    assert!(said("no [31mgpu"), "{lines:?}");
    assert!(said("xxx (cut)"));
    assert!(lines.iter().all(|l| l.len() < 5000));
    pool.cluster.stop().await;
}
