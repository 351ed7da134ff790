//! Requests as pods get them: one host, no fields that could pass for the dispatcher's own, bodies with every method.

use crate::http::SHARED;
use slotkeeper_tests::pod::ok;
use slotkeeper_tests::visitor::PAGE;
use slotkeeper_tests::{Pod, Setup, Visitor, Wire, patiently};

#[tokio::test]
async fn a_chunked_body_arrives_whatever_the_method() {
    let pod =
        Pod::answering(|r| if r.head.method() == "HEAD" { ok("") } else { ok(&String::from_utf8_lossy(&r.body)) })
            .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PROPFIND"] {
        let mut wire = ana.ask(method, "/", "Transfer-Encoding: chunked\r\n").await;
        wire.send("5\r\nhello\r\n0\r\n\r\n").await;
        assert_eq!(ana.answer(&mut wire, method).await.status(), 200, "{method}");
        let seen = pod.seen.last();
        assert_eq!((seen.head.method(), &seen.body[..], seen.whole), (method, &b"hello"[..], true));
    }
}

#[tokio::test]
async fn a_head_may_be_as_large_as_its_limit() {
    let pod = Pod::answering(|_| ok("x")).await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).limit("header_bytes = 1000000\nheader_fields = 300").start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/").await;
    for size in [30_000, 32_760, 32_768, 32_769, 65_534, 70_000, 900_000] {
        let target = format!("/path?q={}", "0123456789".repeat(size / 10));
        // Twice on one connection, with a short one between, all at once.
        let mut wire = Wire::to(dispatcher.visitors).await;
        let before = pod.seen.count();
        let targets = [target.as_str(), "/short", &target];
        let requests = targets.map(|t| ana.head("GET", t, "")).concat();
        wire.send(requests).await;
        for _ in targets {
            assert_eq!(ana.answer(&mut wire, "GET").await.status(), 200, "{size}");
        }
        for (seen, target) in pod.seen.all()[before..].iter().zip(targets) {
            assert!(seen.head.path() == target, "{size}: changed on the way");
        }
        let field = format!("X-Big: {}\r\n", "0123456789".repeat(size / 10));
        assert_eq!(ana.request("GET", "/", &field, b"").await.status(), 200, "{size}");
        assert_eq!(pod.seen.last().head.get("x-big").map(str::len), Some(size / 10 * 10));
    }
    let fields = |n: usize| (0..n).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    assert_eq!(ana.request("GET", "/", &fields(280), b"").await.status(), 200);
    assert_eq!(ana.request("GET", "/", &fields(310), b"").await.status(), 431);
}

#[tokio::test]
async fn fields_that_could_pass_for_the_dispatchers_never_reach_a_pod() {
    let pod = Pod::answering(|_| ok("x")).await;
    let lies = "X_Session_Id: evil\r\nX-Session_ID: evil\r\nX_Forwarded_For: evil\r\nX-Forwarded_Proto: evil\r\nX.Real.IP: evil\r\n\
                X_Slotkeeper_Path: evil\r\nX-Slotkeeper-Other: evil\r\nTransfer_Encoding: evil\r\nContent_Length: evil\r\nProxy: evil\r\n";
    let names =
        "X-Session-Id, X_Session_Id, X-Forwarded-For, X_Forwarded_For, Proxy, X-Slotkeeper-Path, Cookie, X-Fine";
    for proxies in ["", "trusted_proxies = [\"127.0.0.0/8\"]"] {
        let dispatcher = Setup::fixed(&[&pod], SHARED).top(proxies).start().await;
        let mut ana = Visitor::of(&dispatcher);
        let mut wire = ana
            .ask("POST", "/", &format!("{lies}my_field: 1\r\nTransfer-Encoding: chunked\r\nTrailer: {names}\r\n"))
            .await;
        wire.send(format!(
            "1\r\nx\r\n0\r\n{}\r\n",
            names.split(", ").map(|n| format!("{n}: evil\r\n")).collect::<String>()
        ))
        .await;
        assert_eq!(ana.answer(&mut wire, "POST").await.status(), 200);
        let seen = pod.seen.last();
        let evil: Vec<_> = seen.head.fields.iter().filter(|(_, value)| value.contains("evil")).collect();
        assert!(evil.is_empty(), "{proxies}: {evil:?}");
        assert_eq!(seen.head.get("my_field"), Some("1"));
        assert_eq!(seen.head.all("x-session-id").count(), 1);
        let trailers: Vec<&str> = seen.trailers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(trailers, ["x-fine"], "{proxies}");
    }
}

