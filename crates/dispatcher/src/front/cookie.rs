//! The session cookie, a signed id. Its bytes: version, session id, time of issue, the session's last ordinal (a hint), and
//! a MAC over the pool and all of these (HMAC-SHA-256). Anything else is not a valid cookie.

use crate::config::{PoolConfig, Secret};
use crate::io::Ids;
use crate::io::private::write_private;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use slotkeeper_core::{Millis, Ordinal, PoolId, SessionId, Time, planted};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

const VERSION: u8 = 1;
const MAC: usize = 32;
const LENGTH: usize = 1 + 16 + 8 + 4 + MAC;
/// The hint of a session without a last ordinal.
const NOWHERE: u32 = u32::MAX;

/// The content of a valid cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session that the cookie names.
    pub session: SessionId,
    /// When it was signed, by the system's clock.
    pub issued: Time,
    /// The pod that the session had last, as a hint.
    pub last: Option<Ordinal>,
}

/// Reads the key in this file, or creates it if there is none; only its owner can read it.
///
/// # Errors
/// If the file cannot be read, created or parsed, or no randomness is available.
pub fn kept_key(path: &Path, ids: &Ids) -> io::Result<Secret> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{:032x}{:032x}\n", ids.draw128()?, ids.draw128()?);
            write_private(path, text.as_bytes())?;
            text
        }
        Err(error) => return Err(error),
    };
    let text = text.trim();
    let bytes = (0..text.len() / 2).map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok());
    let key: Option<Vec<u8>> = bytes.collect();
    key.filter(|key| key.len() == 32).map(Secret).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not a valid key: allowed are 64 hexadecimal digits; without the file a new key is made, and all sessions end",
        )
    })
}

/// Signs with the first key and accepts any, so that keys can be rotated.
pub struct Keys(Vec<Hmac<Sha256>>);

impl Keys {
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Keys {
        let key = |s: &Secret| Hmac::<Sha256>::new_from_slice(&s.0).ok();
        Keys(secrets.iter().filter_map(key).collect())
    }

    fn mac(key: &Hmac<Sha256>, pool: &PoolId, text: &[u8]) -> Hmac<Sha256> {
        planted!(CookieOfAnyPool => key.clone().chain_update(text));
        let mut mac = key.clone();
        mac.update(&(pool.0.len() as u64).to_be_bytes());
        mac.update(pool.0.as_bytes());
        mac.update(text);
        mac
    }

    fn purpose(key: &Hmac<Sha256>, pool: &PoolId, purpose: &[u8], text: &[u8]) -> Hmac<Sha256> {
        // No cookie begins with this byte: a MAC of one purpose is not valid for another.
        let mut mac = Keys::mac(key, pool, &[0]);
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose);
        mac.update(text);
        mac
    }

    /// Returns a MAC for a purpose other than the cookie, by the signing key.
    #[must_use]
    pub fn sign(&self, pool: &PoolId, purpose: &[u8], text: &[u8]) -> Option<[u8; MAC]> {
        let mac = Keys::purpose(self.0.first()?, pool, purpose, text).finalize().into_bytes();
        Some(mac.into())
    }

    /// If one of the keys has signed this (`mac` may be truncated): returns the MAC of the second purpose by the same key.
    #[must_use]
    pub fn verify(&self, pool: &PoolId, purposes: (&[u8], &[u8]), text: &[u8], mac: &[u8]) -> Option<[u8; MAC]> {
        let signed =
            |key: &&Hmac<Sha256>| Keys::purpose(key, pool, purposes.0, text).verify_truncated_left(mac).is_ok();
        let key = self.0.iter().find(signed)?;
        Some(Keys::purpose(key, pool, purposes.1, text).finalize().into_bytes().into())
    }

    /// Returns the cookie's value.
    #[must_use]
    pub fn seal(&self, pool: &PoolId, ticket: &Ticket) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(&ticket.session.0.to_be_bytes());
        bytes.extend_from_slice(&ticket.issued.0.to_be_bytes());
        bytes.extend_from_slice(&ticket.last.map_or(NOWHERE, |o| o.0).to_be_bytes());
        if let Some(key) = self.0.first() {
            let mac = Keys::mac(key, pool, &bytes).finalize().into_bytes();
            bytes.extend_from_slice(&mac);
        }
        URL_SAFE_NO_PAD.encode(&bytes)
    }

    /// Returns the ticket, if one of the keys has signed it for this pool.
    #[must_use]
    pub fn open(&self, pool: &PoolId, value: &str) -> Option<Ticket> {
        if value.len() != LENGTH.div_ceil(3) * 4 - (3 - LENGTH % 3) % 3 {
            return None;
        }
        let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()?;
        let (text, mac) = bytes.split_at(LENGTH - MAC);
        if text[0] != VERSION || !self.0.iter().any(|key| Keys::mac(key, pool, text).verify_slice(mac).is_ok()) {
            return None;
        }
        let last = u32::from_be_bytes(text[25..29].try_into().ok()?);
        Some(Ticket {
            session: SessionId(u128::from_be_bytes(text[1..17].try_into().ok()?)),
            issued: Time(u64::from_be_bytes(text[17..25].try_into().ok()?)),
            last: (last != NOWHERE).then_some(Ordinal(last)),
        })
    }
}

