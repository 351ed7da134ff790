//! A visitor's requests: its cookie jar, and the checks of what answers.

use super::super::conduct::Received;
use super::super::oracle::short;
use super::super::tab::{SILENCE, Socket};
use super::super::window::Windows;
use super::{PORT, Visitor, Way};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::Rng;
use slotkeeper::cookie::public_name;
use slotkeeper_reference::{Answer, Observation};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use turmoil::net::TcpStream;

/// A visitor's time-out for connecting; `ANSWER`: for an answer.
const CONNECT: Duration = Duration::from_secs(2);
pub const ANSWER: Duration = Duration::from_secs(12);

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn is_from_pod(&self) -> bool {
        self.headers.contains_key("x-pod")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

impl Visitor {
    /// Opens a WebSocket to the pod; `None` if the waiting room answers instead.
    pub(super) async fn socket(&mut self) -> Result<Option<Socket>, Failure> {
        let asked = self.scene.oracle.now();
        let at = self.dispatcher();
        self.sends();
        let stream = self.scene.windows.open(connect(at).await?)?;
        let key = format!("{:022}==", self.dice.random_range(0..1_000_000));
        let mut request = Request::builder()
            .uri(format!("ws://{at}:{PORT}{}/ws", self.scene.way.base))
            .header(header::HOST, format!("{at}:{PORT}"))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key);
        if let Some(cookie) = &self.jar {
            request = request.header(header::COOKIE, format!("{}={cookie}", self.scene.way.cookie));
        }
        let opening = tokio_tungstenite::client_async(request.body(())?, stream);
        let (mut socket, response) = match tokio::time::timeout(ANSWER, opening).await? {
            Ok(opened) => opened,
            Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => {
                self.scene.oracle.count(format!("upgrade {}", refused.status().as_u16()));
                return Ok(None);
            }
            Err(e) => return Err(e.into()),
        };
        self.keep(response.headers(), false);
        let hello = match tokio::time::timeout(SILENCE, socket.next()).await? {
            Some(Ok(Message::Text(hello))) => hello.to_string(),
            Some(Ok(_)) | None => return Ok(None),
            Some(Err(e)) => return Err(e.into()),
        };
        let mut words = hello.split(' ').skip(1);
        let session = words.next().unwrap_or_default().to_owned();
        self.is_mine(&session, "a WebSocket");
        let uid = words.nth(1).unwrap_or_default().to_owned();
        let opened = self.scene.oracle.now();
        let number = (self.number as u64) << 40 | opened;
        let seen = Observation::Stream { visitor: session.as_str().into(), pod: uid.as_str().into(), stream: number };
        self.scene.oracle.observed(asked, seen);
        Ok(Some(Socket {
            stream: socket,
            uid,
            session,
            opened,
            number,
            looked: opened,
            received: Received::default(),
            sent: 0,
            neglected: false,
        }))
    }

    /// The following request counts as activity of the session.
    pub(super) fn sends(&self) {
        if let Some(session) = self.session() {
            self.scene.oracle.sends(&session);
            self.scene.oracle.asks(&session);
        }
    }

    pub(super) fn dispatcher(&mut self) -> IpAddr {
        let count = self.scene.dispatchers.len();
        self.scene.dispatchers[self.dice.random_range(0..count)]
    }

    /// The session that a pod's answer names must be this visitor's.
    pub(super) fn is_mine(&self, session: &str, what: &str) {
        let own = self.session();
        if own.as_deref() != Some(session) {
            let own = own.unwrap_or_default();
            self.scene.oracle.violate(
                "every session gets its own answers",
                format!(
                    "visitor {} is session {}, and {what} answered as {}",
                    self.number,
                    short(&own),
                    short(session)
                ),
            );
        }
    }

    /// Stores a cookie. `anew`: the visitor has requested a new session.
    pub(super) fn keep(&mut self, headers: &HeaderMap, anew: bool) {
        for value in headers.get_all(header::SET_COOKIE) {
            let value = value.to_str().unwrap_or_default();
            let Some(rest) = value.strip_prefix(self.scene.way.cookie).and_then(|v| v.strip_prefix('=')) else {
                continue;
            };
            let before = self.session();
            self.jar = rest.split(';').next().map(str::to_owned);
            let now = self.session();
            match &now {
                Some(now) => self.scene.oracle.owns(now.clone()),
                None => self.scene.oracle.violate("a cookie stays good", "a cookie was set that cannot be decrypted"),
            }
            if let Some(before) = before.filter(|b| !anew && now.as_ref() != Some(b)) {
                let text = format!("visitor {} was session {}, and got another one", self.number, short(&before));
                self.scene.oracle.violate("a cookie stays good", text);
            }
        }
    }

    /// Returns the public name of the session in the jar.
    pub(super) fn session(&self) -> Option<String> {
        self.jar.as_deref().and_then(|v| self.keys.open(&self.scene.way.pool.into(), v)).map(|t| public_name(t.session))
    }

    pub(super) async fn fetch(&mut self, method: Method, path: &str, page: bool) -> Result<Reply, Failure> {
        let asked = self.scene.oracle.now();
        let response = self.open(method, path, page).await?;
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(ANSWER, body.collect()).await??.to_bytes();
        let reply = Reply { status: head.status, headers: head.headers, body };
        if reply.is_from_pod() {
            self.is_mine(reply.header("x-session"), "a page");
            self.scene.oracle.answered(reply.header("x-session"), asked);
            let answer = Answer::Seat { pod: reply.header("x-pod").into() };
            self.scene.oracle.observed(asked, Observation::Told { visitor: reply.header("x-session").into(), answer });
        }
        Ok(reply)
    }

    pub(super) async fn open(
        &mut self,
        method: Method,
        path: &str,
        page: bool,
    ) -> Result<http::Response<Incoming>, Failure> {
        let at = self.dispatcher();
        let anew = path.ends_with("/join");
        let (before, asked) = (self.session(), self.scene.oracle.now());
        self.sends();
        if let Some(session) = before.as_deref().filter(|_| anew || path.ends_with("/leave")) {
            self.scene.oracle.observed(asked, Observation::Leaves { visitor: session.into() });
        }
        let response =
            request(&self.scene.windows, self.scene.way, at, method, path, page, self.jar.as_deref()).await?;
        self.keep(response.headers(), anew);
        if let Some(session) = self.session().filter(|s| before.as_ref() != Some(s)) {
            // This request was the session's first.
            self.scene.oracle.asked(&session, asked);
        }
        Ok(response)
    }
}

pub async fn connect(at: IpAddr) -> io::Result<TcpStream> {
    tokio::time::timeout(CONNECT, TcpStream::connect((at, PORT))).await.map_err(io::Error::other)?
}

/// Sends one request on a separate connection.
pub(super) async fn request(
    windows: &Windows,
    way: Way,
    at: IpAddr,
    method: Method,
    path: &str,
    page: bool,
    cookie: Option<&str>,
) -> Result<http::Response<Incoming>, Failure> {
    let stream = windows.open(connect(at).await?)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", way.base))
        .header(header::HOST, format!("{at}:{PORT}"))
        .header(header::ACCEPT, if page { "text/html" } else { "application/json" });
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, format!("{}={cookie}; other=1", way.cookie));
    }
    let request = request.body(Full::new(Bytes::new()))?;
    Ok(tokio::time::timeout(ANSWER, sender.send_request(request)).await??)
}
