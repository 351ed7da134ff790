//! The client's address. [`address`] is the only function that derives it: everything that counts, compares, limits or logs by
//! address uses it. (The session's cookie identifies a visitor; addresses play no role there.)
//!
//! The peer of a connection is the other end of its socket, or the source in its PROXY header. If the peer is in
//! `trusted_proxies`, the addresses that proxies have reported are read from the right, which is the nearest proxy's end:
//! each address was reported by the one before it. The first address that is not a trusted proxy is the client's. Everything
//! to the left of it was sent by the client, and is not read.
//!
//! Only one field is read, the one that the proxies write (`client_address_field`). A proxy that writes one of them usually
//! passes on the other one as the client sent it, so they are never combined, and never compared.

use crate::front::forward::headers::Hop;
use crate::io::proxy::Stated;
use http::HeaderMap;
use http::header::{self, HeaderName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use crate::config::AddressField;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the rightmost address that is not a trusted proxy. `None`: a proxy has hidden it.
///
/// If a proxy reports something that is no address (`unknown`, `_hidden`), the address of that proxy is returned: the nearest
/// one that is known. If all addresses are trusted proxies, the leftmost one is returned.
#[must_use]
pub fn address(hop: &Hop<'_>, headers: &HeaderMap) -> Option<IpAddr> {
    if hop.peer.is_hidden {
        return None;
    }
    let mut nearest = hop.peer.address.ip().to_canonical();
    if !hop.is_trusted() {
        return Some(nearest);
    }
    match hop.address_field {
        AddressField::XForwardedFor => {
            let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
            let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
            for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
                let Some(reported) = std::str::from_utf8(entry).ok().and_then(node) else { return Some(nearest) };
                nearest = reported;
                if !hop.trusts(reported) {
                    break;
                }
            }
            Some(nearest)
        }
        AddressField::Forwarded => Some(reported(hop, headers).0),
    }
}

/// What a PROXY header to a pod states about the client. The port is known only if the peer is the client.
#[must_use]
pub fn stated(hop: &Hop<'_>, headers: &HeaderMap, pod: SocketAddr) -> Stated {
    let Some(address) = address(hop, headers) else { return Stated::Unknown };
    let is_peer = address == hop.peer.address.ip().to_canonical();
    let source = SocketAddr::new(address, if is_peer { hop.peer.address.port() } else { 0 });
    Stated::Addresses { source, destination: hop.peer.to.unwrap_or(pod) }
}

/// What a trusted proxy reports about the client's request in `Forwarded` (RFC 7239 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported<'h> {
    /// `for`, if it is an address.
    pub client: Option<IpAddr>,
    /// The scheme of its request.
    pub proto: Option<&'h str>,
    /// The host that it has named.
    pub host: Option<&'h str>,
}

/// Returns the element of `Forwarded` that names the client. Without one, all of its fields are `None`.
#[must_use]
pub fn forwarded<'h>(hop: &Hop<'_>, headers: &'h HeaderMap) -> Reported<'h> {
    if hop.is_trusted() { reported(hop, headers).1 } else { Reported::default() }
}

/// The nearest known address, and the leftmost element that a trusted proxy has written. The peer is a trusted proxy.
fn reported<'h>(hop: &Hop<'_>, headers: &'h HeaderMap) -> (IpAddr, Reported<'h>) {
    let mut nearest = hop.peer.address.ip().to_canonical();
    let mut written = Reported::default();
    // Every line is read by itself: a quote that a client has opened ends with its line.
    for line in headers.get_all(header::FORWARDED).into_iter().rev() {
        let Ok(line) = line.to_str() else { return (nearest, written) };
        let mut quoted = false;
        let elements = line.rsplit(move |c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        for text in elements.map(str::trim).filter(|text| !text.is_empty()) {
            let Some(read) = element(text) else { return (nearest, written) };
            written = read;
            let Some(client) = read.client else { return (nearest, written) };
            nearest = client;
            if !hop.trusts(client) {
                return (nearest, written);
            }
        }
    }
    (nearest, written)
}

/// Reads a `forwarded-element` (RFC 7239 §4). `None` if it is malformed.
fn element(text: &str) -> Option<Reported<'_>> {
    let mut quoted = false;
    let pairs = text.split(move |c: char| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    let mut read = Reported::default();
    let mut seen = [false; 3];
    for pair in pairs.map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=')?;
        let text = value(text)?;
        let at = ["for", "proto", "host"].iter().position(|known| name.eq_ignore_ascii_case(known));
        // "Each parameter MUST NOT occur more than once per field-value" (§4).
        if at.is_some_and(|at| std::mem::replace(&mut seen[at], true)) {
            return None;
        }
        match at {
            Some(0) => read.client = node(text),
            Some(1) => read.proto = Some(text),
            Some(2) => read.host = Some(text),
            Some(_) | None => {}
        }
    }
    Some(read)
}

/// A token or a quoted string (RFC 9110 §5.6). No proxy needs an escape in one of the values that are read here.
fn value(text: &str) -> Option<&str> {
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => Some(text).filter(|text| !text.is_empty() && !text.contains(|c: char| c == '"' || c.is_whitespace())),
    }
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return (port.is_empty() || port.starts_with(':')).then(|| IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, _port) = text.split_once(':')?;
    address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests;
