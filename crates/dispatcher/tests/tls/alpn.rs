//! The choice of HTTP/2 in the TLS handshake (ALPN). What it does then is in `http2.rs`.

use super::issue;
use super::rig::{Client, Rig, file};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio_rustls::rustls::version::{TLS12, TLS13};

#[tokio::test(start_paused = true)]
async fn over_tls_a_client_chooses_http2_unless_it_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let rig = Rig::start(folder, &file("hsts_seconds = '1d'", "")).await;
    for version in [&TLS12, &TLS13] {
        let client = Client::new(&[&root], &[version], &["h2", "http/1.1"]);
        let stream = rig.connect(&client, "play.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://play.example/a").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert!(response.headers()["set-cookie"].to_str().unwrap().contains("; Secure"));
        assert_eq!(response.headers()["strict-transport-security"], "max-age=86400");
        let asked = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&asked).contains("x-forwarded-proto: https\r\n"));
    }
    // A client that does not know it, and one that knows nothing else.
    for (offers, chosen) in [(&["http/1.1"][..], &b"http/1.1"[..]), (&["h2"], b"h2")] {
        let stream = rig.connect(&Client::new(&[&root], &[&TLS13], offers), "play.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen));
    }
    rig.reload(&file("hsts_seconds = '1d'", "[http2]\nover_tls = false"));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let both = Client::new(&[&root], &[&TLS13], &["h2", "http/1.1"]);
    let stream = rig.connect(&both, "play.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}
