//! HTTP/2 with real clients: curl, Node.js, and Chromium with the console.

use crate::browser::chromium::Driver;
use crate::http::SHARED;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use slotkeeper_tests::{Dispatcher, Pod, Setup, eventually};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

/// A dispatcher that also listens with TLS, and with HTTP/2 without TLS. Returns both addresses.
async fn start(setup: Setup) -> (Dispatcher, SocketAddr, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    for (name, text) in [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let listeners = "[tls]\nlisten = '127.0.0.1:0'\n[[tls.certificates]]\ncert_file = 'tls.crt'\nkey_file = 'tls.key'\n\
                     [http2]\nlisten = '127.0.0.1:0'\n";
    let file = folder.path().join("slotkeeper.toml");
    std::fs::write(&file, format!("{}\n{listeners}", setup.text())).unwrap();
    let dispatcher = Dispatcher::serve(folder, &file, &[]).await;
    let log = dispatcher.log();
    let address = |name: &str| {
        let text = log.split_once(&format!(" {name}=[")).and_then(|(_, rest)| rest.split(']').next());
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} in {log}"))
    };
    let (tls, plain) = (address("tls"), address("http2"));
    (dispatcher, tls, plain)
}

fn ran(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_node_speak_it_with_and_without_tls() {
    let pod = Pod::named("pod").await;
    let (dispatcher, tls, plain) = start(Setup::fixed(&[&pod], SHARED)).await;
    for (options, url, version) in [
        (&["--http2"][..], format!("https://{tls}/"), "2"),
        (&["--http1.1"], format!("https://{tls}/"), "1.1"),
        (&["--http2-prior-knowledge"], format!("http://{plain}/"), "2"),
        (&["--http2"], format!("http://{}/", dispatcher.visitors), "1.1"),
    ] {
        let format = ["--insecure", "--silent", "--show-error", "--write-out", " %{http_version} %{http_code}"];
        let output = ran(Command::new("curl").args(format).args(options).arg(&url));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, format!("pod {version} 200"), "{options:?} {url}");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("http2/client.mjs");
    for (url, protocol) in [(format!("https://localhost:{}", tls.port()), "h2"), (format!("http://{plain}"), "h2c")] {
        let output = ran(Command::new("node").arg(&script).arg(&url));
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        let page = json!({ "status": 200, "text": "pod" });
        let websocket = json!({
            "status": 200, "accept": false, "upgrade": false, "echo": "hello", "close": [8, 1000], "reset": null,
        });
        let expected = json!({
            "protocol": protocol, "announced": true, "page": page, "upload": page, "websocket": websocket, "many": 50,
        });
        assert_eq!(seen, expected);
    }
    let metrics = dispatcher.metrics().await;
    assert_eq!(metrics.get("slotkeeper_http_requests_total{version=\"2\"}"), Some(108.0));
    assert_eq!(metrics.get("slotkeeper_http_requests_total{version=\"1.1\"}"), Some(2.0));
}

#[tokio::test]
async fn in_chromium_the_console_plays_with_nothing_but_http2() {
    let (mut dispatcher, tls, _) = start(Setup::consoles("min_pods = 0\nmax_pods = 1\nadmission = 'returning'")).await;
    let driver = Driver::start().await;
    let mut ana = driver.browser().await;
    ana.go(&format!("https://localhost:{}/", tls.port())).await;
    ana.sees("a console", "document.getElementById('link')?.dataset.state === 'connected'").await;
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(ana.eval(protocol).await, "h2");
    let messages = async |dispatcher: &Dispatcher| {
        dispatcher.metrics().await.of_pool("slotkeeper_messages_total", "direction=out")
    };
    let before = messages(&dispatcher).await;
    eventually("the picture to go on", async || messages(&dispatcher).await > before).await;
    let metrics = dispatcher.metrics().await;
    // Also the waiting room's events and the WebSocket.
    assert_eq!(metrics.get("slotkeeper_http_requests_total{version=\"1.1\"}"), Some(0.0));
    assert_eq!(metrics.of_pool("slotkeeper_streams_open", "kind=upgraded"), 1);
    assert_eq!(metrics.get("slotkeeper_http2_connections"), Some(1.0));
    // The page learns of the end by a close frame, and reconnects on its own.
    assert!(dispatcher.stop().await.success());
    ana.sees("that the connection is lost", "document.getElementById('link')?.dataset.state !== 'connected'").await;
}
