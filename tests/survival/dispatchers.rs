//! Dispatchers that are killed and started again: with the same address, the same configuration, the same journal.

use crate::survival::arcade::Arcade;
use rustix::process::{Pid, Signal, kill_process};
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Visitor, eventually, patiently};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub(crate) struct Dispatchers {
    folder: TempDir,
    addresses: Vec<SocketAddr>,
    admins: Vec<SocketAddr>,
    children: Vec<Option<Child>>,
}

/// Addresses that are free and stay so, as nothing else on this machine uses this part of the loopback network.
fn free(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.3:0").expect("a free port")).collect();
    listeners.iter().map(|l| l.local_addr().expect("an address")).collect()
}

fn pool(arcade: &Arcade, settings: &str) -> String {
    let pods: Vec<String> = arcade.addresses().iter().map(|a| format!("\"{a}\"")).collect();
    format!(
        "[limits]\nconnections = 10000\n[pools.arcade]\nslots_per_pod = 1\n{settings}\n\
         [pools.arcade.fixed]\npods = [{}]\n[pools.arcade.fixed.probe]\nevery_seconds = 2\n",
        pods.join(", ")
    )
}

impl Dispatchers {
    /// One dispatcher, with a folder.
    pub(in crate::survival) fn on_folder(arcade: &Arcade, settings: &str) -> Dispatchers {
        Dispatchers::new(1, "drain_seconds = 0.5", &pool(arcade, settings), |folder| format!("file:{folder}/journal"))
    }

    /// Three dispatchers on one Redis.
    pub(in crate::survival) fn on_redis(arcade: &Arcade, settings: &str, redis: &str) -> Dispatchers {
        Dispatchers::new(3, "drain_seconds = 0.5", &pool(arcade, settings), |_| redis.to_owned())
    }

    /// `top` and `tables`: the parts of their configuration other than addresses, journal and keys.
    pub(crate) fn new(count: usize, top: &str, tables: &str, journal: impl Fn(&str) -> String) -> Dispatchers {
        let folder = tempfile::tempdir().expect("a folder");
        let (addresses, admins) = (free(count), free(count));
        std::fs::write(folder.path().join("keys"), format!("{}\n", "5a".repeat(32))).expect("a file");
        let at = journal(&folder.path().display().to_string());
        for index in 0..count {
            let text = format!(
                "listen = \"{}\"\ncookie_keys_file = \"keys\"\n{top}\n[admin]\nlisten = \"{}\"\n\
                 [journal]\nat = \"{at}\"\n{tables}\n",
                addresses[index], admins[index],
            );
            std::fs::write(folder.path().join(format!("{index}.toml")), text).expect("a file");
        }
        Dispatchers { folder, addresses, admins, children: (0..count).map(|_| None).collect() }
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// The operators' address, once it accepts connections.
    pub(crate) async fn admin(&self, index: usize) -> SocketAddr {
        let at = self.admins[index];
        eventually("operators to be answered", async || tokio::net::TcpStream::connect(at).await.is_ok()).await;
        at
    }

    pub(crate) fn command(&self, index: usize) -> Command {
        let mut command = Command::new(binary("slotkeeper"));
        command.arg("serve").arg("--config").arg(self.folder.path().join(format!("{index}.toml")));
        command.stdin(Stdio::null()).env("RUST_LOG", "warn").kill_on_drop(true);
        command
    }

    pub(crate) fn begin(&mut self, index: usize) {
        self.children[index] = Some(self.command(index).spawn().expect("it starts"));
    }

    /// The id of the process, while it runs.
    pub(crate) fn id(&self, index: usize) -> u32 {
        self.children[index].as_ref().and_then(Child::id).expect("it lives")
    }

    /// Starts the dispatcher, and waits until it is ready.
    pub(crate) async fn start(&mut self, index: usize) {
        self.begin(index);
        let at = self.admin(index).await;
        let ready = async || Visitor::at(at).get("/readyz").await.status() == 200;
        eventually("the dispatcher to be ready", ready).await;
    }

    /// Suspends the process, and waits until no thread runs. (`SIGSTOP` takes a moment.)
    pub(crate) async fn suspend(&self, index: usize) {
        self.signal(index, Signal::STOP);
        let status = format!("/proc/{}/task", self.id(index));
        let is_stopped = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("status")).is_ok_and(|status| status.contains("State:\tT"))
        };
        eventually("the process to stop", async || {
            std::fs::read_dir(&status).is_ok_and(|mut tasks| tasks.all(|task| task.is_ok_and(is_stopped)))
        })
        .await;
    }

    /// Sends a signal that the process survives.
    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let pid = Pid::from_raw(self.id(index) as i32).expect("a process");
        kill_process(pid, signal).expect("it lives");
    }

    pub(crate) async fn kill(&mut self, index: usize) {
        self.end(index, Signal::KILL).await;
    }

    pub(crate) async fn stop(&mut self, index: usize) {
        self.end(index, Signal::TERM).await;
    }

    pub(crate) async fn end(&mut self, index: usize, signal: Signal) -> ExitStatus {
        let mut child = self.children[index].take().expect("it runs");
        let pid = Pid::from_raw(child.id().expect("it lives") as i32).expect("a process");
        kill_process(pid, signal).expect("it lives");
        patiently("the dispatcher to end", child.wait()).await.expect("it ends")
    }

    /// `slotkeeper journal ACT FOLDER`.
    pub(crate) async fn journal(&self, act: &[&str]) -> Output {
        let mut command = Command::new(binary("slotkeeper"));
        command.arg("journal").args(act).arg(self.folder.path().join("journal"));
        command.output().await.expect("it runs")
    }

    /// The file with the newest entries.
    pub(crate) fn segment(&self) -> PathBuf {
        let files = std::fs::read_dir(self.folder.path().join("journal")).expect("a folder");
        let mut segments: Vec<PathBuf> = files
            .map(|file| file.expect("a file").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("entries-")))
            .collect();
        segments.sort();
        segments.pop().expect("a segment")
    }
}
