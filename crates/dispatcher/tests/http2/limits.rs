//! The limits of one connection: time, streams, frames and bytes. Each attack ends at most its own connection.

use super::raw::{CALM, HEAD, Raw, Received, block, field, go_away, raw_frame, reset, status};
use super::rig::{Rig, bare, cookie, fetch, get};
use http::StatusCode;
use std::time::Duration;

const PROTOCOL_ERROR: Option<u32> = Some(1);

/// A request on each of these streams, each followed by a frame that is made for it.
fn requests(streams: u32, head: &[u8], flags: u8, next: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let one = |n: u32| [raw_frame(1, flags, 2 * n + 1, head), next(2 * n + 1)].concat();
    (0..streams).flat_map(one).collect()
}

fn cancel(stream: u32) -> Vec<u8> {
    raw_frame(3, 0, stream, &[0, 0, 0, 8])
}

async fn flooded(rig: &Rig, bytes: Vec<u8>) -> (Vec<Received>, bool) {
    Raw::open(rig).await.flood(bytes).await
}

#[tokio::test(start_paused = true)]
async fn floods_end_their_connection_only() {
    let rig = Rig::start("", "").await;
    let mut other = rig.client().await;
    let cookie = cookie(&mut other).await;
    let head = block(HEAD);
    let large = [&head[..], &field("content-length", "1")].concat();
    let in_head = |frames: Vec<u8>| [raw_frame(1, 1, 1, &head), frames].concat();
    let in_stream = |frames: Vec<u8>| [raw_frame(1, 4, 1, &post("/never")), frames].concat();
    // An entry of the table of HPACK with 3 kB, and then references to it.
    let bomb = [&head[..], b"\x40", &field("x", &"y".repeat(3000))[1..], &[0xbe; 2000]].concat();
    for (what, bytes, why, error) in [
        ("rapid reset", requests(5000, &head, 5, cancel), "error", Some(CALM)),
        ("CONTINUATION without end", in_head(raw_frame(9, 0, 1, b"").repeat(1000)), "error", Some(CALM)),
        (
            "a head without end",
            in_head(raw_frame(9, 0, 1, &field("x", "y").repeat(3000)).repeat(100)),
            "error",
            Some(CALM),
        ),
        ("a head that is compressed", raw_frame(1, 5, 1, &bomb), "error", Some(CALM)),
        // MadeYouReset (CVE-2025-8671): the dispatcher has to reset the streams.
        ("invalid bodies", requests(5000, &large, 4, |stream| raw_frame(0, 0, stream, b"more")), "error", Some(CALM)),
        (
            "invalid windows",
            requests(5000, &head, 5, |stream| raw_frame(8, 0, stream, &[0; 4])),
            "error",
            PROTOCOL_ERROR,
        ),
        ("empty DATA", in_stream(raw_frame(0, 0, 1, b"").repeat(5000)), "error", Some(CALM)),
        ("small DATA", in_stream(raw_frame(0, 0, 1, b"x").repeat(120_000)), "error", Some(CALM)),
        ("PING", raw_frame(6, 0, 0, &[7; 8]).repeat(10_000), "flood", PROTOCOL_ERROR),
        ("SETTINGS", raw_frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(10_000), "flood", PROTOCOL_ERROR),
        ("WINDOW_UPDATE", raw_frame(8, 0, 0, &[0, 0, 0, 1]).repeat(10_000), "flood", PROTOCOL_ERROR),
        ("PRIORITY", raw_frame(2, 0, 1, &[0, 0, 0, 0, 9]).repeat(10_000), "flood", PROTOCOL_ERROR),
        ("frames of an unknown kind", raw_frame(77, 0, 0, b"?").repeat(10_000), "flood", PROTOCOL_ERROR),
    ] {
        let series = format!("slotkeeper_http2_connections_ended_total{{why=\"{why}\"}}");
        let before = rig.metric(&series).await;
        let (frames, closed) = flooded(&rig, bytes).await;
        assert!(closed, "{what}");
        assert_eq!(go_away(&frames), error, "{what}");
        rig.shows(&series, before + 1.0).await;
        let again = bare(get("/a").header("cookie", &cookie));
        assert_eq!(other.send_request(again).await.unwrap().status(), StatusCode::OK, "{what}");
    }
    // Nothing is left of them.
    rig.shows("slotkeeper_http2_connections", 1.0).await;
    rig.shows("slotkeeper_streams_open{kind=\"request\",pool=\"a\"}", 0.0).await;
}

