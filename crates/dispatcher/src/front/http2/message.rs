//! Turns requests of HTTP/2 into those of HTTP/1.1, which the rest of the front and the pods know, and responses back. The
//! library has refused malformed heads (RFC 9113 §§8.2, 8.3: connection-specific fields, upper case, missing or repeated
//! pseudo-header fields). A WebSocket (RFC 8441) becomes the upgrade that it would be in HTTP/1.1, with a key of our own.

use crate::front::forward::body::ResponseBody;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Body as _;
use hyper::ext::Protocol;
use sha1::{Digest as _, Sha1};

/// RFC 6455 §1.3
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The kind of a request, which decides which responses are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Content,
    /// A response without a body.
    Head,
    WebSocket,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

const fn refuse(status: StatusCode, why: &'static str) -> Refusal {
    Refusal { status, why }
}

/// The `Sec-WebSocket-Accept` that a pod must answer with (RFC 6455 §4.2.2). In HTTP/1.1, the client checks it.
#[derive(Clone, Debug)]
pub(crate) struct Accept(HeaderValue);

impl Accept {
    fn of(key: &str) -> Option<Accept> {
        let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        HeaderValue::from_str(&STANDARD.encode(digest)).ok().map(Accept)
    }

    /// Whether the head of a `101` opens the WebSocket.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let is_websocket =
            headers.get(header::UPGRADE).is_some_and(|named| named.as_bytes().eq_ignore_ascii_case(b"websocket"));
        is_websocket && headers.get(header::SEC_WEBSOCKET_ACCEPT) == Some(&self.0)
    }
}

/// Turns a request into one of HTTP/1.1. `key`: random; `None` if there is no randomness.
pub(super) fn into_http1<B>(
    request: &mut Request<B>,
    key: impl FnOnce() -> Option<u128>,
    most_fields: usize,
) -> Result<Asked, Refusal> {
    join_cookies(request.headers_mut());
    if request.headers().len() > most_fields {
        return Err(refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "it has too many fields"));
    }
    // RFC 9113 §8.2.1: an intermediary must not forward it.
    if request.headers().values().any(|value| value.as_bytes().trim_ascii().len() != value.len()) {
        return Err(refuse(StatusCode::BAD_REQUEST, "a field's value begins or ends with white space"));
    }
    if request.uri().path() == "*" && *request.method() != Method::OPTIONS {
        return Err(refuse(StatusCode::BAD_REQUEST, "its target is not a path"));
    }
    let asked = if *request.method() == Method::CONNECT {
        open_websocket(request, key)?;
        Asked::WebSocket
    } else if *request.method() == Method::HEAD {
        Asked::Head
    } else {
        Asked::Content
    };
    name_host(request)?;
    *request.version_mut() = Version::HTTP_11;
    Ok(asked)
}

fn open_websocket<B>(request: &mut Request<B>, key: impl FnOnce() -> Option<u128>) -> Result<(), Refusal> {
    match request.extensions_mut().remove::<Protocol>() {
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => {}
        // RFC 9220 §3
        Some(_) => return Err(refuse(StatusCode::NOT_IMPLEMENTED, "its :protocol is not websocket")),
        None => return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "this is not a forward proxy")),
    }
    let no_key = refuse(StatusCode::SERVICE_UNAVAILABLE, "no randomness for the key of a WebSocket");
    let key = STANDARD.encode(key().ok_or(no_key)?.to_be_bytes());
    let (accept, key) = Accept::of(&key).zip(HeaderValue::from_str(&key).ok()).ok_or(no_key)?;
    *request.method_mut() = Method::GET;
    request.extensions_mut().insert(accept);
    let headers = request.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    Ok(())
}

/// Adds the `Host` that HTTP/1.1 requires, if only `:authority` names the host. (If both do, they are compared as in HTTP/1.1:
/// `Hop::authority`.)
fn name_host<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (Some(_), Some(_)) => Err(refuse(StatusCode::BAD_REQUEST, "it has two Host fields")),
        (None, _) => {
            let authority = request.uri().authority().and_then(|named| HeaderValue::from_str(named.as_str()).ok());
            let none = refuse(StatusCode::BAD_REQUEST, "it names no host");
            request.headers_mut().insert(header::HOST, authority.ok_or(none)?);
            Ok(())
        }
    }
}

