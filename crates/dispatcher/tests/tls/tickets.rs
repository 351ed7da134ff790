//! Session tickets whose keys several dispatchers share.

use super::rig::{Client, Rig, exchange, file};
use super::{GET, until_read_again};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::path::Path;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// Dispatchers with the same certificate, each with its own file of keys.
async fn dispatchers<const N: usize>(keys: [&str; N]) -> (CertificateDer<'static>, [Rig; N]) {
    let mut params = CertificateParams::new(vec!["play.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut rigs = Vec::new();
    for keys in keys {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        write(folder.path(), keys);
        rigs.push(Rig::start(folder, &file("ticket_keys_file = 'tickets'", "")).await);
    }
    (certificate.der().clone(), rigs.try_into().ok().unwrap())
}

fn write(folder: &Path, keys: &str) {
    std::fs::write(folder.join("tickets"), keys).unwrap();
}

async fn visit(rig: &Rig, client: &Client) {
    let mut stream = rig.connect(client, "play.example").await.unwrap();
    assert!(exchange(&mut stream, GET).await.0.starts_with("http/1.1 200 "));
}

async fn resumed(rig: &Rig) -> f64 {
    let series = "slotkeeper_tls_handshakes_total{listener=\"visitors\",result=\"resumed\"}";
    rig.metric(series).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_session_is_resumed_at_another_dispatcher_with_the_same_keys_and_at_no_other() {
    let [a, b] = ["1", "2"].map(|digit| digit.repeat(64));
    let both = format!("# new, old\n{b}\n{a}\n");
    let (root, [first, second, other, during]) = dispatchers([&a, &a, &b, &both]).await;
    for version in [&TLS12, &TLS13] {
        let client = || Client::new(&[&root], &[version], &["http/1.1"]);
        let known = client();
        visit(&first, &known).await;
        let before = resumed(&second).await;
        visit(&second, &known).await;
        assert_eq!(resumed(&second).await, before + 1.0, "{version:?}");
        let known = client();
        visit(&first, &known).await;
        visit(&other, &known).await;
        assert_eq!(resumed(&other).await, 0.0, "{version:?}");
        let known = client();
        visit(&first, &known).await;
        let before = resumed(&during).await;
        visit(&during, &known).await;
        assert_eq!(resumed(&during).await, before + 1.0, "an older key decrypts: {version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_rotated_without_a_restart() {
    let [a, b] = ["1", "2"].map(|digit| digit.repeat(64));
    let (root, [rig]) = dispatchers([&a]).await;
    let folder = rig.folder.path().to_owned();
    let known = Client::new(&[&root], &[&TLS13], &["http/1.1"]);
    visit(&rig, &known).await;
    write(&folder, &format!("{b}\n{a}"));
    until_read_again().await;
    visit(&rig, &known).await;
    assert_eq!(resumed(&rig).await, 1.0);
    // An unusable file changes nothing.
    write(&folder, "no key");
    until_read_again().await;
    visit(&rig, &known).await;
    assert_eq!(resumed(&rig).await, 2.0);
    // The last tickets were encrypted with the new key.
    write(&folder, &b);
    until_read_again().await;
    visit(&rig, &known).await;
    assert_eq!(resumed(&rig).await, 3.0);
    write(&folder, &a);
    until_read_again().await;
    visit(&rig, &known).await;
    assert_eq!(resumed(&rig).await, 3.0);
    let reloads = "slotkeeper_tls_reloads_total{listener=\"visitors\",outcome=\"refused\"}";
    assert_eq!(rig.metric(reloads).await, Some(1.0));
}
