//! Hosts, authorities and origins in one normal form. Spellings of one host (case, a trailing dot, a default port, forms of
//! an IPv6 address) compare equal; a text that cannot be a host is rejected.

use std::fmt;
use std::net::Ipv6Addr;

/// A host, without a port.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A name or an IPv4 address, without a trailing dot; compared without regard to case.
    Name(&'a str),
    V6(Ipv6Addr),
}

/// `uri-host [ ":" port ]` (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    pub host: Host<'a>,
    pub port: Option<u16>,
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (Host::V6(a), Host::V6(b)) => a == b,
            (Host::Name(_), Host::V6(_)) | (Host::V6(_), Host::Name(_)) => false,
        }
    }
}

impl<'a> Host<'a> {
    /// A registered name as in DNS (underscores are in use), an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Host<'a>> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse().ok().map(Host::V6);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        (name.len() <= 253 && name.split('.').all(label)).then_some(Host::Name(name))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&name.to_ascii_lowercase()),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl<'a> Authority<'a> {
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            Some(_) | None => (text, ""),
        };
        let port = match port {
            "" => None, // `host:` is allowed (RFC 3986 §3.2.3), and means no port
            digits => {
                let digits = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits)?;
                Some(digits.parse().ok().filter(|port| *port > 0)?)
            }
        };
        Some(Authority { host: Host::parse(host)?, port })
    }

    /// Whether both have the same host and port; a missing port is the scheme's.
    #[must_use]
    pub fn is_same(&self, other: &Authority<'_>, default_port: Option<u16>) -> bool {
        self.host == other.host && self.port.or(default_port) == other.port.or(default_port)
    }
}

/// The default port of a scheme.
#[must_use]
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        s if s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("ws") => Some(80),
        s if s.eq_ignore_ascii_case("https") || s.eq_ignore_ascii_case("wss") => Some(443),
        _ => None,
    }
}

/// A host that a pool serves: `play.example`, `[::1]`, or `*.example.com` for all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case and without a trailing dot; IPv6 addresses as in RFC 5952.
    text: String,
}

impl HostPattern {
    /// Returns `None` if the text is no such pattern; a wildcard before an IP address is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<HostPattern> {
        let (star, host) = text.strip_prefix("*.").map_or(("", text), |host| ("*.", host));
        let host = Host::parse(host)?;
        let is_name =
            matches!(host, Host::Name(name) if !name.split('.').all(|l| l.bytes().all(|b| b.is_ascii_digit())));
        (star.is_empty() || is_name).then(|| HostPattern { text: format!("{star}{host}") })
    }

    /// The part after `*.`.
    #[must_use]
    pub fn suffix(&self) -> Option<&str> {
        self.text.strip_prefix("*.")
    }

    /// Whether the pattern names exactly this host.
    #[must_use]
    pub fn is(&self, host: &Host<'_>) -> bool {
        match host {
            Host::Name(name) => self.text.eq_ignore_ascii_case(name),
            Host::V6(_) => Host::parse(&self.text).is_some_and(|own| own == *host),
        }
    }

    /// Whether the wildcard matches this host.
    #[must_use]
    pub fn covers(&self, host: &Host<'_>) -> bool {
        let Host::Name(name) = host else { return false };
        self.suffix().is_some_and(|suffix| is_below(name, suffix))
    }

    /// Whether some host matches both.
    #[must_use]
    pub fn overlaps(&self, other: &HostPattern) -> bool {
        let covered = |wide: &HostPattern, narrow: &HostPattern| {
            let name = narrow.suffix().unwrap_or(&narrow.text);
            wide.suffix().is_some_and(|suffix| is_below(name, suffix))
        };
        self == other || covered(self, other) || covered(other, self)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a name is this suffix with one or more labels in front.
fn is_below(name: &str, suffix: &str) -> bool {
    let Some(at) = name.len().checked_sub(suffix.len() + 1) else { return false };
    at > 0
        && name.as_bytes().get(at) == Some(&b'.')
        && name.get(at + 1..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The origin of a page as browsers send it (RFC 6454 §7): `scheme://host[:port]`, or `null`.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub scheme: &'a str,
    /// Everything after `://`.
    rest: &'a str,
    /// Present for origins of the form that the web uses.
    pub authority: Option<Authority<'a>>,
}

impl<'a> Origin<'a> {
    /// `None` for `null` and for anything else that is not an origin.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Origin<'a>> {
        let (scheme, rest) = text.split_once("://")?;
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(letters);
        let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\"\\".contains(&b));
        let authority = Authority::parse(rest);
        let is_web = default_port(scheme).is_some();
        (good && plain && (authority.is_some() || !is_web)).then_some(Origin { scheme, rest, authority })
    }

    /// The port, or else the scheme's default port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.authority.and_then(|a| a.port).or_else(|| default_port(self.scheme))
    }
}

/// An origin that the configuration allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every origin.
    Any,
    /// The origin of sandboxed frames, local files, and packaged apps that send no other one.
    Null,
    /// `scheme://host[:port]`, in lower case.
    One(String),
    /// `scheme://*.host[:port]`: scheme, the part after `*.`, port.
    Below(String, String, Option<u16>),
}

