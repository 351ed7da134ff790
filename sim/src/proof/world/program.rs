//! The program in a pod: it speaks HTTP and WebSocket, answers requests, and refuses a second session if the pod
//! belongs to one for its whole life. How politely it behaves is drawn for each incarnation (`conduct`).

use super::conduct::{LETTERS, PING, PodConduct, Sent, described, is_as_described, letters, pause, push};
use super::oracle::Oracle;
use super::pools::PATH;
use super::window::Windows;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use turmoil::net::TcpListener;

/// How long a pod continues to read after it has half-closed a WebSocket.
const AFTER_HALF_CLOSE: Duration = Duration::from_secs(3);
/// Number of bytes in one chunk of a body.
const CHUNK: usize = 9_000;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One incarnation's program.
#[derive(Clone)]
pub struct Program {
    /// The path prefix of its pool.
    pub base: &'static str,
    pub ordinal: u32,
    pub uid: String,
    pub oracle: Oracle,
    /// The pod belongs to its first session for its whole life.
    pub recycled: bool,
    /// True after SIGTERM.
    pub stopping: watch::Receiver<bool>,
    pub conduct: PodConduct,
    pub dice: Arc<Mutex<ChaCha8Rng>>,
    pub windows: Windows,
}

impl Program {
    pub async fn serve(self, port: u16) {
        let Ok(listener) = TcpListener::bind(("0.0.0.0", port)).await else { return };
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let Ok(stream) = self.windows.open(stream) else { continue };
            let program = self.clone();
            connections.spawn(async move {
                let upgrades = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
                let kept = upgrades.clone();
                let service = service_fn(move |request| {
                    let (program, upgrades) = (program.clone(), upgrades.clone());
                    async move { Ok::<_, Infallible>(program.answer(request, &upgrades).await) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                // Waits for the connection's WebSockets: they end with the container.
                let mut upgrades = kept.lock().await;
                while upgrades.join_next().await.is_some() {}
            });
            while connections.try_join_next().is_some() {}
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        draw(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pause(&self, from: u64, to: u64) -> Duration {
        self.draw(|dice| pause(dice, from, to))
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        upgrades: &tokio::sync::Mutex<JoinSet<()>>,
    ) -> Response<Body> {
        let session =
            request.headers().get("x-session-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        if request.headers().get(header::COOKIE).is_some_and(|c| c.as_bytes().starts_with(b"slotkeeper")) {
            self.oracle.violate("the cookie stays with the dispatcher", format!("pod {} received it", self.ordinal));
        }
        let path = request.uri().path();
        if !path.starts_with(self.base) || self.base != PATH && path.starts_with(PATH) {
            self.oracle
                .violate("every pool has its own visitors", format!("pod {} received a request for {path}", self.uid));
        }
        self.oracle.arrived(self.ordinal, &self.uid, &session);
        if self.recycled && !self.oracle.serves(self.ordinal, &self.uid, &session) {
            return self.plain(StatusCode::CONFLICT, &session, whole("this pod belongs to another session".into()));
        }
        if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() {
            return self.upgrade(&mut request, upgrades, &session, &key).await;
        }
        if self.conduct.late {
            self.oracle.count("pod answers late");
            tokio::time::sleep(self.pause(300, 2_500)).await;
        }
        let mut response = match request.uri().path().rsplit('/').next() {
            Some("upload") => return self.receive(request, &session).await,
            Some("download") => self.long(&session),
            _ => self.plain(StatusCode::OK, &session, whole("your desk".into())),
        };
        if self.conduct.hangs_up {
            self.oracle.count("pod hangs up after an answer");
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn upgrade(
        &self,
        request: &mut Request<Incoming>,
        upgrades: &tokio::sync::Mutex<JoinSet<()>>,
        session: &str,
        key: &HeaderValue,
    ) -> Response<Body> {
        let program = self.clone();
        let upgraded = hyper::upgrade::on(request);
        let mine = session.to_owned();
        upgrades.lock().await.spawn(async move {
            if let Ok(io) = upgraded.await {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
                Conversation::new(program, socket).hold(&mine).await;
            }
        });
        let mut response = self.plain(StatusCode::SWITCHING_PROTOCOLS, session, whole(String::new()));
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }

    fn plain(&self, status: StatusCode, session: &str, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in [("x-pod", &*self.uid), ("x-session", session)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Returns a long body, and a header that describes it.
    fn long(&self, session: &str) -> Response<Body> {
        let (number, size) = self.draw(|dice| (dice.random_range(0..1_000), dice.random_range(1_000..200_000)));
        let text = letters(number, size);
        let body = if self.conduct.chunks {
            self.oracle.count("pod answers in chunks");
            let pauses: Vec<Duration> = (0..size.div_ceil(CHUNK)).map(|_| self.pause(0, 120)).collect();
            let text = Bytes::from(text);
            let chunks = futures_util::stream::iter(pauses.into_iter().enumerate()).then(move |(n, pause)| {
                let chunk = text.slice(n * CHUNK..text.len().min((n + 1) * CHUNK));
                async move {
                    tokio::time::sleep(pause).await;
                    Ok(Frame::data(chunk))
                }
            });
            StreamBody::new(chunks).boxed_unsync()
        } else {
            whole(text)
        };
        let mut response = self.plain(StatusCode::OK, session, body);
        if let Ok(value) = HeaderValue::from_str(&described(number, size)) {
            response.headers_mut().insert(LETTERS, value);
        }
        response
    }

    /// Reads a body, and compares it with its header.
    async fn receive(&self, request: Request<Incoming>, session: &str) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let description = head.headers.get(LETTERS).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let mut received = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                self.oracle.upload_breaks_off(session);
                return self.plain(StatusCode::BAD_REQUEST, session, whole("the body broke off".into()));
            };
            received.extend_from_slice(&frame.into_data().unwrap_or_default());
            if self.conduct.reads_slowly {
                tokio::time::sleep(self.pause(5, 60)).await;
            }
        }
        self.oracle.count("upload received");
        if is_as_described(description, &received) == Some(false) {
            let what =
                format!("pod {} received {} bytes of a body described as {description:?}", self.uid, received.len());
            self.oracle.violate("bytes arrive as they were sent", what);
        }
        self.plain(StatusCode::OK, session, whole(received.len().to_string()))
    }
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

/// One WebSocket.
struct Conversation<S> {
    program: Program,
    socket: WebSocketStream<S>,
    sent: Sent,
    /// Number of messages received.
    received: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    fn new(program: Program, socket: WebSocketStream<S>) -> Conversation<S> {
        Conversation { program, socket, sent: Sent::default(), received: 0 }
    }

    /// Sends the session's name, echoes everything, and closes when it has to.
    async fn hold(mut self, session: &str) {
        let hello = format!("hello {session} from {}", self.program.uid);
        if self.socket.send(Message::text(hello)).await.is_err() {
            return;
        }
        let conduct = self.program.conduct;
        let speaks = conduct.pushes || conduct.pings;
        let mut next = Instant::now() + self.program.pause(100, 2_000);
        let half_close = Instant::now() + self.program.pause(2_000, 12_000);
        loop {
            let mut stopping = self.program.stopping.clone();
            let stopped = async {
                let _ = stopping.wait_for(|s| *s).await;
            };
            tokio::select! {
                biased;
                () = stopped => {
                    let goodbye = CloseFrame { code: CloseCode::Away, reason: self.sent.written("end").into() };
                    let _ = self.socket.close(Some(goodbye)).await;
                    return;
                }
                () = tokio::time::sleep_until(half_close), if conduct.half_closes => return self.half_close().await,
                () = tokio::time::sleep_until(next), if speaks => {
                    if self.speak().await.is_err() {
                        return;
                    }
                    next = Instant::now() + self.program.pause(100, 3_000);
                }
                said = self.socket.next() => match said {
                    Some(Ok(message)) => if !self.hear(message).await {
                        return;
                    },
                    Some(Err(_)) | None => return,
                }
            }
        }
    }

    /// Handles a message. Returns false when the conversation is over.
    async fn hear(&mut self, message: Message) -> bool {
        let conduct = self.program.conduct;
        match message {
            Message::Text(_) | Message::Binary(_) => {
                self.received += 1;
                if conduct.reads_slowly {
                    self.program.oracle.count("pod reads slowly");
                    tokio::time::sleep(self.program.pause(50, 600)).await;
                }
                self.socket.send(message).await.is_ok()
            }
            Message::Pong(payload) => {
                if payload.starts_with(PING.as_bytes()) {
                    self.program.oracle.count("ping of a pod answered");
                }
                true
            }
            Message::Close(frame) => {
                self.check(frame.as_ref().map_or("", |f| f.reason.as_str()));
                if conduct.ignores_close {
                    self.program.oracle.count("pod ignores a close");
                    tokio::time::sleep(self.program.pause(500, 4_000)).await;
                }
                // The reply to the close is sent with the next read.
                true
            }
            Message::Ping(_) | Message::Frame(_) => true,
        }
    }

    /// A closing visitor reports how many messages it has sent: compares that with what has arrived.
    fn check(&self, reason: &str) {
        let Some(sent) = Sent::read(reason, "end") else { return };
        self.program.oracle.count("visitor's messages counted");
        if sent.messages != self.received {
            let what = format!(
                "a visitor sent {} messages and closed; {} arrived at pod {}",
                sent.messages, self.received, self.program.uid
            );
            self.program.oracle.violate("bytes arrive as they were sent", what);
        }
    }

    /// Sends unrequested messages and pings.
    async fn speak(&mut self) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        if self.program.conduct.pings {
            self.socket.send(Message::Ping(format!("{PING}{}", self.sent.pings).into())).await?;
            self.sent.pings += 1;
            self.program.oracle.count("pod sends a ping");
        }
        if self.program.conduct.pushes {
            let burst = self.program.draw(|dice| [1, 1, 3, 12][dice.random_range(0..4)]);
            for _ in 0..burst {
                let size = self.program.draw(|dice| [3, 300, 5_000, 20_000][dice.random_range(0..4)]);
                let text = push(self.sent.messages, size);
                let binary = self.program.draw(|dice| dice.random_ratio(1, 2));
                let message = if binary { Message::binary(text) } else { Message::text(text) };
                self.socket.send(message).await?;
                self.sent.messages += 1;
                self.program.oracle.count("pod pushes a message");
            }
        }
        Ok(())
    }

    /// Half-closes the connection: the last message is directly followed by the end of the stream. Continues to read.
    async fn half_close(mut self) {
        self.program.oracle.count("pod half-closes");
        if self.socket.send(Message::text(self.sent.written("last"))).await.is_err() {
            return;
        }
        let _ = self.socket.get_mut().shutdown().await;
        let rest = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = tokio::time::timeout(AFTER_HALF_CLOSE, rest).await;
    }
}
