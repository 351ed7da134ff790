//! The tunnel after the pod's `101`: bytes pass both ways unchanged. The heads of WebSocket frames are read on the way
//! (`frames.rs`): to count messages, to know when the client last sent something, and to insert a ping or a close exactly
//! between two frames.
//! A tunnel is one task and has no buffer while idle: one buffer per thread, shared by all tunnels, receives the bytes of a
//! socket, and only bytes that the other side does not accept at once are kept. So a slow reader slows its writer down, and
//! costs no more memory than one read.

pub mod frames;
mod pump;

use crate::front::access_log::Record;
use crate::front::activity::Counts;
use crate::front::forward::pod_socket::PodSocket;
use crate::front::framed_socket::{ConnectionPermit, FramedSocket};
use crate::front::http2::{self, Open as OpenStream};
use crate::front::visit::{Ending, InFlight, Seat, share};
use crate::front::{Dispatcher, Pool};
use crate::io::{Socket, now};
use bytes::Bytes;
use frames::{CLOSE, PING, close_payload, control};
use http::Request;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pump::{Direction, Pump, Signs};
use slotkeeper_core::{SessionId, planted};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long both sides may take to finish after a close frame was inserted.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a pod may keep sending after its WebSocket client has left.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// The first half of the payload of the dispatcher's pings; the second half is a serial number.
const PING_TAG: [u8; 4] = *b"skpr";

/// The visitor's side of a tunnel to be.
pub(crate) struct VisitorSide {
    upgrade: OnUpgrade,
    /// Over HTTP/2, its connection is not idle while this exists.
    open: Option<OpenStream>,
}

impl VisitorSide {
    pub(crate) fn of<B>(request: &mut Request<B>) -> VisitorSide {
        let open = request.extensions_mut().remove::<OpenStream>();
        VisitorSide { upgrade: hyper::upgrade::on(request), open }
    }
}

/// Starts the tunnel once both connections have been taken over from HTTP.
pub(crate) fn start(
    dispatcher: Arc<Dispatcher>,
    pool: Arc<Pool>,
    stream: Arc<InFlight>,
    seat: Arc<Seat>,
    visitor: VisitorSide,
    pod: OnUpgrade,
    is_websocket: bool,
) {
    tokio::spawn(async move {
        let VisitorSide { upgrade, open: _open_stream } = visitor;
        let upgraded = async { tokio::try_join!(upgrade, pod) };
        let ends = tokio::select! {
            biased;
            // A visitor that does not read must not keep the pod's connection open.
            _ = seat.over(1000) => None,
            upgraded = upgraded => match upgraded {
                Ok((visitor, pod)) => Some(end_of_visitor(visitor)).zip(end_of_pod(pod)),
                Err(error) => {
                    tracing::debug!("tunnel not started: {error}");
                    None
                }
            },
        };
        if let Some(((visitor, _permit), pod)) = ends {
            fault_point!(TunnelBeforeStart);
            stream.mark_upgraded();
            pool.metrics.open_tunnels.inc();
            let _open = Open { pool: &pool };
            let mut tunnel = Tunnel::new(visitor, pod, is_websocket, stream.counts().clone(), &pool);
            tunnel.record = stream.record().cloned();
            let outcome = tunnel.run(&pool, &seat, stream.session(), &dispatcher.config.drain).await;
            tracing::debug!(pool = %pool.config.id, pod = seat.pod.0, "tunnel ended: {outcome:?}");
        }
        fault_point!(VisitBeforeDetach);
        drop(stream);
    });
}

/// Counts the tunnel as open.
struct Open<'a> {
    pool: &'a Pool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        planted!(TunnelCountLeaks => ());
        self.pool.metrics.open_tunnels.dec();
    }
}

/// A socket, and the bytes that HTTP has already read from it.
type End = (Socket, Bytes);

/// Returns the visitor's socket with its permit: a tunnel still counts as a connection. For a stream of HTTP/2, its connection
/// keeps the permit.
fn end_of_visitor(upgraded: Upgraded) -> (End, Option<ConnectionPermit>) {
    match upgraded.downcast::<TokioIo<FramedSocket>>() {
        Ok(parts) => {
            let (socket, permit) = parts.io.into_inner().into_parts();
            ((socket, parts.read_buf), permit)
        }
        Err(stream) => ((Socket::Other(Box::new(http2::WebSocket::new(stream))), Bytes::new()), None),
    }
}

