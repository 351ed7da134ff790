//! Upgraded connections pass every byte, in both directions, whatever the frames are; and a vanished client is noticed.

use crate::http::SHARED;
use futures_util::{SinkExt, StreamExt};
use slotkeeper_tests::pod::{Socket, answer, echo, ok, switching};
use slotkeeper_tests::visitor::HANDSHAKE;
use slotkeeper_tests::{Dispatcher, Pod, Request, Setup, Visitor, Wire, eventually, patiently};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A hand-made frame; clients mask.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..126 => frame.push(masked | n as u8),
        n @ 126..65536 => {
            frame.push(masked | 126);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(mask.as_ref().map_or(&[], |m| &m[..]));
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
    frame
}

/// The next frame: first byte and payload; `None` at the end.
async fn next_frame(wire: &mut Wire) -> Option<(u8, Vec<u8>)> {
    let head = wire.bytes(2).await;
    let &[first, second] = &head[..] else { return None };
    let length = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(wire.bytes(2).await.try_into().ok()?)),
        127 => u64::from_be_bytes(wire.bytes(8).await.try_into().ok()?),
        n => u64::from(n),
    };
    let mask: [u8; 4] = if second & 0x80 != 0 { wire.bytes(4).await.try_into().ok()? } else { [0; 4] };
    let mut payload = wire.bytes(length as usize).await;
    payload.iter_mut().enumerate().for_each(|(i, b)| *b ^= mask[i % 4]);
    (payload.len() as u64 == length).then_some((first, payload))
}

/// A pod that switches protocols and then sends every byte back.
async fn mirror(fields: &'static str) -> Pod {
    Pod::start(move |mut wire, seen| async move {
        let Some(head) = wire.head().await else { return };
        wire.send(switching(&head, fields)).await;
        seen.note(Request { head, ..Request::default() });
        loop {
            let some = wire.some().await;
            if some.is_empty() {
                return;
            }
            wire.send(some).await;
        }
    })
    .await
}

async fn raw_socket(visitor: &mut Visitor, fields: &str) -> Wire {
    let mut wire = visitor.ask("GET", "/socket", &format!("{HANDSHAKE}{fields}")).await;
    assert_eq!(visitor.hear(&mut wire).await.status(), 101);
    wire
}

async fn before(pod: &Pod) -> Dispatcher {
    Setup::fixed(&[pod], SHARED).start().await
}

async fn all_streams_are_closed(dispatcher: &Dispatcher) {
    eventually("all streams to be closed", async || {
        let metrics = dispatcher.metrics().await;
        metrics.of_pool("slotkeeper_streams_open", "kind=upgraded") == 0
    })
    .await;
}

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Sizes of every order of magnitude up to 1 MiB.
    fn size(&mut self) -> usize {
        let order = self.next() % 21;
        (self.next() % (1 << order)) as usize + usize::from(order == 20)
    }
}

