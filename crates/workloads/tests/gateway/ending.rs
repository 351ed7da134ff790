//! The shutdown of a pod: the notice, the closes, and sockets that do not close.

use std::time::Duration;

use slotkeeper_workloads::gateway::{Config, Ended};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use super::{Running, ask};

#[tokio::test]
async fn a_drain_notifies_all_clients_closes_them_one_by_one_and_ends_with_the_last() {
    let config = Config { drain: Duration::from_secs(4), name: "leaving".into(), ..Config::default() };
    let gateway = Running::ready(config).await;
    let (address, metrics) = (gateway.address, gateway.metrics);
    let mut guests = Vec::new();
    for number in 0..40 {
        let path = if number % 2 == 0 { "/chat" } else { "/ws" };
        let mut guest = Client::open(&gateway, path).await;
        guests.push(tokio::spawn(async move {
            if path == "/chat" {
                assert_eq!(guest.hear("server-shutdown").await["in_seconds"], 4);
            }
            (guest.closed().await, Instant::now())
        }));
    }
    gateway.signal();
    gateway.counts("websocket_draining", 1.0).await;
    assert_eq!(gateway.get("/readyz").await.0, 503);
    assert_eq!(gateway.get("/healthz").await.0, 200);
    let (status, body, retry) = Client::refused(&gateway, "/ws").await;
    assert_eq!((status, body.contains("\"draining\""), retry.is_some()), (503, true, true));
    assert!(ask(metrics, "/metrics", "").await.1.contains("websocket_drain_started_timestamp_seconds 1"));
    assert_eq!(ask(address, "/ws", "").await.0, 503);
    let ended = gateway.ended().await;
    assert_eq!(ended, Ended { cut: 0 });
    let mut times = Vec::new();
    for guest in guests {
        let (close, at) = guest.await.expect("no panic");
        assert_eq!(close, Some((1001, "server-shutdown".into())));
        times.push(at);
    }
    // Not all at once: fewer than half of them in any tenth of the time.
    times.sort_unstable();
    let tenth = (times[39] - times[0]) / 10;
    let largest =
        times.iter().map(|at| times.iter().filter(|other| **other >= *at && **other < *at + tenth).count()).max();
    assert!(largest < Some(20), "{largest:?} of 40 within a tenth of the time");
}

#[tokio::test]
async fn a_stubborn_client_is_cut_off_after_the_drain_time_or_a_second_signal() {
    let gateway = Running::ready(Config { drain: Duration::from_secs(1), ..Config::default() }).await;
    let mut polite = Client::open(&gateway, "/ws").await;
    // It does not read, so it does not answer the close.
    let stubborn = Client::open(&gateway, "/ws").await;
    gateway.signal();
    assert_eq!(polite.closed().await, Some((1001, "server-shutdown".into())));
    assert_eq!(gateway.ended().await, Ended { cut: 1 });
    drop(stubborn);

    let gateway = Running::ready(Config { drain: Duration::from_secs(3600), ..Config::default() }).await;
    let mut guests = Vec::new();
    for _ in 0..5 {
        guests.push(Client::open(&gateway, "/ws").await);
    }
    gateway.signal();
    gateway.counts("websocket_draining", 1.0).await;
    gateway.signal();
    for guest in &mut guests {
        assert_eq!(guest.closed().await, Some((1001, "server-shutdown".into())));
    }
    assert_eq!(gateway.ended().await, Ended { cut: 0 });
}

#[tokio::test]
async fn a_drain_without_sockets_ends_at_once_and_remaining_sockets_are_served() {
    let gateway = Running::ready(Config { drain: Duration::from_secs(3600), ..Config::default() }).await;
    let mut last = Client::open(&gateway, "/ws").await;
    gateway.signal();
    gateway.counts("websocket_draining", 1.0).await;
    last.send(Message::text("still here")).await;
    assert_eq!(last.next().await, b"still here");
    last.socket.close(None).await.expect("closed");
    assert_eq!(gateway.ended().await, Ended { cut: 0 });
}

#[tokio::test]
async fn the_binary_ends_cleanly_on_sigterm_and_reports_invalid_arguments() {
    let binary = env!("CARGO_BIN_EXE_slotkeeper-gateway");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut child = tokio::process::Command::new(binary)
        .args(["--listen", &address.to_string(), "--metrics-listen", "off", "--drain-seconds", "2"])
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    super::eventually("the binary to listen", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    let mut guest = Client::try_open(address, "/ws").await.expect("a socket");
    let pid = rustix::process::Pid::from_raw(child.id().expect("it runs") as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
    assert_eq!(guest.closed().await, Some((1001, "server-shutdown".into())));
    let status = super::patiently("the end", child.wait()).await.expect("it ended");
    assert_eq!(status.code(), Some(0));

    for (arguments, word) in [
        (&["--connections", "0"][..], "--connections"),
        (&["--redis", "rediss://:secret@host"], "allowed: redis://"),
        (&["--slow-consumer", "ignore"], "drop, close"),
        (&["--heartbeat-seconds", "0"], "allowed: 1 to 3600 seconds"),
        (&["--metrics-listen", "9100"], "or off"),
        (&["--redis", "redis://host", "--redis-password-file", "/nowhere"], "--redis-password-file /nowhere"),
    ] {
        let output = tokio::process::Command::new(binary).args(arguments).output().await.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{arguments:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
