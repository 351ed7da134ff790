//! A tab: a visitor's WebSocket. It checks what arrives: its own messages are echoed unchanged, the pod's unrequested
//! messages are complete and in order, and nothing is missing when the pod reports its end.

use super::conduct::{PING, Received, Sent};
use super::oracle::Oracle;
use super::visitor::Scene;
use super::window::Windowed;
use futures_util::{SinkExt, StreamExt};
use slotkeeper_reference::Observation;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A browser considers a WebSocket dead after this silence.
pub const SILENCE: Duration = Duration::from_secs(7);
/// How long a visitor that sends nothing waits for a message.
const GLANCE: Duration = Duration::from_millis(50);

/// A WebSocket, and the pod's greeting.
pub struct Socket {
    pub stream: WebSocketStream<Windowed>,
    pub uid: String,
    pub session: String,
    pub opened: u64,
    /// Identifies the stream.
    pub number: u64,
    /// When its visitor last began to read: messages read later may have arrived since then.
    pub looked: u64,
    pub received: Received,
    /// Number of messages sent.
    pub sent: u64,
    /// The visitor has not read for so long that the dispatcher may have closed the connection for that.
    pub neglected: bool,
}

impl Socket {
    /// Sends a message, if there is one, and waits for messages. The error is how the connection ended.
    pub async fn talk(&mut self, ask: Option<String>, scene: &Scene) -> Result<(), String> {
        let oracle = &scene.oracle;
        let asked = oracle.now();
        let before = std::mem::replace(&mut self.looked, asked);
        let wait = if ask.is_some() { SILENCE } else { GLANCE };
        if let Some(ask) = &ask {
            oracle.sends(&self.session);
            let sent = tokio::time::timeout(SILENCE, self.stream.send(Message::text(ask.clone()))).await;
            sent.map_err(|_| "stuck".to_owned())?.map_err(|_| "broken".to_owned())?;
            self.sent += 1;
        }
        loop {
            let heard = match tokio::time::timeout(wait, self.stream.next()).await {
                Err(_) | Ok(Some(Err(_)) | None) if self.received.is_over => return Err("ended by its pod".into()),
                Err(_) if ask.is_some() => return Err("silent".into()),
                Err(_) => return Ok(()),
                Ok(Some(Err(_)) | None) => {
                    // The connection of a visitor that did not read may have been closed for that, without a reason.
                    if !self.neglected {
                        oracle.broke_off(&self.session, self.number);
                    }
                    return Err("broken".into());
                }
                Ok(Some(Ok(heard))) => heard,
            };
            match heard {
                Message::Close(frame) => {
                    if let Some(sent) = frame.as_ref().and_then(|f| Sent::read(f.reason.as_str(), "end")) {
                        oracle.count("pod's messages counted at a close");
                        self.end(sent, oracle);
                    }
                    let (code, reason) = frame.as_ref().map_or((0, ""), |f| (u16::from(f.code), f.reason.as_str()));
                    self.closed(code, reason, before, oracle);
                    return Err(frame.map_or("closed".into(), |f| u16::from(f.code).to_string()));
                }
                Message::Ping(payload) => {
                    if payload.starts_with(PING.as_bytes()) {
                        self.received.pings += 1;
                        oracle.count("ping of a pod received");
                    }
                }
                Message::Text(heard) => {
                    if let Some(sent) = Sent::read(heard.as_str(), "last") {
                        oracle.count("pod's messages counted at a half-close");
                        self.end(sent, oracle);
                        self.received.is_over = true;
                    } else if !self.is_push(heard.as_bytes(), oracle) {
                        if ask.as_deref() != Some(heard.as_str()) {
                            oracle.violate(
                                "bytes arrive as they were sent",
                                format!("sent {ask:.40?}, received {:.40}", heard.as_str()),
                            );
                        }
                        oracle.echoed(&self.uid, &self.session, self.opened, asked, scene.alone);
                        let (visitor, pod) = (self.session.as_str().into(), self.uid.as_str().into());
                        oracle.observed(asked, Observation::Stream { visitor, pod, stream: self.number });
                        return Ok(());
                    }
                }
                Message::Binary(heard) => {
                    if !self.is_push(&heard, oracle) {
                        oracle.violate("bytes arrive as they were sent", "an unexpected binary message arrived");
                    }
                }
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Reports to the second oracle that the stream was closed at some moment since `since`; not if its pod may have
    /// closed it by itself, or because the visitor did not read: both are independent of the dispatchers.
    fn closed(&self, code: u16, reason: &str, since: u64, oracle: &Oracle) {
        let says_why = matches!(code, 1001 | 1012 | 4001..=4010);
        if says_why || !self.neglected && !self.received.is_over {
            oracle.closed(&self.session, &self.uid, self.number, code, reason, since);
        }
    }

    fn is_push(&mut self, message: &[u8], oracle: &Oracle) -> bool {
        match self.received.push(message) {
            None => return false,
            Some(Ok(())) => oracle.count("push received"),
            Some(Err(what)) => oracle.violate("bytes arrive as they were sent", what),
        }
        true
    }

    fn end(&self, sent: Sent, oracle: &Oracle) {
        if let Err(what) = self.received.end(sent) {
            oracle.violate("bytes arrive as they were sent", format!("{what} (pod {})", self.uid));
        }
    }

    /// Closes the WebSocket, and reports how much was sent.
    pub async fn close(mut self) {
        let sent = Sent { messages: self.sent, pings: 0 };
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: sent.written("end").into() };
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.close(Some(goodbye))).await;
    }
}
