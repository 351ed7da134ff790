//! Bodies far larger than the memory that the dispatcher may use. `E2E_GIB=5` makes them that many GiB.

use crate::http::SHARED;
use slotkeeper_tests::pod::ok;
use slotkeeper_tests::{Pod, Setup, Visitor};

/// Limit of the dispatcher's peak memory.
const MOST_KIB: u64 = 100 * 1024;
const PIECE: usize = 1 << 20;

fn size() -> u64 {
    let gib: Option<u64> = std::env::var("E2E_GIB").ok().and_then(|n| n.parse().ok());
    gib.map_or(64 << 20, |n| n << 30)
}

/// A piece that differs from its neighbours.
fn piece(n: u64) -> Vec<u8> {
    let mut piece = vec![n as u8; PIECE];
    piece[..8].copy_from_slice(&n.to_be_bytes());
    piece
}

#[tokio::test]
async fn a_body_of_any_size_passes_both_ways_with_little_memory() {
    let pieces = size() / PIECE as u64;
    let pod = Pod::start(move |mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        if head.method() == "POST" {
            for n in 0..pieces {
                assert_eq!(wire.bytes(PIECE).await, piece(n));
            }
            wire.send(ok("all of it")).await;
        }
        let length = pieces * PIECE as u64;
        if wire.head().await.is_some() {
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
            for n in 0..pieces {
                wire.send(piece(n)).await;
            }
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("POST", "/", &format!("Content-Length: {}\r\n", size())).await;
    for n in 0..pieces {
        wire.send(piece(n)).await;
    }
    assert_eq!(ana.answer(&mut wire, "POST").await.text(), "all of it");
    wire.send(ana.head("GET", "/", "")).await;
    assert_eq!(ana.hear(&mut wire).await.get("content-length"), Some(size().to_string().as_str()));
    for n in 0..pieces {
        assert!(wire.bytes(PIECE).await == piece(n), "piece {n}");
    }
    let peak = dispatcher.memory_kib("VmHWM");
    assert!(peak < MOST_KIB, "{peak} KiB for {} MiB each way", size() >> 20);
    if std::env::var_os("E2E_GIB").is_some() {
        println!("{} MiB each way: the dispatcher's peak was {} MiB", size() >> 20, peak / 1024);
    }
}

#[tokio::test]
async fn a_response_that_the_visitor_does_not_read_is_not_buffered() {
    let pod = Pod::start(|mut wire, seen| async move {
        let Some(head) = wire.head().await else { return };
        seen.note(slotkeeper_tests::Request { head, ..Default::default() });
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
        for n in 0..1024 {
            if !wire.try_send(piece(n)).await {
                return;
            }
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut wire = ana.ask("GET", "/", "").await;
        ana.hear(&mut wire).await;
        slow.push(wire);
    }
    // Other visitors are served meanwhile, and the memory stays small.
    for _ in 0..100 {
        let mut wire = Visitor::of(&dispatcher).ask("GET", "/", "").await;
        assert_eq!(wire.head().await.unwrap().status(), 200);
    }
    let peak = dispatcher.memory_kib("VmHWM");
    assert!(peak < MOST_KIB, "{peak} KiB");
    drop(slow);
    pod.is_left_alone().await;
}
