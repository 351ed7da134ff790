//! Answers to plain HTTP requests. Pages have no inline parts and load nothing from other hosts, so the policy is strict.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    SEC_WEBSOCKET_ACCEPT, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

pub(crate) type Answer = Response<Full<Bytes>>;

/// Builds an answer with the headers that all answers have.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(crate) fn text(status: StatusCode, words: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", words)
}

/// Metrics in Prometheus' text format, or an error.
pub(crate) fn metrics(text_format: Result<Vec<u8>, prometheus::Error>) -> Answer {
    match text_format {
        Ok(metrics) => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// A page or a part of one, for GET and HEAD only.
pub(crate) fn found(page: Option<Answer>, method: &Method) -> Answer {
    match page {
        None => text(StatusCode::NOT_FOUND, "not found\n"),
        Some(_) if method != Method::GET && method != Method::HEAD => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        }
        Some(page) => page,
    }
}

/// The answer at a socket's path to a request without an upgrade.
pub(crate) fn upgrade_required() -> Answer {
    let mut response = text(StatusCode::UPGRADE_REQUIRED, "this path requires a WebSocket upgrade, version 13\n");
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response
}

/// The answer that turns the connection into a socket.
pub(crate) fn switching(accept: HeaderValue) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// The path of the dispatcher's own pages, if a dispatcher has sent the request.
pub(crate) fn dispatcher(headers: &HeaderMap) -> &str {
    headers.get("x-slotkeeper-path").and_then(|path| path.to_str().ok()).unwrap_or_default()
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
