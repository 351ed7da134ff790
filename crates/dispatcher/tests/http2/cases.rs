//! Cases of RFC 9113 and RFC 7541, as frames sent by hand: those that a connection must refuse, with the error, and those
//! that it must accept. Nothing that is refused reaches a pod.

use super::raw::{HEAD, Raw, block, field, go_away, raw_frame, reset, status};
use super::rig::Rig;

/// The required outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The connection ends with this error.
    Ends(u32),
    /// The stream 1 is reset with this error, and the connection continues.
    Resets(u32),
    /// The request on stream 1 is answered with this status, and the connection continues.
    Answers(u16),
}

use Expected::{Answers, Ends, Resets};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const FRAME_SIZE: u32 = 6;

/// Sends the bytes on a new connection, and another request on stream 101.
async fn outcome(rig: &Rig, bytes: &[u8]) -> Expected {
    let mut raw = Raw::open(rig).await;
    raw.bytes(bytes).await;
    let (frames, closed) = raw.rest().await;
    if closed {
        return Ends(go_away(&frames).unwrap_or(u32::MAX));
    }
    assert_eq!(go_away(&frames), None);
    let on_one = match (status(&frames, 1), reset(&frames, 1)) {
        (Some(status), _) => Answers(status),
        (None, Some(error)) => Resets(error),
        (None, None) => panic!("no answer: {frames:?}"),
    };
    raw.frame(1, 5, 101, &block(HEAD)).await;
    let (frames, closed) = raw.rest().await;
    assert!(!closed && frames.iter().any(|(kind, _, of, _)| (*kind, *of) == (1, 101)), "{on_one:?}: {frames:?}");
    on_one
}

