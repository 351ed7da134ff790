//! Sockets: echo and rooms, limits, heartbeats, slow consumers.

use std::time::Duration;

use slotkeeper_workloads::gateway::{Config, SlowConsumer};
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use super::{Running, ask, eventually};

#[tokio::test]
async fn an_echo_equals_the_message_however_large() {
    let gateway = Running::ready(Config::default()).await;
    let mut ana = Client::open(&gateway, "/below/any/path/ws").await;
    ana.send(Message::text("hello")).await;
    assert_eq!(ana.next().await, b"hello");
    ana.send(Message::text("")).await;
    assert_eq!(ana.next().await, b"");
    // The echo arrives in frames of a few KiB.
    let large: Vec<u8> = (0..65_536_u32).map(|at| (at % 251) as u8).collect();
    ana.send(Message::binary(large.clone())).await;
    assert_eq!(ana.next().await, large);
    ana.send(Message::text("ü".repeat(30_000))).await;
    assert_eq!(ana.next().await, "ü".repeat(30_000).into_bytes());
    gateway.counts("websocket_messages_received_total", 4.0).await;
    gateway.counts("websocket_messages_sent_total", 4.0).await;
    ana.socket.close(None).await.expect("closed");
    gateway.counts("websocket_closed_total{reason=\"client\"}", 1.0).await;
    gateway.counts("websocket_active_connections", 0.0).await;
}

#[tokio::test]
async fn too_large_messages_and_invalid_frames_close_the_socket() {
    let gateway = Running::ready(Config { message_bytes: 1000, ..Config::default() }).await;
    let mut ana = Client::open(&gateway, "/ws").await;
    ana.send(Message::text("x".repeat(100_000))).await;
    assert_eq!(ana.closed().await, Some((1009, "message too large".into())));
    gateway.counts("websocket_closed_total{reason=\"too_large\"}", 1.0).await;

    use tokio::io::AsyncWriteExt;
    let mut ben = Client::open(&gateway, "/ws").await;
    // A frame without a mask.
    ben.socket.get_mut().write_all(&[0x81, 0x01, b'x']).await.expect("sent");
    assert_eq!(ben.closed().await, Some((1002, "not WebSocket".into())));
    gateway.counts("websocket_closed_total{reason=\"protocol\"}", 1.0).await;

    let cleo = Client::open(&gateway, "/ws").await;
    drop(cleo);
    gateway.counts("websocket_closed_total{reason=\"error\"}", 1.0).await;
}

#[tokio::test]
async fn messages_reach_their_room_and_no_other() {
    let gateway = Running::ready(Config::default()).await;
    let mut ana = Client::open(&gateway, "/ws?room=harbour").await;
    let mut ben = Client::open(&gateway, "/a/ws?x=1&room=harbour").await;
    let mut cleo = Client::open(&gateway, "/ws?room=hill").await;
    let mut dora = Client::open(&gateway, "/ws").await;
    // A socket joins its room before its messages are read.
    for client in [&mut ana, &mut cleo] {
        client.send(Message::text("one")).await;
        assert_eq!(client.next().await, b"one");
    }
    assert_eq!(ben.next().await, b"one");
    ben.send(Message::binary(vec![7; 20_000])).await;
    assert_eq!((ana.next().await, ben.next().await), (vec![7; 20_000], vec![7; 20_000]));
    cleo.send(Message::text("two")).await;
    assert_eq!(cleo.next().await, b"two");
    dora.send(Message::text("three")).await;
    assert_eq!(dora.next().await, b"three");
    assert_eq!(Client::refused(&gateway, "/ws?room=").await.0, 400);
    assert_eq!(Client::refused(&gateway, &format!("/ws?room={}", "x".repeat(65))).await.0, 400);
    gateway.counts("websocket_connections_refused_total{reason=\"bad_request\"}", 2.0).await;
}

