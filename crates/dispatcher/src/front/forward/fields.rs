//! Header fields with special rules: fields that other servers read as the dispatcher's own, fields that state where a pod's
//! response ends, that bind a connection to a visitor, or that allow caches to store a response.

use super::headers::Hop;
use crate::config::AddressField;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use slotkeeper_core::planted;
use std::time::Duration;

/// Fields by which a proxy identifies the visitor or the original request; from any other peer they are forged.
const SAID_BY_PROXIES: [&str; 25] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-host",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-rewrite-url",
];

/// Fields of framing and of one hop that must not arrive in another spelling.
const STRUCTURAL: [&str; 10] = [
    "content-length",
    "content-type",
    "http-host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "transfer-encoding",
];

fn is_said_by_proxies(name: &str) -> bool {
    planted!(ForwardedBelieved => false);
    // Asked for every field: most names begin with another letter.
    if !matches!(name.as_bytes().first(), Some(b'c' | b'f' | b's' | b't' | b'x')) {
        return false;
    }
    // The names by which other proxies pass on the certificate of a client, such as `X-SSL-Client-S-DN`.
    let is_certificate = ["x-ssl-", "ssl-client-", "x-client-cert-", "x-amzn-mtls-"];
    name.starts_with("x-forwarded-")
        || is_certificate.iter().any(|own| name.starts_with(own))
        || SAID_BY_PROXIES.contains(&name)
}

fn is_ours(name: &str) -> bool {
    name == "x-session-id" || name.starts_with("x-slotkeeper-")
}

/// How CGI, WSGI, Rack and PHP read a name: they treat every other character like a hyphen. `None` if the name has no such
/// character.
fn as_others_read(name: &str) -> Option<String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.bytes().all(is_plain) {
        return None;
    }
    Some(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect())
}

/// Which fields of proxies a peer may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// None of them.
    Nothing,
    /// It writes `Forwarded`; other fields of proxies are passed on by it as the client sent them.
    Forwarded,
    /// It writes `X-Forwarded-*` and the like; `Forwarded` is passed on by it as the client sent it.
    XForwarded,
}

impl Trust {
    /// That of a connection's peer.
    #[must_use]
    pub fn of(hop: &Hop<'_>) -> Trust {
        match hop.address_field {
            _ if !hop.is_trusted() => Trust::Nothing,
            AddressField::Forwarded => Trust::Forwarded,
            AddressField::XForwardedFor => Trust::XForwarded,
        }
    }

    fn allows(self, name: &str) -> bool {
        match self {
            Trust::XForwarded => name != "forwarded",
            Trust::Forwarded => name == "forwarded",
            Trust::Nothing => false,
        }
    }
}

/// Removes fields that must not reach a pod from any peer: `Proxy` (CVE-2016-5385), the dispatcher's own fields, and fields
/// that other servers read as the dispatcher's, as a proxy's or as framing (`X_Session_Id`). From an untrusted peer, also
/// removes the fields of proxies.
pub fn drop_lies(headers: &mut HeaderMap, trust: Trust) {
    let is_lie = |name: &&HeaderName| {
        let name = name.as_str();
        name == "proxy"
            || is_ours(name)
            || !trust.allows(name) && is_said_by_proxies(name)
            || as_others_read(name).is_some_and(|name| {
                let name = name.trim_matches('-');
                name == "proxy"
                    || is_ours(name)
                    || is_said_by_proxies(name)
                    || STRUCTURAL.contains(&name)
                    || ["cookie", "host", "connection", "upgrade", "te", "via", "authorization"].contains(&name)
            })
    };
    let lies: Vec<HeaderName> = headers.keys().filter(is_lie).cloned().collect();
    for name in lies {
        headers.remove(name);
    }
}

/// Removes fields from a request's trailers that belong in a head, or that only the dispatcher may set (RFC 9110 §6.5.1).
pub fn drop_from_request_trailers(trailers: &mut HeaderMap) {
    drop_lies(trailers, Trust::Nothing);
    for name in [&header::COOKIE, &header::VIA, &header::EXPECT, &header::ORIGIN, &header::AUTHORIZATION] {
        trailers.remove(name);
    }
    drop_structure(trailers);
}

/// The same for a response's trailers: a pod could set the session cookie there, or allow caches to store the response.
pub fn drop_from_response_trailers(trailers: &mut HeaderMap) {
    for name in [&header::SET_COOKIE, &CLEAR_SITE_DATA, &header::LOCATION, &header::CACHE_CONTROL, &header::EXPIRES] {
        trailers.remove(name);
    }
    drop_targeted_caching(trailers);
    drop_structure(trailers);
}

fn drop_structure(trailers: &mut HeaderMap) {
    for name in [
        &header::CONNECTION,
        &header::CONTENT_ENCODING,
        &header::CONTENT_LENGTH,
        &header::CONTENT_TYPE,
        &header::HOST,
        &header::TE,
        &header::TRAILER,
        &header::TRANSFER_ENCODING,
        &header::UPGRADE,
    ] {
        trailers.remove(name);
    }
}