#[tokio::test]
async fn all_spellings_of_a_host_lead_to_one_pool_and_invalid_hosts_to_none() {
    let (exact, wide, any) = (Pod::named("exact").await, Pod::named("wide").await, Pod::named("any").await);
    let dispatcher = Setup::fixed(&[&exact], &format!("{SHARED}\nhosts = [\"Play.Example.\", \"[0:0::1]\"]"))
        .pool("wide", &[&wide], &format!("{SHARED}\nhosts = [\"*.example\"]"))
        .pool("any", &[&any], SHARED)
        .start()
        .await;
    let ask = async |target: &str, host: &str| {
        let mut wire = Wire::to(dispatcher.visitors).await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let head = wire.head().await.expect("an answer");
        let body = wire.body(head.answer_length("GET")).await;
        (head.status(), String::from_utf8_lossy(&body.bytes).into_owned())
    };
    for host in [
        "play.example",
        "PLAY.example",
        "play.example.",
        "play.example:80",
        "play.example:8080",
        "play.example:",
        "[::1]",
        "[0::1]:81",
    ] {
        assert_eq!(ask("/", host).await, (200, "exact".into()), "{host}");
    }
    for host in ["a.example", "b.a.EXAMPLE", "a.example.:1"] {
        assert_eq!(ask("/", host).await, (200, "wide".into()), "{host}");
    }
    for host in ["example", "127.0.0.1", "xexample", "[::2]", "my_host"] {
        assert_eq!(ask("/", host).await, (200, "any".into()), "{host}");
    }
    for (target, host) in [
        ("http://play.example/x", "play.example"),
        ("http://play.example:80/x", "PLAY.example."),
        ("HTTP://play.example", "play.example"),
        ("https://play.example/", "play.example:443"),
    ] {
        assert_eq!(ask(target, host).await, (200, "exact".into()), "{target} {host}");
        assert!(exact.seen.last().head.path().starts_with('/'));
    }
    let seen = exact.seen.count() + wide.seen.count() + any.seen.count();
    for (target, host) in [
        ("http://a.example/", "play.example"),
        ("http://play.example:81/", "play.example"),
        ("http://u@play.example/", "play.example"),
        ("ftp://play.example/", "play.example"),
        ("*", "play.example"),
        ("play.example:80", "play.example"),
        ("javascript:alert(1)", "play.example"),
        ("/", ""),
        ("/", "a b"),
        ("/", "a@b"),
        ("/", "a/b"),
        ("/", "a:99999"),
        ("/", "a:80:80"),
        ("/", "[::1"),
        ("/", "<a>"),
        ("/", "a, b"),
        ("/", "a..b"),
    ] {
        assert_eq!(ask(target, host).await.0, 400, "{target} {host:?}");
    }
    assert_eq!(exact.seen.count() + wide.seen.count() + any.seen.count(), seen);
}