async fn all_lead_to(cases: &[(&str, Vec<u8>, Expected)]) {
    let rig = Rig::start("", "").await;
    let mut wrong = Vec::new();
    for (what, bytes, expected) in cases {
        let before = rig.seen.requests();
        let found = outcome(&rig, bytes).await;
        // The request afterwards reaches the pod if the connection continues. A body may be found wrong after the head has
        // reached the pod.
        let reached = rig.seen.requests() - before - usize::from(!matches!(found, Ends(_)));
        let is_only_a_head = bytes.len() > 4 && (bytes[3], bytes[4] & 1) == (1, 1) && bytes.len() == length(bytes);
        let allowed = usize::from(*expected == Answers(200) || !is_only_a_head);
        if found != *expected || reached > allowed {
            wrong.push(format!("{what}: {found:?}, not {expected:?}; {reached} requests reached the pod"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The length of the first frame.
fn length(bytes: &[u8]) -> usize {
    9 + usize::from(bytes[1]) * 256 + usize::from(bytes[2])
}

/// The head of a request, with fields in place of these or after them.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let kept = HEAD.iter().filter(|(name, _)| fields.iter().all(|(own, _)| own != name));
    let pseudo = fields.iter().filter(|(name, _)| name.starts_with(':'));
    let rest = fields.iter().filter(|(name, _)| !name.starts_with(':'));
    block(&kept.chain(pseudo).chain(rest).copied().collect::<Vec<_>>())
}

/// A whole request on stream 1.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    raw_frame(1, 5, 1, &head(fields))
}

fn without(name: &str) -> Vec<u8> {
    raw_frame(1, 5, 1, &block(&HEAD.iter().filter(|(own, _)| *own != name).copied().collect::<Vec<_>>()))
}

#[tokio::test(start_paused = true)]
async fn heads() {
    let twice = |name: &str, value: &str| raw_frame(1, 5, 1, &[block(HEAD), field(name, value)].concat());
    let upload = |length: &str, body: &[u8]| {
        let head = head(&[(":method", "POST"), ("content-length", length)]);
        [raw_frame(1, 4, 1, &head), raw_frame(0, 1, 1, body)].concat()
    };
    let trailers = |fields: &[(&str, &str)], flags: u8| {
        let head = head(&[(":method", "POST")]);
        [raw_frame(1, 4, 1, &head), raw_frame(1, flags, 1, &block(fields))].concat()
    };
    all_lead_to(&[
        ("a usual request", request(&[]), Answers(200)),
        // §8.3.1
        ("no :method", without(":method"), Resets(PROTOCOL)),
        ("no :scheme", without(":scheme"), Resets(PROTOCOL)),
        ("no :path", without(":path"), Resets(PROTOCOL)),
        ("no host at all", without(":authority"), Answers(400)),
        ("an empty :path", request(&[(":path", "")]), Resets(PROTOCOL)),
        (":path twice", twice(":path", "/b"), Resets(PROTOCOL)),
        (":method twice", twice(":method", "POST"), Resets(PROTOCOL)),
        (":authority twice", twice(":authority", "play.example"), Resets(PROTOCOL)),
        (
            "a pseudo-header field after others",
            raw_frame(1, 5, 1, &[field("x", "y"), block(HEAD)].concat()),
            Resets(PROTOCOL),
        ),
        ("an unknown pseudo-header field", request(&[(":what", "x")]), Ends(PROTOCOL)),
        ("a pseudo-header field of responses", request(&[(":status", "200")]), Resets(PROTOCOL)),
        (":protocol without CONNECT", request(&[(":protocol", "websocket")]), Resets(PROTOCOL)),
        ("CONNECT with :path", request(&[(":method", "CONNECT")]), Resets(PROTOCOL)),
        ("a :path without a slash", request(&[(":path", "x")]), Resets(PROTOCOL)),
        ("a :path with a host", request(&[(":path", "http://evil.example/")]), Resets(PROTOCOL)),
        ("* without OPTIONS", request(&[(":path", "*")]), Answers(400)),
        ("another scheme", request(&[(":scheme", "ftp")]), Answers(400)),
        ("an invalid scheme", request(&[(":scheme", "ht tp")]), Resets(PROTOCOL)),
        // §8.3.1: the host, in one form.
        ("a user in :authority", request(&[(":authority", "user@play.example")]), Answers(400)),
        ("a path in :authority", request(&[(":authority", "play.example/x")]), Resets(PROTOCOL)),
        ("an invalid port", request(&[(":authority", "play.example:0")]), Answers(400)),
        ("another Host", request(&[("host", "evil.example")]), Answers(400)),
        ("another port in Host", request(&[("host", "play.example:81")]), Answers(400)),
        ("the same Host", request(&[("host", "play.example")]), Answers(200)),
        ("the same Host, written differently", request(&[("host", "PLAY.example.:80")]), Answers(200)),
        ("two Host fields", request(&[("host", "play.example"), ("host", "play.example")]), Answers(400)),
        (
            "only a Host field",
            raw_frame(1, 5, 1, &block(&[HEAD[0], HEAD[1], HEAD[3], ("host", "play.example")])),
            Answers(200),
        ),
        // §8.2.1
        ("upper case", request(&[("X-Y", "z")]), Ends(PROTOCOL)),
        ("a space in a name", request(&[("x y", "z")]), Ends(PROTOCOL)),
        ("a colon in a name", request(&[("x:y", "z")]), Ends(PROTOCOL)),
        ("an empty name", request(&[("", "z")]), Ends(PROTOCOL)),
        ("a line end in a value", request(&[("x", "y\r\nhost: evil.example")]), Ends(PROTOCOL)),
        ("a line feed in a value", request(&[("x", "y\nz: 1")]), Ends(PROTOCOL)),
        ("NUL in a value", request(&[("x", "y\0")]), Ends(PROTOCOL)),
        ("white space around a value", request(&[("x", " y")]), Answers(400)),
        ("a line end in :method", request(&[(":method", "GET / HTTP/1.1\r\nx: y")]), Ends(PROTOCOL)),
        ("a line end in :path", request(&[(":path", "/ HTTP/1.1\r\nx: y")]), Resets(PROTOCOL)),
        ("a line end in :authority", request(&[(":authority", "a\r\nx: y")]), Resets(PROTOCOL)),
        ("a space in :path", request(&[(":path", "/ HTTP/1.1")]), Resets(PROTOCOL)),
        // §8.2.2
        ("connection", request(&[("connection", "close")]), Resets(PROTOCOL)),
        ("transfer-encoding", request(&[("transfer-encoding", "chunked")]), Resets(PROTOCOL)),
        ("upgrade", request(&[("upgrade", "h2c")]), Resets(PROTOCOL)),
        ("keep-alive", request(&[("keep-alive", "5")]), Resets(PROTOCOL)),
        ("proxy-connection", request(&[("proxy-connection", "close")]), Resets(PROTOCOL)),
        ("te", request(&[("te", "gzip")]), Resets(PROTOCOL)),
        ("te: trailers", request(&[("te", "trailers")]), Answers(200)),
        // §8.1.1
        ("a length without a body", request(&[("content-length", "5")]), Resets(PROTOCOL)),
        ("a body that is too long", upload("1", b"four"), Resets(PROTOCOL)),
        ("a body that is too short", upload("9", b"four"), Resets(PROTOCOL)),
        ("a body of the stated length", upload("4", b"four"), Answers(200)),
        ("two lengths", upload_twice(), Resets(PROTOCOL)),
        ("a length with a sign", upload("+4", b"four"), Resets(PROTOCOL)),
        ("two lengths in one", upload("4, 4", b"four"), Resets(PROTOCOL)),
        // §8.1
        ("trailers", trailers(&[("x", "y")], 5), Answers(200)),
        ("trailers that do not end the stream", trailers(&[("x", "y")], 4), Resets(PROTOCOL)),
        // Dropped: it does not reach the pod.
        ("a pseudo-header field in trailers", trailers(&[(":path", "/b")], 5), Answers(200)),
    ])
    .await;
}

fn upload_twice() -> Vec<u8> {
    let head = head(&[(":method", "POST"), ("content-length", "4"), ("content-length", "5")]);
    [raw_frame(1, 4, 1, &head), raw_frame(0, 1, 1, b"four")].concat()
}

#[tokio::test(start_paused = true)]
async fn frames() {
    let usual = request(&[]);
    let then = |frame: Vec<u8>| [usual.clone(), frame].concat();
    let before = |frame: Vec<u8>| [frame, usual.clone()].concat();
    let open = raw_frame(1, 4, 1, &head(&[(":method", "POST"), (":path", "/never")]));
    let on_open = |frame: Vec<u8>| [open.clone(), frame].concat();
    let head = block(HEAD);
    let compressed = |block: &[u8]| raw_frame(1, 5, 1, &[&head[..], block].concat());
    all_lead_to(&[
        // §4.1, §5.5: extensions are ignored.
        ("a frame of an unknown kind", before(raw_frame(0xfa, 0xff, 9, b"unknown")), Answers(200)),
        ("an unknown setting", before(raw_frame(4, 0, 0, &[0x7a, 0x7a, 0, 0, 0, 1])), Answers(200)),
        ("unknown flags", raw_frame(1, 0xd7 & !0x28, 1, &head), Answers(200)),
        ("padding", raw_frame(1, 0xd, 1, &[&[3], &head[..], &[0; 3]].concat()), Answers(200)),
        ("a priority", raw_frame(1, 0x25, 1, &[&[0, 0, 0, 9, 1], &head[..]].concat()), Answers(200)),
        (
            "a head in three parts",
            [raw_frame(1, 1, 1, &head[..9]), raw_frame(9, 0, 1, &head[9..20]), raw_frame(9, 4, 1, &head[20..])]
                .concat(),
            Answers(200),
        ),
        // §4.2
        ("a frame that is too large", before(raw_frame(0xfa, 0, 0, &[0; 16_385])), Ends(FRAME_SIZE)),
        // §5.1
        ("DATA on an idle stream", raw_frame(0, 1, 1, b"x"), Ends(PROTOCOL)),
        ("RST_STREAM on an idle stream", raw_frame(3, 0, 1, &[0, 0, 0, 8]), Ends(PROTOCOL)),
        ("WINDOW_UPDATE on an idle stream", raw_frame(8, 0, 1, &[0, 0, 0, 1]), Ends(PROTOCOL)),
        ("CONTINUATION on an idle stream", raw_frame(9, 4, 1, &head), Ends(PROTOCOL)),
        ("DATA after the end", on_open([raw_frame(0, 1, 1, b"x"), raw_frame(0, 1, 1, b"x")].concat()), Ends(PROTOCOL)),
        // §5.1.1
        ("an even stream", raw_frame(1, 5, 2, &head), Ends(PROTOCOL)),
        ("a lower stream", [raw_frame(1, 5, 5, &head), raw_frame(1, 5, 3, &head)].concat(), Ends(PROTOCOL)),
        // §6.1
        ("DATA on stream 0", then(raw_frame(0, 0, 0, b"x")), Ends(PROTOCOL)),
        ("padding longer than DATA", on_open(raw_frame(0, 8, 1, &[9, 0])), Ends(PROTOCOL)),
        // §6.2
        ("HEADERS on stream 0", raw_frame(1, 5, 0, &head), Ends(PROTOCOL)),
        ("padding longer than HEADERS", raw_frame(1, 0xd, 1, &[&[255], &head[..]].concat()), Ends(PROTOCOL)),
        // §6.3
        ("PRIORITY on stream 0", before(raw_frame(2, 0, 0, &[0, 0, 0, 9, 1])), Ends(PROTOCOL)),
        // §6.4
        ("RST_STREAM on stream 0", before(raw_frame(3, 0, 0, &[0, 0, 0, 8])), Ends(PROTOCOL)),
        ("RST_STREAM of another size", on_open(raw_frame(3, 0, 1, &[0, 0, 8])), Ends(PROTOCOL)),
        // §6.5
        ("SETTINGS on a stream", before(raw_frame(4, 0, 1, &[])), Ends(PROTOCOL)),
        ("SETTINGS of another size", before(raw_frame(4, 0, 0, &[0; 5])), Ends(PROTOCOL)),
        ("ACK with settings", before(raw_frame(4, 1, 0, &[0; 6])), Ends(PROTOCOL)),
        ("push neither on nor off", before(raw_frame(4, 0, 0, &[0, 2, 0, 0, 0, 2])), Ends(PROTOCOL)),
        ("a window that is too large", before(raw_frame(4, 0, 0, &[0, 4, 0x80, 0, 0, 0])), Ends(PROTOCOL)),
        ("frames that are too small", before(raw_frame(4, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])), Ends(PROTOCOL)),
        ("frames that are too large", before(raw_frame(4, 0, 0, &[0, 5, 1, 0, 0, 0])), Ends(PROTOCOL)),
        // §6.6
        ("PUSH_PROMISE", then(raw_frame(5, 4, 1, &[&[0, 0, 0, 2], &head[..]].concat())), Ends(PROTOCOL)),
        // §6.7
        ("PING on a stream", before(raw_frame(6, 0, 1, &[0; 8])), Ends(PROTOCOL)),
        ("PING of another size", before(raw_frame(6, 0, 0, &[0; 6])), Ends(PROTOCOL)),
        // §6.8
        ("GOAWAY on a stream", before(raw_frame(7, 0, 1, &[0; 8])), Ends(PROTOCOL)),
        // §6.9
        ("WINDOW_UPDATE by 0", before(raw_frame(8, 0, 0, &[0; 4])), Ends(PROTOCOL)),
        ("WINDOW_UPDATE of another size", before(raw_frame(8, 0, 0, &[0; 3])), Ends(PROTOCOL)),
        ("a window over the limit", before(raw_frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])), Ends(FLOW_CONTROL)),
        (
            "a stream's window over the limit",
            on_open(raw_frame(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff])),
            Resets(FLOW_CONTROL),
        ),
        ("more DATA than allowed", on_open(raw_frame(0, 0, 1, &[0; 16_384]).repeat(30)), Resets(FLOW_CONTROL)),
        // §6.10
        (
            "CONTINUATION of another stream",
            [raw_frame(1, 1, 1, &head), raw_frame(9, 4, 3, &[])].concat(),
            Ends(PROTOCOL),
        ),
        (
            "another frame within a head",
            [raw_frame(1, 1, 1, &head), raw_frame(6, 0, 0, &[0; 8])].concat(),
            Ends(PROTOCOL),
        ),
        ("CONTINUATION after a head", then(raw_frame(9, 4, 1, &[])), Ends(PROTOCOL)),
        // RFC 7541
        ("index 0", compressed(&[0x80]), Ends(PROTOCOL)),
        ("an index without an entry", compressed(&[0xbf]), Ends(PROTOCOL)),
        ("a literal that ends early", compressed(&[0, 5, b'x']), Ends(PROTOCOL)),
        ("an integer that is too large", compressed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Ends(PROTOCOL)),
        ("Huffman padding with zeros", compressed(&[0, 1, b'x', 0x81, 0x00]), Ends(PROTOCOL)),
        ("the end symbol of Huffman", compressed(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]), Ends(PROTOCOL)),
        ("a table that is too large", raw_frame(1, 5, 1, &[&[0x3f, 0xe2, 0x1f], &head[..]].concat()), Ends(PROTOCOL)),
        ("a table's size at the end", compressed(&[0x20]), Ends(PROTOCOL)),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn pings_and_settings_are_acknowledged_and_a_wrong_preface_is_not_http2() {
    let rig = Rig::start("", "").await;
    let mut raw = Raw::open(&rig).await;
    raw.frame(6, 0, 0, b"payload!").await;
    let (frames, _) = raw.rest().await;
    assert!(frames.contains(&(4, 1, 0, Vec::new())), "{frames:?}");
    assert!(frames.contains(&(6, 1, 0, b"payload!".to_vec())), "{frames:?}");
    let mut wrong = Raw::silent(&rig).await;
    wrong.bytes(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(wrong.rest().await.1);
    // After the client's GOAWAY, what has begun is finished.
    let mut raw = Raw::open(&rig).await;
    raw.frame(1, 5, 1, &block(&[HEAD[0], HEAD[1], HEAD[2], (":path", "/later")])).await;
    raw.frame(7, 0, 0, &[0; 8]).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(status(&raw.rest().await.0, 1), Some(200));
}