/// Reduces the statements of where a response ends to one (RFC 9112 §6.3): a coding takes precedence over any length, and
/// equal lengths become one. True if something was corrected. Only framing that the library does by itself remains.
///
/// # Errors
/// If the end or the content of the response cannot be determined.
pub fn frame(headers: &mut HeaderMap) -> Result<bool, &'static str> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let mut lines = headers.get_all(header::TRANSFER_ENCODING).into_iter();
        let is_chunked = lines.all(|line| {
            line.to_str().is_ok_and(|line| line.split(',').all(|c| c.trim().eq_ignore_ascii_case("chunked")))
        });
        if !is_chunked {
            return Err("unknown Transfer-Encoding");
        }
        headers.remove(header::TRANSFER_ENCODING);
        return Ok(headers.remove(header::CONTENT_LENGTH).is_some());
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let Some(first) = lengths.next() else { return Ok(false) };
    if lengths.next().is_none() && first.as_bytes().iter().all(u8::is_ascii_digit) && !first.is_empty() {
        return Ok(false);
    }
    let all = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let mut all = all.flat_map(|line| line.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    let one = all.next().filter(|one| !one.is_empty() && one.iter().all(u8::is_ascii_digit));
    let one = one.filter(|one| all.all(|other| other == *one)).and_then(|one| HeaderValue::from_bytes(one).ok());
    let Some(one) = one else { return Err("contradictory Content-Length") };
    headers.insert(header::CONTENT_LENGTH, one);
    Ok(true)
}

/// Whether the response has no body because of its status, but states a length (RFC 9110 §8.6).
#[must_use]
pub fn has_no_body_but_a_length<B>(response: &Response<B>) -> bool {
    matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        && (response.headers().contains_key(header::TRANSFER_ENCODING)
            || response.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0"))
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long the pod keeps an idle connection, if it sends `Keep-Alive: timeout=5` (RFC 2068 §19.7.1).
#[must_use]
pub fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let field = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let (_, timeout) = field.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then_some((name, value))
    })?;
    timeout.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// Whether credentials or challenges are of a scheme that authenticates the connection, not the request (RFC 4559 §6).
#[must_use]
pub fn signs_in(headers: &HeaderMap, name: &HeaderName) -> bool {
    if !headers.contains_key(name) {
        return false;
    }
    let schemes = ["ntlm", "negotiate", "nego2", "kerberos"];
    let mut words = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    words.any(|challenge| {
        let word = challenge.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
        schemes.iter().any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
    })
}

pub(super) const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Forbids shared caches to store a response (RFC 9111 §3, RFC 9213), because it carries a session cookie.
pub fn make_private(headers: &mut HeaderMap) {
    drop_targeted_caching(headers);
    // Caches that do not know `Cache-Control` use these.
    headers.remove(header::EXPIRES);
    headers.remove(header::PRAGMA);
    let mut directives = String::from("private");
    for line in headers.get_all(header::CACHE_CONTROL) {
        // A quoted value could hide a comma: such a line becomes `no-store`.
        let text = line.to_str().ok().filter(|text| !text.contains('"')).unwrap_or("no-store");
        for directive in text.split(',').map(str::trim) {
            let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
            let keeps = ["no-store", "no-cache", "max-age", "must-revalidate", "immutable", "no-transform"];
            if keeps.contains(&name.as_str()) {
                directives.push_str(", ");
                directives.push_str(directive);
            }
        }
    }
    let value = HeaderValue::from_str(&directives).unwrap_or(HeaderValue::from_static("private, no-store"));
    headers.insert(header::CACHE_CONTROL, value);
}

/// Removes fields for some caches only (RFC 9213 and older ones): those caches prefer them to `Cache-Control`.
pub fn drop_targeted_caching(headers: &mut HeaderMap) {
    let is_targeted = |name: &&HeaderName| {
        let name = name.as_str();
        name.ends_with("-cache-control")
            || matches!(name, "surrogate-control" | "edge-control" | "x-accel-expires" | "x-litespeed-cache-control")
    };
    let targeted: Vec<HeaderName> = headers.keys().filter(is_targeted).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

/// The media type of `Content-Type`, without parameters (RFC 9110 §8.3.1).
fn media_type(headers: &HeaderMap) -> &[u8] {
    let content = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    content.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

const SERVER_SENT_EVENTS: &[u8] = b"text/event-stream";

/// Whether the response is server-sent events: the pod sends them even if the visitor does nothing.
#[must_use]
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).eq_ignore_ascii_case(SERVER_SENT_EVENTS)
}

