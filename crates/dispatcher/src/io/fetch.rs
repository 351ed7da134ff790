//! One small page, fetched whole: the operator's landing page, the metrics of a pod.

use crate::io::proxy::{ProxyVersion, announce_self};
use crate::io::{BoxError, Net};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;

/// Sets no time limit: that is up to the caller. `proxy`: the server expects a PROXY header.
///
/// # Errors
/// If the page cannot be fetched, its status is not a success, or its body is longer than `largest` bytes.
pub(crate) async fn get(
    net: &dyn Net,
    at: SocketAddr,
    host: &str,
    path: &str,
    largest: usize,
    proxy: Option<ProxyVersion>,
) -> Result<Response<Bytes>, BoxError> {
    let mut stream = net.dial(at).await?;
    announce_self(&mut stream, proxy).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request = Request::get(path).header(header::HOST, host).body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    if !head.status.is_success() {
        return Err(format!("the response has status {}", head.status).into());
    }
    let body = Limited::new(body, largest).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
