//! The operator's own waiting page: fetched from `landing_url` for each visitor. If that fails, the built-in page is shown.

use crate::config::Landing;
use crate::front::error::BoxError;
use crate::front::forward::body::ResponseBody;
use crate::front::forward::{fields, headers};
use crate::io::Net;
use crate::io::fetch::get;
use http::{HeaderValue, Response, header};
use std::time::Duration;

/// The limit for fetching a landing page: a slower one is useless for waiting.
const PATIENCE: Duration = Duration::from_secs(2);
/// The limit for the size of a landing page, in bytes.
const LARGEST: usize = 1 << 20;

/// # Errors
/// If the page cannot be fetched or its status is not a success.
pub async fn fetch(net: &dyn Net, landing: &Landing) -> Result<Response<ResponseBody>, BoxError> {
    tokio::time::timeout(PATIENCE, page(net, landing)).await?
}

async fn page(net: &dyn Net, landing: &Landing) -> Result<Response<ResponseBody>, BoxError> {
    let address = net.resolve(&landing.authority).await?.into_iter().next().ok_or("the name has no address")?;
    let (mut head, body) = get(net, address, &landing.authority, &landing.path, LARGEST, None).await?.into_parts();
    headers::for_visitor(&mut head.headers, None);
    fields::drop_targeted_caching(&mut head.headers);
    head.headers.remove(header::EXPIRES);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Response::from_parts(head, ResponseBody::Whole(body)))
}
