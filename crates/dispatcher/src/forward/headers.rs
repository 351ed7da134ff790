//! What changes in a head on the way (RFC 9110 §7.6): hop-by-hop fields go, who the visitor is is added.

use super::fields;
use crate::authority::{Authority, default_port};
use crate::config::Network;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};
use hyper::body::Body;
use slotkeeper_core::planted;
use std::net::IpAddr;

/// The hop the request came over.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// The number of the connection among those of this process.
    pub connection: u64,
    pub trusted_proxies: &'a [Network],
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Where the dispatcher's own pages of this pool are: a pod's page can offer to leave there.
pub const X_SLOTKEEPER_PATH: HeaderName = HeaderName::from_static("x-slotkeeper-path");
/// By which the session's pod reports activity.
pub const X_SLOTKEEPER_REPORT: HeaderName = HeaderName::from_static("x-slotkeeper-report");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

impl Hop<'_> {
    /// Whether the other end may say where the request really comes from.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted_proxies.iter().any(|n| n.contains(self.peer))
    }

    /// Whether the visitor came by TLS, as far as a trusted proxy says so.
    #[must_use]
    pub fn is_secure(&self, headers: &HeaderMap) -> bool {
        let proto = headers.get(X_FORWARDED_PROTO).and_then(|v| v.to_str().ok());
        self.is_trusted()
            && proto.is_some_and(|p| p.split(',').next().is_some_and(|p| p.trim().eq_ignore_ascii_case("https")))
    }

    /// What the visitor asked for, as a trusted proxy says or as the request does (RFC 9112 §3.2). `None`: a request of
    /// HTTP/1.0 that names no host.
    ///
    /// # Errors
    /// Why it is for nobody: no host can be called so, or the target and `Host` name different ones.
    pub fn authority<'h>(&self, request: &'h Request<impl Sized>) -> Result<Option<Authority<'h>>, &'static str> {
        let parse =
            |value: &'h HeaderValue| value.to_str().ok().and_then(|v| Authority::parse(v.trim())).ok_or(NO_HOST);
        let host = request.headers().get(header::HOST).map(parse).transpose()?;
        let uri = request.uri();
        let named = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => {
                let port = default_port(scheme).filter(|_| !scheme.starts_with("ws")).ok_or(NO_TARGET)?;
                let target = Authority::parse(authority.as_str()).ok_or(NO_TARGET)?;
                if host.is_some_and(|host| !host.is_same(&target, Some(port))) {
                    return Err("the target and the Host field name different hosts");
                }
                Some(target)
            }
            (None, None) if uri.path() == "*" && *request.method() != Method::OPTIONS => return Err(NO_TARGET),
            (None, None) => host,
            (None, Some(_)) | (Some(_), None) => return Err(NO_TARGET),
        };
        let forwarded = request.headers().get(X_FORWARDED_HOST).filter(|_| self.is_trusted());
        let first = |v: &'h HeaderValue| v.to_str().ok().and_then(|v| Authority::parse(v.split(',').next()?.trim()));
        match forwarded {
            Some(forwarded) => first(forwarded).map(Some).ok_or(NO_HOST),
            None => Ok(named),
        }
    }

    /// The port a trusted proxy was asked at, if it says so.
    #[must_use]
    pub fn forwarded_port(&self, headers: &HeaderMap) -> Option<u16> {
        let port = headers.get(X_FORWARDED_PORT).filter(|_| self.is_trusted())?;
        port.to_str().ok()?.split(',').next()?.trim().parse().ok()
    }

    /// The scheme the visitor used, if a trusted proxy says so.
    #[must_use]
    pub fn scheme(&self, headers: &HeaderMap) -> Option<&'static str> {
        let said = self.is_trusted() && headers.contains_key(X_FORWARDED_PROTO);
        said.then(|| if self.is_secure(headers) { "https" } else { "http" })
    }
}

const NO_HOST: &str = "the request names no possible host";
const NO_TARGET: &str = "the request's target is not one of this server";

/// The protocol an HTTP/1.1 request asks to switch to (RFC 9110 §7.8).
#[must_use]
pub fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let protocol = request.headers().get(header::UPGRADE)?;
    // HTTP/2 without TLS would be HTTP that nobody here looks at; RFC 9113 §3.1 has given this upgrade up.
    let is_http = !protocol.to_str().is_ok_and(|p| p.split(',').all(|p| !p.trim().eq_ignore_ascii_case("h2c")));
    let connection = || lists(request.headers(), &header::CONNECTION, "upgrade");
    let asks = request.version() == Version::HTTP_11 && !is_http && connection();
    asks.then(|| protocol.clone())
}

/// Whether a comma-separated field lists a token.
#[must_use]
pub fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|l| l.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Makes a visitor's request one for the pod.
pub fn for_pod<B: Body>(request: &mut Request<B>, hop: &Hop<'_>, session: &str, upgrade: Option<&HeaderValue>) {
    let secure = hop.is_secure(request.headers());
    // The target's host replaces that of the field (RFC 9112 §3.2.2).
    let named = request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    let host = named.or_else(|| request.headers().get(header::HOST).cloned());
    // The pod is an origin server: it gets the origin form (RFC 9112 §3.2.1).
    if request.uri().authority().is_some()
        && let Some(path) = request.uri().path_and_query().cloned()
    {
        *request.uri_mut() = path.into();
    }
    *request.version_mut() = Version::HTTP_11;
    let is_chunked = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    // The library sends no body with these unless it is told to.
    let is_told = is_chunked && matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers_mut();
    let trailers = takes_trailers(headers);
    drop_hop_by_hop(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if is_told {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    fields::drop_lies(headers, hop.is_trusted());
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        headers.insert(header::HOST, host);
    }
    forwarded_for(headers, hop);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if secure { "https" } else { "http" }));
    if let Ok(name) = HeaderValue::from_str(session) {
        headers.insert(X_SESSION_ID, name);
    }
}

/// Whether the visitor takes trailers (RFC 9110 §10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    planted!(TrailersLost => false);
    lists(headers, &header::TE, "trailers")
}

fn forwarded_for(headers: &mut HeaderMap, hop: &Hop<'_>) {
    let peer = hop.peer.to_canonical().to_string();
    let mut chain = proxies_before(headers);
    chain.push(&peer);
    if let Ok(value) = HeaderValue::from_str(&chain.join(", ")) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// Proxies add a line or add to the line: all of them, in order. (Nothing is left of an untrusted peer's.)
fn proxies_before(headers: &HeaderMap) -> Vec<&str> {
    planted!(ForwardedForReplaced => Vec::new());
    headers.get_all(X_FORWARDED_FOR).into_iter().filter_map(|v| v.to_str().ok()).collect()
}

/// Makes a pod's answer one for the visitor.
pub fn for_visitor(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let protocol = upgrade.map(|asked| headers.get(header::UPGRADE).unwrap_or(asked).clone());
    drop_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Fields of this hop only (RFC 9110 §7.6.1). `Transfer-Encoding` is the connection's own: what is written next follows
/// from the body.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    planted!(HopByHopKept => drop_connection_only(headers));
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .into_iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // Who ends a body, and whose session it is, cannot be talked away.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST && *name != header::COOKIE)
            .collect();
        for name in listed {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        &header::UPGRADE,
        &header::TE,
        &header::TRANSFER_ENCODING,
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &header::PROXY_AUTHENTICATE,
        &header::PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
}

/// What the HTTP library needs removed; a field that `Connection` lists passes.
#[cfg(feature = "planted")]
fn drop_connection_only(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
}
