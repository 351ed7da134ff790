//! The built `slotkeeper`, started with its own configuration on free ports, and killed when it is dropped.

use crate::contract;
use crate::patience::eventually;
use crate::pod::Pod;
use crate::visitor::{Answer, Visitor};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use slotkeeper_api::{Operation, Parameters, PoolStatus, Session, SessionList};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Builds a configuration. All ports are 0 (the operators' listener has another loopback address, as the same address twice
/// is refused); a single pool is called `pool`.
#[derive(Debug, Default)]
pub struct Setup {
    /// Keys before all tables.
    pub top: String,
    pub admin: String,
    pub limits: String,
    /// Complete tables.
    pub pools: String,
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// A configuration with one pool of these pods, with these settings.
    #[must_use]
    pub fn fixed(pods: &[&Pod], settings: &str) -> Setup {
        Setup::default().pool("pool", pods, settings)
    }

    /// Adds a pool.
    #[must_use]
    pub fn pool(mut self, name: &str, pods: &[&Pod], settings: &str) -> Setup {
        let addresses: Vec<String> = pods.iter().map(|p| format!("\"{}\"", p.address)).collect();
        let _ = write!(
            self.pools,
            "[pools.{name}]\n{settings}\n[pools.{name}.fixed]\npods = [{}]\n[pools.{name}.fixed.probe]\nevery_seconds = 0.1\n",
            addresses.join(", ")
        );
        self
    }

    /// A configuration with one pool of consoles as local processes, whose data is in the dispatcher's folder.
    #[must_use]
    pub fn consoles(settings: &str) -> Setup {
        let console = binary("slotkeeper-console");
        let pools = format!(
            "[pools.pool]\n{settings}\n[pools.pool.processes]\n\
             command = [{:?}, \"--listen\", \"{{host}}:{{port}}\", \"--name\", \"console-{{ordinal}}\", \"--data\", \"{{data}}\"]\n\
             data_folder = \"data\"\nstop_grace_seconds = 5\n\
             [pools.pool.processes.probe]\npath = \"/readyz\"\nevery_seconds = 0.05\n",
            console.display().to_string()
        );
        Setup { pools, ..Setup::default() }
    }

    #[must_use]
    pub fn top(mut self, line: &str) -> Setup {
        let _ = writeln!(self.top, "{line}");
        self
    }

    #[must_use]
    pub fn admin(mut self, line: &str) -> Setup {
        let _ = writeln!(self.admin, "{line}");
        self
    }

    #[must_use]
    pub fn limit(mut self, line: &str) -> Setup {
        let _ = writeln!(self.limits, "{line}");
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "listen = \"127.0.0.1:0\"\n{}\n[admin]\nlisten = \"127.0.0.2:0\"\n{}\n[limits]\n{}\n{}",
            self.top, self.admin, self.limits, self.pools
        )
    }

    /// Starts the dispatcher, and waits until it is ready.
    pub async fn start(self) -> Dispatcher {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("slotkeeper.toml");
        std::fs::write(&file, self.text()).expect("a file");
        Dispatcher::serve(folder, &file, &self.environment).await
    }
}

pub struct Dispatcher {
    pub visitors: SocketAddr,
    pub admin: SocketAddr,
    pub token: Option<String>,
    child: Child,
    log: Arc<Mutex<String>>,
    /// The folder of the configuration and of the pods' data.
    pub folder: TempDir,
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // The pods of a pool of processes end with the dispatcher, even if it is killed.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the dispatcher's log belongs to the output of a failed test")]
            {
                let log = self.log();
                let from = log.len().saturating_sub(6000);
                eprintln!("--- the dispatcher's log ---\n{}", log.get(from..).unwrap_or(&log));
            }
        }
    }
}

/// A program of this workspace: from the folder of this test's build, or from the one of `SLOTKEEPER_BIN`.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let named = std::env::var_os("SLOTKEEPER_BIN").map(PathBuf::from);
    let folder = match &named {
        Some(program) => program.parent().map(Path::to_owned),
        None => std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.to_owned())),
    };
    let program = match named.filter(|_| name == "slotkeeper") {
        Some(program) => program,
        None => folder.unwrap_or_default().join(name),
    };
    assert!(
        program.is_file(),
        "{} is not there: `cargo build --workspace --bins` builds it (with the profile and target folder of the tests), \
         or SLOTKEEPER_BIN says where slotkeeper is",
        program.display()
    );
    program.canonicalize().expect("it is there")
}

impl Dispatcher {
    /// Starts `slotkeeper serve --config FILE`, and waits until it is ready.
    pub async fn serve(folder: TempDir, file: &Path, environment: &[(String, String)]) -> Dispatcher {
        Dispatcher::listens(folder, file, environment).await.when_ready().await
    }

    /// As `serve`, but the dispatcher need not be ready yet.
    pub async fn listens(folder: TempDir, file: &Path, environment: &[(String, String)]) -> Dispatcher {
        let mut command = Command::new(binary("slotkeeper"));
        command
            .env("XDG_STATE_HOME", folder.path())
            .arg("serve")
            .arg("--config")
            .arg(file)
            .env("RUST_LOG", "info,kube_client=error")
            .envs(environment.iter().cloned());
        Dispatcher::begin(folder, command).await
    }

