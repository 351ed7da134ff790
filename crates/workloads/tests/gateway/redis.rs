//! A real Redis for one test, on a free port, with its own data folder.

use std::net::SocketAddr;
use std::process::Stdio;

use slotkeeper_workloads::gateway::{Config, RedisAddress};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::eventually;

pub(super) struct Redis {
    at: SocketAddr,
    data: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// # Panics
    /// If `redis-server` is not installed.
    pub(super) async fn start() -> Redis {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = free.local_addr().expect("an address");
        drop(free);
        let mut redis = Redis { at, data: tempfile::tempdir().expect("a folder"), child: None };
        redis.restart().await;
        redis
    }

    pub(super) fn config(&self, name: &str) -> Config {
        let address: RedisAddress = format!("redis://:secret@{}/1", self.at).parse().expect("an address");
        Config { name: name.into(), redis: Some(address), ..Config::default() }
    }

    /// Restarts it with the data that it had when it was killed.
    pub(super) async fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--requirepass",
            "secret",
            "--save",
            "",
            "--port",
            &self.at.port().to_string(),
        ]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(self.data.path());
        let child = command.stdout(Stdio::null()).kill_on_drop(true).spawn();
        self.child = Some(child.expect("redis-server is installed (apt-get install redis-server)"));
        eventually("Redis to answer", async || TcpStream::connect(self.at).await.is_ok()).await;
    }

    /// Restarts it without its data, as if its volume was lost.
    pub(super) async fn restart_empty(&mut self) {
        self.data = tempfile::tempdir().expect("a folder");
        self.restart().await;
    }

    /// Executes one command as another client.
    pub(super) async fn run(&self, command: &[&str]) {
        let client = redis::Client::open(format!("redis://:secret@{}/1", self.at)).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async::<redis::Value>(&mut connection)
            .await
            .expect("it is done");
    }

    pub(super) async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.expect("it lived");
    }
}