/// `E2E_MESSAGES=10000` sends that many.
#[tokio::test]
async fn messages_of_every_size_are_echoed_unchanged_and_counted() {
    let count = std::env::var("E2E_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let pod = Pod::sockets(echo).await;
    let dispatcher = before(&pod).await;
    let socket = Visitor::of(&dispatcher).socket("/").await;
    let (mut send, mut receive) = socket.split();
    let message = |dice: &mut Dice| {
        let size = dice.size();
        let byte = dice.next() as u8 & 0x7f;
        if size.is_multiple_of(2) {
            Message::Binary(Bytes::from(vec![byte; size]))
        } else {
            Message::Text(String::from_utf8(vec![byte; size]).unwrap().into())
        }
    };
    let sending = async {
        let mut dice = Dice(7);
        for _ in 0..count {
            send.send(message(&mut dice)).await.unwrap();
        }
    };
    let receiving = async {
        let mut dice = Dice(7);
        for n in 0..count {
            let back = patiently("a message", receive.next()).await.unwrap().unwrap();
            assert!(back == message(&mut dice), "message {n}");
        }
    };
    tokio::join!(sending, receiving);
    send.send(Message::Close(None)).await.unwrap();
    assert!(matches!(patiently("a message", receive.next()).await, Some(Ok(Message::Close(_)))));
    drop((send, receive));
    all_streams_are_closed(&dispatcher).await;
    let metrics = dispatcher.metrics().await;
    for direction in ["direction=in", "direction=out"] {
        assert_eq!(metrics.of_pool("slotkeeper_messages_total", direction), count);
    }
}

#[tokio::test]
async fn frames_pass_byte_for_byte_whatever_their_flags() {
    let agreed = "Sec-WebSocket-Protocol: chat.v2\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; x=\"a, b\"\r\n";
    let pod = mirror(agreed).await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let offered = "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other;y=\"1;2\"\r\n";
    let mut wire = ana.ask("GET", "/", &format!("{HANDSHAKE}{offered}")).await;
    let got = ana.hear(&mut wire).await;
    let asked = pod.seen.last().head;
    assert_eq!(asked.get("sec-websocket-protocol"), Some("chat.v2, chat.v1"));
    assert_eq!(
        asked.get("sec-websocket-extensions"),
        Some("permessage-deflate; client_max_window_bits, x-other;y=\"1;2\"")
    );
    assert_eq!((asked.get("upgrade"), asked.get("sec-websocket-version")), (Some("websocket"), Some("13")));
    assert_eq!(got.get("sec-websocket-protocol"), Some("chat.v2"));
    assert_eq!(got.get("sec-websocket-extensions"), Some("permessage-deflate; server_no_context_takeover; x=\"a, b\""));
    assert_eq!(got.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));

    let frames = [
        frame(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], Some(MASK)), // RSV1: compressed
        frame(0x41, b"first ", Some(MASK)),                                   // RSV1, not the last fragment
        frame(PING, b"between", Some(MASK)),
        frame(0x00, b"second ", Some(MASK)),
        frame(PONG, b"unasked", Some([0; 4])),
        frame(0x80, b"third", Some(MASK)),
        frame(0xb2, &vec![0x5a; 70_000], Some(MASK)), // RSV2 and RSV3
        frame(0x82, b"", Some(MASK)),
        frame(TEXT, &[b'x'; 126], Some(MASK)),
        frame(CLOSE, &[0x0f, 0xa1, b'b', b'y', b'e'], Some(MASK)),
    ];
    let bytes = frames.concat();
    for piece in bytes.chunks(1000) {
        wire.send(piece).await;
    }
    assert!(wire.bytes(bytes.len()).await == bytes);
    drop(wire);
    all_streams_are_closed(&dispatcher).await;
    let metrics = dispatcher.metrics().await;
    for direction in ["direction=in", "direction=out"] {
        assert_eq!(metrics.of_pool("slotkeeper_messages_total", direction), 5);
        assert_eq!(metrics.of_pool("slotkeeper_tunnel_bytes_total", direction), bytes.len() as u64);
    }
}