fn end_of_pod(upgraded: Upgraded) -> Option<End> {
    let parts = upgraded.downcast::<TokioIo<PodSocket>>().ok()?;
    Some((parts.io.into_inner().into_stream(), parts.read_buf))
}

struct Tunnel {
    visitor: Socket,
    pod: Socket,
    /// From the visitor to the pod.
    inward: Pump,
    outward: Pump,
    half_open: Option<HalfOpen>,
    closing: Option<Pin<Box<Sleep>>>,
    is_websocket: bool,
    /// No more bytes may go to the pod.
    void: bool,
    record: Option<Arc<Record>>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            record.received(self.inward.bytes());
            record.sent(self.outward.bytes());
        }
    }
}

/// Detects clients that have disappeared (`docs/behaviour.md`, §3, `half_open`).
struct HalfOpen {
    after: Duration,
    timer: Pin<Box<Sleep>>,
    heard: Instant,
    /// When the unanswered ping was sent.
    asked: Option<Instant>,
    number: u32,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TunnelEnd {
    /// Both sides had finished.
    Finished,
    Broken,
    /// The client did not answer the ping.
    HalfOpen,
    /// The session ended, the pod drained or the dispatcher stopped.
    Closed,
}

impl TunnelEnd {
    /// The word in the access log, if the tunnel did not end in order.
    fn reason(self) -> Option<&'static str> {
        match self {
            TunnelEnd::Finished | TunnelEnd::Closed => None,
            TunnelEnd::Broken => Some("connection_lost"),
            TunnelEnd::HalfOpen => Some("half_open"),
        }
    }
}

impl Tunnel {
    fn new((visitor, early_in): End, (pod, early_out): End, is_websocket: bool, counts: Counts, pool: &Pool) -> Tunnel {
        let half_open = pool.config.half_open;
        let keepalive = half_open.filter(|_| !is_websocket);
        if let (Some(after), Some(socket)) = (keepalive, visitor.tcp()) {
            // Protocols without frames have no ping: the kernel probes instead.
            let settings = socket2::TcpKeepalive::new().with_time(after).with_interval(after / 3).with_retries(3);
            let socket = socket2::SockRef::from(socket);
            let _ = socket.set_tcp_keepalive(&settings);
            // Keep-alive does not probe while data is unacknowledged; this timeout covers that case.
            let _ = socket.set_tcp_user_timeout(Some(after * 2));
        }
        let half_open = half_open.filter(|_| is_websocket).map(|after| HalfOpen {
            after,
            timer: Box::pin(tokio::time::sleep(after)),
            heard: now(),
            asked: None,
            number: 0,
        });
        Tunnel {
            visitor,
            pod,
            inward: Pump::new(Direction::In, is_websocket, counts, &early_in, &pool.metrics),
            outward: Pump::new(Direction::Out, is_websocket, Counts::ALL, &early_out, &pool.metrics),
            half_open,
            closing: None,
            is_websocket,
            void: false,
            record: None,
        }
    }

    async fn run(mut self, pool: &Pool, seat: &Seat, session: SessionId, drain: &Duration) -> TunnelEnd {
        let mut notified = pin!(async {
            let ending = seat.over(share(session)).await;
            fault_point!(TunnelBeforeClose);
            ending
        });
        let outcome = poll_fn(|cx| {
            if self.closing.is_none()
                && let Poll::Ready(ending) = notified.as_mut().poll(cx)
            {
                self.close(ending, *drain);
                if let Some(record) = &self.record {
                    record.ended(ending.reason);
                }
            }
            self.poll(cx, pool, seat)
        })
        .await;
        fault_point!(TunnelEnd);
        if let (Some(record), Some(reason)) = (&self.record, outcome.reason()) {
            record.ended(reason);
        }
        outcome
    }

