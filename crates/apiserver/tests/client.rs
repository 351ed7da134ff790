//! A bare HTTP client on an in-memory connection, for tests of the exact bytes.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use slotkeeper_apiserver::Server;

pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Incoming,
}

/// A request on a connection of its own.
pub(crate) async fn ask(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, String> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server.clone().serve(theirs));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let (head, body) = response.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

impl Answer {
    pub(crate) async fn json(self) -> Value {
        serde_json::from_slice(&self.body.collect().await.unwrap().to_bytes()).unwrap()
    }

    /// The whole body as lines, and whether it ended in order.
    pub(crate) async fn lines(mut self) -> (Vec<Value>, bool) {
        let mut bytes = Vec::new();
        let fine = loop {
            match self.body.frame().await {
                Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap()),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        (lines.filter_map(|line| serde_json::from_slice(line).ok()).collect(), fine)
    }

    /// Reads on until a line is complete.
    pub(crate) async fn line(&mut self, pending: &mut Vec<u8>) -> Option<Value> {
        loop {
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            pending.extend_from_slice(self.body.frame().await?.ok()?.data_ref().unwrap());
        }
    }
}

pub(crate) async fn get(server: &Server, path: &str) -> (u16, Value) {
    let answer = ask(server, "GET", path, &[], "").await.unwrap();
    (answer.status, answer.json().await)
}

pub(crate) async fn patch(server: &Server, path: &str, body: &str) -> (u16, Value) {
    let headers = [("content-type", "application/merge-patch+json")];
    let answer = ask(server, "PATCH", path, &headers, body).await.unwrap();
    (answer.status, answer.json().await)
}