#[tokio::test]
async fn people_get_pages_and_programs_get_json_for_waiting_and_for_failures() {
    let pod = Pod::start(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], "hosts = [\"waits\"]")
        .pool("fails", &[&pod], &format!("{SHARED}\nhosts = [\"fails\"]\ntitle = \"A & B\""))
        .start()
        .await;
    let navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: */*\r\n";
    let fetch = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: text/html\r\n";
    let script = "X-Requested-With: XMLHttpRequest\r\nAccept: text/html\r\n";
    for (method, fields, is_page) in [
        ("GET", navigation, true),
        ("POST", navigation, true),
        ("GET", PAGE, true),
        ("GET", fetch, false),
        ("POST", fetch, false),
        ("GET", script, false),
    ] {
        let kind = if is_page { "text/html; charset=utf-8" } else { "application/json" };
        let mut ana = Visitor::of(&dispatcher).for_host("waits");
        let got = ana.request(method, "/", fields, b"").await;
        assert_eq!(got.head.get("content-type"), Some(kind), "{method} {fields}");
        assert_eq!(got.status(), if is_page && method == "GET" { 200 } else { 503 }, "{method} {fields}");
        for (host, path, status) in [("fails", "/", 502), ("fails", "/.slotkeeper/none", 404), ("nowhere", "/", 404)] {
            let mut ana = Visitor::of(&dispatcher).for_host(host);
            let got = ana.request(method, path, fields, b"").await;
            assert_eq!(
                (got.status(), got.head.get("content-type")),
                (status, Some(kind)),
                "{method} {host}{path} {fields}"
            );
            if is_page {
                let page = got.text();
                assert!(page.contains("Try again") && page.contains("/.slotkeeper/room.css") && page.contains("<svg"));
                let leaves = page.contains("/.slotkeeper/leave\"><");
                assert_eq!((leaves, page.contains("A &amp; B")), (host == "fails", host == "fails"), "{page}");
                assert!(got.head.get("content-security-policy").is_some());
            }
        }
    }
    // The error page for an unknown host can load its style sheet.
    let mut nobody = Visitor::of(&dispatcher).for_host("nowhere");
    assert_eq!(nobody.get("/.slotkeeper/room.css").await.status(), 200);
}

#[tokio::test]
async fn an_origin_is_the_same_by_scheme_host_and_port_or_allowed_by_name() {
    let pod = Pod::named("pod").await;
    let allowed = r#"allowed_origins = ["https://*.example.com", "capacitor://localhost", "chrome-extension://abc"]"#;
    let dispatcher =
        Setup::fixed(&[&pod], &format!("{SHARED}\n{allowed}")).top("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let mut ana = Visitor::of(&dispatcher).for_host("desk.example");
    ana.get("/").await;
    let tls = "X-Forwarded-Proto: https\r\n";
    for (fields, opens) in [
        (format!("{tls}Origin: https://desk.example\r\n"), true),
        (format!("{tls}Origin: https://DESK.example:443\r\n"), true),
        (format!("{tls}X-Forwarded-Port: 8443\r\nOrigin: https://desk.example:8443\r\n"), true),
        (format!("{tls}X-Forwarded-Host: other.example:1\r\nOrigin: https://other.example:1\r\n"), true),
        ("Origin: http://desk.example\r\n".into(), true),
        ("Origin: https://desk.example\r\n".into(), true),
        (format!("{tls}Origin: http://desk.example\r\n"), false),
        (format!("{tls}Origin: https://desk.example:8443\r\n"), false),
        ("Origin: evil://desk.example\r\n".into(), false),
        ("Origin: https://desk.example\r\nOrigin: https://evil.example\r\n".into(), false),
        ("Origin: https://me.example.com\r\n".into(), true),
        ("Origin: http://me.example.com\r\n".into(), false),
        ("Origin: https://example.com\r\n".into(), false),
        ("Origin: capacitor://localhost\r\n".into(), true),
        ("Origin: chrome-extension://abc\r\n".into(), true),
        ("Origin: null\r\n".into(), false),
        ("Origin: null\r\nSec-Fetch-Site: cross-site\r\n".into(), false),
        ("Origin: null\r\nSec-Fetch-Site: same-origin\r\n".into(), true),
        ("Sec-Fetch-Site: cross-site\r\n".into(), false),
        (String::new(), true),
    ] {
        let opened = ana.try_socket("/", &fields).await;
        assert_eq!(opened.err().map(|a| a.status()), (!opens).then_some(403), "{fields}");
        let extended = ana.request("POST", "/.slotkeeper/extend", &format!("{fields}Content-Length: 0\r\n"), b"").await;
        assert_eq!(extended.status(), if opens { 200 } else { 403 }, "{fields}");
    }
}

#[tokio::test]
async fn a_pod_that_forwards_to_the_dispatcher_is_noticed_before_a_second_connection_is_opened() {
    // A proxy that sends everything to the dispatcher.
    let back = std::sync::Arc::new(std::sync::Mutex::new(None));
    let to = back.clone();
    let pod = Pod::start(move |mut wire, seen| {
        let to = *to.lock().unwrap();
        async move {
            let (Some(to), Some(head)) = (to, wire.head().await) else { return };
            let mut there = Wire::to(to).await;
            there.send(&head.raw).await;
            seen.note(slotkeeper_tests::Request { head, ..Default::default() });
            let answer = there.head().await.expect("an answer");
            let body = there.body(answer.answer_length("GET")).await;
            wire.send(answer.raw).await;
            wire.send(body.bytes).await;
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    *back.lock().unwrap() = Some(dispatcher.visitors);
    let mut ana = Visitor::of(&dispatcher);
    let got = ana.get("/").await;
    assert_eq!((got.status(), pod.seen.count()), (508, 1));
    assert!(pod.seen.last().head.get("via").is_some_and(|via| via.starts_with("1.1 slotkeeper-")));
    assert_eq!(dispatcher.sessions().await.len(), 1, "the request that was sent back began no session");
    // A `Via` of another proxy is passed on.
    ana.request("GET", "/", "Via: 1.1 other\r\n", b"").await;
    assert_eq!(pod.seen.last().head.all("via").next(), Some("1.1 other"));
}

/// The library parses a head that arrives in parts only at its end: a head that is refused earlier must still be answered.
#[tokio::test]
async fn invalid_heads_of_any_length_are_answered() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let long = |length: usize| "y".repeat(length);
    let mut heads = Vec::new();
    for length in [10, 5_000, 33_000, 60_000] {
        for byte in ['\u{1}', '\u{7f}', '\0'] {
            heads.push((400, format!("GET /{}{byte}yy HTTP/1.1\r\nHost: a\r\n\r\n", long(length))));
            heads.push((400, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}{byte}yy\r\n\r\n", long(length))));
        }
        heads.push((400, format!("GET /{} yy HTTP/1.1\r\nHost: a\r\n\r\n", long(length))));
    }
    for length in [66_000, 70_000, 200_000, 1_000_000] {
        heads.push((400, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(length))));
        heads.push((400, format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", long(length))));
        // A line without an end.
        heads.push((400, long(length)));
        heads.push((
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("X: {}\r\n", long(length / 50)).repeat(50)),
        ));
    }
    for (status, head) in heads {
        let mut wire = Wire::to(dispatcher.visitors).await;
        let begin: String = head.chars().take(30).collect();
        for piece in head.as_bytes().chunks(20_000) {
            if !wire.try_send(piece).await {
                break;
            }
        }
        let answer = patiently(&begin, wire.head()).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {begin:?}, {} bytes", head.len()));
        assert_eq!(answer.status(), status, "{begin:?}, {} bytes", head.len());
    }
    assert_eq!(pod.seen.count(), 0);
}
