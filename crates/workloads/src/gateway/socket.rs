//! The life of one socket: one task, which writes what waits, hears what comes, and asks at every heartbeat whether anybody is
//! there. Whatever a client does or does not do, a mailbox and a frame are all that waits for it.

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
use super::server::House;

/// Read at once. It is there for as long as the socket is.
const READ_BUFFER: usize = 1024;
/// How long a closing socket may take.
const FAREWELL: Duration = Duration::from_secs(5);

const SILENT: Farewell = Farewell { code: CloseCode::Away, reason: "no answer to pings", why: "heartbeat" };
const TOO_LARGE: Farewell = Farewell { code: CloseCode::Size, reason: "message too large", why: "too_large" };
const NO_TEXT: Farewell = Farewell { code: CloseCode::Invalid, reason: "text that is not UTF-8", why: "protocol" };
const NO_SENSE: Farewell = Farewell { code: CloseCode::Protocol, reason: "not WebSocket", why: "protocol" };
const FLOOD: Farewell = Farewell { code: CloseCode::Policy, reason: "too many messages", why: "protocol" };

/// What a socket is for.
pub(super) enum Purpose {
    Echo,
    Room(String),
    Chat(Arrival),
}

/// What it does with a message.
enum Task {
    Echo,
    Room(String),
    Chat(Seat),
}

struct Socket<'a> {
    stream: WebSocketStream<TcpStream>,
    mailbox: &'a Mailbox,
    task: Task,
    /// What is being written, if it is not written as a whole yet.
    writing: Option<Outgoing>,
    /// A frame is on its way, and has to leave before the next one comes.
    flushing: bool,
    /// The frame on its way did not leave at once.
    stuck: bool,
    ping_due: bool,
    /// Since the last ping nothing has come.
    asked: bool,
    house: &'a House,
}

/// What happened.
enum Event {
    Heard(Message),
    /// The client's side is closed, or broken.
    Ended(Option<Error>),
    Farewell(Farewell),
}

/// Until the client goes, misbehaves or falls silent, or is sent away. Returns why, as it is counted.
pub(super) async fn live(
    tcp: TcpStream,
    read: Bytes,
    purpose: Purpose,
    mailbox: &Arc<Mailbox>,
    house: &Arc<House>,
) -> &'static str {
    let limit = house.config.message_bytes;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        // A frame, and what answers a ping meanwhile.
        .max_write_buffer_size(4 * FRAME)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let stream = WebSocketStream::from_partially_read(tcp, read.to_vec(), Role::Server, Some(config)).await;
    let room = if let Purpose::Room(room) = &purpose { Some(room.as_str()) } else { None };
    let guest = house.hall.enter(mailbox, room);
    let task = match purpose {
        Purpose::Echo => Task::Echo,
        Purpose::Room(room) => Task::Room(room),
        Purpose::Chat(arrival) => Task::Chat(house.chat.join(guest.number, arrival, mailbox)),
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
        house,
    };
    let why = socket.serve().await;
    drop(guest);
    why
}

impl Socket<'_> {
    async fn serve(&mut self) -> &'static str {
        let heartbeat = self.house.config.heartbeat;
        // The first one at any time of the interval, so that the pings of many that came together do not go together.
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
        // A client that does not take its leave is simply gone.
        let _ = timeout(FAREWELL, self.leave(farewell)).await;
        farewell.why
    }

    fn ask(&mut self, alarm: Pin<&mut Sleep>, heartbeat: Duration) {
        self.asked = true;
        self.ping_due = true;
        alarm.reset(Instant::now() + heartbeat);
    }

    /// Writes as much as can be written, then hears what has come.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match self.poll_write(context) {
            Ok(None) => {}
            Ok(Some(farewell)) => return Poll::Ready(Event::Farewell(farewell)),
            Err(error) => return Poll::Ready(Event::Ended(Some(error))),
        }
        // Who wants to hear an echo has to listen: nothing more is taken from a client before it took its answer.
        if matches!(self.task, Task::Echo) && (self.flushing || self.writing.is_some()) {
            return Poll::Pending;
        }
        self.stream.poll_next_unpin(context).map(|heard| match heard {
            Some(Ok(message)) => Event::Heard(message),
            Some(Err(error)) => Event::Ended(Some(error)),
            None => Event::Ended(None),
        })
    }

    /// `Some`: everything is written, and that was it.
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
                // Whoever makes room is there.
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
                    self.house.metrics.sent.inc();
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
            // The answer to a close is on its way; the next read ends.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => return None,
        };
        self.house.metrics.received.inc();
        match &mut self.task {
            // Not by the mailbox: an echo is never dropped, and nothing is being written now.
            Task::Echo => self.writing = Some(Outgoing::new(letter)),
            Task::Room(room) => self.house.hall.tell(room, &letter),
            Task::Chat(seat) => {
                let is_too_much = seat.hear(&letter).is_err();
                return is_too_much.then_some(FLOOD);
            }
        }
        None
    }

    /// Nothing is heard any more; the close waits for what is still on its way.
    async fn leave(&mut self, farewell: Farewell) -> Result<(), Error> {
        let frame = CloseFrame { code: farewell.code, reason: Utf8Bytes::from_static(farewell.reason) };
        // A message that is cut off in the middle cannot be followed by anything but its end: the close says it all the same.
        self.stream.send(Message::Close(Some(frame))).await?;
        while let Some(heard) = self.stream.next().await {
            if heard.is_err() {
                return self.hear_out().await;
            }
        }
        Ok(())
    }

    /// What a client still sends is taken and thrown away: a connection that is dropped with something unread in it is reset,
    /// and the client might never see the close.
    async fn hear_out(&mut self) -> Result<(), Error> {
        let tcp = self.stream.get_mut();
        tcp.shutdown().await?;
        let mut nothing = [0; 256];
        while tcp.read(&mut nothing).await? > 0 {}
        Ok(())
    }
}

/// The connection is, rather than what came over it.
fn is_broken(error: &Error) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError::{ResetWithoutClosingHandshake, SendAfterClosing};
    matches!(error, Error::Io(_) | Error::Protocol(ResetWithoutClosingHandshake | SendAfterClosing))
}
