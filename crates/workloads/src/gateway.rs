//! The gateway: thousands of WebSockets in one pod. It echoes, relays messages within rooms, and serves a chat that reaches
//! all pods through Redis. The examples' shared pools run it, and it can be a starting point for a server of your own.
//!
//! # Paths
//!
//! On the visitors' port `/healthz` and `/readyz` are exact; on the metrics port these and `/metrics`. The chat's page
//! (`…/`), its assets and the sockets (`…/ws`, `…/chat`) are matched by the last part of the path and use relative links, so
//! a proxy may put the gateway below any path.
//!
//! # Limits
//!
//! A socket takes one of [`Config::connections`] places before its upgrade is answered; if there is none, the answer is
//! `503` with `Retry-After`. Near the limit the pod is not ready, so that new visitors go to other pods before one is
//! refused.
//!
//! # Sockets
//!
//! Each socket has one task, small buffers, and a mailbox of at most [`Config::send_queue`] messages: a client that reads
//! too slowly loses the oldest messages, or its connection. A client that has not answered a ping by the next one is
//! dropped.
//!
//! # Shutdown
//!
//! On SIGTERM the pod is not ready and accepts no new sockets, the chat is notified, and sockets are closed with 1001 evenly
//! over [`Config::drain`]. A second signal closes all remaining sockets at once.
//!
//! [`chat`] documents the chat's guarantees.

mod capacity;
pub mod chat;
mod drain;
mod hall;
mod mailbox;
mod metrics;
mod outgoing;
mod page;
mod server;
mod settings;
mod socket;

pub use server::{Ended, Gateway};
pub use settings::{Args, Config, RedisAddress, SlowConsumer};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a gateway until SIGTERM or SIGINT and a drain, which a second signal cuts short.
///
/// # Errors
/// If an address cannot be listened on.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let (told, mut stops) = tokio::sync::mpsc::channel(2);
    let gateway = Gateway::bind(config)?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // The gateway needs two signals at most.
            if told.send(()).await.is_err() {
                return;
            }
        }
    });
    gateway
        .run(async move || {
            stops.recv().await;
        })
        .await;
    Ok(())
}
