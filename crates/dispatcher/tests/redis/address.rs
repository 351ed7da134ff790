//! The address of a Redis: what is accepted, and the error messages for the rest.

use slotkeeper::config::Secret;
use slotkeeper::journal::redis::{OpenError, RedisJournal, Trust, open};
use slotkeeper::outside::RealNet;
use std::sync::Arc;

fn plain(host: &str) -> RedisJournal {
    RedisJournal {
        host: host.into(),
        port: 6379,
        database: 0,
        username: None,
        password: None,
        tls: None,
        name: "slotkeeper".into(),
    }
}

#[test]
fn addresses_are_parsed() {
    let secret = |text: &str| Some(Secret(text.into()));
    for (text, expected) in [
        ("redis://redis", plain("redis")),
        ("redis://redis.games.svc/", plain("redis.games.svc")),
        ("redis://10.0.0.1:7000/3", RedisJournal { port: 7000, database: 3, ..plain("10.0.0.1") }),
        ("redis://[::1]:7000", RedisJournal { port: 7000, ..plain("::1") }),
        ("redis://:p%40ss@redis", RedisJournal { password: secret("p@ss"), ..plain("redis") }),
        (
            "redis://default:p:%2F@redis",
            RedisJournal { username: Some("default".into()), password: secret("p:/"), ..plain("redis") },
        ),
        ("rediss://redis", RedisJournal { tls: Some(Trust::System), ..plain("redis") }),
    ] {
        assert_eq!(text.parse::<RedisJournal>().unwrap(), expected, "{text}");
    }
    assert_eq!("redis://[::1]".parse::<RedisJournal>().unwrap().host_port(), "[::1]:6379");
}

#[test]
fn errors_about_an_address_do_not_contain_its_password() {
    for (text, says) in [
        (
            "",
            "the address: relative URL without a base; allowed: redis://[user[:password]@]host[:port][/db], or rediss:// for TLS",
        ),
        ("redis:6379", "the host: missing; allowed: redis://"),
        ("redis://", "the host: missing; allowed: redis://"),
        ("http://:secret@redis", "the scheme: \"http\" is unknown; allowed: redis, rediss (with TLS)"),
        ("redis://:secret@redis:70000", "the address: invalid port number; allowed: redis://"),
        ("redis://:secret@redis:0", "the port: not a valid port; allowed: 1 to 65535"),
        ("redis://:secret@redis/games", "the database: \"games\" is not a number; allowed: a number"),
        ("redis://:secret@redis/-1", "the database: \"-1\" is not a number; allowed: a number"),
        ("redis://:secret@redis?protocol=resp3", "the query: not supported; allowed: redis://"),
        ("redis://:secret@redis#x", "the fragment: not supported; allowed: redis://"),
        ("redis://user@redis", "the user: there is no password; allowed: user:password@"),
        ("redis://%ff:secret@redis", "the user: not UTF-8; allowed: UTF-8"),
    ] {
        let error = text.parse().and_then(RedisJournal::complete).unwrap_err().to_string();
        assert!(error.starts_with(says), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_journal_name_that_cannot_be_a_hash_tag_is_refused() {
    for name in ["", "a b", "a}b", "ä"] {
        let config = RedisJournal { name: name.into(), ..plain("redis") };
        let opened = open(&config, Arc::new(RealNet));
        assert!(matches!(opened, Err(OpenError::Name(wrong)) if wrong == name));
    }
}
