//! The waiting room's event stream (server-sent events, WHATWG HTML §9.2): sends the facts whenever they change. An open
//! stream is the waiting session's heartbeat.

use super::{Facts, RoomState, sign_every};
use crate::front::Dispatcher;
use crate::front::forward::body::ResponseBody;
use crate::front::visit::InFlight;
use crate::io::now;
use crate::shell::stopped;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use slotkeeper_core::{Command, Ordinal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Facts are sent at most this often.
const CALM: Duration = Duration::from_millis(250);
/// A stream ends after this time, and the page opens another: a dead connection cannot do that.
const LONGEST: Duration = Duration::from_secs(60);
/// The interval of comments, which keep proxies from closing a silent stream, and detect visitors that have left.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Opens the stream. `Visit` must have been sent for the session already; `stream` counts among its streams.
#[must_use]
pub fn open(dispatcher: Arc<Dispatcher>, stream: InFlight, hint: Option<Ordinal>, class: u8) -> Response<ResponseBody> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(send(dispatcher, stream, hint, class, sender));
    let mut response = Response::new(ResponseBody::Events(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Without this field, nginx buffers the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stream that ends at once, so that the page opens another.
#[must_use]
pub fn again() -> Response<ResponseBody> {
    super::answer(http::StatusCode::OK, "text/event-stream", Bytes::from_static(AGAIN))
}

const AGAIN: &[u8] = b"event: again\ndata: open another stream\n\n";

async fn send(
    dispatcher: Arc<Dispatcher>,
    stream: InFlight,
    hint: Option<Ordinal>,
    class: u8,
    sender: mpsc::Sender<Bytes>,
) {
    let (pool, session) = (stream.pool().clone(), stream.session());
    let mut view = dispatcher.view.clone();
    let mut stopping = dispatcher.stopping.clone();
    let mut sent: Option<Facts> = None;
    let end = now() + LONGEST;
    let (mut sign, mut heartbeat) = (now() + sign_every(&dispatcher, &pool), now() + HEARTBEAT);
    loop {
        view.mark_unchanged();
        let facts = Facts::of(&dispatcher, &pool, session);
        let (last, waits, lost) = match facts.state {
            RoomState::Ended | RoomState::Full => (true, false, false),
            RoomState::Starting | RoomState::Queued | RoomState::Failing => (false, true, false),
            RoomState::Arriving => (false, false, true),
            RoomState::Ready => (false, false, false),
        };
        if sent.as_ref() != Some(&facts) {
            if sender.send(format!("data: {}\n\n", facts.json()).into()).await.is_err() {
                return;
            }
            sent = Some(facts);
            heartbeat = now() + HEARTBEAT;
        }
        if last {
            return;
        }
        tokio::time::sleep(CALM).await;
        tokio::select! {
            biased;
            () = stopped(&mut stopping) => return,
            () = sender.closed() => return,
            // The timers come before the view, which changes all the time on a busy dispatcher.
            () = tokio::time::sleep_until(sign) => {
                // Heartbeats are for waiting sessions: one with a slot shows activity at its pod. A session that has fallen
                // out of the queue although its page is open joins again.
                if waits {
                    pool.visits.still_waits(session);
                } else if lost && !dispatcher.view.borrow().is_cut_off() {
                    dispatcher.driver.post(&pool.config.id, Command::Visit { session, hint, class });
                }
                sign = now() + sign_every(&dispatcher, &pool);
            }
            () = tokio::time::sleep_until(end) => {
                let _ = sender.send(Bytes::from_static(AGAIN)).await;
                return;
            }
            () = tokio::time::sleep_until(heartbeat) => {
                if sender.send(Bytes::from_static(b": still here\n\n")).await.is_err() {
                    return;
                }
                heartbeat = now() + HEARTBEAT;
            }
            changed = view.changed() => if changed.is_err() { return },
        }
    }
}
