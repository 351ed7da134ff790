use super::super::frames::{CLOSE, PING, close_payload, control};
use super::*;
use crate::config::{ClusterConfig, FixedPods, PoolConfig, Probe};
use crate::metrics::Metrics;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn metrics() -> PoolMetrics {
    let pods = ClusterConfig::Fixed(FixedPods { pods: vec![], resolve: FixedPods::RESOLVE, probe: Probe::default() });
    Metrics::new().unwrap().pool(&PoolConfig::new("p", slotkeeper_core::Rules::default(), pods)).unwrap()
}

fn data(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | payload.len() as u8, 1, 2, 3, 4];
    frame.extend_from_slice(payload);
    frame
}

/// Sends `bytes` in pieces of `cut` through a pump prepared by `prepare`. Returns the bytes that arrive on the other
/// side.
async fn through(bytes: &[u8], cut: usize, prepare: impl Fn(&mut Pump)) -> (Vec<u8>, PoolMetrics) {
    let metrics = metrics();
    let (mut source, mut from) = duplex(1 << 16);
    let (mut to, mut sink) = duplex(7); // so small that writes block
    let mut pump = Pump::new(Direction::In, true, Counts::ALL, &[], &metrics);
    prepare(&mut pump);
    let feed = async {
        for piece in bytes.chunks(cut) {
            source.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(source);
    };
    let pumped = async {
        poll_fn(|cx| pump.poll(cx, &mut from, &mut to, &metrics)).await.unwrap();
        drop(to);
    };
    let mut out = Vec::new();
    let (_, _, read) = tokio::join!(feed, pumped, sink.read_to_end(&mut out));
    read.unwrap();
    (out, metrics)
}

#[tokio::test]
async fn bytes_pass_untouched_however_they_are_cut() {
    let bytes = [data(b"one"), control(PONG, b"theirs!!", Some([1; 4])), data(b"two")].concat();
    for cut in [1, 2, 3, 7, 100] {
        let (out, metrics) = through(&bytes, cut, |_| {}).await;
        assert_eq!(out, bytes);
        assert_eq!(metrics.messages_in.get(), 2);
        assert_eq!(metrics.bytes_in.get(), bytes.len() as u64);
    }
}

#[tokio::test]
async fn the_dispatchers_own_pong_is_consumed_and_every_other_passes() {
    let ours = control(PONG, b"skpr0001", Some([7, 7, 1, 9]));
    let theirs = control(PONG, b"skpr0002", Some([0; 4]));
    let (first, last) = (data(b"one"), data(b"two"));
    let bytes = [&first[..], &theirs, &ours, &last].concat();
    for cut in 1..bytes.len() {
        let (out, _) = through(&bytes, cut, |p| p.keep_pong(*b"skpr0001")).await;
        assert_eq!(out, [&first[..], &theirs, &last].concat(), "pieces of {cut}");
    }
}

#[tokio::test]
async fn bytes_held_back_are_passed_on_when_the_source_ends() {
    let ours = control(PONG, b"skpr0001", Some([7, 7, 1, 9]));
    let first = data(b"one");
    for end in 1..ours.len() {
        let bytes = [&first[..], &ours[..end]].concat();
        for cut in [1, 4, 100] {
            let (out, _) = through(&bytes, cut, |p| p.keep_pong(*b"skpr0001")).await;
            assert_eq!(out, bytes, "{end} bytes of the pong, in pieces of {cut}");
        }
    }
}

#[tokio::test]
async fn a_ping_is_inserted_only_between_two_frames() {
    let ping = control(PING, b"12345678", None);
    let bytes = [data(b"one"), data(b"two")].concat();
    for cut in 1..bytes.len() {
        // A fresh coop budget: with an exhausted one, tokio reports ready sockets as pending.
        tokio::task::yield_now().await;
        let metrics = metrics();
        let (mut source, mut from) = duplex(1 << 16);
        let (mut to, mut sink) = duplex(1 << 16);
        let mut pump = Pump::new(Direction::Out, true, Counts::ALL, &[], &metrics);
        source.write_all(&bytes[..cut]).await.unwrap();
        poll_fn(|cx| Poll::Ready(pump.poll(cx, &mut from, &mut to, &metrics).is_pending())).await;
        pump.put_in(ping.clone());
        source.write_all(&bytes[cut..]).await.unwrap();
        drop(source);
        poll_fn(|cx| pump.poll(cx, &mut from, &mut to, &metrics)).await.unwrap();
        drop(to);
        let mut out = Vec::new();
        sink.read_to_end(&mut out).await.unwrap();
        let boundary = if cut <= 9 { 9 } else { 18 };
        assert_eq!(out, [&bytes[..boundary], &ping, &bytes[boundary..]].concat(), "cut at {cut}");
    }
}

#[tokio::test]
async fn nothing_follows_an_inserted_close() {
    let close = control(CLOSE, &close_payload(1001, "bye"), None);
    let bytes = [data(b"one"), data(b"two")].concat();
    let (out, _) = through(&bytes, 100, |p| p.finish_with(close.clone())).await;
    assert_eq!(out, close);
    let (out, _) = through(&bytes[3..], 100, |p| p.finish_with(close.clone())).await;
    assert!(!out.windows(3).any(|w| w == b"two") || out.len() <= bytes.len(), "no close in invalid frames");
}

#[tokio::test]
async fn bytes_that_are_not_websocket_pass_too() {
    let bytes = vec![0x83; 1000];
    let (out, metrics) = through(&bytes, 33, |p| p.keep_pong(*b"skpr0001")).await;
    assert_eq!(out, bytes);
    assert_eq!(metrics.messages_in.get(), 0);
}