/// Returns the request's first valid, unexpired cookie of the pool. `age`: the age of a time of issue, exact where it
/// matters for the limit.
#[must_use]
pub fn find(
    headers: &http::HeaderMap,
    pool: &PoolConfig,
    keys: &Keys,
    age: impl Fn(Time, Millis) -> Millis,
) -> Option<Ticket> {
    pairs(headers)
        .filter_map(|pair| std::str::from_utf8(value_of(pair, &pool.cookie_name)?).ok())
        .filter_map(|value| keys.open(&pool.id, value))
        .find(|ticket| is_fresh(pool, ticket, &age))
}

fn is_fresh(pool: &PoolConfig, ticket: &Ticket, age: impl Fn(Time, Millis) -> Millis) -> bool {
    planted!(CookieNeverExpires => true);
    let limit = Millis(pool.cookie_max_age.as_millis() as u64);
    age(ticket.issued, limit) < limit
}

/// `name=value` of every cookie sent (RFC 6265 §5.4), as bytes: other applications' cookies may contain anything.
fn pairs(headers: &http::HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(http::header::COOKIE).into_iter().map(http::HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|b| *b == b';')).map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// The value of a pair with this name. Some clients write spaces or quotes (RFC 6265 §4.2.1), and some servers read them so.
fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let at = pair.iter().position(|b| *b == b'=')?;
    let (own, value) = (pair.get(..at)?.trim_ascii(), pair.get(at + 1..)?.trim_ascii());
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    (own == name.as_bytes()).then_some(value)
}

/// Removes the pool's cookie from the request: pods never see it. A header without it stays unchanged.
pub fn strip(headers: &mut http::HeaderMap, name: &str) {
    planted!(CookieReachesPod => ());
    if !pairs(headers).any(|pair| value_of(pair, name).is_some()) {
        return;
    }
    let kept: Vec<&[u8]> = pairs(headers).filter(|pair| value_of(pair, name).is_none()).collect();
    let kept = kept.join(&b"; "[..]);
    headers.remove(http::header::COOKIE);
    if let Ok(value) = http::HeaderValue::from_bytes(&kept)
        && !kept.is_empty()
    {
        headers.insert(http::header::COOKIE, value);
    }
}

/// Removes `Set-Cookie` fields that set or delete a cookie with one of these names, also by `Clear-Site-Data`. True if there
/// was any.
pub fn strip_set<'n, Names: Iterator<Item = &'n str>>(
    headers: &mut http::HeaderMap,
    names: impl Fn() -> Names,
) -> bool {
    let mut stripped = false;
    let is_ours = |value: &http::HeaderValue| {
        // A cookie without a name is sent back as its value alone (RFC 6265bis §5.8.3), which may look like ours.
        let text = value.as_bytes().trim_ascii_start();
        let text = text.strip_prefix(b"=").unwrap_or(text).trim_ascii_start();
        let name = text.split(|b| *b == b'=' || *b == b';').next().unwrap_or_default().trim_ascii();
        names().any(|own| own.as_bytes() == name)
    };
    if headers.get_all(http::header::SET_COOKIE).into_iter().any(is_ours) {
        let kept: Vec<_> =
            headers.get_all(http::header::SET_COOKIE).into_iter().filter(|v| !is_ours(v)).cloned().collect();
        headers.remove(http::header::SET_COOKIE);
        for value in kept {
            headers.append(http::header::SET_COOKIE, value);
        }
        stripped = true;
    }
    stripped | keep_on_clearing(headers)
}

