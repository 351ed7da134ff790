//! Activity of a visitor, and requests that begin no session.

use futures_util::SinkExt;
use slotkeeper_tests::pod::{Socket, echo, ok, read, switch};
use slotkeeper_tests::visitor::PAGE;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, Wire, eventually};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const IDLE: &str = "admission = \"immediate\"\nidle_seconds = 3\nwarn_before_seconds = 0.5\n";

async fn released(dispatcher: &Dispatcher, reason: &str) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_releases_total", &format!("reason={reason}"))
}

async fn sessionless(dispatcher: &Dispatcher, why: &str) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_requests_without_session_total", &format!("why={why}"))
}

/// Sockets echo; `/think` never answers; `/down` and `/events` send a little again and again; other paths return "page".
async fn pod() -> Pod {
    Pod::start(|mut wire, seen| async move {
        while let Some(head) = wire.head().await {
            if head.get("upgrade").is_some() {
                echo(switch(wire, &head, "").await).await;
                return;
            }
            let path = head.path().to_owned();
            let request = read(&mut wire, head, 0).await;
            seen.note(request);
            match path.as_str() {
                "/think" => std::future::pending().await,
                "/down" | "/events" => {
                    let kind = if path == "/events" { "text/event-stream" } else { "text/plain" };
                    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"))
                        .await;
                    while wire.try_send("2\r\n\n\n\r\n").await {
                        tokio::time::sleep(PACE).await;
                    }
                    return;
                }
                _ => wire.send(ok("page")).await,
            }
        }
    })
    .await
}

const PACE: Duration = Duration::from_millis(100);

/// `active` starts before `noise` and continues until all checks are done; in the end only the session of `noise` is idle.
async fn only_the_second_is_idle(dispatcher: &Dispatcher, what: &str, active: impl Future, noise: impl Future) {
    let ended = async {
        tokio::select! {
            biased;
            () = eventually(what, async || released(dispatcher, "idle").await == 1) => {}
            _ = async { noise.await; std::future::pending::<()>().await } => {}
        }
        eventually("the second to be over", async || dispatcher.sessions().await.len() == 1).await;
        assert_eq!(dispatcher.sessions().await[0].pod, Some(0), "{what}");
        assert_eq!(released(dispatcher, "idle").await, 1, "{what}");
    };
    tokio::select! {
        biased;
        () = ended => {}
        _ = active => panic!("{what}: the first has ended"),
    }
}

async fn two(settings: &str) -> (Pod, Pod, Dispatcher, Visitor, Visitor) {
    let (one, two) = (pod().await, pod().await);
    let dispatcher = Setup::fixed(&[&one, &two], &format!("{IDLE}{settings}")).start().await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    assert_eq!(ana.get("/").await.text(), "page");
    assert_eq!(bob.get("/").await.text(), "page");
    (one, two, dispatcher, ana, bob)
}

/// Sends messages until the socket is closed.
async fn talk(mut socket: Socket, size: usize) {
    while socket.send(Message::binary(vec![7; size])).await.is_ok() {
        tokio::time::sleep(PACE).await;
    }
}

/// Sends one frame that never ends.
async fn long_frame(visitor: &Visitor) {
    let mut wire = visitor.ask("GET", "/", slotkeeper_tests::visitor::HANDSHAKE).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    let mut head = vec![0x82, 0xff];
    head.extend((1u64 << 20).to_be_bytes());
    head.extend([0; 4]);
    wire.send(head).await;
    while wire.try_send([7; 10]).await {
        tokio::time::sleep(PACE).await;
    }
}

async fn upload(visitor: &Visitor) {
    let mut wire = visitor.ask("POST", "/up", "Transfer-Encoding: chunked\r\n").await;
    while wire.try_send("3\r\nabc\r\n").await {
        tokio::time::sleep(PACE).await;
    }
}

async fn download(visitor: &Visitor, path: &str) {
    let mut wire: Wire = visitor.ask("GET", path, "").await;
    while !wire.some().await.is_empty() {}
}

