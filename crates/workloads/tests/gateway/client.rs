//! A client of a gateway.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Running, patiently};

pub(super) struct Client {
    pub(super) socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(super) async fn open(gateway: &Running, path: &str) -> Client {
        Client::try_open(gateway.address, path).await.expect("a socket")
    }

    /// With a small window, so that a client that does not read soon blocks.
    pub(super) async fn try_open(address: SocketAddr, path: &str) -> Result<Client, Error> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(address).await.expect("a connection");
        let url = format!("ws://{address}{path}");
        Ok(Client { socket: patiently("an upgrade", tokio_tungstenite::client_async(url, stream)).await?.0 })
    }

    pub(super) async fn refused(gateway: &Running, path: &str) -> (u16, String, Option<String>) {
        let Some(Error::Http(response)) = Client::try_open(gateway.address, path).await.err() else {
            panic!("not refused by an answer");
        };
        let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into();
        let retry = response.headers().get("retry-after").map(|after| after.to_str().expect("a number").to_owned());
        (response.status().as_u16(), body, retry)
    }

    pub(super) async fn send(&mut self, message: Message) {
        patiently("room to send", self.socket.send(message)).await.expect("sent");
    }

    pub(super) async fn say(&mut self, client_id: &str, text: &str) {
        self.send(Message::text(json!({"type": "say", "client_id": client_id, "text": text}).to_string())).await;
    }

    /// The next message, text or binary.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        loop {
            let message = patiently("a message", self.socket.next()).await.expect("open").expect("a message");
            match message {
                Message::Text(text) => return text.as_bytes().to_vec(),
                Message::Binary(bytes) => return bytes.into(),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) | Message::Frame(_) => panic!("closed: {message}"),
            }
        }
    }

    /// The next message of the chat of this kind; earlier ones are skipped.
    pub(super) async fn hear(&mut self, kind: &str) -> Value {
        loop {
            let news: Value = serde_json::from_slice(&self.next().await).expect("JSON");
            if news["type"] == kind {
                return news;
            }
        }
    }

    /// The texts of the messages up to this one.
    pub(super) async fn texts_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            texts.push(self.hear("message").await["text"].as_str().expect("a text").to_owned());
        }
        texts
    }

    /// The code and reason of the close; `None` if the connection broke.
    pub(super) async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match patiently("the close", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    let told = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    // Answers the close.
                    while let Some(Ok(_)) = self.socket.next().await {}
                    return told;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
