//! The operator's own waiting page: fetched from `landing_url` for each visitor, ours where that fails.

use crate::config::Landing;
use crate::error::BoxError;
use crate::fetch::get;
use crate::forward::body::Answer;
use crate::forward::{fields, headers};
use crate::outside::Net;
use http::{HeaderValue, Response, header};
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
    let (mut head, body) = get(net, address, &landing.authority, &landing.path, LARGEST).await?.into_parts();
    headers::for_visitor(&mut head.headers, None);
    fields::drop_targeted_caching(&mut head.headers);
    head.headers.remove(header::EXPIRES);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Response::from_parts(head, Answer::Whole(body)))
}
