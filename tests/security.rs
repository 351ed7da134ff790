//! Attacks that must fail: ambiguous requests, excessive sizes, and reading secrets where they do not belong.

use crate::http::SHARED;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, Wire, eventually, patiently};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A pod that records every byte, and answers everything that looks like the end of a head.
async fn recorder() -> (Pod, Arc<Mutex<Vec<u8>>>) {
    let record = Arc::<Mutex<Vec<u8>>>::default();
    let kept = record.clone();
    let pod = Pod::start(move |mut wire, _| {
        let kept = kept.clone();
        async move {
            loop {
                let some = wire.some().await;
                if some.is_empty() {
                    return;
                }
                kept.lock().unwrap().extend_from_slice(&some);
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (pod, record)
}

/// Heads whose end or meaning differs between implementations.
const AMBIGUOUS: &[&str] = &[
    // where the body ends
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 44\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // line endings, folding and whitespace
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX: b\r\n Content-Length: 44\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tContent-Length: 44\r\n\r\n",
    "POST / HTTP/1.1\r\n Host: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX: b\rContent-Length: 44\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n",
    "POST  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "POST / HTTP/1.2\r\nHost: a\r\n\r\n",
    "POST /\r\nHost: a\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    // the host
    "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
];

/// Bodies that are not in chunked coding: the request has begun by then, and is never completed.
const BAD_CHUNKS: &[&str] = &[
    "0x0\r\n\r\n",
    "-1\r\n\r\n",
    "1 1\r\na\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\n",
    "\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\na\r\n0\r\n\r\n",
    "1;x\ny\r\na\r\n0\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "G\r\n\r\n",
];

/// Checks that the response's status, if there is one, is allowed, and returns what follows until the connection is closed.
async fn told(dispatcher: &Dispatcher, request: &str, allowed: &[u16]) -> String {
    let mut wire = Wire::to(dispatcher.visitors).await;
    wire.send(request).await;
    let status = wire.head().await.map(|h| h.status());
    let beginning = request.get(..200).unwrap_or(request);
    assert!(status.is_none_or(|s| allowed.contains(&s)), "{status:?} to {beginning:?}");
    String::from_utf8_lossy(&wire.rest().await).into_owned()
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_nothing_is_smuggled() {
    let (pod, record) = recorder().await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in AMBIGUOUS {
        let rest = told(&dispatcher, &format!("{head}{smuggled}"), &[400, 431, 505]).await;
        assert!(!rest.contains("HTTP/1.1 200"), "two answers to {head:?}");
        let record = String::from_utf8_lossy(&record.lock().unwrap()).into_owned();
        assert_eq!(record, "", "after {head:?}");
    }
    for body in BAD_CHUNKS {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{smuggled}");
        let rest = told(&dispatcher, &request, &[200, 400, 502]).await;
        assert!(!rest.contains("HTTP/1.1 200"), "two answers to {body:?}");
        let record = String::from_utf8_lossy(&record.lock().unwrap()).into_owned();
        assert!(!record.contains("smuggled") && !record.contains("\r\n0\r\n\r\n"), "after {body:?}: {record}");
    }
    // Valid requests are still served.
    assert_eq!(Visitor::of(&dispatcher).get("/").await.status(), 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_or_too_slow_ends_the_connection() {
    let (pod, record) = recorder().await;
    let dispatcher = Setup::fixed(&[&pod], SHARED)
        .limit("header_bytes = 8192\nheader_seconds = 1\nidle_seconds = 3600")
        .start()
        .await;
    let huge = [
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(10_000)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(10_000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(3000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(100_000)),
    ];
    for head in huge {
        told(&dispatcher, &head, &[400, 414, 431]).await;
    }
    // A head that arrives byte by byte, none of them late by itself.
    let mut wire = Wire::to(dispatcher.visitors).await;
    eventually("the slow one to be cut", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        !wire.try_send("X").await
    })
    .await;
    for begun in ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "GET"] {
        patiently("the end of a head that stopped", told(&dispatcher, begun, &[400, 408])).await;
    }
    // A connection that is silent from the beginning is an idle one.
    let dispatcher = Setup::fixed(&[&pod], SHARED).limit("idle_seconds = 1").start().await;
    patiently("the end of an idle connection", told(&dispatcher, "", &[400, 408])).await;
    assert!(record.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_is_sent() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).limit("body_bytes = 1000").start().await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.request("POST", "/", "", &[b'x'; 1000]).await.status(), 200);
    assert_eq!(ana.request("POST", "/", "", &[b'x'; 1001]).await.status(), 413);
    let mut wire = ana.ask("POST", "/", "Transfer-Encoding: chunked\r\n").await;
    for _ in 0..20 {
        wire.send_chunk([b'x'; 100]).await;
    }
    let got = ana.answer(&mut wire, "POST").await;
    assert_eq!((got.status(), got.json()["fault"].clone()), (413, "visitor".into()));
    assert!(pod.seen.all().iter().all(|r| !r.whole || r.body.len() == 1000));
}

#[tokio::test]
async fn the_operators_listener_requires_the_token() {
    let pod = Pod::named("pod").await;
    let token = "a-token-of-some-length";
    let setup = Setup::fixed(&[&pod], SHARED).admin("token_env = \"TOKEN\"").env("TOKEN", token);
    let mut dispatcher = setup.start().await;
    for path in ["/metrics", "/api/v1/pools", "/api/v1/pools/pool/sessions", "/", "/nothing"] {
        let got = dispatcher.admin_get(path).await;
        assert_eq!((got.status(), got.head.get("www-authenticate")), (401, Some("Bearer")), "{path}");
    }
    assert_eq!(dispatcher.admin_post("/api/v1/pools/pool/pods/0/cordon").await.status(), 401);
    for wrong in ["a-token-of-some-lengti", "a-token-of-some-length ", "a-token", ""] {
        let mut operator = Visitor::at(dispatcher.admin);
        operator.fields = format!("Authorization: Bearer {wrong}x\r\n");
        assert_eq!(operator.get("/metrics").await.status(), 401);
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(dispatcher.admin_get(path).await.status(), 200, "{path}");
    }
    dispatcher.token = Some(token.into());
    assert_eq!(dispatcher.admin_get("/metrics").await.status(), 200);
    assert_eq!(dispatcher.admin_get("/api/v1/pools").await.json()["pools"][0]["pool"], "pool");
    // The visitors' listener does not serve it.
    assert_eq!(Visitor::of(&dispatcher).get("/metrics").await.text(), "pod");
    assert!(!dispatcher.log().contains(token));
}

#[tokio::test]
async fn session_secrets_stay_out_of_logs_metrics_and_the_admin_api() {
    let pod = Pod::named("pod").await;
    let setup =
        Setup::fixed(&[&pod], "slots_per_pod = 2\nlinger_seconds = 0.1\ngrace_seconds = 0.1\nclaim_seconds = 0.5");
    let dispatcher = setup.env("RUST_LOG", "slotkeeper=trace,slotkeeper_core=trace,debug").start().await;
    let mut cookies = Vec::new();
    for n in 0..4 {
        let mut ana = Visitor::of(&dispatcher);
        ana.get("/").await;
        cookies.push(ana.jar["slotkeeper"].clone());
        let socket = ana.try_socket("/", "").await;
        if n == 0 {
            ana.post("/.slotkeeper/leave").await;
        } else if let Some(session) = dispatcher.sessions().await.first().filter(|_| n == 1) {
            dispatcher.kick("pool", &session.session).await;
        }
        ana.request("GET", "/", "Cookie: slotkeeper=rubbish\r\n", b"").await;
        drop(socket);
        ana.get("/").await;
    }
    dispatcher.pool_is("/slots/busy", 0).await;
    let seen = [
        dispatcher.log(),
        dispatcher.metrics().await.0,
        dispatcher.admin_get("/api/v1/pools/pool/sessions").await.text(),
        dispatcher.admin_get("/api/v1/pools").await.text(),
    ];
    assert!(seen[0].contains("placed"));
    for cookie in cookies {
        let bytes = URL_SAFE_NO_PAD.decode(&cookie).unwrap();
        let id = u128::from_be_bytes(bytes[1..17].try_into().unwrap());
        let forms = [cookie.clone(), cookie[..20].to_owned(), format!("{id:x}"), format!("{id:X}"), format!("{id}")];
        for (form, text) in forms.iter().flat_map(|f| seen.iter().map(move |t| (f, t))) {
            if let Some(at) = text.find(form.as_str()) {
                panic!("{form}: {}", &text[at.saturating_sub(200)..at + form.len()]);
            }
        }
    }
}

#[tokio::test]
async fn the_operators_listener_has_limits_and_probes_are_answered_all_the_same() {
    let pod = Pod::named("pod").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "a-token-of-some-length").unwrap();
    let mut dispatcher = Setup::fixed(&[&pod], SHARED).admin(&format!("token_file = {file:?}")).start().await;
    let refused = async |dispatcher: &Dispatcher, why: &str| {
        dispatcher.metrics().await.get(&format!("slotkeeper_admin_refused_total{{why=\"{why}\"}}")).unwrap()
    };

    // Twice as many as there may be, all silent.
    let mut silent = Vec::new();
    for _ in 0..128 {
        silent.push(Wire::to(dispatcher.admin).await);
    }
    assert_eq!(dispatcher.admin_get("/healthz").await.status(), 200);
    // The first ones have made room.
    assert!(patiently("the end of a silent connection", silent[0].rest()).await.is_empty());

    for token in [None, Some("a-token-of-some-lengtH"), Some("")] {
        dispatcher.token = token.map(str::to_owned);
        assert_eq!(dispatcher.admin_get("/metrics").await.status(), 401);
    }
    dispatcher.token = Some("a-token-of-some-length".into());
    assert!(refused(&dispatcher, "connection").await >= 64.0);
    assert_eq!(refused(&dispatcher, "token").await, 3.0);
    let log = dispatcher.log();
    assert_eq!(log.matches("admin requests without a valid token").count(), 1, "once a minute: {log}");
    assert!(!log.contains("a-token-of"), "{log}");

    // Heads and bodies are read as those of visitors are.
    let ask = async |head: &str| {
        let mut wire = Wire::to(dispatcher.admin).await;
        wire.send(format!("{head}\r\nAuthorization: Bearer a-token-of-some-length\r\n\r\n")).await;
        wire.head().await.unwrap().status()
    };
    let at = dispatcher.admin;
    assert_eq!(ask(&format!("GET /metrics HTTP/1.1\r\nHost: {at}")).await, 200);
    assert_eq!(ask(&format!("GET /metrics HTTP/1.1\r\nHost: {at}\r\nHost: {at}")).await, 400);
    let post = format!("POST /api/v1/pools/pool/pods/0/cordon HTTP/1.1\r\nHost: {at}");
    assert_eq!(ask(&format!("{post}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked")).await, 400);
    assert_eq!(ask(&format!("{post}\r\nContent-Length: 1000000")).await, 413);
    assert_eq!(refused(&dispatcher, "body").await, 1.0);
    assert_eq!(ask(&format!("{post}\r\nContent-Length: 0")).await, 200);
}

#[tokio::test]
async fn a_web_page_cannot_use_the_operators_listener() {
    let pod = Pod::named("pod").await;
    // Without a token, which a page does not have anyway.
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let cordon = async |fields: &str| {
        let mut wire = Wire::to(dispatcher.admin).await;
        let head = "POST /api/v1/pools/pool/pods/0/cordon HTTP/1.1\r\nContent-Length: 0\r\n";
        wire.send(format!("{head}{fields}\r\n\r\n")).await;
        wire.head().await.unwrap().status()
    };
    let at = dispatcher.admin;
    let from_pages = [
        format!("Host: {at}\r\nOrigin: https://evil.example"),
        format!("Host: {at}\r\nOrigin: null"),
        // A name of the page's own that leads here (DNS rebinding).
        format!("Host: evil.example:{}", at.port()),
        "Host: localhost.evil.example".to_owned(),
    ];
    for fields in &from_pages {
        assert_eq!(cordon(fields).await, 403, "{fields}");
    }
    let refused = dispatcher.metrics().await.get("slotkeeper_admin_refused_total{why=\"page\"}");
    assert_eq!(refused, Some(from_pages.len() as f64));
    let is_cordoned = async || dispatcher.pool().await.pods[0].cordoned;
    assert!(!is_cordoned().await);
    assert_eq!(cordon(&format!("Host: {at}")).await, 200);
    assert!(is_cordoned().await);
    assert_eq!(cordon(&format!("Host: localhost:{}", at.port())).await, 200);
}
