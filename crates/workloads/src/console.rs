//! The console: a small emulator with a few games, played through a page. The pods of the examples run it: it takes a while
//! to start, streams a screen, keeps saves on its own volume, and refuses a second player, so that a dispatcher that gives
//! one slot to two sessions is detected.
//!
//! # Paths
//!
//! `/healthz`, `/readyz` and `/metrics` are exact. The page (`…/`), its assets and the socket (`…/play`) are matched by the
//! last part of the path and use relative links, so a proxy may put the console below any path. Before the cold start is
//! over, everything except `/healthz` and `/metrics` is `503`.
//!
//! # Players
//!
//! The header `X-Session-Id` names the session of a request. One session plays at a time, with any number of sockets;
//! another one gets `409` and a line of JSON. Without the header, every socket is a session of its own. When the last socket
//! has closed, the console is free: the same session finds its game as it left it (paused), another one finds the menu.
//!
//! # Socket protocol
//!
//! *Binary, server to client: a frame.* Byte 0 is the version (1). Byte 1: bit 0 = the screen is 128x64 rather than 64x32,
//! bit 1 = the buzzer sounds. Bytes 2 to 5: the frame's number, big endian; missing numbers were skipped because the client
//! was slow. Then the pixels, row by row, eight per byte, leftmost in the highest bit (256 or 1024 bytes). A frame is sent
//! when the screen or the buzzer has changed, at most 60 times a second, and at least once a second.
//!
//! *Text, server to client: the state*, whenever it has changed: see [`protocol::State`].
//!
//! *Text, client to server: a command*, see [`protocol::Command`], for example `{"type":"key","key":7,"down":true}`. An
//! invalid command is ignored and counted; a message of more than 4 KiB closes the socket with 1008.
//!
//! On shutdown, the console closes its sockets with 1001.

pub mod asm;
pub mod chip8;
mod games;
mod metrics;
mod page;
pub mod protocol;
mod saves;
mod seat;
mod server;
mod settings;
mod socket;
mod stage;

pub use server::Console;
pub use settings::{Args, Config};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a console until SIGTERM or SIGINT.
///
/// # Errors
/// If the address cannot be listened on, or the data folder cannot be created.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let console = Console::bind(config)?;
    console
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}
