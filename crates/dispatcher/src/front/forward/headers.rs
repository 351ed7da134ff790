//! Rewrites heads on their way (RFC 9110 §7.6): removes hop-by-hop fields and adds the forwarding headers.

use super::fields::{self, Trust};
use crate::authority::{Authority, default_port};
use crate::config::{AddressField, Config, Network};
use crate::front::client::{self, X_FORWARDED_FOR};
use crate::io::Peer;
use crate::io::tls::ClientCertificate;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};
use hyper::body::Body;
use slotkeeper_core::planted;
use std::net::IpAddr;

/// The connection that a request arrived on.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The other end of the connection.
    pub peer: Peer,
    /// The connection's number within this process.
    pub connection: u64,
    pub trusted_proxies: &'a [Network],
    /// The field in which trusted proxies report the client's address.
    pub address_field: AddressField,
    /// The connection uses TLS.
    pub is_tls: bool,
    /// The connection speaks HTTP/2: the requests are of HTTP/1.1 from here on.
    pub is_http2: bool,
    /// The certificate by which the other end of the connection has identified itself.
    pub client: Option<&'a ClientCertificate>,
}

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The path of the dispatcher's own pages of this pool, so that a pod's page can link to them.
pub const X_SLOTKEEPER_PATH: HeaderName = HeaderName::from_static("x-slotkeeper-path");
/// The token with which the session's pod reports activity.
pub const X_SLOTKEEPER_REPORT: HeaderName = HeaderName::from_static("x-slotkeeper-report");
const X_SLOTKEEPER_CLIENT_SUBJECT: HeaderName = HeaderName::from_static("x-slotkeeper-client-subject");
const X_SLOTKEEPER_CLIENT_SHA256: HeaderName = HeaderName::from_static("x-slotkeeper-client-sha256");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A connection by HTTP/1.1 without TLS. No proxy is trusted.
impl From<Peer> for Hop<'_> {
    fn from(peer: Peer) -> Self {
        Hop {
            peer,
            connection: 0,
            trusted_proxies: &[],
            address_field: AddressField::XForwardedFor,
            is_tls: false,
            is_http2: false,
            client: None,
        }
    }
}

impl<'a> Hop<'a> {
    /// A connection of a visitor by HTTP/1.1 without TLS, with the current configuration.
    #[must_use]
    pub fn of(config: &'a Config, peer: Peer, connection: u64) -> Hop<'a> {
        Hop {
            connection,
            trusted_proxies: &config.trusted_proxies,
            address_field: config.address_field,
            ..Hop::from(peer)
        }
    }

    /// Whether the peer is a trusted proxy, which may state where the request comes from.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        // A proxy that does not know its client passes on everything as the client sent it.
        !self.peer.is_hidden && self.trusts(self.peer.address.ip())
    }

    /// Whether this is the address of a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|n| n.contains(address))
    }

    /// Whether the visitor uses TLS, according to a trusted proxy, else to the connection.
    #[must_use]
    pub fn is_secure(&self, headers: &HeaderMap) -> bool {
        self.proto(headers).map_or(self.is_tls, |proto| proto.eq_ignore_ascii_case("https"))
    }

    /// The scheme that a trusted proxy reports.
    fn proto<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        if !self.is_trusted() {
            return None;
        }
        match self.address_field {
            AddressField::XForwardedFor => headers.get(X_FORWARDED_PROTO).map(|proto| first(proto).unwrap_or_default()),
            AddressField::Forwarded => client::forwarded(self, headers).proto,
        }
    }

    /// The host that a trusted proxy reports; an empty text if it is malformed.
    fn host<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        if !self.is_trusted() {
            return None;
        }
        match self.address_field {
            AddressField::XForwardedFor => headers.get(X_FORWARDED_HOST).map(|host| first(host).unwrap_or_default()),
            AddressField::Forwarded => client::forwarded(self, headers).host,
        }
    }

    /// The host and port that the visitor requested, according to a trusted proxy or to the request itself (RFC 9112 §3.2).
    /// `None`: an HTTP/1.0 request that names no host.
    ///
    /// # Errors
    /// If no host can have this name, or the target and `Host` differ.
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
        match self.host(request.headers()) {
            Some(reported) => Authority::parse(reported).map(Some).ok_or(NO_HOST),
            None => Ok(named),
        }
    }

    /// The port at which the visitor reached the trusted proxy, if the proxy states it.
    #[must_use]
    pub fn forwarded_port(&self, headers: &HeaderMap) -> Option<u16> {
        let reads = self.is_trusted() && self.address_field == AddressField::XForwardedFor;
        first(headers.get(X_FORWARDED_PORT).filter(|_| reads)?)?.parse().ok()
    }

    /// The scheme that the visitor used, if a trusted proxy states it, or the connection uses TLS.
    #[must_use]
    pub fn scheme(&self, headers: &HeaderMap) -> Option<&'static str> {
        (self.is_tls || self.proto(headers).is_some()).then(|| if self.is_secure(headers) { "https" } else { "http" })
    }
}

