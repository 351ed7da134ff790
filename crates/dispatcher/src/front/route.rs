//! Finds the pool that a request is for, and refuses requests that must not reach any.

use crate::authority::{Origin, default_port};
use crate::front::error::{Fault, RequestError, Step};
use crate::front::forward::TOO_LARGE;
use crate::front::forward::body::ResponseBody;
use crate::front::forward::headers::{self, Hop};
use crate::front::{Dispatcher, Pool, endpoints, waiting};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use slotkeeper_core::planted;
use std::sync::Arc;

pub(crate) enum Routed<'a> {
    Pool(&'a Arc<Pool>),
    /// A file for the dispatcher's own error page at an address where nothing is served.
    Asset(Response<ResponseBody>),
}

/// Finds the pool that a request is for (RFC 9112 §3.2).
pub(crate) fn route<'d>(
    dispatcher: &'d Dispatcher,
    request: &Request<Incoming>,
    hop: &Hop<'_>,
) -> Result<Routed<'d>, RequestError> {
    let refuse = |status, why| RequestError::visitor(Step::Route, status, why);
    if request.method() == Method::CONNECT {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "this is not a forward proxy"));
    }
    let authority = hop.authority(request).map_err(|why| refuse(StatusCode::BAD_REQUEST, why))?;
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(refuse(StatusCode::BAD_REQUEST, "a request must name its host"));
    }
    let path = request.uri().path();
    let Some(pool) = dispatcher.route(authority.map(|a| a.host).as_ref(), path) else {
        let asset = path.strip_prefix(endpoints::PREFIX).and_then(waiting::asset);
        let nothing = refuse(StatusCode::NOT_FOUND, "nothing is served at this address");
        return asset.map(Routed::Asset).ok_or(nothing);
    };
    let id = pool.via.as_bytes();
    let mut via =
        request.headers().get_all(header::VIA).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    if via.any(|hop| hop.trim_ascii() == id) {
        // RFC 9110 §7.6.3, RFC 5842 §7.2
        let message = "the request has passed this dispatcher before: a pod forwards it back";
        return Err(RequestError {
            fault: Fault::Pod,
            step: Step::Route,
            status: StatusCode::LOOP_DETECTED,
            message,
            source: None,
        });
    }
    Ok(Routed::Pool(pool))
}

/// Refuses upgrades from pages of other origins (RFC 6455 §10.2), and their POST requests to the dispatcher's own paths.
pub(crate) fn refuse_foreign(pool: &Pool, request: &Request<Incoming>, hop: &Hop<'_>) -> Result<(), RequestError> {
    planted!(ForeignOriginAllowed => Ok(()));
    let acts = request.method() == Method::POST && request.uri().path().starts_with(&*pool.own);
    if headers::upgrade(request).is_none() && !acts {
        return Ok(());
    }
    let headers = request.headers();
    // Scripts cannot set this header (W3C Fetch Metadata): a browser's value can be trusted.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let allows = |origin: &str| pool.config.allowed_origins.iter().any(|pattern| pattern.allows(origin));
    let mut origins = headers.get_all(header::ORIGIN).into_iter();
    let allowed = match (origins.next().map(HeaderValue::to_str), origins.next()) {
        (None, _) => !matches!(site, Some(b"cross-site" | b"same-site")) || allows(""),
        (Some(Ok(origin)), None) => {
            is_same_origin(origin, request, hop) || origin == "null" && site == Some(b"same-origin") || allows(origin)
        }
        (Some(_), _) => false,
    };
    if allowed {
        return Ok(());
    }
    Err(RequestError::visitor(Step::Route, StatusCode::FORBIDDEN, "this is not allowed from another origin"))
}

/// Compares with the scheme, host and port of the request itself. Unless a trusted proxy names the scheme, the visitor's may
/// be `http` or `https`.
fn is_same_origin(origin: &str, request: &Request<Incoming>, hop: &Hop<'_>) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    let Some((there, here)) = origin.authority.zip(hop.authority(request).ok().flatten()) else { return false };
    let is_scheme = match hop.scheme(request.headers()) {
        Some(scheme) => origin.scheme.eq_ignore_ascii_case(scheme),
        None => origin.scheme.eq_ignore_ascii_case("https") || origin.scheme.eq_ignore_ascii_case("http"),
    };
    let port = origin.port();
    let forwarded = hop.forwarded_port(request.headers());
    is_scheme
        && there.host == here.host
        && (port == here.port.or_else(|| default_port(origin.scheme)) || forwarded.is_some() && port == forwarded)
}

pub(crate) fn refuse_large(dispatcher: &Dispatcher, request: &Request<Incoming>) -> Result<(), RequestError> {
    let least = request.body().size_hint().lower();
    match dispatcher.config.limits.body_bytes {
        Some(limit) if least > limit => {
            Err(RequestError::visitor(Step::Send, StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE))
        }
        Some(_) | None => Ok(()),
    }
}
