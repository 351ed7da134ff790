//! Serves one socket: one task writes queued messages, reads incoming ones, and pings the client. Only its mailbox and one
//! frame are held for it, however the client behaves.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::chat::{Arrival, Seat};
use super::mailbox::{Farewell, Letter, Mailbox, Next};
use super::outgoing::{FRAME, Outgoing};
use super::server::Shared;

/// The size of a read; the buffer exists as long as the socket.
const READ_BUFFER: usize = 1024;
/// How long the closing handshake may take.
const FAREWELL: Duration = Duration::from_secs(5);

const SILENT: Farewell = Farewell { code: CloseCode::Away, reason: "no answer to pings", why: "heartbeat" };
const TOO_LARGE: Farewell = Farewell { code: CloseCode::Size, reason: "message too large", why: "too_large" };
const NO_TEXT: Farewell = Farewell { code: CloseCode::Invalid, reason: "text that is not UTF-8", why: "protocol" };
const NO_SENSE: Farewell = Farewell { code: CloseCode::Protocol, reason: "not WebSocket", why: "protocol" };
const FLOOD: Farewell = Farewell { code: CloseCode::Policy, reason: "too many messages", why: "protocol" };

/// The kind of a socket.
pub(super) enum Purpose {
    Echo,
    Room(String),
    Chat(Arrival),
}

/// How a socket handles messages.
enum Task {
    Echo,
    Room(String),
    Chat(Seat),
}

struct Socket<'a> {
    stream: WebSocketStream<TcpStream>,
    mailbox: &'a Mailbox,
    task: Task,
    /// The message that is being written, until its last frame.
    writing: Option<Outgoing>,
    /// A frame is being written, and must be flushed before the next one.
    flushing: bool,
    /// The current frame could not be flushed at once.
    stuck: bool,
    ping_due: bool,
    /// Nothing has arrived since the last ping.
    asked: bool,
    shared: &'a Shared,
}

/// The result of polling the socket.
enum Event {
    Heard(Message),
    /// The client has closed the connection, or it broke.
    Ended(Option<Error>),
    Farewell(Farewell),
}

/// Serves until the client leaves, violates the protocol or is silent, or the socket is closed. Returns the reason for the
/// metrics.
pub(super) async fn live(
    tcp: TcpStream,
    read: Bytes,
    purpose: Purpose,
    mailbox: &Arc<Mailbox>,
    shared: &Arc<Shared>,
) -> &'static str {
    let limit = shared.config.message_bytes;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        // A frame, and the answers to pings meanwhile.
        .max_write_buffer_size(4 * FRAME)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let stream = WebSocketStream::from_partially_read(tcp, read.to_vec(), Role::Server, Some(config)).await;
    let room = if let Purpose::Room(room) = &purpose { Some(room.as_str()) } else { None };
    let guest = shared.hall.enter(mailbox, room);
    let task = match purpose {
        Purpose::Echo => Task::Echo,
        Purpose::Room(room) => Task::Room(room),
        Purpose::Chat(arrival) => Task::Chat(shared.chat.join(guest.number, arrival, mailbox)),
    };
    let mut socket = Socket {
        stream,
        mailbox,
        task,
        writing: None,
        flushing: false,
        stuck: false,
        ping_due: false,
        asked: false,
        shared,
    };
    let why = socket.serve().await;
    drop(guest);
    why
}

