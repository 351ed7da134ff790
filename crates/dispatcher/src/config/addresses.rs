//! Parses addresses, routes and names; the errors contain what is wrong and what is allowed.

use super::table::quoted;
use super::{At, Endpoint, HostPattern, OriginPattern, UnixSocket};
use crate::authority::Authority;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A plain-HTTP address of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// `host:port`.
    pub authority: String,
    /// Begins with a slash, and may have a query.
    pub path: String,
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An IP network, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Bits after the prefix are ignored.
    pub address: IpAddr,
    /// How many leading bits of an address must match.
    pub prefix: u8,
}

impl Network {
    /// Returns whether the address is in this network. An IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, bits) = match (self.address, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96, 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let prefix = u32::from(self.prefix.min(bits));
        prefix == 0 || (own ^ other) >> (128 - prefix) == 0
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{} is not an address to listen on; allowed: IP:PORT, such as 0.0.0.0:8080 or [::]:8080", quoted(text))
    })
}

/// The form of an endpoint, for the documentation.
pub(super) const ENDPOINT: &str = "`IP:PORT`, `unix:PATH` or `systemd:NAME`, each with options";

const ENDPOINT_OPTIONS: &str =
    "`proxy`; with [::]:PORT `only_v6`; with unix:PATH `mode=0660`, `owner=NAME` and `group=NAME`";

/// An endpoint: a place, and options after spaces.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let place = words.next().unwrap_or_default();
    let mut endpoint = if let Some(path) = place.strip_prefix("unix:") {
        // The name that the socket has until it is ready is longer (`io/sockets.rs`).
        if !path.starts_with('/') || path.ends_with('/') || path.len() > 90 {
            let allowed = "unix: and an absolute path of at most 90 bytes, such as unix:/run/slotkeeper/http.sock";
            return Err(format!("{} is not the path of a socket; allowed: {allowed}", quoted(place)));
        }
        let socket = UnixSocket { path: path.into(), mode: UnixSocket::MODE, owner: None, group: None };
        Endpoint { at: At::Unix(socket), proxy: false, reuse_port: false, only_v6: false }
    } else if let Some(name) = place.strip_prefix("systemd:") {
        // The characters of FileDescriptorName= (systemd.socket(5)).
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            let allowed = "systemd: and the FileDescriptorName= of a socket unit";
            return Err(format!("{} is not the name of a socket; allowed: {allowed}", quoted(place)));
        }
        Endpoint { at: At::Inherited(name.to_owned()), proxy: false, reuse_port: false, only_v6: false }
    } else {
        let address: SocketAddr = place.parse().map_err(|_| {
            format!(
                "{} is not a place to listen; allowed: IP:PORT, such as 0.0.0.0:8080 or [::]:8080, unix:PATH, or systemd:NAME",
                quoted(place)
            )
        })?;
        address.into()
    };
    for word in words {
        if !take_option(&mut endpoint, word) {
            return Err(format!("{} is no option of {}; allowed: {ENDPOINT_OPTIONS}", quoted(word), endpoint.at));
        }
    }
    Ok(endpoint)
}

/// Applies an option. False if this endpoint has no such option.
fn take_option(endpoint: &mut Endpoint, word: &str) -> bool {
    let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
    match (&mut endpoint.at, key, value) {
        (_, "proxy", None) => endpoint.proxy = true,
        (At::Tcp(SocketAddr::V6(_)), "only_v6", None) => endpoint.only_v6 = true,
        (At::Unix(socket), "mode", Some(mode)) => match u32::from_str_radix(mode, 8) {
            Ok(mode) if mode <= 0o777 => socket.mode = mode,
            Ok(_) | Err(_) => return false,
        },
        (At::Unix(socket), "owner", Some(name)) if !name.is_empty() => socket.owner = Some(name.to_owned()),
        (At::Unix(socket), "group", Some(name)) if !name.is_empty() => socket.group = Some(name.to_owned()),
        (At::Tcp(_) | At::Unix(_) | At::Inherited(_), _, _) => return false,
    }
    true
}

pub(super) fn network(text: &str) -> Result<Network, String> {
    let wrong = || format!("{} is not a network; allowed: such as 10.0.0.0/8, fd00::/8 or 192.0.2.7", quoted(text));
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?,
    };
    let first = match address {
        IpAddr::V4(a) => IpAddr::V4((a.to_bits() & u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0)).into()),
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() & u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0)).into()),
    };
    if first != address {
        return Err(format!(
            "{} is not the first address of its network; did you mean {first}/{prefix}?",
            quoted(text)
        ));
    }
    Ok(Network { address, prefix })
}

pub(super) fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{} is not an IP address; allowed: such as 127.0.0.1 or ::1", quoted(text)))
}