/// The first item of a list.
fn first(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().and_then(|list| list.split(',').next()).map(str::trim)
}

const NO_HOST: &str = "the request's host is invalid";
const NO_TARGET: &str = "the request's target is not valid for this server";

/// The protocol an HTTP/1.1 request asks to switch to (RFC 9110 §7.8).
#[must_use]
pub fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let protocol = request.headers().get(header::UPGRADE)?;
    // HTTP/2 without TLS would be HTTP that the dispatcher does not inspect; RFC 9113 §3.1 has deprecated this upgrade.
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

/// Turns a visitor's request into one for the pod.
pub fn for_pod<B: Body>(request: &mut Request<B>, hop: &Hop<'_>, session: &str, upgrade: Option<&HeaderValue>) {
    let secure = hop.is_secure(request.headers());
    let chain = chain(request.headers(), hop);
    let reported = hop.host(request.headers()).and_then(|host| HeaderValue::from_str(host).ok());
    // The target's host takes precedence over the `Host` field (RFC 9112 §3.2.2).
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
    // With these methods, the library sends no body unless `Transfer-Encoding` is set.
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
    fields::drop_lies(headers, Trust::of(hop));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| reported.unwrap_or_else(|| host.clone()));
        headers.insert(header::HOST, host);
    }
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if secure { "https" } else { "http" }));
    // A proxy's own certificate says nothing about the visitor.
    if let Some(client) = hop.client.filter(|_| !hop.is_trusted()) {
        headers.insert(X_SLOTKEEPER_CLIENT_SHA256, client.fingerprint.clone());
        if let Some(subject) = client.subject.clone() {
            headers.insert(X_SLOTKEEPER_CLIENT_SUBJECT, subject);
        }
    }
    if let Ok(name) = HeaderValue::from_str(session) {
        headers.insert(X_SESSION_ID, name);
    }
}

/// Whether the visitor accepts trailers (RFC 9110 §10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    planted!(TrailersLost => false);
    lists(headers, &header::TE, "trailers")
}

/// The value of `X-Forwarded-For` for the pod: the addresses that trusted proxies have reported, and the peer's.
fn chain(headers: &HeaderMap, hop: &Hop<'_>) -> String {
    let peer = hop.peer.address.ip().to_canonical();
    if hop.peer.is_hidden {
        return "unknown".to_owned();
    }
    if hop.is_trusted() && hop.address_field == AddressField::Forwarded {
        let client = client::address(hop, headers).filter(|client| *client != peer);
        return client.map_or_else(|| peer.to_string(), |client| format!("{client}, {peer}"));
    }
    let before = if hop.is_trusted() { proxies_before(headers) } else { Vec::new() };
    before.into_iter().chain([&*peer.to_string()]).collect::<Vec<_>>().join(", ")
}

/// Returns all lines of `X-Forwarded-For`, in order: a proxy may add a line or extend one.
fn proxies_before(headers: &HeaderMap) -> Vec<&str> {
    planted!(ForwardedForReplaced => Vec::new());
    headers.get_all(X_FORWARDED_FOR).into_iter().filter_map(|v| v.to_str().ok()).collect()
}

/// Turns a pod's response into one for the visitor.
pub fn for_visitor(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let protocol = upgrade.map(|asked| headers.get(header::UPGRADE).unwrap_or(asked).clone());
    drop_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Removes the fields of this hop only (RFC 9110 §7.6.1). `Transfer-Encoding` is one of them: the body decides the framing
/// of the next hop.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    planted!(HopByHopKept => drop_connection_only(headers));
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .into_iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // `Connection` must not remove the fields that end a body or identify host and session.
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

/// Removes what the HTTP library needs removed; a field listed in `Connection` passes.
#[cfg(feature = "planted")]
fn drop_connection_only(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
}