#[tokio::test]
async fn a_full_pod_refuses_and_one_that_is_nearly_full_is_not_ready_until_there_is_room() {
    let gateway = Running::ready(Config { connections: 20, name: "small".into(), ..Config::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..18 {
        clients.push(Client::open(&gateway, "/ws").await);
    }
    // 90 percent, while usage rises.
    assert_eq!(gateway.get("/readyz").await.0, 200);
    clients.push(Client::open(&gateway, "/ws").await);
    let (status, answer) = gateway.get("/readyz").await;
    assert_eq!((status, answer.ends_with("not ready: nearly full\n")), (503, true), "{answer}");
    assert_eq!(ask(gateway.metrics, "/readyz", "").await.0, 503);
    assert_eq!(gateway.get("/healthz").await.0, 200);
    assert_eq!(gateway.get("/ws").await.0, 426);
    clients.push(Client::open(&gateway, "/chat").await);
    let (status, body, retry) = Client::refused(&gateway, "/ws").await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, body["error"].as_str(), body["pod"].as_str()), (503, Some("full"), Some("small")));
    assert!(retry.is_some_and(|seconds| (1..=5).contains(&seconds.parse::<u32>().expect("seconds"))));
    assert_eq!(gateway.get("/ws").await.0, 503);
    for (name, value) in [
        ("websocket_active_connections", 20.0),
        ("ws_connections_active", 20.0),
        ("websocket_connection_limit", 20.0),
        ("websocket_capacity_ratio", 1.0),
        ("websocket_connections_total", 20.0),
        ("websocket_connections_refused_total{reason=\"full\"}", 2.0),
    ] {
        assert_eq!(gateway.metric(name).await, value, "{name}");
    }
    assert!(gateway.metric("process_open_fds").await > 20.0);
    assert!(gateway.metric("process_max_fds").await > gateway.metric("process_open_fds").await);
    // The other sockets are still served.
    clients[0].send(Message::text("still here")).await;
    assert_eq!(clients[0].next().await, b"still here");
    // At 90 percent it stays unready; below, it is ready again.
    clients.truncate(18);
    gateway.counts("websocket_active_connections", 18.0).await;
    assert_eq!(gateway.get("/readyz").await.0, 503);
    clients.truncate(17);
    gateway.counts("websocket_active_connections", 17.0).await;
    assert_eq!(gateway.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_dead_peer_is_dropped_and_one_that_answers_is_not() {
    let gateway = Running::ready(Config { heartbeat: Duration::from_millis(200), ..Config::default() }).await;
    let mut alive = Client::open(&gateway, "/ws").await;
    // It does not read, so it does not answer either.
    let dead = Client::open(&gateway, "/ws").await;
    let listening = tokio::spawn(async move {
        // Reading answers the pings.
        alive.next().await
    });
    gateway.counts("websocket_closed_total{reason=\"heartbeat\"}", 1.0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(gateway.metric("websocket_closed_total{reason=\"heartbeat\"}").await, 1.0);
    assert!(!listening.is_finished());
    listening.abort();
    drop(dead);
}

/// Fills a room until a message for a client that does not read is dropped. Returns how many messages that took.
async fn flood(gateway: &Running, talker: &mut Client) -> u64 {
    let mut said = 0;
    while gateway.metric("websocket_messages_dropped_total").await == 0.0 {
        for _ in 0..50 {
            talker.send(Message::text(format!("{said:08}{}", "x".repeat(4000)))).await;
            talker.next().await;
            said += 1;
        }
    }
    said
}

#[tokio::test]
async fn a_slow_consumer_loses_the_oldest_and_the_queue_stays_small() {
    let gateway = Running::ready(Config { send_queue: 8, ..Config::default() }).await;
    let mut slow = Client::open(&gateway, "/ws?room=r").await;
    let mut talker = Client::open(&gateway, "/ws?room=r").await;
    let said = flood(&gateway, &mut talker).await;
    // The slow client has not received the queued messages and one frame that is stuck.
    gateway.counts("websocket_send_queue_messages", 8.0).await;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&(said - 1)) {
        let message = slow.next().await;
        numbers.push(std::str::from_utf8(&message[..8]).expect("digits").parse::<u64>().expect("a number"));
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order");
    let dropped = gateway.metric("websocket_messages_dropped_total").await as u64;
    assert_eq!(numbers.len() as u64 + dropped, said);
    assert_eq!(numbers[numbers.len() - 8..], ((said - 8)..said).collect::<Vec<_>>(), "the newest are there");
    gateway.counts("websocket_send_queue_messages", 0.0).await;
    gateway.counts("websocket_active_connections", 2.0).await;
}

#[tokio::test]
async fn a_slow_consumer_can_be_closed_instead() {
    let config = Config { send_queue: 8, slow_consumer: SlowConsumer::Close, ..Config::default() };
    let gateway = Running::ready(config).await;
    let mut slow = Client::open(&gateway, "/ws?room=r").await;
    let mut talker = Client::open(&gateway, "/ws?room=r").await;
    flood(&gateway, &mut talker).await;
    // It reads now, and gets the close in place of the messages.
    assert_eq!(slow.closed().await, Some((1013, "slow consumer".into())));
    gateway.counts("websocket_closed_total{reason=\"slow_consumer\"}", 1.0).await;
    gateway.counts("websocket_send_queue_messages", 0.0).await;
    eventually("the talker to be alone", async || gateway.metric("websocket_active_connections").await == 1.0).await;
}

#[tokio::test]
async fn the_page_and_its_parts_are_served_below_any_path() {
    let gateway = Running::ready(Config { name: "<gateway>".into(), ..Config::default() }).await;
    for (path, kind) in [("/", "text/html"), ("/pod/style.css", "text/css"), ("/a/client.js", "text/javascript")] {
        let (status, answer) = gateway.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(answer.contains(&format!("content-type: {kind}")), "{path}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}");
    }
    for part in ["chat.js", "outbox.js", "icon.svg", "index.html"] {
        assert_eq!(gateway.get(&format!("/{part}")).await.0, 200, "{part}");
    }
    let alone = gateway.get("/").await.1;
    assert!(alone.contains("data-dispatcher=\"\" data-scope=\"pod\"") && alone.contains("&lt;gateway&gt;"));
    let dispatched = ask(gateway.address, "/", "x-slotkeeper-path: /a/.slotkeeper/\r\n").await.1;
    assert!(dispatched.contains("data-dispatcher=\"/a/.slotkeeper/\""));
    for nothing in ["/nothing", "/metrics"] {
        assert_eq!(gateway.get(nothing).await.0, 404, "{nothing}");
    }
    assert_eq!(ask(gateway.metrics, "/", "").await.0, 404);
    let elsewhere = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\norigin: http://elsewhere.example\r\n";
    assert_eq!(ask(gateway.address, "/chat", elsewhere).await.0, 403);
}
