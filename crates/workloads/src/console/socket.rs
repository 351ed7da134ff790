//! Serves one socket: frames and states out, commands in. At most one frame and one state are queued for it, however the
//! client behaves.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::metrics::Metrics;
use super::protocol::{Command, Frame, MESSAGE_LIMIT};
use super::stage::{Order, Stage};

/// The interval of pings ...
const PING: Duration = Duration::from_secs(10);
/// ... and how long a client may send nothing at all.
const SILENCE: Duration = Duration::from_secs(35);
/// How long the closing handshake may take.
const FAREWELL: Duration = Duration::from_secs(1);

type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// Plays until the client leaves, violates the protocol or is silent, or until `stop`.
pub(crate) async fn play(
    upgraded: Upgraded,
    stage: &Stage,
    socket: u64,
    metrics: &Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT))
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024);
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut sink, mut stream) = stream.split();
    let farewell = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Some(close(CloseCode::Away, "the console is stopping")),
        farewell = read(&mut stream, stage, socket, metrics) => farewell,
        _ = write(&mut sink, stage.frames.clone(), stage.states.clone(), metrics) => None,
    };
    if let Some(frame) = farewell {
        let goodbye = async {
            sink.send(Message::Close(Some(frame))).await?;
            while let Some(Ok(_)) = stream.next().await {}
            Ok::<_, tungstenite::Error>(())
        };
        // A client that does not answer the close is dropped.
        let _ = timeout(FAREWELL, goodbye).await;
    }
}

/// Returns the close frame to send, if the client can still receive one.
async fn read(stream: &mut SplitStream<Stream>, stage: &Stage, socket: u64, metrics: &Metrics) -> Option<CloseFrame> {
    loop {
        let message = match timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(tungstenite::Error::Capacity(_)))) => {
                metrics.bad_messages_total.inc();
                return Some(close(CloseCode::Policy, "message too large"));
            }
            Err(_) => return Some(close(CloseCode::Policy, "no answer to pings")),
            Ok(Some(Err(_)) | None) => return None,
        };
        let command = match message {
            Message::Text(text) => serde_json::from_str::<Command>(&text).ok(),
            Message::Binary(_) => None,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            // The answer to the close has been queued; the next read ends.
            Message::Close(_) => continue,
        };
        match command {
            Some(command) => {
                metrics.inputs_total.inc();
                stage.orders.send(Order::Command { socket, command }).await.ok()?;
            }
            None => metrics.bad_messages_total.inc(),
        }
    }
}

async fn write(
    sink: &mut SplitSink<Stream, Message>,
    mut frames: watch::Receiver<Frame>,
    mut states: watch::Receiver<Utf8Bytes>,
    metrics: &Metrics,
) -> Option<()> {
    states.mark_changed();
    frames.mark_changed();
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut last: Option<u32> = None;
    loop {
        let message = tokio::select! {
            biased;
            changed = states.changed() => {
                changed.ok()?;
                Message::Text(states.borrow_and_update().clone())
            }
            _ = pings.tick() => Message::Ping(bytes::Bytes::new()),
            changed = frames.changed() => {
                changed.ok()?;
                let frame = frames.borrow_and_update().clone();
                let skipped = last.map_or(0, |last| frame.number.wrapping_sub(last).saturating_sub(1));
                last = Some(frame.number);
                metrics.frames_skipped_total.inc_by(u64::from(skipped));
                metrics.frames_sent_total.inc();
                Message::Binary(frame.bytes)
            }
        };
        // Also flushes: waits until the client's connection has room.
        sink.send(message).await.ok()?;
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}
