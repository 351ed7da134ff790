//! The end of connections on either side: half-closed clients, early responses, kept connections to pods and their owners.

use crate::http::SHARED;
use slotkeeper_tests::pod::{answer, ok, read};
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, Wire, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// More than the kernel's buffers hold, in pieces.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 256;

/// Sends a request whose sending side is closed at once, and reads everything.
async fn half_closed(at: std::net::SocketAddr, request: &str) -> String {
    let mut wire = Wire::to(at).await;
    wire.send(request).await;
    wire.finish().await;
    String::from_utf8_lossy(&wire.rest().await).into_owned()
}

#[tokio::test]
async fn a_client_that_has_finished_sending_gets_its_answer_on_every_listener() {
    let (release, waits) = tokio::sync::watch::channel(false);
    let pod = Pod::start(move |mut wire, seen| {
        let mut waits = waits.clone();
        async move {
            while let Some(head) = wire.head().await {
                let request = read(&mut wire, head, 0).await;
                let path = request.head.path().to_owned();
                seen.note(request);
                if path == "/later" {
                    let _ = waits.wait_for(|released| *released).await;
                }
                wire.send(ok("answer")).await;
            }
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/").await;
    for (at, request, expected) in [
        (dispatcher.visitors, ana.head("GET", "/", "Connection: close\r\n"), "answer"),
        (dispatcher.visitors, format!("{}body", ana.head("POST", "/", "Content-Length: 4\r\n")), "answer"),
        (dispatcher.visitors, "GET / HTTP/1.0\r\n\r\n".to_owned(), "answer"),
        (dispatcher.visitors, ana.head("GET", "/.slotkeeper/health", ""), "\"state\":\"awake\"}"),
        (dispatcher.admin, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(), "alive\n"),
        (dispatcher.admin, "GET /api/v1/pools HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".to_owned(), "}\n"),
    ] {
        let got = half_closed(at, &request).await;
        assert!(got.starts_with("HTTP/1.") && got.contains(" 200 OK") && got.ends_with(expected), "{request}: {got}");
    }
    // The response may take long: the dispatcher checks that the client is still connected by sending interim responses.
    let later = tokio::spawn({
        let (at, request) = (dispatcher.visitors, ana.head("GET", "/later", ""));
        async move { half_closed(at, &request).await }
    });
    eventually("the request to reach the pod", async || pod.seen.last().head.path() == "/later").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    release.send(true).unwrap();
    let got = later.await.unwrap();
    assert!(got.ends_with("answer") && got.matches(" 200 OK").count() == 1, "{got}");
}

#[tokio::test]
async fn a_half_closed_client_reads_a_streamed_answer_to_its_end() {
    let (release, waits) = tokio::sync::watch::channel(0);
    let pod = Pod::start(move |mut wire, _| {
        let mut waits = waits.clone();
        async move {
            if wire.head().await.is_none() {
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for n in 0..3 {
                let _ = waits.wait_for(|released| *released >= n).await;
                wire.send_chunk(format!("part {n}")).await;
            }
            wire.send("0\r\n\r\n").await;
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/", "").await;
    assert_eq!(ana.hear(&mut wire).await.get("transfer-encoding"), Some("chunked"));
    assert_eq!(wire.chunk().await.unwrap(), b"part 0");
    wire.finish().await;
    // The dispatcher's probe between two chunks is a zero at the start of the next chunk's size.
    tokio::time::sleep(Duration::from_millis(600)).await;
    release.send(1).unwrap();
    assert_eq!(wire.chunk().await.unwrap(), b"part 1");
    release.send(2).unwrap();
    assert_eq!(wire.chunk().await.unwrap(), b"part 2");
    assert_eq!(wire.chunk().await.unwrap(), b"");
    assert_eq!(wire.trailers().await, Some(Vec::new()));
    assert!(wire.rest().await.is_empty());
}

#[tokio::test]
async fn a_client_that_disconnects_before_its_response_is_noticed() {
    let pod = Pod::start(|mut wire, seen| async move {
        let Some(head) = wire.head().await else { return };
        seen.note(slotkeeper_tests::Request { head, ..Default::default() });
        wire.rest().await;
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let wire = Visitor::of(&dispatcher).ask("GET", "/", "").await;
    eventually("the request to reach the pod", async || pod.seen.count() == 1).await;
    drop(wire);
    pod.is_left_alone().await;
    let open = "slotkeeper_connections_open";
    eventually("the connection to be closed", async || dispatcher.metrics().await.get(open) == Some(0.0)).await;
}

/// Uploads everything before it reads anything, as simple clients do.
async fn upload(dispatcher: &Dispatcher, head: String, chunked: bool) -> u16 {
    let mut wire = Wire::to(dispatcher.visitors).await;
    wire.send(head).await;
    for _ in 0..PIECES {
        if chunked {
            wire.send_chunk(vec![b'x'; PIECE]).await;
        } else {
            wire.send(vec![b'x'; PIECE]).await;
        }
    }
    wire.final_head().await.1.map_or(0, |head| head.status())
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_client_still_uploads() {
    let pod = Pod::named("pod").await;
    let setup = Setup::fixed(&[&pod], &format!("{SHARED}\nhosts = [\"open\"]"))
        .pool("busy", &[&pod], "hosts = [\"busy\"]")
        .limit("body_bytes = 100000");
    let dispatcher = setup.start().await;
    let length = format!("Content-Length: {}\r\n", PIECE * PIECES);
    for (line, status) in [
        ("POST /.slotkeeper/nothing HTTP/1.1\r\nHost: busy\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: open\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: elsewhere\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: no host\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: open\r\nContent-Length: 1\r\n", 400),
    ] {
        assert_eq!(upload(&dispatcher, format!("{line}{length}\r\n"), false).await, status, "{line}");
        if !line.contains("Content-Length") {
            let head = format!("{line}Transfer-Encoding: chunked\r\n\r\n");
            let chunked = match line.contains("busy") {
                true => 404,
                false => status,
            };
            assert_eq!(upload(&dispatcher, head, true).await, chunked, "{line}, chunked");
        }
    }
    // The waiting room, and requests from pages of other sites.
    let busy = "POST / HTTP/1.1\r\nHost: busy\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(upload(&dispatcher, format!("{busy}\r\n"), true).await, 503);
    assert_eq!(upload(&dispatcher, format!("{busy}Sec-Fetch-Mode: navigate\r\n\r\n"), true).await, 503);
    let act = "POST /.slotkeeper/leave HTTP/1.1\r\nHost: busy\r\nOrigin: https://evil.example\r\n";
    assert_eq!(upload(&dispatcher, format!("{act}Transfer-Encoding: chunked\r\n\r\n"), true).await, 403);
    // The operators' listener.
    for (framing, status) in [(length.as_str(), 413), ("Transfer-Encoding: chunked\r\n", 404)] {
        let mut wire = Wire::to(dispatcher.admin).await;
        wire.send(format!("POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n")).await;
        for _ in 0..PIECES {
            match status {
                413 => wire.send(vec![b'x'; PIECE]).await,
                _ => wire.send_chunk(vec![b'x'; PIECE]).await,
            }
        }
        assert_eq!(wire.head().await.map(|head| head.status()), Some(status), "{framing}");
    }
}

#[tokio::test]
async fn an_early_answer_of_a_pod_that_stops_reading_or_resets_is_passed_on() {
    let pod = Pod::start(|mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        wire.send(answer("403 Forbidden", "", &"enough".repeat(10_000))).await;
        match head.path() {
            "/resets" => wire.reset(),
            "/closes" => {}
            // The pod neither reads nor closes.
            _ => std::future::pending().await,
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    for path in ["/resets", "/closes", "/stalls"] {
        let mut ana = Visitor::of(&dispatcher);
        let mut wire = ana.ask("POST", path, &format!("Content-Length: {}\r\n", PIECE * PIECES)).await;
        for _ in 0..PIECES {
            wire.send(vec![b'x'; PIECE]).await;
        }
        let got = ana.answer(&mut wire, "POST").await;
        assert_eq!((got.status(), got.body.bytes.len(), got.body.whole), (403, 60_000, true), "{path}");
    }
}

/// A pod that reads one request more than it answers, and then closes. Counts connections.
async fn forgetful(connections: Arc<AtomicUsize>) -> Pod {
    Pod::start(move |mut wire, seen| {
        let connections = connections.clone();
        async move {
            let Some(head) = wire.head().await else { return };
            let number = connections.fetch_add(1, Ordering::Relaxed);
            let request = read(&mut wire, head, number).await;
            seen.note(request);
            wire.send(ok("here")).await;
            if let Some(head) = wire.head().await {
                let request = read(&mut wire, head, number).await;
                seen.note(request);
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_lost_on_a_kept_connection_is_repeated_once_if_that_is_safe() {
    let pod = forgetful(Arc::default()).await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/").await;
    for (method, fields, body, status) in [
        ("GET", "", "", 200),
        ("DELETE", "X-Long: y\r\n", "", 200),
        ("PUT", "", "", 200),
        // A request that is not idempotent may have been processed.
        ("POST", "", "", 502),
        ("GET", "", "", 200),
        // A part of the body has been read.
        ("PUT", "", "body", 502),
        ("OPTIONS", "", "", 200),
    ] {
        let before = pod.seen.count();
        let got = ana.request(method, "/path?q=1", fields, body.as_bytes()).await;
        assert_eq!(got.status(), status, "{method} {body}");
        let seen: Vec<_> = pod.seen.all().split_off(before);
        if status == 200 && seen.len() == 2 {
            assert_eq!(seen[0].head.raw, seen[1].head.raw, "the same bytes");
            assert_ne!(seen[0].connection, seen[1].connection);
        } else {
            assert_eq!(seen.len(), 1, "{method} {body}");
        }
        if status == 502 {
            ana.get("/").await;
        }
    }
    assert!(dispatcher.metrics().await.of_pool("slotkeeper_requests_repeated_total", "") >= 4);
}

/// The number of the pod's connection that carried each of these requests.
async fn connections_of(settings: &str, keep_alive: &str, pause: Duration, requests: usize) -> Vec<usize> {
    let fields = keep_alive.to_owned();
    let pod = Pod::answering(move |_| answer("200 OK", &fields, "x")).await;
    let dispatcher = Setup::fixed(&[&pod], settings).start().await;
    let mut ana = Visitor::of(&dispatcher);
    for _ in 0..requests {
        assert_eq!(ana.get("/").await.status(), 200);
        tokio::time::sleep(pause).await;
    }
    pod.seen.all().iter().map(|request| request.connection).collect()
}

#[tokio::test]
async fn idle_connections_to_pods_are_limited_in_time_and_can_be_switched_off() {
    let distinct = |connections: Vec<usize>| connections.into_iter().collect::<std::collections::BTreeSet<_>>().len();
    let table = |keys: &str| format!("{SHARED}\n[pools.pool.connections]\n{keys}");
    let (brief, long) = (Duration::from_millis(10), Duration::from_millis(1200));
    assert_eq!(distinct(connections_of(&table("idle_seconds = \"off\""), "", brief, 3).await), 3);
    assert_eq!(distinct(connections_of(&table("idle_seconds = 0.5"), "", long, 3).await), 3);
    assert_eq!(distinct(connections_of(&table("age_seconds = 1"), "", long, 3).await), 3);
    // The pod announces how long it keeps them.
    assert_eq!(distinct(connections_of(SHARED, "Keep-Alive: timeout=1, max=5\r\n", long, 3).await), 3);
    assert_eq!(distinct(connections_of(SHARED, "Keep-Alive: timeout=0\r\n", brief, 3).await), 3);
    assert_eq!(distinct(connections_of(SHARED, "Connection: close\r\n", brief, 3).await), 3);
    assert_eq!(distinct(connections_of(&table("idle_seconds = 60"), "Keep-Alive: timeout=60\r\n", brief, 3).await), 1);
}

#[tokio::test]
async fn an_idle_connection_to_a_pod_is_closed_in_time() {
    let pod = Pod::answering(|_| ok("x")).await;
    let settings = format!("{SHARED}\n[pools.pool.connections]\nidle_seconds = 0.5");
    let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
    Visitor::of(&dispatcher).get("/").await;
    pod.is_left_alone().await;
}

/// A pod that treats the body of any request as another request.
async fn lax(connections: Arc<AtomicUsize>) -> Pod {
    Pod::start(move |mut wire, seen| {
        let connection = connections.fetch_add(1, Ordering::Relaxed);
        async move {
            while let Some(head) = wire.head().await {
                let path = head.path().to_owned();
                seen.note(slotkeeper_tests::Request { connection, head, ..Default::default() });
                if path == "/hidden" {
                    // The response is late: the next request on this connection would get it.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    wire.send(ok("evil")).await;
                } else {
                    wire.send(ok(&path)).await;
                }
            }
        }
    })
    .await
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn no_session_gets_the_response_to_a_smuggled_request_of_another() {
    let pod = lax(Arc::default()).await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let (mut ana, mut ben) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.get("/").await;
    ben.get("/").await;
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for n in 0..3 {
            ana.request(method, "/attack", "", HIDDEN.as_bytes()).await;
            let got = ben.get(&format!("/mine/{n}")).await;
            assert_eq!((got.status(), got.text()), (200, format!("/mine/{n}")), "after a {method} with a body");
        }
    }
    let all = pod.seen.all();
    assert!(all.iter().any(|r| r.head.path() == "/hidden"), "the pod was not lax");
    let mut attacked = std::collections::BTreeSet::new();
    for request in &all {
        match request.head.path() {
            "/attack" => _ = attacked.insert(request.connection),
            path if path.starts_with("/mine") => {
                assert!(
                    !attacked.contains(&request.connection),
                    "a connection that carried a body served another session"
                );
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn only_clean_connections_are_shared_between_sessions_and_only_if_configured() {
    let shared = |connections: Vec<slotkeeper_tests::Request>| {
        let ana: Vec<usize> = connections.iter().filter(|r| r.head.path() == "/ana").map(|r| r.connection).collect();
        connections.iter().any(|r| r.head.path() == "/ben" && ana.contains(&r.connection))
    };
    let table = |keys: &str| format!("{SHARED}\n[pools.pool.connections]\n{keys}");
    for (settings, expected) in [(SHARED.to_owned(), true), (table("share = false"), false)] {
        let pod = Pod::answering(|_| ok("x")).await;
        let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
        let (mut ana, mut ben) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
        ana.get("/ana").await;
        for _ in 0..5 {
            ben.get("/ben").await;
        }
        assert_eq!(shared(pod.seen.all()), expected, "{settings}");
    }
    // The pod of an exclusive pool gets its next session on new connections.
    let pod = Pod::answering(|_| ok("x")).await;
    let settings = "admission = \"immediate\"\ngrace_seconds = 0.1\nlinger_seconds = 0.1";
    let dispatcher = Setup::fixed(&[&pod], settings).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/ana").await;
    ana.post("/.slotkeeper/leave").await;
    let mut ben = Visitor::of(&dispatcher);
    eventually("the slot to be free", async || ben.get("/ben").await.status() == 200).await;
    assert!(!shared(pod.seen.all()));
}

#[tokio::test]
async fn a_signed_in_connection_serves_only_the_client_connection_that_signed_it_in() {
    for scheme in ["NTLM", "Negotiate"] {
        let pod = Pod::start(move |mut wire, _| async move {
            let mut user = None;
            while let Some(head) = wire.head().await {
                if let Some(name) = head.get("authorization").and_then(|a| a.split_once(' ')) {
                    user = Some(name.1.to_owned());
                }
                wire.send(match &user {
                    Some(user) => ok(user),
                    None => answer("401 Unauthorized", &format!("WWW-Authenticate: {scheme}\r\n"), ""),
                })
                .await;
            }
        })
        .await;
        let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
        let mut ana = Visitor::of(&dispatcher);
        ana.get("/").await;
        let mut wire = Wire::to(dispatcher.visitors).await;
        wire.send(ana.head("GET", "/", &format!("Authorization: {scheme} ana\r\n"))).await;
        assert_eq!(ana.answer(&mut wire, "GET").await.text(), "ana");
        // The same connection stays signed in; another one, of the same session or not, is not signed in.
        wire.send(ana.head("GET", "/", "")).await;
        assert_eq!(ana.answer(&mut wire, "GET").await.text(), "ana", "{scheme}");
        assert_eq!(ana.get("/").await.status(), 401, "{scheme}");
        assert_eq!(Visitor::of(&dispatcher).get("/").await.status(), 401, "{scheme}");
    }
}
