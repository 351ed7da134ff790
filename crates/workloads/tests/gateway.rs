//! Tests of gateways over real sockets, some with a real Redis.

mod chat;
mod client;
mod ending;
mod outage;
mod redis;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slotkeeper_workloads::gateway::{Config, Ended, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

async fn eventually(what: &str, mut is: impl AsyncFnMut() -> bool) {
    patiently(what, async {
        while !is().await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

struct Running {
    address: SocketAddr,
    metrics: SocketAddr,
    /// A permit for every signal.
    signals: Arc<Semaphore>,
    task: JoinHandle<Ended>,
}

impl Running {
    fn start(config: Config) -> Running {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let gateway = Gateway::bind(Config { listen: any, metrics_listen: Some(any), ..config }).expect("ports");
        let address = gateway.address().expect("an address");
        let metrics = gateway.metrics_address().expect("an address").expect("it is served");
        let signals = Arc::new(Semaphore::new(0));
        let received = signals.clone();
        let task = tokio::spawn(gateway.run(async move || {
            received.acquire().await.expect("it stays open").forget();
        }));
        Running { address, metrics, signals, task }
    }

    async fn ready(config: Config) -> Running {
        let running = Running::start(config);
        eventually("the gateway to be ready", async || running.get("/readyz").await.0 == 200).await;
        running
    }

    fn signal(&self) {
        self.signals.add_permits(1);
    }

    async fn ended(self) -> Ended {
        patiently("the gateway's end", self.task).await.expect("no panic")
    }

    async fn get(&self, path: &str) -> (u16, String) {
        ask(self.address, path, "").await
    }

    async fn metric(&self, name: &str) -> f64 {
        let (_, text) = ask(self.metrics, "/metrics", "").await;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name).to_owned();
        line.rsplit(' ').next().expect("a value").parse().expect("a number")
    }

    async fn counts(&self, name: &str, value: f64) {
        eventually(&format!("{name} to be {value}"), async || self.metric(name).await == value).await;
    }
}

/// Returns the status and the whole answer with its headers.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    (answer[9..12].parse().expect("a status"), answer)
}
