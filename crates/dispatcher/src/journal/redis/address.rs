//! Which Redis, and which journal in it: `redis://[user[:password]@]host[:port][/db]`, `rediss://` by TLS.

use crate::config::Secret;
use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use url::Url;

pub const PORT: u16 = 6379;
pub const NAME: &str = "slotkeeper";

/// A journal in a Redis (or a Valkey).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisJournal {
    pub host: String,
    pub port: u16,
    pub database: u32,
    /// Without one: `default`, as Redis calls whoever gives only a password.
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// `None`: not encrypted.
    pub tls: Option<Trust>,
    /// What its keys begin with: several journals can share one Redis.
    pub name: String,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Of the authorities that this system knows.
    System,
    /// Of those in this file (PEM).
    File(PathBuf),
}

/// What is wrong with an address. Never says the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {what}; allowed: {allowed}")]
pub struct AddressError {
    pub part: &'static str,
    pub what: String,
    pub allowed: &'static str,
}

const WHOLE: &str = "redis://[user[:password]@]host[:port][/db], or rediss:// by TLS";

fn wrong(part: &'static str, what: impl Into<String>, allowed: &'static str) -> AddressError {
    AddressError { part, what: what.into(), allowed }
}

impl std::str::FromStr for RedisJournal {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<RedisJournal, AddressError> {
        // An error of the parser's names a rule, not the text.
        let url = Url::parse(text).map_err(|error| wrong("the address", error.to_string(), WHOLE))?;
        let tls = match url.scheme() {
            "redis" => None,
            "rediss" => Some(Trust::System),
            other => return Err(wrong("the scheme", format!("{other:?} is unknown"), "redis, rediss (by TLS)")),
        };
        // A bracketed IPv6 address is resolved with, and verified without, its brackets.
        let host = url.host_str().unwrap_or_default();
        let host = decoded("the host", host)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("the host", "there is none", WHOLE));
        }
        let port = url.port().unwrap_or(PORT);
        if port == 0 {
            return Err(wrong("the port", "0 cannot be dialled", "1 to 65535"));
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| {
                wrong("the database", format!("{number:?} is no number"), "a number (most servers have 0 to 15)")
            })?,
        };
        for (part, is_there) in [("the query", url.query().is_some()), ("the fragment", url.fragment().is_some())] {
            if is_there {
                return Err(wrong(part, "nothing is understood there", WHOLE));
            }
        }
        let username = Some(decoded("the user", url.username())?).filter(|name| !name.is_empty());
        let password = url.password().filter(|password| !password.is_empty());
        let password = password.map(|password| Secret(percent_decode_str(password).collect()));
        if username.is_some() && password.is_none() {
            return Err(wrong(
                "the user",
                "there is no password",
                "user:password@, or :password@ for the default user",
            ));
        }
        Ok(RedisJournal { host, port, database, username, password, tls, name: NAME.to_owned() })
    }
}

fn decoded(part: &'static str, text: &str) -> Result<String, AddressError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| wrong(part, "it is not text", "UTF-8, percent-encoded where it must be"))
}

impl RedisJournal {
    /// As it is dialled and shown.
    #[must_use]
    pub fn host_port(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}