impl Socket<'_> {
    async fn serve(&mut self) -> &'static str {
        let heartbeat = self.shared.config.heartbeat;
        // The first ping comes at a random time in the interval, so that sockets that connected together are not pinged
        // together.
        let first = heartbeat.mul_f64(f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX));
        let mut alarm = std::pin::pin!(sleep(first));
        let mailbox = self.mailbox;
        let farewell = loop {
            if let Some(farewell) = mailbox.is_given_up() {
                break farewell;
            }
            let event = tokio::select! {
                biased;
                event = poll_fn(|context| self.poll(context)) => event,
                () = mailbox.bell.notified() => continue,
                () = &mut alarm => {
                    if self.asked {
                        break SILENT;
                    }
                    self.ask(alarm.as_mut(), heartbeat);
                    continue;
                }
            };
            let after = match event {
                Event::Heard(message) => self.hear(message),
                Event::Farewell(farewell) => Some(farewell),
                Event::Ended(error) => match error {
                    None | Some(Error::ConnectionClosed | Error::AlreadyClosed) => return "client",
                    Some(Error::Capacity(_)) => Some(TOO_LARGE),
                    Some(Error::Utf8(_)) => Some(NO_TEXT),
                    Some(error) if is_broken(&error) => return "error",
                    Some(_) => Some(NO_SENSE),
                },
            };
            if let Some(farewell) = after {
                break farewell;
            }
        };
        // A client that does not answer the close is dropped.
        let _ = timeout(FAREWELL, self.leave(farewell)).await;
        farewell.why
    }

    fn ask(&mut self, alarm: Pin<&mut Sleep>, heartbeat: Duration) {
        self.asked = true;
        self.ping_due = true;
        alarm.reset(Instant::now() + heartbeat);
    }

    /// Writes as much as possible, then reads.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match self.poll_write(context) {
            Ok(None) => {}
            Ok(Some(farewell)) => return Poll::Ready(Event::Farewell(farewell)),
            Err(error) => return Poll::Ready(Event::Ended(Some(error))),
        }
        // An echo is not buffered: nothing more is read from a client before it has received its answer.
        if matches!(self.task, Task::Echo) && (self.flushing || self.writing.is_some()) {
            return Poll::Pending;
        }
        self.stream.poll_next_unpin(context).map(|heard| match heard {
            Some(Ok(message)) => Event::Heard(message),
            Some(Err(error)) => Event::Ended(Some(error)),
            None => Event::Ended(None),
        })
    }

    /// `Some`: everything has been written, and the socket is to be closed.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<Option<Farewell>, Error> {
        loop {
            if self.flushing {
                match Pin::new(&mut self.stream).poll_flush(context) {
                    Poll::Ready(flushed) => flushed?,
                    Poll::Pending => {
                        self.stuck = true;
                        return Ok(None);
                    }
                }
                self.flushing = false;
                // A client that makes room is alive.
                if std::mem::take(&mut self.stuck) {
                    self.asked = false;
                }
            }
            let frame = if std::mem::take(&mut self.ping_due) {
                Message::Ping(Bytes::new())
            } else if let Some(outgoing) = &mut self.writing {
                let (frame, is_last) = outgoing.frame();
                if is_last {
                    self.writing = None;
                    self.shared.metrics.sent.inc();
                }
                frame
            } else {
                match self.mailbox.next() {
                    None => return Ok(None),
                    Some(Next::Farewell(farewell)) => return Ok(Some(farewell)),
                    Some(Next::Letter(letter)) => self.writing = Some(Outgoing::new(letter)),
                    Some(Next::Dropped(messages)) => {
                        if let Task::Chat(seat) = &self.task {
                            self.writing = Some(Outgoing::new(seat.missed(messages)));
                        }
                    }
                }
                continue;
            };
            self.stream.start_send_unpin(frame)?;
            self.flushing = true;
        }
    }

    fn hear(&mut self, message: Message) -> Option<Farewell> {
        self.asked = false;
        let letter = match message {
            Message::Text(text) => Letter::Text(text),
            Message::Binary(bytes) => Letter::Binary(bytes),
            // The answer to a close has been queued; the next read ends.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => return None,
        };
        self.shared.metrics.received.inc();
        match &mut self.task {
            // Not through the mailbox: an echo is never dropped, and nothing else is being written now.
            Task::Echo => self.writing = Some(Outgoing::new(letter)),
            Task::Room(room) => self.shared.hall.tell(room, &letter),
            Task::Chat(seat) => {
                let is_too_much = seat.hear(&letter).is_err();
                return is_too_much.then_some(FLOOD);
            }
        }
        None
    }

    /// Ignores further messages; the close is sent after the current frame.
    async fn leave(&mut self, farewell: Farewell) -> Result<(), Error> {
        let frame = CloseFrame { code: farewell.code, reason: Utf8Bytes::from_static(farewell.reason) };
        // If a message was interrupted, only its rest could follow (RFC 6455 §5.4); a close is sent anyway.
        self.stream.send(Message::Close(Some(frame))).await?;
        while let Some(heard) = self.stream.next().await {
            if heard.is_err() {
                return self.hear_out().await;
            }
        }
        Ok(())
    }

    /// Reads and discards further input: a connection that is dropped with unread input is reset, and the client might never
    /// get the close.
    async fn hear_out(&mut self) -> Result<(), Error> {
        let tcp = self.stream.get_mut();
        tcp.shutdown().await?;
        let mut nothing = [0; 256];
        while tcp.read(&mut nothing).await? > 0 {}
        Ok(())
    }
}

/// Whether the connection has failed, rather than the protocol on it.
fn is_broken(error: &Error) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError::{ResetWithoutClosingHandshake, SendAfterClosing};
    matches!(error, Error::Io(_) | Error::Protocol(ResetWithoutClosingHandshake | SendAfterClosing))
}