#[tokio::test]
async fn long_transfers_are_activity_and_unrequested_data_of_the_pod_is_not() {
    let silent = async |bob: &mut Visitor| {
        let _open = bob.socket("/").await;
        std::future::pending::<()>().await;
    };
    let (_one, _two, dispatcher, ana, mut bob) = two("").await;
    only_the_second_is_idle(&dispatcher, "upload", upload(&ana), silent(&mut bob)).await;
    let (_one, _two, dispatcher, ana, mut bob) = two("").await;
    only_the_second_is_idle(&dispatcher, "long frame", long_frame(&ana), silent(&mut bob)).await;
    let (_one, _two, dispatcher, ana, bob) = two("").await;
    only_the_second_is_idle(&dispatcher, "download", download(&ana, "/down"), download(&bob, "/events")).await;
    let (_one, _two, dispatcher, ana, mut bob) = two("").await;
    only_the_second_is_idle(&dispatcher, "long answer", download(&ana, "/think"), silent(&mut bob)).await;
}

#[tokio::test]
async fn frames_count_by_their_size_and_requests_by_their_path() {
    let frames = "[pools.pool.activity]\nsignals = \"frames\"\nframe_bytes = \"6-8\"\n";
    let (_one, _two, dispatcher, mut ana, mut bob) = two(frames).await;
    let (key, fence) = (ana.socket("/").await, bob.socket("/").await);
    only_the_second_is_idle(&dispatcher, "frames", talk(key, 8), talk(fence, 10)).await;

    let paths = "[pools.pool.activity]\nignored_paths = \"/api/*\"\n";
    let (_one, _two, dispatcher, mut ana, mut bob) = two(paths).await;
    // As background requests: they begin no new session after the session has ended.
    let fields = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n";
    let poll = async |visitor: &mut Visitor, path: &str| {
        while visitor.request("GET", path, fields, b"").await.text() == "page" {
            tokio::time::sleep(PACE).await;
        }
    };
    only_the_second_is_idle(&dispatcher, "paths", poll(&mut ana, "/lab"), poll(&mut bob, "/api/status")).await;
}