fn post(path: &str) -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":authority", "play.example"), (":path", path)])
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_cancelled_one_after_the_other_end_the_connection_as_well() {
    let rig = Rig::start("", "").await;
    let cookie = cookie(&mut rig.client().await).await;
    let mut raw = Raw::open(&rig).await;
    let head = block(&[HEAD[0], HEAD[1], HEAD[2], (":path", "/never"), ("cookie", &cookie)]);
    // Each one reaches its pod before it is cancelled, so the library does not count it.
    for stream in (1..4000).step_by(2) {
        if !raw.frame(1, 5, stream, &head).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        if !raw.bytes(&cancel(stream)).await {
            break;
        }
    }
    let (frames, closed) = raw.rest().await;
    assert!(closed);
    assert_eq!(go_away(&frames), PROTOCOL_ERROR);
    rig.ends("resets", 1.0).await;
    assert!(rig.seen.requests() < 600, "{}", rig.seen.requests());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_finishes_its_requests_may_cancel_any_number_and_send_many_frames() {
    let rig = Rig::start("", "").await;
    let cookie = cookie(&mut rig.client().await).await;
    let mut raw = Raw::open(&rig).await;
    let head = block(&[HEAD[0], HEAD[1], HEAD[2], (":path", "/never"), ("cookie", &cookie)]);
    let usual = [block(HEAD), field("cookie", &cookie)].concat();
    // As the client reads, it allows the next 1024 bytes.
    let read = raw_frame(8, 0, 0, &[0, 0, 4, 0]);
    for n in 0..1500 {
        let stream = 4 * n + 1;
        for bytes in [
            raw_frame(1, 5, stream, &usual),
            raw_frame(6, 0, 0, &[0; 8]).repeat(4),
            read.clone(),
            raw_frame(1, 5, stream + 2, &head),
        ] {
            assert!(raw.bytes(&bytes).await, "{n}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(raw.bytes(&cancel(stream + 2)).await, "{n}");
        if n % 100 == 0 {
            let (frames, closed) = raw.rest().await;
            assert_eq!((closed, go_away(&frames)), (false, None), "{n}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_over_the_limit_are_refused_and_the_others_continue() {
    let rig = Rig::start("max_streams = 5", "").await;
    let mut raw = Raw::open(&rig).await;
    let head = block(&[HEAD[0], HEAD[1], HEAD[2], (":path", "/later")]);
    let (frames, _) = {
        raw.bytes(&requests(8, &head, 5, |_| Vec::new())).await;
        raw.rest().await
    };
    // SETTINGS_MAX_CONCURRENT_STREAMS
    let settings = frames.iter().find(|(kind, flags, ..)| (*kind, *flags) == (4, 0)).unwrap();
    assert!(settings.3.chunks(6).any(|one| one == [0, 3, 0, 0, 0, 5]), "{settings:?}");
    const REFUSED: Option<u32> = Some(7);
    for stream in [11, 13, 15] {
        assert_eq!(reset(&frames, stream), REFUSED, "{stream}");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (frames, closed) = raw.rest().await;
    assert!(!closed);
    let answered = [1, 3, 5, 7, 9].map(|stream| frames.iter().any(|(kind, _, of, _)| (*kind, *of) == (1, stream)));
    assert_eq!(answered, [true; 5]);
    assert_eq!(rig.seen.requests(), 5);
    rig.shows("slotkeeper_http2_streams_reset_total{by=\"dispatcher\"}", 3.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_answered_and_one_that_is_much_too_large_ends_the_connection() {
    let rig = Rig::start("", "[limits]\nheader_bytes = 4096").await;
    let mut raw = Raw::open(&rig).await;
    let head = |bytes: usize| [block(HEAD), field("x", &"y".repeat(bytes))].concat();
    for (stream, bytes, expected) in [(1, 3000, 200), (3, 5000, 431), (5, 3000, 200)] {
        raw.frame(1, 5, stream, &head(bytes)).await;
        let (frames, closed) = raw.rest().await;
        assert!(!closed && frames.iter().any(|(kind, _, of, _)| (*kind, *of) == (1, stream)), "{bytes}");
        if stream < 5 {
            assert_eq!(status(&frames, stream), Some(expected), "{bytes}");
        }
    }
    // An entry of the table of HPACK, and references to it.
    let bomb = [&block(HEAD)[..], b"\x40", &field("x", &"y".repeat(3000))[1..], &[0xbe; 8]].concat();
    raw.frame(1, 5, 7, &bomb).await;
    let (frames, closed) = raw.rest().await;
    assert!(closed);
    assert_eq!(go_away(&frames), Some(CALM));
    assert_eq!(rig.seen.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn beginnings_and_heads_that_take_too_long_end_the_connection() {
    let rig = Rig::start("ping_seconds = 'off'", "[limits]\nheader_seconds = 5\nidle_seconds = 1000").await;
    let head = block(HEAD);
    let open = || Raw::open(&rig);
    let mut slow = vec![Raw::silent(&rig).await, Raw::silent(&rig).await, open().await, open().await, open().await];
    // Nothing; half of the preface; half of a HEADERS frame; a HEADERS frame that CONTINUATION must follow; half of that.
    slow[1].bytes(b"PRI * HTTP/2.0").await;
    slow[2].bytes(&raw_frame(1, 5, 1, &head)[..20]).await;
    slow[3].frame(1, 1, 1, &head).await;
    slow[4].frame(1, 1, 1, &head).await;
    slow[4].bytes(&raw_frame(9, 4, 1, &head)[..12]).await;
    // A body may take its time, and so may a request.
    let mut patient = open().await;
    patient.frame(1, 4, 1, &post("/echo")).await;
    patient.bytes(&raw_frame(0, 1, 1, b"later")[..11]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.metric("slotkeeper_http2_connections_ended_total{why=\"slow\"}").await, 0.0);
    tokio::time::sleep(Duration::from_secs(4)).await;
    rig.ends("slow", 5.0).await;
    for (n, mut raw) in slow.into_iter().enumerate() {
        assert!(raw.rest().await.1, "{n}");
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    patient.bytes(&raw_frame(0, 1, 1, b"later")[11..]).await;
    let (frames, closed) = patient.rest().await;
    assert!(!closed);
    assert_eq!(status(&frames, 1), Some(200));
    assert!(frames.iter().any(|(kind, _, _, payload)| *kind == 0 && payload == b"later"));
}

#[tokio::test(start_paused = true)]
async fn idle_and_gone_clients_lose_their_connection() {
    let rig = Rig::start("ping_seconds = 20", "[limits]\nidle_seconds = 50").await;
    // Idle, but present: gets a GOAWAY.
    let mut idle = rig.client().await;
    assert_eq!(fetch(&mut idle, "/a").await.0, StatusCode::OK);
    // Gone, with an open request: does not answer the ping.
    let mut gone = Raw::open(&rig).await;
    gone.frame(1, 5, 1, &block(&[HEAD[0], HEAD[1], HEAD[2], (":path", "/never")])).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(rig.metric("slotkeeper_http2_connections").await, 2.0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    rig.shows("slotkeeper_http2_connections", 1.0).await;
    rig.ends("error", 1.0).await;
    assert!(gone.rest().await.1);
    rig.shows("slotkeeper_streams_open{kind=\"request\",pool=\"a\"}", 0.0).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    rig.ends("idle", 1.0).await;
    assert!(idle.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_at_all_is_given_up() {
    let rig = Rig::start("ping_seconds = 10", "[limits]\nidle_seconds = 30").await;
    let mut raw = Raw::open(&rig).await;
    // Its pings are not answered once it does not read the answers, and its requests neither: 64 kB fit into this network.
    let pings = raw_frame(6, 0, 0, &[1; 8]).repeat(3000);
    raw.bytes(&[raw_frame(1, 5, 1, &block(&[HEAD[0], HEAD[1], HEAD[2], (":path", "/big")])), pings].concat()).await;
    rig.shows("slotkeeper_http2_connections", 1.0).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    rig.shows("slotkeeper_http2_connections", 0.0).await;
    rig.shows("slotkeeper_streams_open{kind=\"request\",pool=\"a\"}", 0.0).await;
}