    /// Inserts a close between two frames, both ways, and gives both sides a moment to finish.
    fn close(&mut self, ending: Ending, drain: Duration) {
        let payload = close_payload(ending.code, ending.reason);
        self.outward.finish_with(control(CLOSE, &payload, None));
        // As a client the dispatcher must mask its frames (RFC 6455 §5.3). The mask is arbitrary: nothing has to be hidden.
        self.inward.finish_with(control(CLOSE, &close_payload(1001, "visitor_left"), Some([0x5c; 4])));
        self.closing = Some(Box::pin(tokio::time::sleep(FAREWELL.min(drain.max(Duration::from_millis(100))))));
    }

    fn poll(&mut self, cx: &mut Context<'_>, pool: &Pool, seat: &Seat) -> Poll<TunnelEnd> {
        // For good: the rest of a frame must not follow later.
        self.void |= seat.is_void();
        let inward = match self.void {
            true => Poll::Pending,
            false => self.inward.poll(cx, &mut self.visitor, &mut self.pod, &pool.metrics),
        };
        let outward = self.outward.poll(cx, &mut self.pod, &mut self.visitor, &pool.metrics);
        let (signs, answers) = (self.inward.take_signs(), self.outward.take_signs());
        if is_active(signs, answers) {
            seat.mark_active();
        }
        // A client that accepts bytes after it was blocked is also present.
        let taken = answers.taken;
        if let Some(half_open) = self.half_open.as_mut().filter(|_| signs.heard || taken) {
            half_open.heard = now();
            half_open.asked = None;
        }
        if let Poll::Ready(outcome) = ended(&inward, &outward) {
            let outcome = if self.closing.is_some() { TunnelEnd::Closed } else { outcome };
            return Poll::Ready(outcome);
        }
        if self.is_websocket && self.closing.is_none() && inward.is_ready() {
            // A WebSocket has no half-close: the pod gets a moment to finish.
            self.closing = Some(Box::pin(tokio::time::sleep(LAST_WORDS)));
        }
        if let Some(closing) = &mut self.closing
            && closing.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(TunnelEnd::Closed);
        }
        self.poll_half_open(cx)
    }

    fn poll_half_open(&mut self, cx: &mut Context<'_>) -> Poll<TunnelEnd> {
        planted!(HalfOpenUnnoticed => Poll::Pending);
        let Some(half_open) = &mut self.half_open else { return Poll::Pending };
        while half_open.timer.as_mut().poll(cx).is_ready() {
            let silent_since = half_open.asked.unwrap_or(half_open.heard);
            let due = silent_since + half_open.after;
            if due > now() {
                half_open.timer.as_mut().reset(due);
            } else if self.inward.is_blocked() || self.outward.is_putting_in() && !self.outward.is_blocked() {
                // The client's silence proves nothing: the pod accepts no bytes, so nothing is read from the client; or the
                // pod is in the middle of a frame, so the ping has not been sent. (A client that accepts no bytes itself
                // counts as gone, with or without a ping.)
                half_open.asked = half_open.asked.map(|_| now());
                half_open.timer.as_mut().reset(now() + half_open.after);
            } else if half_open.asked.is_some() {
                return Poll::Ready(TunnelEnd::HalfOpen);
            } else {
                half_open.number = half_open.number.wrapping_add(1);
                let mut payload = [0; 8];
                payload[..4].copy_from_slice(&PING_TAG);
                payload[4..].copy_from_slice(&half_open.number.to_be_bytes());
                self.inward.keep_pong(payload);
                self.outward.put_in(control(PING, &payload, None));
                half_open.asked = Some(now());
                half_open.timer.as_mut().reset(now() + half_open.after);
                // The next poll of the outward pump sends the ping.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

/// Whether the client has done something. Bytes from its pod do not count.
fn is_active(client: Signs, _pod: Signs) -> bool {
    planted!(IdleFromPod => client.active || _pod.active);
    planted!(TunnelActivityLost => false);
    client.active
}

/// The tunnel has ended when both directions have, or one of them has failed.
fn ended(inward: &Poll<io::Result<()>>, outward: &Poll<io::Result<()>>) -> Poll<TunnelEnd> {
    match (inward, outward) {
        (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(TunnelEnd::Broken),
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(TunnelEnd::Finished),
        (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
    }
}