/// A client may split the field into several (RFC 9113 §8.2.3); HTTP/1.1 has one.
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Turns a response into one of HTTP/2.
pub(super) fn into_http2(mut response: Response<ResponseBody>, asked: Asked) -> Response<ResponseBody> {
    let status = response.status();
    let headers = response.headers_mut();
    // RFC 9113 §8.2.2
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
    match asked {
        Asked::WebSocket if status == StatusCode::SWITCHING_PROTOCOLS => {
            headers.remove(header::SEC_WEBSOCKET_ACCEPT);
            *response.status_mut() = StatusCode::OK;
        }
        // RFC 8441 §5: any other 2xx would open the WebSocket as well.
        Asked::WebSocket if status.is_success() => {
            response = Response::new(ResponseBody::Empty);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
        }
        Asked::WebSocket | Asked::Content | Asked::Head => {}
    }
    let has_no_body = asked == Asked::Head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_no_body && !response.body().is_end_stream() {
        // The library would send it.
        if let Some(length) = response.body().size_hint().exact().filter(|_| status != StatusCode::NO_CONTENT) {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
        }
        *response.body_mut() = ResponseBody::Empty;
    }
    *response.version_mut() = Version::HTTP_2;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn turned(mut request: Request<()>) -> Result<(Asked, Request<()>), u16> {
        let asked = into_http1(&mut request, || Some(7), 5).map_err(|refusal| refusal.status.as_u16())?;
        assert_eq!(request.version(), Version::HTTP_11);
        Ok((asked, request))
    }

    #[test]
    fn a_request_gets_one_host_and_one_cookie_field() {
        let (asked, request) = turned(request(
            "GET",
            "https://a.example/x",
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3"), ("accept", "x"), ("accept", "y")],
        ))
        .unwrap();
        assert_eq!(asked, Asked::Content);
        assert_eq!(request.headers()["host"], "a.example");
        assert_eq!(request.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        assert_eq!(request.headers().get_all("accept").iter().count(), 2);
        let (_, request) = turned(self::request("GET", "/x", &[("host", "b.example")])).unwrap();
        assert_eq!(request.headers()["host"], "b.example");
    }

    #[test]
    fn requests_that_http1_could_misunderstand_are_refused() {
        for (status, method, uri, fields) in [
            (400, "GET", "/x", &[][..]),
            (400, "GET", "https://a.example/x", &[("host", "a.example"), ("host", "a.example")]),
            (400, "GET", "https://a.example/x", &[("accept", " x")]),
            (400, "GET", "https://a.example/x", &[("accept", "x\t")]),
            (
                431,
                "GET",
                "https://a.example/x",
                &[("x", "1"), ("x", "2"), ("x", "3"), ("x", "4"), ("x", "5"), ("y", "6")],
            ),
            (405, "CONNECT", "a.example:443", &[]),
        ] {
            assert_eq!(turned(request(method, uri, fields)).err(), Some(status), "{method} {uri} {fields:?}");
        }
        for (method, status) in [("GET", Some(400)), ("OPTIONS", None)] {
            let star = request(method, "*", &[("host", "a.example")]);
            assert_eq!(turned(star).err(), status, "{method}");
        }
    }

    fn websocket(protocol: &'static str) -> Request<()> {
        let mut request = request("CONNECT", "https://a.example/ws", &[("sec-websocket-key", "the client's")]);
        request.extensions_mut().insert(Protocol::from_static(protocol));
        request
    }

    #[test]
    fn a_websocket_becomes_an_upgrade_whose_answer_is_checked() {
        let (asked, request) = turned(websocket("websocket")).unwrap();
        assert_eq!((asked, request.method()), (Asked::WebSocket, &Method::GET));
        let headers = request.headers();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAABw=="),
            ("sec-websocket-version", "13"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert_eq!(turned(websocket("connect-udp")).err(), Some(501));
        assert_eq!(into_http1(&mut websocket("websocket"), || None, 5).err().map(|r| r.status.as_u16()), Some(503));

        // The example of RFC 6455 §1.3.
        let accept = Accept::of("dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        let answers = |upgrade: &str, value: &str| {
            let fields = [("upgrade", upgrade), ("sec-websocket-accept", value)];
            let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            accept.is_in(&fields.into_iter().collect())
        };
        assert!(answers("WebSocket", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(
            !answers("websocket", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo") && !answers("echo", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert!(!accept.is_in(&HeaderMap::new()));
    }

    #[test]
    fn a_response_fits_what_was_asked() {
        let answer = |status: u16| {
            Response::builder()
                .status(status)
                .header("connection", "close")
                .header("upgrade", "x")
                .header("sec-websocket-accept", "x")
                .body(ResponseBody::Whole(Bytes::from_static(b"body")))
                .unwrap()
        };
        for (status, asked, expected, has_body, length) in [
            (200, Asked::Content, 200, true, None),
            (200, Asked::Head, 200, false, Some("4")),
            (404, Asked::Head, 404, false, Some("4")),
            (204, Asked::Content, 204, false, None),
            (304, Asked::Content, 304, false, Some("4")),
            (101, Asked::WebSocket, 200, true, None),
            (200, Asked::WebSocket, 502, false, None),
            (206, Asked::WebSocket, 502, false, None),
            (403, Asked::WebSocket, 403, true, None),
        ] {
            let response = into_http2(answer(status), asked);
            assert_eq!(response.status(), expected, "{status} {asked:?}");
            assert_eq!(!response.body().is_end_stream(), has_body, "{status} {asked:?}");
            assert_eq!(response.headers().get("content-length").map(|value| value.to_str().unwrap()), length);
            assert!(!response.headers().contains_key("connection") && !response.headers().contains_key("upgrade"));
            let accept = response.headers().contains_key("sec-websocket-accept");
            assert_eq!(accept, status != 101 && expected == status, "{status}");
        }
    }
}
