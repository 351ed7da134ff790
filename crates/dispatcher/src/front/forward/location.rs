//! A pod that redirects to its own address (`Location: http://127.0.0.1:41233/login`) means the visitor's way to it, which leads
//! through this dispatcher. Such a reference loses its scheme and host, as with nginx (`proxy_redirect default`) and Apache
//! (`ProxyPassReverse`): the visitor resolves what is left against the address that it has asked.

use crate::authority::{Authority, default_port};
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::net::SocketAddr;

const REFRESH: HeaderName = HeaderName::from_static("refresh");

/// Makes references to the pod's own address relative: in `Location`, `Content-Location` and `Refresh`. `name`: how the
/// configuration calls the pod, with its port. True if there was one.
pub(super) fn relate(headers: &mut HeaderMap, address: SocketAddr, name: Option<&str>) -> bool {
    let own = Own { address, name };
    let mut changed = false;
    for (field, is_refresh) in [(header::LOCATION, false), (header::CONTENT_LOCATION, false), (REFRESH, true)] {
        let Entry::Occupied(mut lines) = headers.entry(field) else { continue };
        for value in lines.iter_mut() {
            let Ok(text) = std::str::from_utf8(value.as_bytes()) else { continue };
            let (before, reference) = if is_refresh { after_url(text) } else { ("", text) };
            let relative = own.relative(reference.trim());
            let related = relative.and_then(|to| HeaderValue::from_bytes(format!("{before}{to}").as_bytes()).ok());
            if let Some(related) = related {
                *value = related;
                changed = true;
            }
        }
    }
    changed
}

/// `Refresh: 5; url=http://host/path`, split behind `url=` and a quote.
fn after_url(text: &str) -> (&str, &str) {
    let at = text.as_bytes().windows(4).position(|word| word.eq_ignore_ascii_case(b"url="));
    let at = at.map_or(text.len(), |at| at + 4);
    let quote = text.as_bytes().get(at).is_some_and(|b| matches!(b, b'"' | b'\''));
    text.split_at_checked(at + usize::from(quote)).unwrap_or((text, ""))
}

struct Own<'a> {
    address: SocketAddr,
    name: Option<&'a str>,
}

impl Own<'_> {
    /// Of a reference to the pod's own address, what follows the address.
    fn relative<'t>(&self, reference: &'t str) -> Option<Cow<'t, str>> {
        let (scheme, rest) = reference.split_once("//")?;
        let scheme = match scheme {
            "" => "http",
            scheme => {
                scheme.strip_suffix(':').filter(|s| ["http", "https"].iter().any(|w| w.eq_ignore_ascii_case(s)))?
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if !self.is(&Authority::parse(authority)?, scheme) {
            return None;
        }
        let mut letters = rest.chars();
        Some(match (letters.next(), letters.next()) {
            (Some('/'), None) | (Some('/'), Some('A'..='Z' | 'a'..='z' | '0'..='9' | '?' | '#' | '_' | '-' | '~')) => {
                rest.into()
            }
            // Alone, `//host` would be another host, and what browsers take for that is more (WHATWG URL §4.4).
            (Some('/'), Some(_)) => format!("/.{rest}").into(),
            _ => format!("/{rest}").into(),
        })
    }

    fn is(&self, named: &Authority<'_>, scheme: &str) -> bool {
        let port = default_port(scheme);
        let is = |own: &str| Authority::parse(own).is_some_and(|own| named.is_same(&own, port));
        is(&self.address.to_string())
            || self.name.is_some_and(is)
            || self.address.ip().is_loopback() && is(&format!("localhost:{}", self.address.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn related(field: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(field), HeaderValue::from_str(value).unwrap());
        let changed = relate(&mut headers, "127.0.0.1:8080".parse().unwrap(), Some("console-0.games:8080"));
        let now = headers[field].to_str().unwrap().to_owned();
        assert_eq!(changed, now != value);
        changed.then_some(now)
    }

    #[test]
    fn the_pods_own_address_is_left_out() {
        for (from, to) in [
            ("http://127.0.0.1:8080/login?to=%2F#top", "/login?to=%2F#top"),
            ("HTTP://LOCALHOST:8080/", "/"),
            ("https://127.0.0.1:8080/a", "/a"),
            ("//console-0.games:8080/a", "/a"),
            ("http://console-0.games.:8080", "/"),
            ("http://127.0.0.1:8080?x=1", "/?x=1"),
        ] {
            assert_eq!(related("location", from).as_deref(), Some(to), "{from}");
            assert_eq!(related("content-location", from).as_deref(), Some(to), "{from}");
        }
        let refresh = |value| related("refresh", value);
        assert_eq!(refresh("5; URL=http://127.0.0.1:8080/next").as_deref(), Some("5; URL=/next"));
        assert_eq!(refresh("0;url='http://127.0.0.1:8080/next'").as_deref(), Some("0;url='/next'"));
        assert_eq!(refresh("5"), None);
        assert_eq!(refresh("5; url="), None);
    }

    #[test]
    fn every_other_address_stays() {
        for other in [
            "/login",
            "login",
            "http://127.0.0.1/login",
            "http://127.0.0.1:8081/",
            "http://127.0.0.2:8080/",
            "http://play.example:8080/",
            "http://127.0.0.1:8080@evil.example/",
            "http://user@127.0.0.1:8080/",
            "http://127.0.0.1:8080\\@evil.example/",
            "http://127.0.0.1:8080.evil.example/",
            "ftp://127.0.0.1:8080/",
            "javascript://127.0.0.1:8080/%0aalert(1)",
            "/x?to=http://127.0.0.1:8080/",
            "http://evil.example/http://127.0.0.1:8080/",
            "",
        ] {
            assert_eq!(related("location", other), None, "{other}");
        }
    }

    #[test]
    fn what_is_left_never_leads_to_another_host() {
        for (from, to) in [
            ("http://127.0.0.1:8080//evil.example/", "/.//evil.example/"),
            ("http://127.0.0.1:8080/\\evil.example/", "/./\\evil.example/"),
            ("http://127.0.0.1:8080/\t/evil.example/", "/./\t/evil.example/"),
            ("http://127.0.0.1:8080/./a", "/././a"),
        ] {
            assert_eq!(related("location", from).as_deref(), Some(to), "{from}");
        }
    }
}