/// Reduces a `Clear-Site-Data` that would delete all cookies to everything but cookies.
fn keep_on_clearing(headers: &mut http::HeaderMap) -> bool {
    const NAME: http::HeaderName = http::HeaderName::from_static("clear-site-data");
    if !headers.contains_key(NAME) {
        return false;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut stripped = false;
    for word in
        headers.get_all(NAME).into_iter().flat_map(|v| v.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
    {
        match word {
            b"\"cookies\"" => stripped = true,
            b"\"*\"" => {
                stripped = true;
                kept.extend([&b"\"cache\""[..], b"\"storage\"", b"\"executionContexts\""]);
            }
            other => kept.push(other),
        }
    }
    if stripped {
        let value = http::HeaderValue::from_bytes(&kept.join(&b", "[..])).ok().filter(|v| !v.is_empty());
        headers.remove(NAME);
        if let Some(value) = value {
            headers.insert(NAME, value);
        }
    }
    stripped
}

/// The whole `Set-Cookie` value.
#[must_use]
pub fn set(pool: &PoolConfig, keys: &Keys, ticket: &Ticket, secure: bool) -> http::HeaderValue {
    let mut text = format!(
        "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite={}",
        pool.cookie_name,
        keys.seal(&pool.id, ticket),
        pool.cookie_max_age.as_secs(),
        if is_framed(pool, secure) { "None; Partitioned" } else { "Lax" },
    );
    text.push_str(security(secure || pool.cookie_name.starts_with("__")));
    http::HeaderValue::from_str(&text).unwrap_or_else(|_| http::HeaderValue::from_static(""))
}

/// Clocks of several dispatchers differ by less than this.
const OTHERS_AHEAD: Millis = Millis::secs(60);

/// Returns the cookie to set, if it is new or changes: the session has moved to another ordinal, or half of the cookie's
/// lifetime is over.
#[must_use]
pub fn renewed(pool: &PoolConfig, now: Time, ticket: &Ticket, pod: Ordinal, is_new: bool) -> Option<Ticket> {
    planted!(CookieNotRenewed => is_new.then_some(*ticket));
    let half = u128::from(now.since(ticket.issued).0) > pool.cookie_max_age.as_millis() / 2;
    // Issued by a clock that was ahead: without this, it would never be renewed.
    let old = half || ticket.issued > now + OTHERS_AHEAD;
    let moved = ticket.last != Some(pod);
    let issued = if old { now } else { ticket.issued };
    (is_new || old || moved).then_some(Ticket { issued, last: Some(pod), ..*ticket })
}

/// Whether the cookie is one for frames in pages of other sites: with a jar for each of those sites (CHIPS), where browsers
/// have that. They take it by TLS only.
#[must_use]
pub fn is_framed(pool: &PoolConfig, secure: bool) -> bool {
    secure && !pool.embedded_in.is_empty()
}

/// A browser sends such a cookie back over TLS only, so this is for visitors who came by TLS.
fn security(secure: bool) -> &'static str {
    planted!(CookieInsecure => "");
    if secure { "; Secure" } else { "" }
}

/// The name by which pods, logs and operators know a session: a hash that reveals nothing about the cookie.
#[must_use]
pub fn public_name(session: SessionId) -> String {
    planted!(PublicNameIsId => format!("{:032x}", session.0));
    let digest = Sha256::new().chain_update(b"slotkeeper session ").chain_update(session.0.to_be_bytes()).finalize();
    let mut name = String::with_capacity(32);
    for byte in &digest[..16] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn keys(bytes: &[u8]) -> Keys {
        Keys::new(&bytes.iter().map(|b| Secret(vec![*b; 32])).collect::<Vec<_>>())
    }

    const TICKET: Ticket = Ticket { session: SessionId(7 << 70 | 5), issued: Time(1234), last: Some(Ordinal(3)) };

    #[test]
    fn a_cookie_opens_with_any_key_for_its_own_pool_only() {
        let sealed = keys(b"a").seal(&"p".into(), &TICKET);
        assert_eq!(keys(b"a").open(&"p".into(), &sealed), Some(TICKET));
        assert_eq!(keys(b"ba").open(&"p".into(), &sealed), Some(TICKET));
        assert_eq!(keys(b"b").open(&"p".into(), &sealed), None);
        assert_eq!(keys(b"a").open(&"q".into(), &sealed), None);
        assert_eq!(keys(b"").open(&"p".into(), &sealed), None);
    }

    #[test]
    fn a_cookie_with_a_changed_or_missing_character_is_invalid() {
        let (keys, pool) = (keys(b"a"), "p".into());
        let sealed = keys.seal(&pool, &TICKET);
        for i in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open(&pool, std::str::from_utf8(&forged).unwrap()), None, "character {i}");
            assert_eq!(keys.open(&pool, &sealed[..i]), None);
        }
        for rubbish in ["", "=", "é", &sealed.repeat(2), &format!("{sealed}A")] {
            assert_eq!(keys.open(&pool, rubbish), None);
        }
    }

    #[test]
    fn only_the_pools_cookie_is_removed() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; sk=secret; b=2".parse().unwrap());
        headers.append("cookie", "sk=again; sk =\"x\"".parse().unwrap());
        headers.append("cookie", "c=3; skk=4".parse().unwrap());
        strip(&mut headers, "sk");
        let left: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(left, ["a=1; b=2; c=3; skk=4"]);
    }

    #[test]
    fn a_cookies_value_may_be_quoted() {
        for pair in ["sk=x", "sk=\"x\"", "sk = x", "sk =\"x\""] {
            assert_eq!(value_of(pair.as_bytes(), "sk"), Some(&b"x"[..]), "{pair}");
        }
        for pair in ["sk", "skk=x", "k=x", "=sk", ""] {
            assert_eq!(value_of(pair.as_bytes(), "sk"), None, "{pair}");
        }
        assert_eq!(value_of(b"sk=\"", "sk"), Some(&b"\""[..]));
    }

    #[test]
    fn a_pod_can_neither_set_nor_delete_the_dispatchers_cookies() {
        for ours in [
            "sk=evil; Path=/",
            "sk=; Max-Age=0",
            " sk = x",
            "\tsk=x",
            "sk",
            "sk; Path=/x",
            "=sk=x",
            " = sk=x",
            "other=1",
            "__Host-sk=1",
        ] {
            let mut headers = HeaderMap::new();
            for value in ["app=1; Path=/", ours, "skk=2", "SK=3"] {
                headers.append("set-cookie", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert!(strip_set(&mut headers, || ["other", "sk", "__Host-sk"].into_iter()), "{ours:?}");
            let left: Vec<_> = headers.get_all("set-cookie").iter().collect();
            assert_eq!(left, ["app=1; Path=/", "skk=2", "SK=3"], "{ours:?}");
        }
        let cleared = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.append("clear-site-data", text.parse().unwrap());
            strip_set(&mut headers, || ["sk"].into_iter());
            headers.get("clear-site-data").map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(cleared("\"cookies\""), None);
        assert_eq!(cleared("\"cache\", \"cookies\"").as_deref(), Some("\"cache\""));
        assert_eq!(cleared("\"*\"").as_deref(), Some("\"cache\", \"storage\", \"executionContexts\""));
        assert_eq!(cleared("\"storage\"").as_deref(), Some("\"storage\""));
    }

    #[test]
    fn other_cookies_may_be_any_bytes() {
        let (keys, pool) = (keys(b"a"), "p".into());
        let mut headers = HeaderMap::new();
        let line = format!("a=\u{e9}; sk={}; b=\u{fc}", keys.seal(&pool, &TICKET));
        headers.append("cookie", http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        let value = pairs(&headers).find_map(|p| value_of(p, "sk")).unwrap();
        assert_eq!(keys.open(&pool, std::str::from_utf8(value).unwrap()), Some(TICKET));
        strip(&mut headers, "sk");
        assert_eq!(headers["cookie"].as_bytes(), "a=\u{e9}; b=\u{fc}".as_bytes());
    }

    #[test]
    fn a_public_name_is_stable_and_reveals_nothing_about_the_id() {
        let name = public_name(SessionId(1));
        assert_eq!(name, public_name(SessionId(1)));
        assert_ne!(name, public_name(SessionId(2)));
        assert_eq!(name.len(), 32);
        let id = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert!(!public_name(SessionId(id)).contains("89abcdef"), "no part of the id");
    }
}
