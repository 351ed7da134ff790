//! The address of a Redis journal: `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS.

use super::Secret;
use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use url::Url;

/// The port of an address without one.
pub const PORT: u16 = 6379;
/// The prefix of keys if `journal.name` is not set.
pub const NAME: &str = "slotkeeper";

/// A journal in a Redis (or a Valkey).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisJournal {
    /// A host name or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The number of the logical database (`SELECT`).
    pub database: u32,
    /// `None`: the user `default`, which Redis assumes if only a password is given.
    pub username: Option<String>,
    /// `None`: Redis requires none.
    pub password: Option<Secret>,
    /// `None`: not encrypted.
    pub tls: Option<Trust>,
    /// The prefix of its keys: several journals can share one Redis.
    pub name: String,
}

/// The certificate authorities to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of this system.
    System,
    /// Those in this file (PEM).
    File(PathBuf),
}

/// What is wrong with an address. Never contains the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {what}; allowed: {allowed}")]
pub struct AddressError {
    /// The part of the address: "the port".
    pub part: &'static str,
    /// What is wrong with it.
    pub what: String,
    /// What is allowed there.
    pub allowed: &'static str,
}

const WHOLE: &str = "redis://[user[:password]@]host[:port][/db], or rediss:// for TLS";

fn wrong(part: &'static str, what: impl Into<String>, allowed: &'static str) -> AddressError {
    AddressError { part, what: what.into(), allowed }
}

impl std::str::FromStr for RedisJournal {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<RedisJournal, AddressError> {
        // The parser's error contains no part of the address, so it cannot leak the password.
        let url = Url::parse(text).map_err(|error| wrong("the address", error.to_string(), WHOLE))?;
        let tls = match url.scheme() {
            "redis" => None,
            "rediss" => Some(Trust::System),
            other => return Err(wrong("the scheme", format!("{other:?} is unknown"), "redis, rediss (with TLS)")),
        };
        // A bracketed IPv6 address is resolved with, and verified without, its brackets.
        let host = url.host_str().unwrap_or_default();
        let host = decoded("the host", host)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("the host", "missing", WHOLE));
        }
        let port = url.port().unwrap_or(PORT);
        if port == 0 {
            return Err(wrong("the port", "not a valid port", "1 to 65535"));
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| {
                wrong("the database", format!("{number:?} is not a number"), "a number (most servers have 0 to 15)")
            })?,
        };
        for (part, is_there) in [("the query", url.query().is_some()), ("the fragment", url.fragment().is_some())] {
            if is_there {
                return Err(wrong(part, "not supported", WHOLE));
            }
        }
        let username = Some(decoded("the user", url.username())?).filter(|name| !name.is_empty());
        let password = url.password().filter(|password| !password.is_empty());
        let password = password.map(|password| Secret(percent_decode_str(password).collect()));
        Ok(RedisJournal { host, port, database, username, password, tls, name: NAME.to_owned() })
    }
}

fn decoded(part: &'static str, text: &str) -> Result<String, AddressError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| wrong(part, "not UTF-8", "UTF-8, percent-encoded where it must be"))
}

impl RedisJournal {
    /// # Errors
    /// If there is a user, but no password from any source.
    pub fn complete(self) -> Result<RedisJournal, AddressError> {
        if self.username.is_some() && self.password.is_none() {
            let allowed = "user:password@, :password@ for the default user, or a password from elsewhere";
            return Err(wrong("the user", "there is no password", allowed));
        }
        Ok(self)
    }

    /// The address to connect to, and to show.
    #[must_use]
    pub fn host_port(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}
