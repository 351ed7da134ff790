//! WebSockets over HTTP/2 (RFC 8441).

use super::raw::{Raw, block, status};
use super::rig::{Rig, bare, cookie, fetch, frame, get, open, text};
use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::ext::Protocol;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TUNNELS: &str = "slotkeeper_streams_open{kind=\"upgraded\",pool=\"a\"}";

async fn tunnels(rig: &Rig) -> f64 {
    rig.metric(TUNNELS).await
}

#[tokio::test(start_paused = true)]
async fn a_websocket_reaches_its_pod_as_an_upgrade_with_a_key_of_our_own() {
    let rig = Rig::start("", "").await;
    let mut client = rig.client().await;
    let fields = [
        ("origin", "http://play.example"),
        ("sec-websocket-protocol", "one, two"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", "not ours"),
    ];
    let (mut socket, answer) = open(&mut client, "/ws?x", &fields).await.unwrap();
    assert_eq!(answer["sec-websocket-protocol"], "two");
    assert_eq!(answer["sec-websocket-extensions"], "permessage-deflate");
    for gone in ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-key"] {
        assert!(!answer.contains_key(gone), "{gone}");
    }
    let asked = rig.seen.heads.lock().unwrap().last().unwrap().clone();
    assert!(asked.starts_with("GET /ws?x HTTP/1.1\r\n"), "{asked}");
    for field in ["host: play.example", "upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
        assert!(asked.contains(&format!("\r\n{field}\r\n")), "{field}: {asked}");
    }
    assert!(!asked.contains("not ours") && !asked.contains(":protocol"), "{asked}");

    let sent = [frame(1, b"hello"), frame(2, &[7; 60_000]), frame(1, b"again")].concat();
    let mut echoed = vec![0; sent.len()];
    let (mut read, mut write) = tokio::io::split(&mut socket);
    let (written, received) = tokio::join!(write.write_all(&sent), read.read_exact(&mut echoed));
    written.unwrap();
    received.unwrap();
    assert_eq!(echoed, sent);
    assert_eq!(rig.metric("slotkeeper_messages_total{direction=\"in\",pool=\"a\"}").await, 3.0);
    assert_eq!(rig.metric("slotkeeper_messages_total{direction=\"out\",pool=\"a\"}").await, 3.0);
    assert_eq!(tunnels(&rig).await, 1.0);
    // The end passes both ways.
    socket.shutdown().await.unwrap();
    assert_eq!(socket.read(&mut echoed).await.unwrap(), 0);
    rig.shows(TUNNELS, 0.0).await;
    assert_eq!(fetch(&mut client, "/a").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_open_it_is_not_a_success() {
    let rig = Rig::start("", "").await;
    let mut client = rig.client().await;
    for (path, expected) in [
        // The pod: another key's accept, another protocol, a page, a refusal.
        ("/ws-wrong", 502),
        ("/ws-other", 502),
        ("/ws-none", 502),
        ("/ws-refused", 403),
        // The dispatcher itself.
        ("/.slotkeeper/health", 502),
    ] {
        let refused = open(&mut client, path, &[]).await.err().map(|(status, _)| status.as_u16());
        assert_eq!(refused, Some(expected), "{path}");
    }
    assert_eq!(open(&mut client, "/ws-refused", &[]).await.err().unwrap().1, "not you");
    // Another site's page.
    let foreign = open(&mut client, "/ws", &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.err().unwrap().0, StatusCode::FORBIDDEN);
    for protocol in ["connect-udp", "webtransport", "smtp"] {
        let mut request = get("/ws").method(Method::CONNECT).extension(Protocol::from_static("websocket"));
        request = request.extension(Protocol::from_static(protocol));
        let response = client.send_request(bare(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED, "{protocol}");
        assert_eq!(text(response).await, "");
    }
    rig.shows(TUNNELS, 0.0).await;
    assert!(open(&mut client, "/ws", &[]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn they_are_announced_unless_they_are_off() {
    const WEBSOCKET: &[(&str, &str)] = &[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "play.example"),
        (":path", "/ws"),
        ("sec-websocket-version", "13"),
    ];
    for (settings, is_on) in [("", true), ("websockets = false", false)] {
        let rig = Rig::start(settings, "").await;
        let mut raw = Raw::open(&rig).await;
        raw.frame(1, 4, 1, &block(WEBSOCKET)).await;
        let (frames, _) = raw.rest().await;
        // SETTINGS_ENABLE_CONNECT_PROTOCOL = 1
        let settings = frames.iter().find(|(kind, flags, ..)| (*kind, *flags) == (4, 0)).unwrap();
        let announced = settings.3.chunks(6).any(|one| one == [0, 8, 0, 0, 0, 1]);
        assert_eq!(announced, is_on);
        assert_eq!(status(&frames, 1), is_on.then_some(200));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_read_costs_bounded_memory_and_stalls_no_other() {
    let rig = Rig::start("", "[pools.a]\nadmission = 'immediate'\nslots_per_pod = 9\nhalf_open_seconds = 'off'").await;
    let mut client = rig.client().await;
    let mut quick = open(&mut client, "/ws", &[]).await.unwrap().0;
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(open(&mut client, "/ws", &[]).await.unwrap().0);
    }
    let long = frame(2, &[0; 60_000]);
    let mut sent = Vec::new();
    for socket in &mut slow {
        // Writes until nothing more is accepted, since nothing is read. (The client's library accepts 2 MB before that.)
        let mut accepted = 0;
        let part = |at: usize| &long[at % long.len()..];
        while let Ok(written) = tokio::time::timeout(Duration::from_secs(5), socket.write(part(accepted))).await {
            accepted += written.unwrap();
            assert!(accepted < 6_000_000, "it takes everything");
        }
        sent.push(accepted);
    }
    let short = frame(1, b"quick");
    let mut echoed = vec![0; short.len()];
    for _ in 0..100 {
        quick.write_all(&short).await.unwrap();
        quick.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, short);
    }
    assert_eq!(fetch(&mut client, "/a").await.0, StatusCode::OK);
    // Everything arrives once it is read.
    for (socket, sent) in slow.iter_mut().zip(sent) {
        let mut received = 0;
        let mut part = vec![0; 50_000];
        while received < sent {
            received += socket.read(&mut part).await.unwrap();
        }
    }
}

/// Reads one frame of the dispatcher or pod: its opcode and payload.
async fn next(socket: &mut super::rig::WebSocket) -> (u8, Vec<u8>) {
    let (first, second) = (socket.read_u8().await.unwrap(), socket.read_u8().await.unwrap());
    let length = match second & 0x7f {
        126 => usize::from(socket.read_u16().await.unwrap()),
        short => usize::from(short),
    };
    if second & 0x80 != 0 {
        socket.read_u32().await.unwrap();
    }
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).await.unwrap();
    (first & 0x0f, payload)
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_pinged_between_frames_and_gone_ones_are_noticed() {
    let pool = "[pools.a]\nadmission = 'immediate'\nslots_per_pod = 9\nhalf_open_seconds = 10";
    let rig = Rig::start("", pool).await;
    let mut client = rig.client().await;
    let mut socket = open(&mut client, "/ws", &[]).await.unwrap().0;
    // Half of a frame: the ping waits for the rest of it.
    let long = frame(2, &[9; 1000]);
    socket.write_all(&long[..500]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    socket.write_all(&long[500..]).await.unwrap();
    assert_eq!(next(&mut socket).await, (2, vec![9; 1000]));
    let (opcode, payload) = next(&mut socket).await;
    assert_eq!((opcode, &payload[..4]), (9, &b"skpr"[..]));
    socket.write_all(&masked(0x8a, &payload)).await.unwrap();
    // The pong was the dispatcher's: the pod does not send it back. The next ping is not answered.
    let (opcode, _) = next(&mut socket).await;
    assert_eq!(opcode, 9, "the next ping");
    rig.shows(TUNNELS, 1.0).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    rig.shows(TUNNELS, 0.0).await;
    assert_eq!(fetch(&mut client, "/a").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn when_the_dispatcher_stops_they_get_a_close_frame_and_the_connection_ends() {
    let mut rig = Rig::start("", "").await;
    let mut client = rig.client().await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(open(&mut client, "/ws", &[]).await.unwrap().0);
    }
    rig.stop();
    for socket in &mut sockets {
        let (opcode, payload) = next(socket).await;
        assert_eq!((opcode, u16::from_be_bytes([payload[0], payload[1]])), (8, 1012));
        assert_eq!(&payload[2..], b"dispatcher_restarting");
        // It may have ended meanwhile.
        let _ = socket.write_all(&masked(0x88, &payload[..2])).await;
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    }
    rig.ended().await;
    assert!(client.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_only_a_websocket_is_not_idle() {
    let pool = "[pools.a]\nadmission = 'immediate'\nslots_per_pod = 9\nhalf_open_seconds = 'off'";
    let rig = Rig::start("", &format!("[limits]\nidle_seconds = 10\n{pool}")).await;
    let mut client = rig.client().await;
    let mut socket = open(&mut client, "/ws", &[]).await.unwrap().0;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let sent = frame(1, &Bytes::from_static(b"still here"));
    socket.write_all(&sent).await.unwrap();
    let mut echoed = vec![0; sent.len()];
    socket.read_exact(&mut echoed).await.unwrap();
    assert_eq!(echoed, sent);
    drop(socket);
    tokio::time::sleep(Duration::from_secs(30)).await;
    rig.ends("idle", 1.0).await;
}

/// A frame of a client with these first bits, and a mask.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[tokio::test(start_paused = true)]
async fn every_sequence_of_frames_passes_unchanged_however_it_is_cut() {
    let pool = "[pools.a]\nadmission = 'immediate'\nslots_per_pod = 99\nhalf_open_seconds = 'off'";
    let rig = Rig::start("", pool).await;
    let mut client = rig.client().await;
    let cookie = cookie(&mut client).await;
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 300_000] {
        cases.push((format!("text of {length} bytes"), masked(0x81, &vec![b'a'; length])));
        cases.push((format!("binary of {length} bytes"), masked(0x82, &vec![0xfe; length])));
    }
    let fragments =
        [masked(0x01, b"one"), masked(0x89, b"ping"), masked(0x00, b"two"), masked(0x8a, b""), masked(0x80, b"")];
    cases.push(("fragments with a ping and a pong between them".into(), fragments.concat()));
    for code in [1000_u16, 1001, 1007, 1011, 3000, 4999, 0, 999, 1005, 65_535] {
        cases.push((format!("close with {code}"), masked(0x88, &[&code.to_be_bytes()[..], b"why"].concat())));
    }
    // The pod refuses invalid frames, not the dispatcher.
    for (what, frame) in [
        ("a close without a code", masked(0x88, b"")),
        ("half of a code", masked(0x88, b"x")),
        ("a reserved bit", masked(0xc1, b"compressed")),
        ("all reserved bits", masked(0xf2, b"x")),
        ("a reserved opcode", masked(0x83, b"x")),
        ("a reserved control opcode", masked(0x8b, b"x")),
        ("a ping in fragments", masked(0x09, b"x")),
        ("a long ping", masked(0x89, &[7; 126])),
        ("a continuation of nothing", masked(0x80, b"x")),
        ("invalid UTF-8", masked(0x81, &[0xc3, 0x28])),
        ("no mask", vec![0x81, 2, b'h', b'i']),
        ("half of a frame", masked(0x82, &[1; 100])[..50].to_vec()),
        ("no frames at all", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff something else".to_vec()),
    ] {
        cases.push((what.into(), [masked(0x81, b"before"), frame].concat()));
    }
    for (what, sent) in &cases {
        for size in [1, 1000, 1_000_000].into_iter().filter(|size| *size > 1 || sent.len() < 1000) {
            let mut socket = open(&mut client, "/ws", &[("cookie", &cookie)]).await.unwrap().0;
            let (mut read, mut write) = tokio::io::split(&mut socket);
            let writing = async {
                for part in sent.chunks(size) {
                    write.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                write.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let (_, read) = tokio::join!(writing, read.read_to_end(&mut received));
            read.unwrap();
            assert!(received == *sent, "{what}, in parts of {size}: {} of {} bytes", received.len(), sent.len());
        }
    }
    rig.shows(TUNNELS, 0.0).await;
}
