//! Failures that can pass: each is counted under its own name and waited for, and no entry is lost.

use super::replica::{Replica, address, agree};
use super::server::{Server, Way, free_port};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use slotkeeper::config::Secret;
use slotkeeper::journal::redis::{RedisJournal, Trust};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[tokio::test]
async fn a_full_server_is_waited_for() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(1, &Way::to(&server));
    replica.say([1]).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    replica
        .say_through(2, "full", async {
            server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
        })
        .await;
    assert!(!replica.now().lapsed_between(Some(1), 2));
    assert_eq!(replica.now().states, 0);
}

#[tokio::test]
async fn a_wrong_password_is_waited_for_and_never_shown() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let config: RedisJournal = "redis://:s%C3%A4cret@localhost".parse().unwrap();
    assert_eq!(config.password, Some(Secret("säcret".into())));
    assert!(!format!("{config:?}").contains("cret@") && !format!("{config:?}").contains("säcret"));
    // At first the server has no password, then another one, then the right one.
    let mut replica = Replica::with(1, &config, &way);
    replica
        .say_through(1, "password", async {
            server.ask(&["CONFIG", "SET", "requirepass", "other"]).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.ask_as(Some("other"), &["CONFIG", "SET", "requirepass", "säcret"]).await;
        })
        .await;
    let mut without = Replica::with(2, &address(), &way);
    without
        .say_through(2, "password", async {
            server.ask_as(Some("säcret"), &["CONFIG", "SET", "requirepass", ""]).await;
        })
        .await;
}

/// The rules in OPERATING.md.
const ACL: &[&str] = &[
    "ACL",
    "SETUSER",
    "slotkeeper",
    "on",
    ">word",
    "resetkeys",
    "~{slotkeeper}:*",
    "resetchannels",
    "-@all",
    "+info",
    "+select",
    "+eval",
    "+xadd",
    "+xread",
    "+xrange",
    "+xrevrange",
    "+xtrim",
    "+get",
    "+set",
    "+hset",
    "+hmget",
    "+time",
];

#[tokio::test]
async fn the_documented_rights_are_sufficient_and_necessary() {
    let server = Server::forgetful().await;
    let config: RedisJournal = "redis://slotkeeper:word@localhost/1".parse().unwrap();
    let mut replica = Replica::with(1, &config, &Way::to(&server));
    server.ask(ACL).await;
    server.ask(&["ACL", "SETUSER", "slotkeeper", "-eval"]).await;
    replica
        .say_through(1, "permission", async {
            server.ask(ACL).await;
        })
        .await;
    for what in 2..4 {
        let state = replica.now().fleet;
        replica.keep.keep(state.into()).await.unwrap();
        replica.say([what]).await;
        replica.reads(what).await;
    }
    assert_eq!(replica.troubles.count("refused"), 0);
}

#[tokio::test]
async fn a_server_that_is_a_replica_is_waited_for_until_it_is_promoted() {
    let (primary, second) = (Server::forgetful().await, Server::forgetful().await);
    second.replicates(&primary).await;
    let mut replica = Replica::new(1, &Way::to(&second));
    replica
        .say_through(1, "replica", async {
            second.ask(&["REPLICAOF", "NO", "ONE"]).await;
        })
        .await;
}

#[tokio::test]
async fn a_hanging_server_is_waited_for() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let (mut one, mut two) = (Replica::new(1, &way), Replica::new(2, &way));
    one.say([1]).await;
    two.reads(1).await;
    for (stop, what) in [(&["DEBUG", "SLEEP", "3"][..], 2), (&["CLIENT", "PAUSE", "3000", "ALL"], 12)] {
        let (stopped, _) = tokio::join!(server.ask(stop), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            one.say(what..what + 5).await;
        });
        assert_eq!(stopped, redis::Value::Okay);
        two.say([what + 5]).await;
        agree(&mut [&mut one, &mut two], what + 5).await;
        assert!(one.troubles.count("timeout") > 0);
    }
    let reading = one.now();
    assert_eq!((reading.lapses(), reading.states), (1, 0));
    assert_eq!(reading.fleet.replica(one.me), Some(11));
}

#[tokio::test]
async fn a_server_that_cannot_save_is_waited_for() {
    let server = Server::with(&["--save", "3600", "1"]).await;
    let mut replica = Replica::new(1, &Way::to(&server));
    replica.say([1]).await;
    let lost = server.folder().join("lost");
    std::fs::create_dir(&lost).unwrap();
    server.ask(&["CONFIG", "SET", "dir", lost.to_str().unwrap()]).await;
    std::fs::remove_dir(&lost).unwrap();
    server.ask(&["BGSAVE"]).await;
    until(&server, "err").await;
    replica
        .say_through(2, "unsaved", async {
            server.ask(&["CONFIG", "SET", "dir", server.folder().to_str().unwrap()]).await;
            server.ask(&["BGSAVE"]).await;
            until(&server, "ok").await;
        })
        .await;
}

async fn until(server: &Server, status: &str) {
    while server.info("persistence", "rdb_last_bgsave_status").await != status {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_that_has_not_started_is_waited_for() {
    let mut server = Server::forgetful().await;
    server.kill();
    let mut replica = Replica::new(1, &Way::to(&server));
    let troubles = replica.troubles.clone();
    tokio::join!(replica.say([1]), async {
        troubles.until("connect").await;
        server.start().await;
    });
    replica.reads(1).await;
}

/// A new certificate for `localhost`.
fn issue(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&files.0, cert.pem()).unwrap();
    std::fs::write(&files.1, signing_key.serialize_pem()).unwrap();
    files
}

#[tokio::test]
async fn tls_connections_are_made_to_trusted_servers_only() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = issue(folder.path(), "server");
    let (other, _) = issue(folder.path(), "other");
    let port = free_port();
    let mut arguments =
        vec!["--tls-port".to_owned(), port.to_string(), "--tls-auth-clients".to_owned(), "no".to_owned()];
    for (option, file) in
        [("--tls-cert-file", &certificate), ("--tls-ca-cert-file", &certificate), ("--tls-key-file", &key)]
    {
        arguments.extend([option.to_owned(), file.display().to_string()]);
    }
    let server = Server::with(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let config = |file: &Path| {
        let config: RedisJournal = "rediss://localhost".parse().unwrap();
        assert_eq!(config.tls, Some(Trust::System));
        RedisJournal { tls: Some(Trust::File(file.to_owned())), ..config }
    };
    let way = Way::to_port(port);
    let mut replica = Replica::with(1, &config(&certificate), &way);
    replica.say(1..=300).await;
    replica.reads(300).await;
    let state = replica.now().fleet;
    replica.keep.keep(state.into()).await.unwrap();

    let stranger = Replica::with(2, &config(&other), &way);
    stranger.troubles.until("tls").await;
    assert!(stranger.now().entries.is_empty());
    // A journal with TLS does not talk to a server without it.
    let plain = Replica::with(3, &config(&certificate), &Way::to(&server));
    plain.troubles.until("tls").await;

    std::fs::write(&other, "nothing").unwrap();
    let Err(error) = slotkeeper::journal::redis::open(&config(&other), std::sync::Arc::new(way.clone())) else {
        panic!()
    };
    let error = format!("{:#}", anyhow::Error::new(error));
    assert!(error.contains("other.crt: contains no certificate; allowed: PEM"), "{error}");
}
