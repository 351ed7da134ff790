//! The access log of the built program: requests, WebSockets, failures, rotation; and which address is the client's.

use crate::http::SHARED;
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::Value;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually, patiently};
use std::path::Path;
use tokio_tungstenite::tungstenite::Message;

/// A dispatcher with an access log `access.log` in its folder.
async fn logging(pod: &Pod, top: &str, settings: &str) -> Dispatcher {
    let mut setup = Setup::fixed(&[pod], SHARED).top(top);
    setup.pools = format!("[access_log]\noutput = \"access.log\"\n{settings}\n{}", setup.pools);
    setup.start().await
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn lines(dispatcher: &Dispatcher) -> Vec<Value> {
    let text = text(&dispatcher.folder.path().join("access.log"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The line of the request for this path, once it has been written.
async fn line_of(dispatcher: &Dispatcher, path: &str) -> Value {
    let find = || lines(dispatcher).into_iter().find(|line| line["path"] == path);
    eventually(&format!("the line of {path}"), async || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn each_request_is_one_line_with_its_session_and_pod_and_without_its_query() {
    let pod = Pod::named("hello").await;
    let dispatcher = logging(&pod, "", "").await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/first?token=SECRET").await;
    ana.request("POST", "/second", "Authorization: Bearer SECRET\r\n", b"12345").await;
    let name = pod.seen.last().head.get("x-session-id").unwrap().to_owned();
    let (first, second) = (line_of(&dispatcher, "/first").await, line_of(&dispatcher, "/second").await);
    for line in [&first, &second] {
        assert_eq!((line["session"].as_str(), line["pool"].as_str()), (Some(&*name), Some("pool")));
        assert_eq!((line["pod"].as_u64(), line["status"].as_u64()), (Some(0), Some(200)));
        assert_eq!((line["outcome"].as_str(), line["address"].as_str()), (Some("forwarded"), Some("127.0.0.1")));
        assert_eq!((line["bytes_sent"].as_u64(), line["reason"].as_str()), (Some(5), None));
    }
    assert_eq!((first["method"].as_str(), second["method"].as_str()), (Some("GET"), Some("POST")));
    assert_eq!((first["bytes_received"].as_u64(), second["bytes_received"].as_u64()), (Some(0), Some(5)));
    let whole = text(&dispatcher.folder.path().join("access.log"));
    assert!(!whole.contains("SECRET") && !whole.contains(&ana.jar["slotkeeper"]), "{whole}");
    Visitor::of(&dispatcher).get("/.slotkeeper/none").await;
    let failed = line_of(&dispatcher, "/.slotkeeper/none").await;
    assert_eq!((failed["status"].as_u64(), failed["fault"].as_str()), (Some(404), Some("visitor")));
    assert_eq!(failed["reason"], "the dispatcher has no such page");
    let metrics = Visitor::at(dispatcher.admin).get("/metrics").await.text();
    assert!(metrics.contains("slotkeeper_access_log_lines_total{outcome=\"dropped\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_websocket_is_one_line_when_it_has_ended() {
    let pod = Pod::sockets(slotkeeper_tests::pod::echo).await;
    let dispatcher = logging(&pod, "", "").await;
    let mut socket = Visitor::of(&dispatcher).socket("/ws").await;
    socket.send(Message::text("12345")).await.unwrap();
    patiently("the echo", socket.next()).await.unwrap().unwrap();
    Visitor::of(&dispatcher).get("/.slotkeeper/health").await;
    line_of(&dispatcher, "/.slotkeeper/health").await;
    assert!(lines(&dispatcher).iter().all(|line| line["path"] != "/ws"), "the WebSocket is still open");
    socket.close(None).await.unwrap();
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    drop(socket);
    let line = line_of(&dispatcher, "/ws").await;
    assert_eq!((line["status"].as_u64(), line["outcome"].as_str()), (Some(101), Some("upgraded")));
    // A masked frame has four bytes more than the one of the pod.
    let (received, sent) = (line["bytes_received"].as_u64().unwrap(), line["bytes_sent"].as_u64().unwrap());
    assert!(received >= 2 + 4 + 5 && sent >= 2 + 5, "{line}");
}

#[tokio::test]
async fn sighup_opens_the_file_again_even_if_the_configuration_is_refused() {
    let pod = Pod::named("x").await;
    let dispatcher = logging(&pod, "", "format = \"combined\"").await;
    let (file, rotated) = (dispatcher.folder.path().join("access.log"), dispatcher.folder.path().join("access.log.1"));
    let mut ana = Visitor::of(&dispatcher);
    ana.request("GET", "/one", "User-Agent: a \"quoted\" \\ name\r\nReferer: http://x/y?SECRET\r\n", b"").await;
    eventually("a line", async || text(&file).ends_with('\n')).await;
    let line = text(&file);
    assert!(line.starts_with("127.0.0.1 - ") && line.contains("] \"GET /one HTTP/1.1\" 200 1 "), "{line}");
    assert!(line.ends_with("\"http://x/y\" \"a \\x22quoted\\x22 \\x5C name\"\n"), "{line}");
    std::fs::rename(&file, &rotated).unwrap();
    std::fs::write(dispatcher.folder.path().join("slotkeeper.toml"), "nonsense").unwrap();
    dispatcher.signal(Signal::HUP);
    eventually("the file to be opened again", async || file.exists()).await;
    ana.get("/two").await;
    eventually("a line in the new file", async || text(&file).contains("GET /two ")).await;
    assert!(!text(&rotated).contains("/two"));
}

#[tokio::test]
async fn the_log_has_the_address_that_trusted_proxies_report() {
    let pod = Pod::named("x").await;
    let trusted = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";
    let fields = "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.2.2.2\r\nX-Forwarded-Proto: http\r\n\
                  Forwarded: for=1.1.1.1, for=\"[2001:db8::7]:99\";proto=https;host=app.example\r\n";
    for (settings, address, proto, host) in [
        ("", "127.0.0.1", "http", None),
        (trusted, "192.0.2.7", "http", None),
        (&format!("{trusted}client_address_field = \"forwarded\"\n"), "2001:db8::7", "https", Some("app.example")),
    ] {
        let dispatcher = logging(&pod, settings, "").await;
        let mut ana = Visitor::of(&dispatcher);
        ana.request("GET", "/", fields, b"").await;
        assert_eq!(line_of(&dispatcher, "/").await["address"], address, "{settings}");
        let asked = pod.seen.last().head;
        assert_eq!(asked.get("x-forwarded-proto"), Some(proto), "{settings}");
        assert_eq!(asked.get("x-forwarded-host"), Some(host.unwrap_or(&ana.host)), "{settings}");
        assert!(asked.get("x-forwarded-for").unwrap().ends_with("127.0.0.1"));
        assert!(asked.get("x-forwarded-for").unwrap().contains(address), "{settings}");
    }
}
