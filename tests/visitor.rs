//! A visitor: a very small browser with a cookie jar. Every request has its own connection.

use crate::dispatcher::Dispatcher;
use crate::patience::{eventually, patiently};
use crate::pod::{Socket, socket};
use crate::wire::{Body, Head, Wire};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::protocol::Role;

#[derive(Clone, Debug)]
pub struct Visitor {
    at: SocketAddr,
    pub host: String,
    /// The path of the pool, without a slash at its end.
    pub base: String,
    pub jar: BTreeMap<String, String>,
    /// Complete lines that are sent with every request.
    pub fields: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    /// The `1xx` responses before it.
    pub before: Vec<Head>,
    pub head: Head,
    pub body: Body,
}

impl Answer {
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// # Panics
    /// If it is no JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        self.read()
    }

    /// # Panics
    /// If it is no JSON of this type.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body.bytes).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }
}

/// A browser that navigates.
pub const PAGE: &str = "Accept: text/html,*/*\r\n";

impl Visitor {
    #[must_use]
    pub fn of(dispatcher: &Dispatcher) -> Visitor {
        Visitor::at(dispatcher.visitors)
    }

    #[must_use]
    pub fn at(at: SocketAddr) -> Visitor {
        Visitor { at, host: at.to_string(), base: String::new(), jar: BTreeMap::new(), fields: String::new() }
    }

    /// The same visitor, asking for another host.
    #[must_use]
    pub fn for_host(self, host: &str) -> Visitor {
        Visitor { host: host.to_owned(), ..self }
    }

    /// The head of a request, with the cookies.
    #[must_use]
    pub fn head(&self, method: &str, path: &str, fields: &str) -> String {
        let cookies = self.jar.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("; ");
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{cookies}{}{fields}\r\n", self.host, self.fields)
    }

    /// Sends a request on a new connection, which it returns.
    pub async fn ask(&self, method: &str, path: &str, fields: &str) -> Wire {
        let mut wire = Wire::to(self.at).await;
        wire.send(self.head(method, path, fields)).await;
        wire
    }

    /// Reads an answer's head, and keeps its cookies.
    pub async fn hear(&mut self, wire: &mut Wire) -> Head {
        let (_, head) = wire.final_head().await;
        let head = head.expect("an answer");
        self.keep_cookies(&head);
        head
    }

    /// The same visitor at another address of the same system.
    #[must_use]
    pub fn through(self, at: SocketAddr) -> Visitor {
        Visitor { at, ..self }
    }

    /// Sends a request to a dispatcher that may not run, or end during the response: returns the head, if there is one.
    pub async fn knock(&mut self, path: &str, fields: &str) -> Option<(Head, Wire)> {
        let mut wire = Wire::over(tokio::net::TcpStream::connect(self.at).await.ok()?);
        if !wire.try_send(self.head("GET", path, fields)).await {
            return None;
        }
        let head = wire.head().await?;
        self.keep_cookies(&head);
        Some((head, wire))
    }

    fn keep_cookies(&mut self, head: &Head) {
        for cookie in head.all("set-cookie") {
            let (name, value) = cookie.split(';').next().and_then(|c| c.split_once('=')).expect("a cookie");
            self.jar.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Sends a request, and reads its complete response.
    pub async fn request(&mut self, method: &str, path: &str, fields: &str, body: &[u8]) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut wire = Wire::to(self.at).await;
        let mut bytes = self.head(method, path, &format!("{fields}{length}")).into_bytes();
        bytes.extend_from_slice(body);
        wire.send(bytes).await;
        self.answer(&mut wire, method).await
    }

    /// Reads a complete response.
    pub async fn answer(&mut self, wire: &mut Wire, method: &str) -> Answer {
        let (before, head) = wire.final_head().await;
        let head = head.expect("an answer");
        self.keep_cookies(&head);
        let body = wire.body(head.answer_length(method)).await;
        Answer { before, head, body }
    }

    /// Sends a request as a program does.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, "", b"").await
    }

    /// Sends a request as a browser does.
    pub async fn page(&mut self, path: &str) -> Answer {
        self.request("GET", path, PAGE, b"").await
    }

    pub async fn post(&mut self, path: &str) -> Answer {
        self.request("POST", path, "Content-Length: 0\r\n", b"").await
    }

    pub async fn status(&mut self) -> Value {
        let path = format!("{}/.slotkeeper/status", self.base);
        self.get(&path).await.json()
    }

    /// Loads the page, and waits until the slot is ready.
    pub async fn wait_for_slot(&mut self) {
        let path = format!("{}/", self.base);
        self.page(&path).await;
        let mut visitor = self.clone();
        eventually("a slot", async || visitor.status().await["state"] == "ready").await;
    }

    /// Waits until the status has this state.
    pub async fn is_told(&mut self, state: &str) -> Value {
        let mut told = Value::Null;
        let mut visitor = self.clone();
        eventually(state, async || {
            told = visitor.status().await;
            told["state"] == state
        })
        .await;
        told
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The answer, if it is no `101`.
    pub async fn try_socket(&mut self, path: &str, fields: &str) -> Result<Socket, Box<Answer>> {
        let mut wire = self.ask("GET", path, &format!("{HANDSHAKE}{fields}")).await;
        let (before, head) = wire.final_head().await;
        let head = head.expect("an answer");
        self.keep_cookies(&head);
        if head.status() != 101 {
            let body = wire.body(head.answer_length("GET")).await;
            return Err(Box::new(Answer { before, head, body }));
        }
        Ok(socket(wire, Role::Client).await)
    }

    /// # Panics
    /// If it is refused.
    pub async fn socket(&mut self, path: &str) -> Socket {
        let opened = patiently("a WebSocket", self.try_socket(path, "")).await;
        opened.unwrap_or_else(|answer| panic!("no WebSocket: {answer:?}"))
    }
}

/// The fields of a WebSocket handshake.
pub const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