#[tokio::test]
async fn pages_and_pods_report_activity() {
    let reported = "[pools.pool.activity]\nsignals = \"reported\"\nbusy_limit_seconds = 3600\n";
    let (one, two, dispatcher, mut ana, mut bob) = two(reported).await;
    // A page reports activity; below, the pod does.
    let got = ana.post("/.slotkeeper/active?busy_seconds=600").await;
    assert_eq!((got.status(), got.json()["busy_seconds"].clone()), (200, 600.into()));
    let (mut noise, socket) = (bob.clone(), bob.socket("/").await);
    let requests = async {
        loop {
            noise.get("/").await;
            tokio::time::sleep(PACE).await;
        }
    };
    only_the_second_is_idle(&dispatcher, "page", std::future::pending::<()>(), async {
        tokio::join!(talk(socket, 8), requests)
    })
    .await;

    let token = one.seen.last().head.get("x-slotkeeper-report").unwrap().to_owned();
    let others = two.seen.last().head.get("x-slotkeeper-report").unwrap().to_owned();
    assert_ne!(token, others);
    let bearer =
        |token: &str| format!("Authorization: Bearer {token}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let mut pod = Visitor::of(&dispatcher);
    let got = pod.request("POST", "/.slotkeeper/active", &bearer(&token), b"busy_seconds=1e6").await;
    assert_eq!((got.status(), got.json()["busy_seconds"].clone()), (200, 3600.into()), "no longer than the limit");
    let got = pod.request("POST", "/.slotkeeper/active", &bearer(&others), b"busy_seconds=9").await;
    assert_eq!(got.status(), 409, "its session has ended");
    for (fields, form, status) in [
        (bearer("x"), "", 401),
        (bearer(&token[1..]), "", 401),
        ("X-Slotkeeper-Report: x\r\n".to_owned(), "", 401),
        (bearer(&token), "busy_seconds=soon", 400),
    ] {
        let got = pod.request("POST", "/.slotkeeper/active", &fields, form.as_bytes()).await;
        assert_eq!(got.status(), status, "{fields} {form}");
    }
    let foreign = "Origin: https://evil.example\r\nContent-Length: 0\r\n";
    assert_eq!(ana.request("POST", "/.slotkeeper/active", foreign, b"").await.status(), 403);
    assert_eq!(ana.get("/.slotkeeper/active").await.status(), 405);
    let metrics = dispatcher.metrics().await;
    assert_eq!(metrics.of_pool("slotkeeper_activity_reports_total", "from=page"), 1);
    assert_eq!(metrics.of_pool("slotkeeper_activity_reports_total", "from=pod"), 1);
    // The pod reports that the session is no longer busy.
    assert_eq!(pod.request("POST", "/.slotkeeper/active", &bearer(&token), b"busy_seconds=0").await.status(), 200);
    eventually("the end of it", async || released(&dispatcher, "idle").await == 2).await;
}

#[tokio::test]
async fn passive_requests_begin_no_session_and_keep_none() {
    let pod = pod().await;
    let settings = "admission = \"immediate\"\nlinger_seconds = 0.5\ngrace_seconds = 0.5\n[[pools.pool.passive]]\n\
                    paths = \"/api/*\"\nmethods = \"GET\"\n";
    let dispatcher = Setup::fixed(&[&pod], settings).start().await;
    let fetch = |fields: &str| format!("{fields}\r\n");
    for (path, fields, status) in [
        ("/api/status", "Accept: */*", 503),
        ("/", "Sec-Purpose: prefetch;prerender\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html", 503),
        ("/", "User-Agent: kube-probe/1.36", 200),
        ("/", "User-Agent: ELB-HealthChecker/2.0", 200),
    ] {
        let got = Visitor::of(&dispatcher).request("GET", path, &fetch(fields), b"").await;
        assert_eq!((got.status(), got.head.get("set-cookie")), (status, None), "{fields}");
        assert_eq!(got.json()["state"], if status == 200 { "awake" } else { "arriving" }, "{fields}");
    }
    assert_eq!((dispatcher.sessions().await.len(), pod.seen.count()), (0, 0));
    assert_eq!(sessionless(&dispatcher, "passive").await, 4);
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.request("POST", "/api/x", "Content-Length: 0\r\n", b"").await.text(), "page", "another method");
    // The pod answers passive requests while the session exists for another reason.
    assert_eq!(ana.get("/api/status").await.text(), "page");
    eventually("the session to end", async || {
        ana.get("/api/status").await;
        released(&dispatcher, "disconnected").await == 1
    })
    .await;
    assert_eq!(ana.get("/api/status").await.status(), 503);
    assert_eq!(dispatcher.sessions().await.len(), 0);
}

#[tokio::test]
async fn background_requests_of_an_old_page_take_no_slot_and_a_page_load_does() {
    let pod = pod().await;
    for (setting, rejoins) in [("", false), ("rejoin = \"any\"\n", true)] {
        let settings = format!("linger_seconds = 0.2\ngrace_seconds = 0.2\n{setting}");
        let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
        let mut ana = Visitor::of(&dispatcher);
        ana.wait_for_slot().await;
        assert_eq!(ana.page("/").await.text(), "page");
        eventually("the session to end", async || released(&dispatcher, "disconnected").await == 1).await;
        for background in [
            "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
            "User-Agent: Mozilla/5.0\r\nReferer: http://a/\r\nAccept: */*\r\n",
        ] {
            let got = ana.request("GET", "/api/poll", background, b"").await;
            assert_eq!(got.status() == 200, rejoins, "{background}");
            assert_eq!(rejoins, !dispatcher.sessions().await.is_empty());
            if !rejoins {
                assert_eq!(
                    (got.json()["state"].clone(), got.json()["reason"].clone()),
                    ("ended".into(), "disconnected".into())
                );
                let socket = ana.try_socket("/", "Sec-Fetch-Mode: websocket\r\n").await;
                assert_eq!(socket.err().unwrap().status(), 503);
            }
        }
        if !rejoins {
            assert_eq!(sessionless(&dispatcher, "background").await, 4);
            assert_eq!(ana.request("GET", "/", PAGE, b"").await.text(), "page", "a reload");
        }
    }
}
