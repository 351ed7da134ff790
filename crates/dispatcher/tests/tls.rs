//! TLS of visitors' listeners.

mod alpn;
mod clients;
mod rig;
mod tickets;

pub(crate) use rig::{issue, issue_until};

use rig::{Client, REDIRECT, Rig, TLS, alert, exchange, file};
use slotkeeper_core::Time;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::AlertDescription;
use tokio_rustls::rustls::version::{TLS12, TLS13};

const GET: &str = "GET /a HTTP/1.1\r\nhost: play.example\r\n\r\n";

/// As long as certificates take to be read again.
async fn until_read_again() {
    tokio::time::sleep(Duration::from_secs(6)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_pass_over_tls_and_pods_and_browsers_see_https() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("hsts_seconds = '1d'\nhsts_subdomains = true", "")).await;
    assert!(rig.at.visitors.is_empty(), "no listener without TLS: {:?}", rig.at);
    for version in [&TLS12, &TLS13] {
        let client = Client::new(&[&root], &[version], &["http/1.1"]);
        let mut stream = rig.connect(&client, "play.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (head, asked) = exchange(&mut stream, GET).await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("set-cookie: slotkeeper=") && head.contains("; secure"), "{head}");
        assert!(asked.contains("x-forwarded-proto: https"), "{asked}");
        let policies: Vec<&str> = head.lines().filter(|line| line.starts_with("strict-transport")).collect();
        assert_eq!(policies, ["strict-transport-security: max-age=86400; includesubdomains"]);
        // Also on the connection's next request.
        let (head, _) = exchange(&mut stream, GET).await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        // The second connection resumes the first.
        drop(stream);
        let mut again = rig.connect(&client, "play.example").await.unwrap();
        assert!(exchange(&mut again, GET).await.0.starts_with("http/1.1 200 "));
    }
    rig.handshakes("full", 2.0).await;
    rig.handshakes("resumed", 2.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_no_trusted_proxy_cannot_state_the_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let text = |top: &str| format!("{top}\n{}", file("", ""));
    let request = "GET /a HTTP/1.1\r\nhost: play.example\r\nx-forwarded-proto: http\r\n\r\n";
    let rig = Rig::start(folder, &text("")).await;
    let mut stream = rig.connect(&Client::trusting(&[&root]), "play.example").await.unwrap();
    assert!(exchange(&mut stream, request).await.1.contains("x-forwarded-proto: https"));
    drop(stream);

    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &text("trusted_proxies = ['192.0.2.0/24']")).await;
    let mut stream = rig.connect(&Client::trusting(&[&root]), "play.example").await.unwrap();
    let (head, asked) = exchange(&mut stream, request).await;
    assert!(asked.contains("x-forwarded-proto: http\r") && !head.contains("; secure"), "{asked}{head}");
    assert!(exchange(&mut stream, GET).await.1.contains("x-forwarded-proto: https"));
}

#[tokio::test(start_paused = true)]
async fn the_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let roots = [
        issue(folder.path(), "tls", &["play.example"]),
        issue(folder.path(), "wide", &["*.games.example"]),
        issue(folder.path(), "one", &["one.games.example"]),
    ];
    let more: String = ["wide", "one"]
        .map(|name| format!("[[tls.certificates]]\ncert_file = '{name}.crt'\nkey_file = '{name}.key'\n"))
        .concat();
    let rig = Rig::start(folder, &file("", &more)).await;
    for (host, expected) in [("play.example", 0), ("two.games.example", 1), ("one.games.example", 2)] {
        for (n, root) in roots.iter().enumerate() {
            let connected = rig.connect(&Client::trusting(&[root]), host).await;
            assert_eq!(connected.is_ok(), n == expected, "{host} with root {n}");
        }
    }
    rig.handshakes("rejected", 6.0).await;
    // The default: for an address (clients send no name for it), and for names that no certificate has.
    for host in ["192.0.2.9", "unknown.example", "a.b.games.example"] {
        let error = rig.connect(&Client::trusting(&[&roots[0]]), host).await.err().unwrap();
        assert!(error.to_string().contains("play.example"), "{host}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn old_versions_and_unknown_protocols_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("min_version = '1.3'", "")).await;
    let refused = async |client: Client| alert(&rig.connect(&client, "play.example").await.err().unwrap());
    let old = Client::new(&[&root], &[&TLS12], &["http/1.1"]);
    assert_eq!(refused(old).await, Some(AlertDescription::ProtocolVersion));
    let other = Client::new(&[&root], &[&TLS13], &["smtp"]);
    assert_eq!(refused(other).await, Some(AlertDescription::NoApplicationProtocol));
    rig.handshakes("refused", 2.0).await;
    let silent = Client::new(&[&root], &[&TLS13], &[]);
    let mut stream = rig.connect(&silent, "play.example").await.unwrap();
    assert!(exchange(&mut stream, GET).await.0.starts_with("http/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn renewed_files_are_used_for_new_connections_and_unusable_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    // As Kubernetes mounts a secret: the files are links into a folder that is replaced as a whole.
    for version in ["one", "two"] {
        std::fs::create_dir(path.join(version)).unwrap();
    }
    let first = issue(&path.join("one"), "tls", &["play.example"]);
    let second = issue(&path.join("two"), "tls", &["play.example"]);
    let link = |to: &str| {
        let new = path.join("..data_tmp");
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(new, path.join("..data")).unwrap();
    };
    link("one");
    for file in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), path.join(file)).unwrap();
    }
    let rig = Rig::start(folder, &file("", "")).await;
    let (old, new) = (Client::trusting(&[&first]), Client::trusting(&[&second]));
    let mut open = rig.connect(&old, "play.example").await.unwrap();
    let reloads = async |outcome: &str| {
        let series = format!("slotkeeper_tls_reloads_total{{listener=\"visitors\",outcome=\"{outcome}\"}}");
        rig.metric(&series).await.unwrap()
    };

    link("two");
    until_read_again().await;
    assert!(rig.connect(&old, "play.example").await.is_err());
    rig.connect(&new, "play.example").await.unwrap();
    assert!(exchange(&mut open, GET).await.0.starts_with("http/1.1 200 "), "the open connection continues");
    assert_eq!((reloads("loaded").await, reloads("refused").await), (1.0, 0.0));

    // A certificate whose key has not been written yet, an expired one, and garbage.
    issue(&path, "other", &["play.example"]);
    issue_until(&path, "expired", &["play.example"], 2020);
    let good = (std::fs::read(path.join("two/tls.crt")).unwrap(), std::fs::read(path.join("two/tls.key")).unwrap());
    let write = |certificate: &[u8], key: &[u8]| {
        std::fs::write(path.join("two/tls.crt"), certificate).unwrap();
        std::fs::write(path.join("two/tls.key"), key).unwrap();
    };
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    write(&read("other.crt"), &good.1);
    until_read_again().await;
    rig.connect(&new, "play.example").await.unwrap();
    write(&read("expired.crt"), &read("expired.key"));
    until_read_again().await;
    rig.connect(&new, "play.example").await.unwrap();
    write(b"", b"half wri");
    until_read_again().await;
    until_read_again().await;
    rig.connect(&new, "play.example").await.unwrap();
    assert_eq!(reloads("refused").await, 3.0, "once for each change");
    std::fs::remove_file(path.join("two/tls.key")).unwrap();
    until_read_again().await;
    rig.connect(&new, "play.example").await.unwrap();
    write(&good.0, &good.1);
    until_read_again().await;
    rig.connect(&new, "play.example").await.unwrap();
    assert_eq!((reloads("loaded").await, reloads("refused").await), (2.0, 4.0));
    let file = path.join("tls.crt");
    let series = format!("slotkeeper_tls_certificate_expires_seconds{{file={file:?},listener=\"visitors\"}}");
    // 2100-01-01
    assert_eq!(rig.metric(&series).await, Some(4_102_444_800.0));
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_certificates_and_settings_but_no_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let first = issue(&path, "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("", "")).await;
    let second = issue(&path, "other", &["other.example"]);
    let (old, new) = (Client::trusting(&[&first]), Client::trusting(&[&second]));
    let mut open = rig.connect(&old, "play.example").await.unwrap();
    assert!(rig.connect(&new, "other.example").await.is_err());
    let more = "[[tls.certificates]]\ncert_file = 'other.crt'\nkey_file = 'other.key'";
    let applied = "slotkeeper_reloads_total{outcome=\"applied\"}";

    rig.reload(&file("hsts_seconds = 60\nmin_version = '1.3'", more));
    rig.counts(applied, 1.0).await;
    rig.counts("slotkeeper_tls_reloads_total{listener=\"visitors\",outcome=\"loaded\"}", 1.0).await;
    let mut stream = rig.connect(&new, "other.example").await.unwrap();
    assert!(exchange(&mut stream, GET).await.0.contains("strict-transport-security: max-age=60\r\n"));
    let tls12 = Client::new(&[&first], &[&TLS12], &["http/1.1"]);
    assert!(rig.connect(&tls12, "play.example").await.is_err());
    assert!(exchange(&mut open, GET).await.0.starts_with("http/1.1 200 "), "the open connection continues");

    // A file with a certificate that cannot be used is refused as a whole.
    std::fs::write(path.join("other.key"), "").unwrap();
    rig.reload(&file("", more));
    rig.counts("slotkeeper_reloads_total{outcome=\"refused\"}", 1.0).await;
    rig.connect(&new, "other.example").await.unwrap();
    assert!(rig.connect(&tls12, "play.example").await.is_err());
    let in_part = "slotkeeper_reloads_total{outcome=\"in_part\"}";
    rig.reload(&file("", "").replace(TLS, "10.0.0.1:444"));
    rig.counts(in_part, 1.0).await;
    until_read_again().await;
    rig.connect(&tls12, "play.example").await.unwrap();
    // Without the table, the listener and its certificate stay until a restart.
    let text = file("", "");
    let rest = &text[text.find("[admin]").unwrap()..];
    rig.reload(&format!("listen = '10.0.0.1:8080'\n{rest}"));
    rig.counts(in_part, 2.0).await;
    until_read_again().await;
    rig.connect(&tls12, "play.example").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silent_wrong_and_distrustful_clients_are_counted_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("handshake_seconds = 3", "[limits]\nconnections = 4")).await;
    let mut rest = Vec::new();

    // As many silent clients as there may be connections: the next one waits until they are closed.
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(rig.dial(TLS).await);
    }
    // One of them has begun.
    silent[0].write_all(&[22, 3, 1]).await.unwrap();
    let mut stream = rig.connect(&Client::trusting(&[&root]), "play.example").await.unwrap();
    assert!(exchange(&mut stream, GET).await.0.starts_with("http/1.1 200 "));
    for mut stream in silent {
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap_or_default(), 0);
    }
    rig.handshakes("timeout", 4.0).await;

    // Neither garbage nor HTTP without TLS gets a response of HTTP.
    let unfinished = &[22, 3, 3, 0, 200, 1][..];
    let garbage = [&b"GET / HTTP/1.1\r\nhost: play.example\r\n\r\n"[..], &[0; 100], &[255; 70_000], unfinished];
    for garbage in garbage {
        let mut stream = rig.dial(TLS).await;
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        rest.clear();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.windows(4).any(|bytes| bytes == b"HTTP"), "{rest:?}");
    }
    rig.handshakes("refused", 3.0).await;
    rig.handshakes("closed", 1.0).await;
    assert!(rig.connect(&Client::trusting(&[]), "play.example").await.is_err());
    rig.handshakes("rejected", 1.0).await;
    // All connections but one have ended.
    while rig.metric("slotkeeper_connections_open").await != Some(1.0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(exchange(&mut stream, GET).await.0.starts_with("http/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_has_not_ended_does_not_delay_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), "tls", &["play.example"]);
    let mut rig = Rig::start(folder, &format!("drain_seconds = 100\n{}", file("handshake_seconds = 3600", ""))).await;
    let mut silent = rig.dial(TLS).await;
    silent.write_all(&[22]).await.unwrap();
    while rig.metric("slotkeeper_connections_open").await != Some(1.0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.stop();
    // In the paused time of this test, which only the dispatcher's own waits advance.
    assert!(tokio::time::timeout(Duration::from_secs(50), rig.ended()).await.is_ok());
    assert_eq!(silent.read_to_end(&mut Vec::new()).await.unwrap_or_default(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_over_tls_carries_everything_also_to_a_slow_reader() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("", "")).await;
    let mut stream = rig.connect(&Client::trusting(&[&root]), "play.example").await.unwrap();
    let upgrade = "GET /a HTTP/1.1\r\nhost: play.example\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";
    let (head, _) = exchange(&mut stream, upgrade).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move {
            write.write_all(&sent).await.unwrap();
            write.flush().await.unwrap();
            write
        }
    });
    let mut received: Vec<u8> = Vec::new();
    let mut pauses = 0;
    while received.len() < sent.len() {
        let mut part = vec![0; 40_000];
        let n = read.read(&mut part).await.unwrap();
        assert!(n > 0, "ended after {} bytes", received.len());
        received.extend(&part[..n]);
        if received.len() / 500_000 > pauses {
            pauses += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert!(received == sent, "the bytes are different");
    // The end arrives as an end of TLS, too.
    writing.await.unwrap().shutdown().await.unwrap();
    assert_eq!(read.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_other_listener_redirects_to_https_and_does_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("", "")).await;
    let mut stream = rig.dial(REDIRECT).await;
    for target in ["/a/b?c=d", "/", "/.slotkeeper/status", "//evil.example"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: play.example:80\r\n\r\n");
        let (head, body) = exchange(&mut stream, &request).await;
        assert!(head.starts_with("http/1.1 308 ") && body.is_empty(), "{head}");
        assert!(head.contains(&format!("location: https://play.example{target}\r\n")), "{head}");
        assert!(!head.contains("set-cookie") && !head.contains("strict-transport"), "{head}");
    }
    // A target that is longer than the HTTP library can hold.
    let long = "x".repeat(60_000);
    let (head, _) = exchange(&mut stream, &format!("GET /{long} HTTP/1.1\r\nhost: play.example\r\n\r\n")).await;
    assert!(head.contains(&format!("location: https://play.example/{long}\r\n")));
    let post = "POST /a HTTP/1.1\r\nhost: play.example\r\ncontent-length: 9\r\n\r\nGET / HTT";
    let (head, _) = exchange(&mut stream, post).await;
    assert!(head.starts_with("http/1.1 308 ") && head.contains("connection: close"), "{head}");
    let mut stream = rig.dial(REDIRECT).await;
    let (head, _) = exchange(&mut stream, "GET /a HTTP/1.1\r\nhost: evil.example/\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 400 ") && !head.contains("location"), "{head}");
    assert_eq!(rig.metric("slotkeeper_tls_redirects_total").await, Some(7.0));
}

#[test]
fn an_expired_certificate_and_one_that_is_not_valid_yet_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    issue_until(folder.path(), "tls", &["play.example"], 2020);
    let files =
        slotkeeper::config::TlsFiles { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    let at = |seconds: u64| slotkeeper::io::tls::read(&files, Time(seconds * 1000)).map(|read| read.names);
    // It is valid from 2000-01-01 to 2020-01-01.
    assert_eq!(at(1_577_836_800).unwrap(), ["play.example"]);
    assert!(at(1_577_836_801).unwrap_err().to_string().ends_with("tls.crt: has expired at 2020-01-01T00:00:00Z"));
    assert_eq!(at(946_684_800).unwrap(), ["play.example"]);
    let early = at(946_684_799).unwrap_err().to_string();
    assert!(early.ends_with("tls.crt: is not valid before 2000-01-01T00:00:00Z"), "{early}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_header_precedes_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let text = format!(
        "trusted_proxies = '192.0.2.1'\n{}",
        file("", "").replace(&format!("'{TLS}'"), &format!("'{TLS} proxy'"))
    );
    let rig = Rig::start(folder, &text).await;
    let client = Client::trusting(&[&root]);
    let mut socket = rig.dial(TLS).await;
    socket.write_all(b"PROXY TCP4 198.51.100.9 10.0.0.1 4711 443\r\n").await.unwrap();
    let mut stream = rig.shake(&client, "play.example", socket).await.unwrap();
    let (_, asked) = exchange(&mut stream, GET).await;
    assert!(asked.contains("x-forwarded-for: 198.51.100.9\r") && asked.contains("x-forwarded-proto: https"), "{asked}");
    // Without a header, it is not TLS that is expected.
    assert!(rig.connect(&client, "play.example").await.is_err());
    rig.counts("slotkeeper_proxy_headers_total{outcome=\"malformed\"}", 1.0).await;
    // A header that does not end has as much time as the head of a request.
    let mut slow = rig.dial(TLS).await;
    slow.write_all(b"PROXY TCP4 198.51").await.unwrap();
    rig.counts("slotkeeper_proxy_headers_total{outcome=\"timeout\"}", 1.0).await;
}
