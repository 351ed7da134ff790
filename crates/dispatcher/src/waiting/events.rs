//! The waiting room's event stream (server-sent events, WHATWG HTML §9.2): the facts whenever they change. While it is open
//! the session is still there.

use super::{Facts, RoomState, sign_every};
use crate::dispatcher::Dispatcher;
use crate::forward::body::Answer;
use crate::outside::now;
use crate::view::stopped;
use crate::visit::Stream;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use slotkeeper_core::{Command, Ordinal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Facts are sent at most this often.
const CALM: Duration = Duration::from_millis(250);
/// A stream ends after this, and the page opens another: a sign of life that no dead connection can give.
const LONGEST: Duration = Duration::from_secs(60);
/// A comment keeps proxies from closing a silent stream, and shows that the visitor has gone.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Opens the stream. The session must have been asked for (`Visit`) already; `stream` counts it among the session's.
#[must_use]
pub fn open(dispatcher: Arc<Dispatcher>, stream: Stream, hint: Option<Ordinal>, class: u8) -> Response<Answer> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(tell(dispatcher, stream, hint, class, sender));
    let mut response = Response::new(Answer::Events(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds streams back unless told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn tell(
    dispatcher: Arc<Dispatcher>,
    stream: Stream,
    hint: Option<Ordinal>,
    class: u8,
    sender: mpsc::Sender<Bytes>,
) {
    let (pool, session) = (stream.pool().clone(), stream.session());
    let mut view = dispatcher.view.clone();
    let mut stopping = dispatcher.stopping.clone();
    let mut told: Option<Facts> = None;
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
        if told.as_ref() != Some(&facts) {
            if sender.send(format!("data: {}\n\n", facts.json()).into()).await.is_err() {
                return;
            }
            told = Some(facts);
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
            // The timers stand before the view: on a busy dispatcher it changes all the time.
            () = tokio::time::sleep_until(sign) => {
                // Of who waits only: who plays shows it by playing. Who has fallen out of line is here, and joins again.
                if waits {
                    pool.visits.still_waits(session);
                } else if lost && !dispatcher.view.borrow().is_cut_off() {
                    dispatcher.driver.post(&pool.config.id, Command::Visit { session, hint, class });
                }
                sign = now() + sign_every(&dispatcher, &pool);
            }
            () = tokio::time::sleep_until(end) => {
                let _ = sender.send(Bytes::from_static(b"event: again\ndata: open another stream\n\n")).await;
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
