//! HTTP/2 of visitors: requests, bodies both ways, flow control, and the end of connections. WebSockets are in `sockets`,
//! attacks in `limits`, cases of RFC 9113 in `cases`.

mod cases;
mod limits;
mod raw;
mod rig;
mod sockets;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use rig::{AT, Rig, bare, cookie, fetch, get, stream_body, text, without_body};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(start_paused = true)]
async fn requests_reach_pods_as_they_would_over_http1() {
    let rig = Rig::start("", "[limits]\nheader_bytes = 16_384").await;
    let mut client = rig.client().await;
    let request = bare(get("/a?b").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers"));
    let response = client.send_request(request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    assert!(response.headers()["set-cookie"].to_str().unwrap().starts_with("slotkeeper="));
    let asked = text(response).await;
    assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
    for field in [
        "host: play.example",
        "x-forwarded-host: play.example",
        "x-forwarded-proto: http",
        "x-forwarded-for: 192.0.2.1",
        "cookie: a=1; b=2",
        "te: trailers",
    ] {
        assert!(asked.contains(&format!("\r\n{field}\r\n")), "{field}: {asked}");
    }
    assert_eq!(asked.matches("cookie:").count(), 1);

    // A response to HEAD has no body, also if it is not a pod's.
    for path in ["/a", "/.slotkeeper/status", "/.slotkeeper/health"] {
        let response = client.send_request(bare(get(path).method(Method::HEAD))).await.unwrap();
        assert!(response.headers().contains_key("content-length"), "{path}");
        assert_eq!(text(response).await, "", "{path}");
    }
    let mut connect = bare(get("/"));
    (*connect.method_mut(), *connect.uri_mut()) = (Method::CONNECT, "evil.example:443".parse().unwrap());
    assert_eq!(client.send_request(connect).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    // Of the fields of a cookie, any number is one field.
    for (name, count, expected) in
        [("x-n", 200, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), ("cookie", 200, StatusCode::OK)]
    {
        let many = (0..count).fold(get("/a"), |request, n| request.header(name, format!("n{n}=x")));
        assert_eq!(client.send_request(bare(many)).await.unwrap().status(), expected, "{name}");
    }
    let large = get("/a").header("x", "x".repeat(17_000));
    let status = client.send_request(bare(large)).await.unwrap().status();
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // The connection goes on.
    assert_eq!(fetch(&mut client, "/a").await.0, StatusCode::OK);
    assert_eq!(rig.metric("slotkeeper_http2_connections").await, 1.0);
    // The library has answered the one that was too large.
    assert_eq!(rig.metric("slotkeeper_http_requests_total{version=\"2\"}").await, 8.0);
    drop(client);
    rig.ends("closed", 1.0).await;
    assert_eq!(rig.metric("slotkeeper_http2_connections").await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn bodies_and_trailers_pass_both_ways_while_the_other_continues() {
    let rig = Rig::start("", "").await;
    let mut client = rig.client().await;
    let (send, parts) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
    let parts = futures_util::stream::unfold(parts, |mut parts| async { Some((parts.recv().await?, parts)) });
    let request = get("/echo").method(Method::POST).header("te", "trailers").header("trailer", "x-check");
    let request = request.header("content-type", "application/grpc").body(stream_body(parts)).unwrap();
    let sending = client.send_request(request);
    send.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
    let response = sending.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    // Each part returns before the next one is sent: a stream in both directions, as gRPC has it.
    for part in ["one", "two", "three"] {
        if part != "one" {
            send.send(Frame::data(Bytes::from(part))).await.unwrap();
        }
        let mut echoed = Vec::new();
        while echoed.len() < part.len() {
            echoed.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(echoed, part.as_bytes());
    }
    let trailers: HeaderMap =
        [("x-check", "7")].map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).into_iter().collect();
    send.send(Frame::trailers(trailers)).await.unwrap();
    drop(send);
    let last = body.collect().await.unwrap();
    assert_eq!(last.trailers().map(|trailers| trailers["x-check"].to_str().unwrap()), Some("7"));
}

/// The bytes that the pod has sent when no more of them are accepted.
async fn stalled(rig: &Rig) -> u64 {
    let mut sent = rig.seen.sent.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = rig.seen.sent.load(Ordering::Relaxed);
        if now == sent {
            return sent;
        }
        sent = now;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_costs_bounded_memory_and_stalls_no_other_stream() {
    const WINDOW: u32 = 65_535;
    let rig = Rig::start("", "").await;
    let client = rig.h2(WINDOW).await;
    let mut unread = Vec::new();
    for streams in 1..=10_u64 {
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(without_body(), true).unwrap();
        unread.push(response.await.unwrap());
        let sent = stalled(&rig).await;
        // The window of the client, both buffers of the pod's connection in this network and in the HTTP libraries.
        assert!(sent >= streams * u64::from(WINDOW), "{streams}: {sent}");
        assert!(sent < streams * 1_500_000, "{streams}: {sent}");
    }
    // Another stream of the same connection.
    let mut other = client.clone().ready().await.unwrap();
    let request = Request::get("http://play.example/a").body(()).unwrap();
    let response = other.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    // What is read continues.
    let before = stalled(&rig).await;
    let mut body = unread.pop().unwrap().into_body();
    let mut read = 0;
    while read < 4_000_000 {
        let part = body.data().await.unwrap().unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        read += part.len();
    }
    assert!(stalled(&rig).await > before + 2_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_upload_is_not_complete_for_the_pod() {
    let rig = Rig::start("", "").await;
    let client = rig.h2(65_535).await;
    for (n, cancelled) in [(1, false), (2, true)] {
        let mut client = client.clone().ready().await.unwrap();
        let request = Request::post("http://play.example/body").body(()).unwrap();
        let (_response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"some"), !cancelled).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cancelled {
            body.send_reset(h2::Reason::NO_ERROR);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let (whole, broken) = (rig.seen.whole.load(Ordering::Relaxed), rig.seen.broken.load(Ordering::Relaxed));
        assert_eq!((whole, broken), (1, n - 1));
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_that_a_pod_does_not_read_stall_no_other_stream() {
    let rig = Rig::start("window_bytes = 65_535\nmax_streams = 20", "").await;
    let client = rig.h2(65_535).await;
    let mut unread = Vec::new();
    for _ in 0..19 {
        let mut client = client.clone().ready().await.unwrap();
        let request = Request::post("http://play.example/never").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        // Sends until no more is accepted.
        let mut sent = 0;
        loop {
            body.reserve_capacity(16 * 1024);
            let granted = std::future::poll_fn(|cx| body.poll_capacity(cx));
            let Ok(granted) = tokio::time::timeout(Duration::from_secs(1), granted).await else { break };
            let granted = granted.unwrap().unwrap();
            body.send_data(Bytes::from(vec![0; granted]), false).unwrap();
            sent += granted;
            assert!(sent < 3_000_000, "everything is accepted");
        }
        assert!(sent >= 65_535);
        unread.push((response, body));
    }
    let mut other = client.clone().ready().await.unwrap();
    let request = Request::post("http://play.example/echo").body(()).unwrap();
    let (response, mut body) = other.send_request(request, false).unwrap();
    for _ in 0..10 {
        body.reserve_capacity(10_000);
        while body.capacity() < 10_000 {
            std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
        }
        body.send_data(Bytes::from(vec![1; 10_000]), false).unwrap();
    }
    body.send_data(Bytes::new(), true).unwrap();
    let mut echo = response.await.unwrap().into_body();
    let mut echoed = 0;
    while let Some(part) = echo.data().await {
        let part = part.unwrap();
        echo.flow_control().release_capacity(part.len()).unwrap();
        echoed += part.len();
    }
    assert_eq!(echoed, 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_visitor_cancels_ends_at_the_pod() {
    let rig = Rig::start("", "").await;
    let mut client = rig.client().await;
    let request = client.send_request(bare(get("/never")));
    assert!(tokio::time::timeout(Duration::from_secs(1), request).await.is_err());
    while rig.seen.cancelled.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.shows("slotkeeper_http2_streams_reset_total{by=\"visitor\"}", 1.0).await;
    assert_eq!(fetch(&mut client, "/a").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_sessions_streams_holds_within_one_connection() {
    let rig = Rig::start("", "[limits]\nstreams_per_session = 3").await;
    let mut client = rig.client().await;
    let cookie = cookie(&mut client).await;
    let ask = |path: &str| bare(get(path).header("cookie", &cookie));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(tokio::spawn(client.send_request(ask("/never"))));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let status = client.send_request(ask("/a")).await.unwrap().status();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    open.pop().unwrap().abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.send_request(ask("/a")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn when_the_dispatcher_stops_requests_finish_and_no_new_ones_begin() {
    let mut rig = Rig::start("", "").await;
    let (mut busy, mut idle) = (rig.client().await, rig.client().await);
    fetch(&mut idle, "/a").await;
    let running = tokio::spawn(busy.send_request(bare(get("/later"))));
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.stop();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // GOAWAY: the client opens no more streams.
    for client in [&mut idle, &mut busy] {
        assert!(client.ready().await.is_err() || client.send_request(bare(get("/a"))).await.is_err());
    }
    let response = running.await.unwrap().unwrap();
    assert_eq!(text(response).await, "later");
    rig.ended().await;
}

#[tokio::test(start_paused = true)]
async fn only_its_own_listener_speaks_it_without_tls() {
    let rig = Rig::start("", "").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (at, bytes) in [(rig::PLAIN, &preface[..]), (AT, b"GET / HTTP/1.1\r\nhost: play.example\r\n\r\n")] {
        let mut stream = rig.dial(at).await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.windows(6).any(|part| part == b" 200 O"), "{at}: {answer:?}");
    }
    assert_eq!(rig.seen.requests(), 0);
    rig.ends("error", 1.0).await;
}
