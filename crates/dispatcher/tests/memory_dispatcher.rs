//! A dispatcher on a network in memory, and its operators' listener.

use crate::memory_net::MemoryNet;
use slotkeeper::config::{Config, ConfigError};
use slotkeeper::io::{Clock, Ids, Net, Socket};
use slotkeeper::ops::reload::Reloads;
use slotkeeper::{Listening, Outside, cluster, journal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Its configuration must have this as `[admin] listen`.
pub(crate) const ADMIN: &str = "127.0.0.1:9090";

pub(crate) struct MemoryDispatcher {
    net: MemoryNet,
    pub(crate) at: Listening,
    reload: mpsc::UnboundedSender<Result<Config, ConfigError>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl MemoryDispatcher {
    /// Starts it, and returns when it is ready.
    pub(crate) async fn start(config: Config, memory: &MemoryNet) -> MemoryDispatcher {
        let net: Arc<dyn Net> = Arc::new(memory.clone());
        let (clock, ids) = (Clock::starting_at(Clock::real().wall()), Ids::seeded(1));
        let journal = journal::open(&config, &net, clock).unwrap();
        let clusters = cluster::from_config(&config, &net, &ids).await.unwrap();
        let outside = Outside { net, clock, ids, clusters, journal };
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, listening) = oneshot::channel();
        let (reload, configurations) = mpsc::unbounded_channel();
        let reloads = Reloads { configurations, ..Reloads::none() };
        let running = tokio::spawn(async move {
            let (stop, never) = (async { _ = stopped.await }, std::future::pending());
            let started = |at: &Listening| _ = started.send(at.clone());
            slotkeeper::run_until(outside, config, stop, never, reloads, started).await
        });
        let at = listening.await.unwrap();
        let dispatcher = MemoryDispatcher { net: memory.clone(), at, reload, stop: Some(stop), running };
        while !dispatcher.admin("/readyz").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        dispatcher
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    pub(crate) async fn ended(self) {
        self.running.await.unwrap().unwrap();
    }

    /// Applies another configuration, as SIGHUP does.
    pub(crate) fn reload(&self, config: Result<Config, ConfigError>) {
        self.reload.send(config).unwrap();
    }

    pub(crate) async fn dial(&self, to: &str) -> Socket {
        self.net.dial(to.parse().unwrap()).await.unwrap()
    }

    pub(crate) async fn admin(&self, path: &str) -> String {
        answer(&self.net, ADMIN.parse().unwrap(), path).await
    }

    /// The value of one series of its metrics.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        value(&self.admin("/metrics").await, series)
    }
}

/// The answer to a request for this path, with its head.
pub(crate) async fn answer(net: &dyn Net, at: SocketAddr, path: &str) -> String {
    let mut stream = net.dial(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The value of a series in the text of the metrics.
pub(crate) fn value(metrics: &str, series: &str) -> Option<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}