pub(super) fn host_port(text: &str) -> Result<String, String> {
    let named = || {
        let (host, port) = text.rsplit_once(':')?;
        let good = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        (good && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0))
            .then_some(())
    };
    let wrong = || {
        format!("{} is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000", quoted(text))
    };
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(text.to_owned()),
        Ok(_) => Err(wrong()),
        Err(_) => named().map(|()| text.to_owned()).ok_or_else(wrong),
    }
}

/// A host, or all names below one: `*.example.com`.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    let allowed = "a host without scheme and port, such as play.example, or *.example.com";
    HostPattern::parse(text).ok_or_else(|| format!("{} is not a host; allowed: {allowed}", quoted(text)))
}

/// A prefix of paths: whole segments, without the slash at the end.
pub(super) fn path(text: &str) -> Result<String, String> {
    let path = if text == "/" { text } else { text.strip_suffix('/').unwrap_or(text) };
    let segment = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b))
    };
    let good = path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
    if !good {
        return Err(format!(
            "{} is not a path; allowed: such as \"/\" or \"/play\", without . and .., % and ?",
            quoted(text)
        ));
    }
    if path == "/.slotkeeper" || path.starts_with("/.slotkeeper/") {
        return Err(format!("{} is reserved for Slotkeeper's own pages; allowed: another path", quoted(text)));
    }
    Ok(path.to_owned())
}

/// A token (RFC 6265, section 4.1.1).
pub(super) fn cookie_name(text: &str) -> Result<String, String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(letter) {
        return Err(format!("{} is not a cookie's name; allowed: 1 to 64 letters, digits, - and _", quoted(text)));
    }
    if let Some(rest) = text.strip_prefix("__")
        && ["Host-", "Secure-"].iter().all(|prefix| rest.strip_prefix(prefix).is_none_or(str::is_empty))
    {
        let what = "browsers reserve names that start with __";
        return Err(format!("{}: {what}; allowed: other names, or the prefixes __Host- and __Secure-", quoted(text)));
    }
    Ok(text.to_owned())
}

/// An origin as browsers send it (RFC 6454), with a wildcard for subdomains, or `*`.
pub(super) fn origin(text: &str) -> Result<OriginPattern, String> {
    OriginPattern::parse(text).ok_or_else(|| {
        format!(
            "{} is not an origin; allowed: such as https://app.example without a path, https://*.example.com, null, or *",
            quoted(text)
        )
    })
}

/// A page that may show ours in a frame.
pub(super) fn embedding_origin(text: &str) -> Result<OriginPattern, String> {
    let pattern = OriginPattern::parse(text).filter(|_| text.to_ascii_lowercase().starts_with("https://"));
    pattern.ok_or_else(|| {
        let allowed = "such as https://portal.example without a path, or https://*.example.com";
        format!("{} is not an origin with https; allowed: {allowed}", quoted(text))
    })
}

pub(super) fn landing(text: &str) -> Result<Landing, String> {
    let wrong = |what: &str| format!("{} {what}; allowed: such as http://127.0.0.1:8000/wait", quoted(text));
    if text.starts_with("https://") {
        return Err(wrong("is fetched inside of your network, without TLS"));
    }
    let rest = text.strip_prefix("http://").ok_or_else(|| wrong("is not a URL"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority_is_good(authority).ok_or_else(|| wrong("has no host"))?;
    if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(wrong("contains characters that are not allowed in a URL"));
    }
    let authority = if port { authority.to_owned() } else { format!("{authority}:80") };
    Ok(Landing { authority, path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
}

/// `host` or `host:port`; `Some(true)` if it has a port.
fn authority_is_good(authority: &str) -> Option<bool> {
    Authority::parse(authority).filter(|_| !authority.ends_with(':')).map(|authority| authority.port.is_some())
}

/// The name of a pool on pages.
pub(super) fn title(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err(format!("{} is not a title; allowed: 1 to 100 characters on one line", quoted(text)));
    }
    Ok(text.to_owned())
}

pub(super) fn header(text: &str) -> Result<http::HeaderName, String> {
    text.parse().map_err(|_| format!("{} is not the name of a header; allowed: such as x-priority", quoted(text)))
}

/// The path of a request to a pod.
pub(super) fn asked_path(text: &str, such_as: &str) -> Result<String, String> {
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} is not a path; allowed: such as {}", quoted(text), quoted(such_as)));
    }
    Ok(text.to_owned())
}

/// A metric name of Prometheus.
pub(super) fn gauge(text: &str) -> Result<String, String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"_:".contains(&b);
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.bytes().all(letter) {
        return Err(format!("{} is not a metric's name; allowed: letters, digits, _ and :", quoted(text)));
    }
    if text.starts_with("slotkeeper_") {
        return Err(format!("{} could be one of Slotkeeper's own; allowed: another prefix", quoted(text)));
    }
    Ok(text.to_owned())
}
