//! The gateway: thousands of WebSockets in one pod. It echoes, passes messages on within rooms, and serves a chat that
//! reaches across pods over Redis. It is what pods of shared pools run in the examples, and something to start from.
//!
//! # Paths
//!
//! On the visitors' port `/healthz` and `/readyz` are exact; on the metrics port these and `/metrics`. The chat's page (`…/`), its
//! assets and the sockets (`…/ws`, `…/chat`) are found by the last part of the path and refer to each other relatively, so a
//! proxy may put the gateway below any path.
//!
//! # How many
//!
//! A socket takes a place of [`Config::connections`] before its upgrade is answered; without one it is `503` with `Retry-After`. Near the
//! limit the pod is not ready, so that new ones go elsewhere before any is refused.
//!
//! # How a socket lives
//!
//! One task each, small buffers, and a mailbox that holds at most [`Config::send_queue`] messages: who is slower than
//! what comes loses the oldest, or the connection. Who does not answer a ping by the next one is gone.
//!
//! # How it ends
//!
//! SIGTERM: not ready, no new sockets, the chat is told, sockets are closed with 1001 evenly over [`Config::drain`]. A second signal
//! closes all that is left at once.
//!
//! [`chat`] says how the chat keeps its promise.

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
/// An address cannot be listened on.
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
            // Two are enough.
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
