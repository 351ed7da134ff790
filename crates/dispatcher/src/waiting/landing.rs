//! The operator's own waiting page: fetched from `landing_url` for each visitor, ours where that fails.

use crate::config::Landing;
use crate::error::BoxError;
use crate::forward::body::Answer;
use crate::forward::headers;
use crate::outside::Net;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;

/// A landing page that takes longer is no page to wait at.
const PATIENCE: Duration = Duration::from_secs(2);
/// A landing page is a page.
const LARGEST: usize = 1 << 20;

/// # Errors
/// Whatever kept the page from coming, a status that is no success included.
pub async fn fetch(net: &dyn Net, landing: &Landing) -> Result<Response<Answer>, BoxError> {
    tokio::time::timeout(PATIENCE, page(net, landing)).await?
}

async fn page(net: &dyn Net, landing: &Landing) -> Result<Response<Answer>, BoxError> {
    let address = net.resolve(&landing.authority).await?.into_iter().next().ok_or("the name has no address")?;
    let stream = net.dial(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request =
        Request::get(&landing.path).header(header::HOST, &landing.authority).body(Empty::<bytes::Bytes>::new())?;
    let (mut head, body) = sender.send_request(request).await?.into_parts();
    if !head.status.is_success() {
        return Err(format!("the landing page answered {}", head.status).into());
    }
    let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
    headers::for_visitor(&mut head.headers, None);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Response::from_parts(head, Answer::Whole(body)))
}
