//! Bodies that visitors send and fetch: sent in pieces, read slowly, and compared at the end.

use super::conduct::{LETTERS, described, is_as_described, letters, pause};
use super::visitor::{ANSWER, Failure, PORT, Way, connect};
use super::window::Windows;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

/// Number of pieces of an upload.
const PIECES: usize = 6;

/// Sends a body in pieces, with its description.
pub async fn upload(
    windows: &Windows,
    way: Way,
    at: IpAddr,
    cookie: &str,
    dice: &mut ChaCha8Rng,
) -> Result<Response<Incoming>, Failure> {
    let (number, size) = (dice.random_range(0..1_000), dice.random_range(1_000..150_000));
    let pauses: Vec<Duration> = (0..PIECES).map(|_| pause(dice, 0, 250)).collect();
    let text = Bytes::from(letters(number, size));
    let each = size.div_ceil(PIECES);
    let pieces = futures_util::stream::iter(pauses.into_iter().enumerate()).then(move |(n, pause)| {
        let piece = text.slice((n * each).min(text.len())..((n + 1) * each).min(text.len()));
        async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(Frame::data(piece))
        }
    });
    let stream = windows.open(connect(at).await?)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/upload", way.base))
        .header(header::HOST, format!("{at}:{PORT}"))
        .header(header::ACCEPT, "application/json")
        .header(header::COOKIE, format!("{}={cookie}", way.cookie))
        .header(LETTERS, described(number, size));
    if dice.random_ratio(1, 2) {
        // Otherwise the length is not announced, and the body is sent in chunks.
        request = request.header(header::CONTENT_LENGTH, size);
    }
    let request = request.body(StreamBody::new(Box::pin(pieces)))?;
    Ok(tokio::time::timeout(ANSWER, sender.send_request(request)).await??)
}

/// Reads a body with pauses. Returns an error if it broke off, and false if it is complete but not what was sent.
pub async fn read_slowly(response: Response<Incoming>, dice: &mut ChaCha8Rng) -> Result<bool, Failure> {
    let (head, mut body) = response.into_parts();
    let description = head.headers.get(LETTERS).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut received = Vec::new();
    while let Some(frame) = tokio::time::timeout(ANSWER, body.frame()).await? {
        received.extend_from_slice(&frame?.into_data().unwrap_or_default());
        tokio::time::sleep(pause(dice, 0, 100)).await;
    }
    Ok(is_as_described(&description, &received).unwrap_or(true))
}
