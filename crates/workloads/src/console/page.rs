//! The page and its assets, in the binary. Nothing is inline and nothing comes from elsewhere, so the policy is strict.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;

const INDEX: &str = include_str!("page/index.html");
/// The same that the dispatcher serves: a console also works without one.
const CLIENT: &[u8] = include_bytes!("../../../dispatcher/src/client/client.js");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// What lies under the last part of a path. `dispatcher` is where the page can offer to leave: the path of the
/// dispatcher's own pages, empty without one.
pub(crate) fn find(name: &str, dispatcher: &str, pod: &str) -> Option<Response<Full<Bytes>>> {
    let (kind, body) = match name {
        "" | "index.html" => {
            let page = INDEX.replace("{dispatcher}", &escape(dispatcher)).replace("{pod}", &escape(pod));
            ("text/html; charset=utf-8", Bytes::from(page))
        }
        "style.css" => ("text/css; charset=utf-8", Bytes::from_static(include_bytes!("page/style.css"))),
        "console.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/console.js"))),
        "screen.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/screen.js"))),
        "input.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/input.js"))),
        "connection.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/connection.js"))),
        "client.js" => ("text/javascript; charset=utf-8", Bytes::from_static(CLIENT)),
        "icon.svg" => ("image/svg+xml", Bytes::from_static(include_bytes!("page/icon.svg"))),
        _ => return None,
    };
    Some(answer(StatusCode::OK, kind, body))
}

/// An answer with the headers that all answers have.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
