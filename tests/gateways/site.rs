//! Real gateways, each in its own process and on its own address, as pods have them.

use rustix::process::{Pid, Signal, kill_process};
use slotkeeper_tests::dispatcher::{Metrics, binary};
use slotkeeper_tests::{Visitor, eventually, patiently};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use tokio::process::{Child, Command};

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    metrics: SocketAddr,
    redis: String,
    number: usize,
    child: Option<Child>,
}

/// A free port of this address, which no other test uses.
fn free(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).and_then(|l| l.local_addr()).expect("a free port")
}

impl Gateway {
    pub(crate) async fn start_all(count: usize, redis: &str) -> Vec<Gateway> {
        let mut all = Vec::new();
        for number in 0..count {
            let ip = format!("127.0.1.{}", number + 1);
            let (address, metrics) = (free(&ip), free(&ip));
            let mut gateway = Gateway { address, metrics, redis: redis.to_owned(), number, child: None };
            gateway.start().await;
            all.push(gateway);
        }
        all
    }

    /// Starts the gateway, and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(binary("slotkeeper-gateway"));
        command
            .args(["--listen", &self.address.to_string(), "--metrics-listen", &self.metrics.to_string()])
            .args(["--name", &format!("gateway-{}", self.number), "--redis", &self.redis])
            .args(["--connections", "8000", "--drain-seconds", "3", "--history", "2000", "--send-queue", "256"])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        self.child = Some(command.spawn().expect("it starts"));
        let at = self.address;
        eventually("the gateway to listen", async || tokio::net::TcpStream::connect(at).await.is_ok()).await;
        eventually("the gateway to be ready", async || Visitor::at(at).get("/readyz").await.status() == 200).await;
    }

    /// Sends SIGTERM, and waits until the gateway has ended.
    pub(crate) async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = Pid::from_raw(child.id().expect("it lives") as i32).expect("a process");
        kill_process(pid, Signal::TERM).expect("it lives");
        let status = patiently("the gateway to end", child.wait()).await.expect("it ends");
        assert!(status.success(), "{status}");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it lives")
    }

    pub(crate) async fn sockets(&self) -> u64 {
        let text = Visitor::at(self.metrics).get("/metrics").await.text();
        Metrics(text).get("websocket_active_connections").expect("it counts its sockets") as u64
    }
}
