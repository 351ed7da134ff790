//! A real Redis of this test, on a free port, with its data in its own folder.

use slotkeeper_tests::eventually;
use std::net::SocketAddr;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

pub(crate) struct Redis {
    at: SocketAddr,
    data: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// # Panics
    /// Without a `redis-server`.
    pub(crate) async fn start() -> Redis {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut redis = Redis {
            at: free.local_addr().expect("an address"),
            data: tempfile::tempdir().expect("a folder"),
            child: None,
        };
        drop(free);
        redis.restart().await;
        redis
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://{}/0", self.at)
    }

    /// Starts Redis, again with the data that it had when it was killed.
    pub(crate) async fn restart(&mut self) {
        let port = self.at.port().to_string();
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .arg("--dir")
            .arg(self.data.path())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        self.child = Some(command.spawn().expect("redis-server is installed (apt-get install redis-server)"));
        eventually("Redis to answer", async || TcpStream::connect(self.at).await.is_ok()).await;
    }

    /// Sends one command, written as on the command line.
    pub(crate) async fn say(&self, command: &str) {
        let mut stream = TcpStream::connect(self.at).await.expect("it listens");
        stream.write_all(format!("{command}\r\n").as_bytes()).await.expect("it reads");
        let mut answer = [0];
        stream.read_exact(&mut answer).await.expect("it answers");
        assert_ne!(answer, *b"-", "{command}");
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it lived");
        }
    }
}