    /// Starts `slotkeeper` with any command line, and waits until it is ready.
    pub async fn run(folder: TempDir, command: Command) -> Dispatcher {
        Dispatcher::begin(folder, command).await.when_ready().await
    }

    /// As `run`, with this standard input.
    pub async fn run_with(folder: TempDir, command: Command, input: Stdio) -> Dispatcher {
        Dispatcher::begin_with(folder, command, input).await.when_ready().await
    }

    async fn begin(folder: TempDir, command: Command) -> Dispatcher {
        Dispatcher::begin_with(folder, command, Stdio::null()).await
    }

    async fn begin_with(folder: TempDir, mut command: Command, input: Stdio) -> Dispatcher {
        command.env("NO_COLOR", "1").stdin(input).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("slotkeeper starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().expect("piped")), log.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = kept.lock().expect("no panic");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut dispatcher = Dispatcher { visitors: nowhere, admin: nowhere, token: None, child, log, folder };
        dispatcher.find_addresses().await;
        dispatcher
    }

    async fn when_ready(self) -> Dispatcher {
        let ready = async || Visitor::at(self.admin).get("/readyz").await.status() == 200;
        eventually("the dispatcher to be ready", ready).await;
        self
    }

    async fn find_addresses(&mut self) {
        eventually("the dispatcher to listen", async || {
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the dispatcher has ended: {ended:?}\n{}", self.log());
            let log = self.log();
            let Some(line) = log.lines().find(|l| l.contains("listening") && l.contains("visitors=")) else {
                return false;
            };
            let address = |key: &str| -> Option<SocketAddr> {
                let text = line.split_once(key)?.1;
                text.split([']', ')', ',']).next()?.parse().ok()
            };
            // None, if all listeners are Unix sockets.
            self.visitors = address("visitors=[").or_else(|| address("tls=[")).unwrap_or(self.visitors);
            self.admin = address("admin=Some(").unwrap_or(self.admin);
            true
        })
        .await;
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("it lives");
    }

    /// Sends SIGTERM to the dispatcher, and waits until it has ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end().await
    }

    /// Waits until the dispatcher has ended.
    pub async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the dispatcher to end", async || {
            status = self.child.try_wait().expect("it can be asked");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// A number of `/proc/ID/status`, in KiB.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn memory_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it lives");
        let line = status.lines().find(|l| l.starts_with(key)).expect("the kernel reports it");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }

    fn operator(&self) -> Visitor {
        let mut operator = Visitor::at(self.admin);
        if let Some(token) = &self.token {
            operator.fields = format!("Authorization: Bearer {token}\r\n");
        }
        operator
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        self.admin("GET", path).await
    }

    pub async fn admin_post(&self, path: &str) -> Answer {
        self.admin("POST", path).await
    }

    pub async fn admin_delete(&self, path: &str) -> Answer {
        self.admin("DELETE", path).await
    }

    /// Sends a request of the admin API.
    pub async fn call(&self, operation: Operation, given: Parameters<'_>) -> Answer {
        self.admin(operation.route().verb.name(), &operation.path(given)).await
    }

    /// Sends a request to the admin listener. Its answer must be one that the API's table promises.
    async fn admin(&self, method: &str, path: &str) -> Answer {
        let answer = self.operator().request(method, path, "", b"").await;
        contract::is_kept(method, path, &answer);
        answer
    }

    /// The pool called `pool`, from the admin API.
    pub async fn pool(&self) -> PoolStatus {
        self.pool_of("pool").await
    }

    /// The pool with this name.
    pub async fn pool_of(&self, pool: &str) -> PoolStatus {
        self.call(Operation::GetPool, Parameters { pool, ..Parameters::default() }).await.read()
    }

    /// The sessions of the pool called `pool`.
    pub async fn sessions(&self) -> Vec<Session> {
        self.sessions_of("pool").await
    }

    /// The sessions of the pool with this name.
    pub async fn sessions_of(&self, pool: &str) -> Vec<Session> {
        let given = Parameters { pool, ..Parameters::default() };
        self.call(Operation::ListSessions, given).await.read::<SessionList>().sessions
    }

    /// An operator ends the session with this public name.
    pub async fn kick(&self, pool: &str, session: &str) {
        let answer = self.call(Operation::KickSession, Parameters { pool, session, ..Parameters::default() }).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics(self.admin_get("/metrics").await.text())
    }

    /// Waits until the admin API shows this value of the pool, at this JSON pointer.
    pub async fn pool_is(&self, pointer: &str, value: impl Into<Value>) {
        let value = value.into();
        eventually(&format!("{pointer} to be {value}"), async || {
            self.admin_get("/api/v1/pools/pool").await.json().pointer(pointer) == Some(&value)
        })
        .await;
    }
}

/// The text of `/metrics`.
pub struct Metrics(pub String);

impl Metrics {
    /// The value of the series with exactly this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        let line = self.0.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The series `name` of the pool called `pool`, with one more label (`""` for none), as a whole number.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn of_pool(&self, name: &str, label: &str) -> u64 {
        let mut labels = vec!["pool=\"pool\"".to_owned()];
        if let Some((key, value)) = label.split_once('=') {
            labels.push(format!("{key}=\"{value}\""));
        }
        labels.sort();
        let name = format!("{name}{{{}}}", labels.join(","));
        self.get(&name).unwrap_or_else(|| panic!("{name} is not in\n{}", self.0)) as u64
    }
}
