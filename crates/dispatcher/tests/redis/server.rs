//! A real server with its own loopback port and folder; and a network path to it, which can be redirected to another
//! server.

use slotkeeper::io::{BoxFuture, Listener, Net, RealNet, Socket};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

pub(super) struct Server {
    folder: tempfile::TempDir,
    pub(super) port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

/// `redis-server`, or the program that `SLOTKEEPER_TEST_REDIS` names (such as `valkey-server`).
fn program() -> String {
    std::env::var("SLOTKEEPER_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned())
}

impl Server {
    /// A server that keeps everything that it has acknowledged.
    pub(super) async fn durable() -> Server {
        Server::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// A server that keeps nothing over a restart.
    pub(super) async fn forgetful() -> Server {
        Server::with(&[]).await
    }

    pub(super) async fn with(arguments: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Server { folder, port: free_port(), arguments, process: None };
        server.start().await;
        server
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) async fn start(&mut self) {
        let program = program();
        let port = self.port.to_string();
        let mut command = Command::new(&program);
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes"]);
        command.args(["--enable-protected-configs", "yes"]);
        command.args(["--repl-diskless-sync-delay", "0", "--dir"]).arg(self.folder.path()).args(&self.arguments);
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let process = command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn();
        self.process = Some(
            process
                .unwrap_or_else(|error| panic!("{program} cannot be started ({error}): apt-get install redis-server")),
        );
        while !self.is_up().await {
            let over = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(over.is_none(), "the server has ended: {}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_up(&self) -> bool {
        let Ok(mut connection) = self.connection(None).await else { return false };
        let answer: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
        // A server that demands a password is up, too.
        answer.map_or_else(|error| error.code() == Some("NOAUTH"), |_| true)
    }

    /// Kills the server as `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(super) async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    async fn connection(&self, password: Option<&str>) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let user = password.map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{user}127.0.0.1:{}", self.port))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    pub(super) async fn ask(&self, words: &[&str]) -> redis::Value {
        self.ask_as(None, words).await
    }

    pub(super) async fn ask_as(&self, password: Option<&str>, words: &[&str]) -> redis::Value {
        let mut connection = self.connection(password).await.unwrap();
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        command.query_async(&mut connection).await.unwrap()
    }

    pub(super) async fn info(&self, section: &str, key: &str) -> String {
        let info: String = redis::from_redis_value(self.ask(&["INFO", section]).await).unwrap();
        let found = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    }

    /// Replicates the other server, and waits until it has all its data.
    pub(super) async fn replicates(&self, other: &Server) {
        self.ask(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
        loop {
            let offset = other.info("replication", "master_repl_offset").await;
            let own = self.info("replication", "slave_repl_offset").await;
            if self.info("replication", "master_link_status").await == "up" && own == offset {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The files of the append-only log.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let folder = self.folder().join("appendonlydir");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A network that leads to one server, or to another one after [`Way::turn_to`].
#[derive(Clone)]
pub(super) struct Way(Arc<AtomicU16>);

impl Way {
    pub(super) fn to_port(port: u16) -> Way {
        Way(Arc::new(port.into()))
    }

    pub(super) fn to(server: &Server) -> Way {
        Way(Arc::new(server.port.into()))
    }

    pub(super) fn turn_to(&self, server: &Server) {
        self.0.store(server.port, Ordering::Relaxed);
    }
}

impl Net for Way {
    fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    fn dial(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Socket>> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.0.load(Ordering::Relaxed)));
        Box::pin(async move { RealNet.dial(to).await })
    }
    fn resolve<'a>(&'a self, host_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { RealNet.resolve(host_port).await })
    }
}