#[tokio::test]
async fn pings_pongs_and_close_codes_pass_both_ways() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let pod = Pod::sockets(move |mut socket: Socket| {
        let told = told.clone();
        async move {
            socket.send(Message::Ping("from the pod".into())).await.unwrap();
            while let Some(Ok(message)) = patiently("a message", socket.next()).await {
                let done = message.is_close();
                if message == Message::Text("close".into()) {
                    let frame = CloseFrame { code: CloseCode::from(4242), reason: "because".into() };
                    let _ = socket.close(Some(frame)).await;
                }
                told.send(message).unwrap();
                if done {
                    let _ = socket.flush().await;
                }
            }
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut socket = Visitor::of(&dispatcher).socket("/").await;
    assert_eq!(patiently("a message", socket.next()).await.unwrap().unwrap(), Message::Ping("from the pod".into()));
    socket.send(Message::Ping("from the visitor".into())).await.unwrap();
    assert_eq!(patiently("a message", socket.next()).await.unwrap().unwrap(), Message::Pong("from the visitor".into()));
    let heard = [patiently("the pod", tells.recv()).await.unwrap(), patiently("the pod", tells.recv()).await.unwrap()]; // in the order the client chose
    assert!(heard.contains(&Message::Pong("from the pod".into())), "{heard:?}");
    assert!(heard.contains(&Message::Ping("from the visitor".into())), "{heard:?}");
    socket.send(Message::Text("close".into())).await.unwrap();
    let Some(Ok(Message::Close(Some(close)))) = patiently("a message", socket.next()).await else { panic!("no close") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4242, "because"));
    while let Some(Ok(_)) = patiently("the end", socket.next()).await {}
    drop(socket);
    while !patiently("the pod", tells.recv()).await.unwrap().is_close() {}

    let mut socket = Visitor::of(&dispatcher).socket("/").await;
    let close = CloseFrame { code: CloseCode::from(3001), reason: "good night".into() };
    socket.close(Some(close.clone())).await.unwrap();
    while let Some(Ok(_)) = patiently("a message", socket.next()).await {}
    drop(socket);
    loop {
        if let Message::Close(got) = patiently("the pod", tells.recv()).await.unwrap() {
            assert_eq!(got, Some(close));
            break;
        }
    }
    all_streams_are_closed(&dispatcher).await;
}

const ECHO: &str = "Connection: upgrade\r\nUpgrade: echo\r\n";

#[tokio::test]
async fn another_protocol_may_close_one_direction_and_use_the_other() {
    let pod = Pod::start(|mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
        if head.path() == "/pod-first" {
            wire.send("bye").await;
            wire.finish().await;
            let heard = wire.rest().await;
            assert_eq!(heard, b"still here");
            return;
        }
        let heard = wire.rest().await; // until the visitor has closed its half
        wire.send([b"late: ", &heard[..]].concat()).await;
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/", ECHO).await;
    let head = ana.hear(&mut wire).await;
    assert_eq!((head.status(), head.get("upgrade")), (101, Some("echo")));
    wire.send("\0\u{ff} no frames at all").await;
    wire.finish().await;
    assert_eq!(wire.rest().await, "late: \0\u{ff} no frames at all".as_bytes());

    let mut wire = ana.ask("GET", "/pod-first", ECHO).await;
    ana.hear(&mut wire).await;
    assert_eq!(wire.rest().await, b"bye");
    wire.send("still here").await;
    drop(wire);
    pod.is_left_alone().await;
    all_streams_are_closed(&dispatcher).await;
}

#[tokio::test]
async fn a_response_other_than_101_is_passed_on_and_nothing_after_it_is_read() {
    for status in ["200 OK", "401 Unauthorized", "426 Upgrade Required", "302 Found"] {
        let pod = Pod::answering(move |_| answer(status, "X-Why: this\r\n", "no")).await;
        let dispatcher = before(&pod).await;
        let mut ana = Visitor::of(&dispatcher);
        let mut wire = Wire::to(dispatcher.visitors).await;
        // In one packet with a request that no pod must ever see.
        wire.send(ana.head("GET", "/", HANDSHAKE) + "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let got = ana.answer(&mut wire, "GET").await;
        assert_eq!((got.head.line.as_str(), got.text().as_str()), (format!("HTTP/1.1 {status}").as_str(), "no"));
        assert_eq!((got.head.get("connection"), got.head.get("x-why")), (Some("close"), Some("this")));
        assert_eq!(wire.rest().await, b"");
        assert_eq!(pod.seen.count(), 1);
    }
}

#[tokio::test]
async fn data_sent_together_with_the_handshake_is_not_lost() {
    let pod = Pod::start(|mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        // The 101 and the first frames in one packet.
        let first = [switching(&head, ""), frame(TEXT, b"one", None), frame(TEXT, b"two", None)].concat();
        wire.send(first).await;
        while let Some((first, payload)) = next_frame(&mut wire).await {
            wire.send(frame(first, &payload, None)).await;
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let ana = Visitor::of(&dispatcher);
    let mut wire = Wire::to(dispatcher.visitors).await;
    let early = [
        ana.head("GET", "/", HANDSHAKE).into_bytes(),
        frame(TEXT, b"early", Some(MASK)),
        frame(0x82, &[7; 30_000], Some(MASK)),
    ];
    wire.send(early.concat()).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    for expected in ["one", "two", "early"] {
        assert_eq!(next_frame(&mut wire).await.unwrap(), (TEXT, expected.as_bytes().to_vec()));
    }
    assert!(next_frame(&mut wire).await.unwrap() == (0x82, vec![7; 30_000]));
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_only_its_own_pod() {
    let pushed = Arc::new(AtomicU64::new(0));
    let pod = Pod::start({
        let pushed = pushed.clone();
        move |mut wire, _| {
            let pushed = pushed.clone();
            async move {
                let Some(head) = wire.head().await else { return };
                wire.send(switching(&head, "")).await;
                if head.path() == "/flood" {
                    let message = frame(0x82, &vec![1; 1 << 20], None);
                    for _ in 0..1024 {
                        if !wire.try_send(&message).await {
                            return;
                        }
                        pushed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                while let Some((first, payload)) = next_frame(&mut wire).await {
                    wire.send(frame(first, &payload, None)).await;
                }
            }
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut slow = ana.ask("GET", "/flood", HANDSHAKE).await;
    ana.hear(&mut slow).await;
    let mut quick = ana.socket("/echo").await;
    // Until the flood stops, another client is served at any time.
    let mut level = (0, 0);
    eventually("the flood to stand still", async || {
        for n in 0..50 {
            quick.send(Message::Text(n.to_string().into())).await.unwrap();
            assert_eq!(
                patiently("the echo", quick.next()).await.unwrap().unwrap(),
                Message::Text(n.to_string().into())
            );
        }
        let now = pushed.load(Ordering::Relaxed);
        level = if now == level.0 { (now, level.1 + 1) } else { (now, 0) };
        level.1 >= 20
    })
    .await;
    assert!(level.0 < 100, "{} MiB of the flood are buffered somewhere", level.0);
    let peak = dispatcher.memory_kib("VmHWM");
    assert!(peak < 64 * 1024, "{peak} KiB");
    drop(slow);
    drop(quick);
    pod.is_left_alone().await;
    all_streams_are_closed(&dispatcher).await;
}

const PINGED: &str = "slots_per_pod = 1000\nhalf_open_seconds = 1\ngrace_seconds = 0.1";

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_disconnected() {
    let pod = mirror("").await;
    let dispatcher = Setup::fixed(&[&pod], PINGED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = raw_socket(&mut ana, "").await;
    dispatcher.pool_is("/sessions/taken", 1).await;
    let (first, payload) = next_frame(&mut wire).await.unwrap();
    assert_eq!((first, payload.len()), (PING, 8));
    assert_eq!(next_frame(&mut wire).await, None); // it reads, but sends nothing
    dispatcher.pool_is("/slots/busy", 0).await;
    pod.is_left_alone().await;
    all_streams_are_closed(&dispatcher).await;
    assert_eq!(dispatcher.metrics().await.of_pool("slotkeeper_releases_total", "reason=disconnected"), 1);
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_and_the_pod_sees_neither_pings_nor_pongs() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let pod = Pod::start(move |mut wire, _| {
        let told = told.clone();
        async move {
            let Some(head) = wire.head().await else { return };
            wire.send(switching(&head, "")).await;
            // A frame that is slower than the pings: they have to wait for its end.
            let slow = frame(TEXT, b"a slow frame", None);
            wire.send(&slow[..5]).await;
            tokio::time::sleep(Duration::from_millis(2500)).await;
            wire.send(&slow[5..]).await;
            while let Some(frame) = next_frame(&mut wire).await {
                let _ = told.send(frame);
            }
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], PINGED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = raw_socket(&mut ana, "").await;
    assert_eq!(next_frame(&mut wire).await.unwrap(), (TEXT, b"a slow frame".to_vec()));
    for n in 0..3u8 {
        let (first, payload) = next_frame(&mut wire).await.expect("a client that answers stays connected");
        assert_eq!((first, payload.len()), (PING, 8));
        wire.send(frame(PONG, &payload, Some([n, 9, 9, n]))).await;
    }
    // A pong that answers no ping of the dispatcher, and a message: the first data that the pod gets.
    wire.send(frame(PONG, b"skpr1234", Some(MASK))).await;
    wire.send(frame(TEXT, b"hello", Some(MASK))).await;
    assert_eq!(patiently("the pod", tells.recv()).await.unwrap(), (PONG, b"skpr1234".to_vec()));
    assert_eq!(patiently("the pod", tells.recv()).await.unwrap(), (TEXT, b"hello".to_vec()));
    dispatcher.pool_is("/sessions/taken", 1).await;
}

#[tokio::test]
async fn a_pod_that_ends_its_socket_ends_the_visitors_socket() {
    let pod = Pod::start(|mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        if head.get("upgrade").is_none() {
            return wire.send(ok("x")).await;
        }
        wire.send(switching(&head, "")).await;
        wire.send(frame(TEXT, b"last words", None)).await;
        if head.path() == "/reset" {
            wire.reset();
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/close", HANDSHAKE).await;
    assert_eq!(ana.hear(&mut wire).await.status(), 101);
    assert_eq!(next_frame(&mut wire).await.unwrap(), (TEXT, b"last words".to_vec()));
    wire.finish().await;
    assert_eq!(next_frame(&mut wire).await, None);
    let mut wire = ana.ask("GET", "/reset", HANDSHAKE).await;
    if wire.head().await.is_some() {
        wire.rest().await;
    }
    all_streams_are_closed(&dispatcher).await;
}