impl OriginPattern {
    /// Returns `None` if the text is no such pattern.
    #[must_use]
    pub fn parse(text: &str) -> Option<OriginPattern> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "*" => return Some(OriginPattern::Any),
            "null" => return Some(OriginPattern::Null),
            _ => {}
        }
        let (scheme, rest) = text.split_once("://")?;
        let Some(below) = rest.strip_prefix("*.") else {
            return Origin::parse(&text).map(|_| OriginPattern::One(text.clone()));
        };
        let origin = format!("{scheme}://{below}");
        let authority = Origin::parse(&origin)?.authority?;
        let Host::Name(name) = authority.host else { return None };
        Some(OriginPattern::Below(scheme.to_owned(), name.to_owned(), authority.port))
    }

    /// Whether the pattern allows this origin, as written in a request.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            OriginPattern::Any => true,
            OriginPattern::Null => origin == "null",
            OriginPattern::One(own) => match (Origin::parse(own), Origin::parse(origin)) {
                (Some(own), Some(other)) => {
                    let same = match (own.authority, other.authority) {
                        (Some(a), Some(b)) => a.is_same(&b, default_port(own.scheme)),
                        _ => own.rest.eq_ignore_ascii_case(other.rest),
                    };
                    same && own.scheme.eq_ignore_ascii_case(other.scheme)
                }
                _ => false,
            },
            OriginPattern::Below(scheme, suffix, port) => Origin::parse(origin).is_some_and(|other| {
                let below = other.authority.is_some_and(|a| matches!(a.host, Host::Name(n) if is_below(n, suffix)));
                below
                    && other.scheme.eq_ignore_ascii_case(scheme)
                    && other.port() == port.or_else(|| default_port(scheme))
            }),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginPattern::Any => f.write_str("*"),
            OriginPattern::Null => f.write_str("null"),
            OriginPattern::One(origin) => f.write_str(origin),
            OriginPattern::Below(scheme, suffix, None) => write!(f, "{scheme}://*.{suffix}"),
            OriginPattern::Below(scheme, suffix, Some(port)) => write!(f, "{scheme}://*.{suffix}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_host_are_equal() {
        let same = |a, b| {
            let (a, b) = (Authority::parse(a).unwrap(), Authority::parse(b).unwrap());
            a.is_same(&b, Some(80))
        };
        for other in ["a.example", "A.Example", "a.example.", "a.example:80", "a.example.:80", "a.example:"] {
            assert!(same("a.example", other), "{other}");
        }
        for other in ["[::1]", "[0:0::1]", "[0000::0001]:80"] {
            assert!(same("[::1]", other), "{other}");
        }
        for other in ["b.example", "a.example:81", "a.example.org", "[::1]"] {
            assert!(!same("a.example", other), "{other}");
        }
    }

    #[test]
    fn impossible_authorities_are_rejected() {
        for text in [
            "", ".", "a..b", "a b", "<a>", "evil@a", "a/b", "a?x", "a#x", "a:80x", "a:-1", "a:+1", "a:0", "a:65536",
            "[::1", "::1", "a,b", "a\\b", "a;b", "\"a\"", "é", "a:80:80", "a%41", ":80", "[::1]x", "[::1]:x", "*.a",
            "a..",
        ] {
            assert!(Authority::parse(text).is_none(), "{text:?}");
        }
        assert!(Authority::parse(&"a".repeat(64)).is_none());
        assert!(Authority::parse(&"a.".repeat(128)).is_none());
        assert!(Authority::parse("my_pod-0.x").is_some());
    }

    #[test]
    fn a_wildcard_matches_one_or_more_labels_and_never_none() {
        let pattern = HostPattern::parse("*.Example.com.").unwrap();
        let covers = |name| pattern.covers(&Host::parse(name).unwrap());
        assert!(covers("a.example.com") && covers("b.a.EXAMPLE.com."));
        assert!(!covers("example.com") && !covers("aexample.com") && !covers("a.example.com.org") && !covers("[::1]"));
        for wrong in ["*", "*.", "a.*", "*a.b", "*.*.a", "*.1.2.3", "*.[::1]"] {
            assert!(HostPattern::parse(wrong).is_none(), "{wrong}");
        }
        let other = |text| HostPattern::parse(text).unwrap();
        assert!(pattern.overlaps(&other("a.example.com")) && other("*.a.example.com").overlaps(&pattern));
        assert!(!pattern.overlaps(&other("example.com")) && !pattern.overlaps(&other("*.example.org")));
    }

    #[test]
    fn an_origin_is_compared_by_scheme_host_and_port() {
        let allows = |pattern, origin| OriginPattern::parse(pattern).unwrap().allows(origin);
        assert!(
            allows("https://a.example", "https://A.example:443")
                && allows("https://a.example:443", "https://a.example")
        );
        assert!(
            !allows("https://a.example", "http://a.example") && !allows("https://a.example", "https://a.example:8443")
        );
        for app in ["capacitor://localhost", "file://", "chrome-extension://abcdef", "app://obsidian.md", "null"] {
            assert!(
                allows(app, app) && !allows(app, "https://localhost") && !allows("https://localhost", app),
                "{app}"
            );
        }
        assert!(allows("https://*.example.com", "https://me.example.com"));
        assert!(allows("https://*.example.com:8443", "https://a.b.example.com:8443"));
        for foreign in [
            "http://me.example.com",
            "https://example.com",
            "https://me.example.com:8443",
            "https://meexample.com",
            "null",
        ] {
            assert!(!allows("https://*.example.com", foreign), "{foreign}");
        }
        assert!(allows("*", "anything") && !allows("null", "https://a"));
        for wrong in [
            "a.example",
            "https://",
            "https://a/x",
            "https://*",
            "https://a.*.b",
            "1x://a",
            "https://u@a",
            "",
            "javascript:x",
        ] {
            assert!(OriginPattern::parse(wrong).is_none(), "{wrong}");
        }
    }
}