/// Whether the pod may be silent in the middle of this response, because it sends events only when they happen.
#[must_use]
pub fn may_be_silent(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    [SERVER_SENT_EVENTS, b"multipart/x-mixed-replace"].iter().any(|events| kind.eq_ignore_ascii_case(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn fields_that_others_read_as_ours_are_dropped_in_every_spelling() {
        for name in [
            "X_Session_Id",
            "X-Session_Id",
            "x.session.id",
            "X-Slotkeeper_Path",
            "X_Forwarded_For",
            "X-Forwarded_Proto",
            "X_Real-IP",
            "Transfer_Encoding",
            "Content_Length",
            "Proxy",
            "Proxy_",
            "X-Slotkeeper-Anything",
            "Proxy_Authorization",
            "Cookie_",
        ] {
            for trusted in [Trust::XForwarded, Trust::Forwarded, Trust::Nothing] {
                let mut headers = map(&[(name, "x"), ("X-Fine", "1"), ("my_field", "2"), ("api.key", "3")]);
                drop_lies(&mut headers, trusted);
                assert_eq!(headers.len(), 3, "{name} {trusted:?}: {headers:?}");
            }
        }
        for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "X-Original-URL", "X-Forwarded"] {
            let mut headers = map(&[(name, "x")]);
            drop_lies(&mut headers, Trust::XForwarded);
            assert_eq!(headers.len(), usize::from(name != "Forwarded"), "{name}");
            let mut headers = map(&[(name, "x")]);
            drop_lies(&mut headers, Trust::Forwarded);
            assert_eq!(headers.len(), usize::from(name == "Forwarded"), "{name}");
            drop_lies(&mut headers, Trust::Nothing);
            assert_eq!(headers.len(), 0, "{name}");
        }
    }

    #[test]
    fn a_response_states_its_end_only_once() {
        let framed = |fields: &[(&str, &str)]| {
            let mut headers = map(fields);
            frame(&mut headers).map(|corrected| {
                let lengths: Vec<_> =
                    headers.get_all("content-length").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
                assert!(!headers.contains_key("transfer-encoding"));
                (corrected, lengths.join("|"))
            })
        };
        assert_eq!(framed(&[]), Ok((false, String::new())));
        assert_eq!(framed(&[("Content-Length", "5")]), Ok((false, "5".into())));
        assert_eq!(framed(&[("Content-Length", "5"), ("Content-Length", "5")]), Ok((true, "5".into())));
        assert_eq!(framed(&[("Content-Length", "5, 5")]), Ok((true, "5".into())));
        assert_eq!(framed(&[("Content-Length", "5"), ("Transfer-Encoding", "Chunked")]), Ok((true, String::new())));
        assert_eq!(
            framed(&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")]),
            Ok((false, String::new()))
        );
        for wrong in ["5, 6", "", "+5", "5x", "-1"] {
            assert!(framed(&[("Content-Length", wrong)]).is_err(), "{wrong}");
        }
        for wrong in ["gzip, chunked", "identity", "", "chunked, gzip"] {
            assert!(framed(&[("Transfer-Encoding", wrong), ("Content-Length", "5")]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn schemes_that_authenticate_a_connection_are_recognised() {
        for value in ["NTLM TlRM", "Negotiate YII", "negotiate", "Basic realm=\"a\", NTLM", "Negotiate, NTLM"] {
            assert!(signs_in(&map(&[("WWW-Authenticate", value)]), &header::WWW_AUTHENTICATE), "{value}");
        }
        for value in ["Basic bnRsbQ==", "Bearer ntlm", "Digest realm=\"NTLM\""] {
            assert!(!signs_in(&map(&[("Authorization", value)]), &header::AUTHORIZATION), "{value}");
        }
    }

    #[test]
    fn a_response_with_a_cookie_is_private_whatever_its_cache_control() {
        let private = |fields: &[(&str, &str)]| {
            let mut headers = map(fields);
            make_private(&mut headers);
            assert_eq!(headers.len(), 1, "{headers:?}");
            headers["cache-control"].to_str().unwrap().to_owned()
        };
        assert_eq!(private(&[]), "private");
        assert_eq!(
            private(&[("Cache-Control", "public, max-age=60, immutable, s-maxage=9")]),
            "private, max-age=60, immutable"
        );
        assert_eq!(
            private(&[("Cache-Control", "no-store"), ("Cache-Control", "Max-Age=1")]),
            "private, no-store, Max-Age=1"
        );
        assert_eq!(private(&[("Cache-Control", "private=\"set-cookie\", public")]), "private, no-store");
        let targeted =
            ["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires", "Expires"];
        assert_eq!(private(&targeted.map(|name| (name, "max-age=60"))), "private");
    }

    #[test]
    fn a_pods_keep_alive_timeout_is_read() {
        let timeout = |value| keep_alive(&map(&[("Keep-Alive", value)])).map(|d| d.as_secs());
        assert_eq!(timeout("timeout=5"), Some(5));
        assert_eq!(timeout("max=100, Timeout = 7"), Some(7));
        assert_eq!((timeout("max=100"), timeout("timeout=x"), timeout("")), (None, None, None));
    }
}
