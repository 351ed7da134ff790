//! HTTP passes through unchanged: bodies, trailers, `1xx`, connections and their ends.

use slotkeeper_tests::pod::{answer, ok, read};
use slotkeeper_tests::visitor::PAGE;
use slotkeeper_tests::{Dispatcher, Pod, Request, Setup, Visitor, Wire, eventually, patiently};
use tokio::sync::mpsc;

/// Enough slots for all sessions of a test.
pub(crate) const SHARED: &str = "slots_per_pod = 1000";

async fn before(pod: &Pod) -> Dispatcher {
    Setup::fixed(&[pod], SHARED).start().await
}

#[tokio::test]
async fn methods_paths_fields_and_bodies_arrive_as_they_were_sent() {
    let pod = Pod::answering(|r| match r.head.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Of: head\r\n\r\n".to_vec(),
        "DELETE" => b"HTTP/1.1 204 No Content\r\nX-Of: delete\r\n\r\n".to_vec(),
        "OPTIONS" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n".to_vec(),
        _ => answer("207 Multi-Status", "X-Twice: one\r\nX-Twice: two\r\n", &String::from_utf8_lossy(&r.body)),
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);

    let got = ana.request("GET", "/a%20b/../c?q=%2F&r=a+b", "X-Odd: \u{e9} \"quoted\"\r\n", b"").await;
    assert_eq!((got.status(), got.text().as_str()), (207, ""));
    assert_eq!(got.head.all("x-twice").collect::<Vec<_>>(), ["one", "two"]);
    let asked = pod.seen.last().head;
    assert_eq!(asked.path(), "/a%20b/../c?q=%2F&r=a+b");
    assert_eq!(asked.get("x-odd"), Some("\u{e9} \"quoted\""));
    assert_eq!(asked.get("host"), Some(ana.host.as_str()));

    let got = ana.request("HEAD", "/h", "", b"").await;
    assert_eq!((got.head.get("content-length"), got.head.get("x-of")), (Some("12345"), Some("head")));

    let got = ana.request("PATCH", "/p", "Content-Type: x/y\r\n", b"some\0bytes\r\n\r\n").await;
    assert_eq!(got.body.bytes, b"some\0bytes\r\n\r\n");
    assert_eq!(pod.seen.last().head.get("content-length"), Some("14"));

    let got = ana.request("DELETE", "/d", "", b"").await;
    assert_eq!((got.status(), got.head.get("x-of"), got.head.get("content-length")), (204, Some("delete"), None));
    let got = ana.request("OPTIONS", "/o", "", b"").await;
    assert_eq!((got.status(), got.head.get("etag")), (304, Some("\"x\"")));
    assert_eq!(got.head.get("transfer-encoding"), None);
    // A target has no fragment (RFC 9112 §3.2).
    let got = ana.request("GET", "/a#b", "", b"").await;
    assert_eq!((got.status(), pod.seen.last().head.path()), (400, "/o"));
}

#[tokio::test]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let pod = Pod::answering(|r| {
        let sum = r.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case("x-sum")).map_or("none", |(_, v)| v.as_str());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        format!("{head}3\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: {sum} back\r\n\r\n").into_bytes()
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\nConnection: TE\r\n";
    let mut wire = ana.ask("POST", "/", fields).await;
    wire.send("5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n").await;
    let got = ana.answer(&mut wire, "POST").await;
    assert!(got.body.whole);
    assert_eq!(got.text(), "abcd");
    assert_eq!(got.body.trailers.len(), 1, "{:?}", got.body);
    assert_eq!(got.body.trailers[0].1, "11 back");
    let asked = pod.seen.last();
    assert_eq!(asked.body, b"hello world");
    assert_eq!(asked.head.get("te"), Some("trailers"));
    assert_eq!(asked.head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(asked.head.get("content-length"), None);
}

/// Answers a request with `Expect` with `first`, and reports what it has read of the body.
async fn expecting(first: &'static str) -> (Pod, mpsc::UnboundedReceiver<Request>) {
    let (told, tells) = mpsc::unbounded_channel();
    let pod = Pod::start(move |mut wire, _| {
        let told = told.clone();
        async move {
            let Some(head) = wire.head().await else { return };
            assert_eq!(head.get("expect"), Some("100-continue"));
            wire.send(first).await;
            if first.contains(" 4") {
                let _ = told.send(Request { head, body: wire.rest().await, ..Request::default() });
                return;
            }
            let request = read(&mut wire, head, 0).await;
            let _ = told.send(request);
            wire.send(ok("thanks")).await;
        }
    })
    .await;
    (pod, tells)
}

const EXPECT: &str = "Expect: 100-continue\r\nContent-Length: 4\r\n";

#[tokio::test]
async fn a_body_is_sent_after_the_pod_answers_100_continue() {
    let (pod, mut told) = expecting("HTTP/1.1 100 Continue\r\n\r\n").await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("PUT", "/", EXPECT).await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("body").await;
    let got = ana.answer(&mut wire, "PUT").await;
    assert_eq!((got.status(), got.before.len()), (200, 0));
    assert_eq!(patiently("the pod", told.recv()).await.unwrap().body, b"body");
}

#[tokio::test]
async fn a_pod_that_refuses_the_expectation_never_gets_the_body() {
    for refusal in ["417 Expectation Failed", "413 Content Too Large", "401 Unauthorized"] {
        let text = format!("HTTP/1.1 {refusal}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        let (pod, mut told) = expecting(text.leak()).await;
        let dispatcher = before(&pod).await;
        let mut ana = Visitor::of(&dispatcher);
        let mut wire = ana.ask("PUT", "/", EXPECT).await;
        let got = ana.answer(&mut wire, "PUT").await;
        assert_eq!(
            (got.status().to_string().as_str(), got.before.len(), got.text().as_str()),
            (&refusal[..3], 0, "no")
        );
        drop(wire);
        assert_eq!(patiently("the pod", told.recv()).await.unwrap().body, b"", "after {refusal}");
    }
}

#[tokio::test]
async fn a_silent_pod_gets_the_body_after_a_while() {
    let (pod, mut told) = expecting("").await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("PUT", "/", EXPECT).await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("body").await;
    assert_eq!(ana.answer(&mut wire, "PUT").await.text(), "thanks");
    assert_eq!(patiently("the pod", told.recv()).await.unwrap().body, b"body");
}

#[tokio::test]
async fn a_final_answer_may_come_while_the_body_is_still_being_sent() {
    let pod = Pod::start(|mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        if head.method() == "GET" {
            return wire.send(ok("next")).await;
        }
        assert_eq!(wire.bytes(4).await, b"some");
        wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nConnection: close\r\n\r\nenough").await;
        wire.rest().await;
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("POST", "/", "Content-Length: 1000000\r\n").await;
    wire.send("some").await;
    let got = ana.answer(&mut wire, "POST").await;
    assert_eq!((got.status(), got.text().as_str()), (403, "enough"));
    drop(wire);
    assert_eq!(ana.get("/").await.text(), "next");
}

#[tokio::test]
async fn a_streamed_answer_arrives_as_it_is_written() {
    let (go, wait) = mpsc::unbounded_channel::<()>();
    let wait = std::sync::Arc::new(tokio::sync::Mutex::new(wait));
    let pod = Pod::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            if wire.head().await.is_none() {
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for n in 0..5 {
                wire.send_chunk(format!("data: {n}\n\n")).await;
                wait.lock().await.recv().await; // until the visitor has it
            }
            wire.send("0\r\n\r\n").await;
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/events", "Accept: text/event-stream\r\n").await;
    assert_eq!(ana.hear(&mut wire).await.get("content-type"), Some("text/event-stream"));
    for n in 0..5 {
        assert_eq!(wire.chunk().await.unwrap(), format!("data: {n}\n\n").into_bytes());
        go.send(()).unwrap();
    }
    assert_eq!(wire.chunk().await.unwrap(), b"");
}

#[tokio::test]
async fn a_streamed_upload_arrives_as_it_is_written() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let pod = Pod::start(move |mut wire, _| {
        let told = told.clone();
        async move {
            if wire.head().await.is_none() {
                return;
            }
            while let Some(chunk) = wire.chunk().await.filter(|c| !c.is_empty()) {
                told.send(chunk).unwrap();
            }
            wire.trailers().await;
            wire.send(ok("all of it")).await;
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("POST", "/", "Transfer-Encoding: chunked\r\n").await;
    for n in 0..5u8 {
        wire.send_chunk([n; 3]).await;
        assert_eq!(patiently("the pod", tells.recv()).await.unwrap(), [n; 3]); // before anything more is sent
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(ana.answer(&mut wire, "POST").await.text(), "all of it");
}

#[tokio::test]
async fn informational_answers_do_not_disturb_the_final_one() {
    let pod = Pod::answering(|_| {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n".to_vec();
        bytes.extend(ok("final"));
        bytes
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let got = ana.get("/").await;
    assert_eq!((got.status(), got.text().as_str()), (200, "final"));
    assert_eq!(ana.get("/").await.text(), "final");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_it_understands() {
    let pod = Pod::answering(|r| match r.head.path() {
        "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
        _ => ok("whole"),
    })
    .await;
    let dispatcher = before(&pod).await;
    for (path, body) in [("/", "whole"), ("/chunked", "abc")] {
        let mut wire = Wire::to(dispatcher.visitors).await;
        wire.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        let head = wire.head().await.unwrap();
        assert_eq!((head.status(), head.get("transfer-encoding")), (200, None));
        assert_eq!(String::from_utf8_lossy(&wire.rest().await), body);
        assert!(pod.seen.last().head.line.ends_with("HTTP/1.1"));
    }
}

#[tokio::test]
async fn connections_are_kept_and_pipelined_requests_answered_in_order() {
    let pod = Pod::answering(|r| ok(r.head.path())).await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/").await;
    let mut wire = Wire::to(dispatcher.visitors).await;
    let all: Vec<String> = (0..20).map(|n| format!("/{n}")).collect();
    let requests: String = all
        .iter()
        .map(|path| {
            if path == "/7" {
                ana.head("POST", path, "Content-Length: 3\r\n") + "GET"
            } else {
                ana.head("GET", path, "")
            }
        })
        .collect();
    wire.send(requests).await;
    for path in &all {
        assert_eq!(&ana.answer(&mut wire, "GET").await.text(), path);
    }
    // The pod's connections are kept as well: consecutive requests use a single one.
    let connections: std::collections::BTreeSet<usize> = pod.seen.all().iter().map(|r| r.connection).collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
}

#[tokio::test]
async fn a_pod_that_closes_a_kept_connection_causes_no_error() {
    let pod = Pod::start(|mut wire, seen| async move {
        // Closes after one request, without announcing it.
        if let Some(head) = wire.head().await {
            let request = read(&mut wire, head, 0).await;
            seen.note(request);
            wire.send(ok("here")).await;
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    for n in 1..=20 {
        let got = ana.request("POST", "/", "", b"once").await;
        assert_eq!((got.status(), got.text().as_str()), (200, "here"));
        assert_eq!(pod.seen.count(), n, "each request arrives once");
        pod.is_left_alone().await;
    }
}

#[tokio::test]
async fn a_response_of_a_pod_that_dies_midway_is_never_complete() {
    let pod = Pod::start(|mut wire, _| async move {
        let Some(head) = wire.head().await else { return };
        match head.path() {
            "/chunked" => wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await,
            "/long" => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").await,
            "/reset" => {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").await;
                wire.reset();
            }
            "/head" => wire.send("HTTP/1.1 200 OK\r\nContent-").await,
            _ => {}
        }
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    for path in ["/chunked", "/long"] {
        let got = ana.get(path).await;
        assert_eq!((got.status(), got.body.whole, got.text().as_str()), (200, false, "abc"), "{path}");
    }
    let mut wire = ana.ask("GET", "/reset", "").await;
    if let (_, Some(head)) = wire.final_head().await
        && head.status() == 200
    {
        assert!(!wire.body(head.answer_length("GET")).await.whole);
    }
    for path in ["/head", "/nothing"] {
        assert_eq!(ana.get(path).await.status(), 502, "{path}");
    }
}

#[tokio::test]
async fn a_pod_that_resets_its_connections_is_a_502_as_json_or_a_page() {
    let pod = Pod::start(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let got = ana.get("/").await;
    assert_eq!((got.status(), got.head.get("content-type")), (502, Some("application/json")));
    assert_eq!(got.json()["fault"], "pod");
    assert!(got.head.get("retry-after").is_some());
    let got = ana.page("/").await;
    assert_eq!((got.status(), got.head.get("content-type")), (502, Some("text/html; charset=utf-8")));
    assert!(got.text().contains("502 Bad Gateway") && got.text().contains("Try again"), "{}", got.text());
}

#[tokio::test]
async fn hop_by_hop_fields_are_not_forwarded() {
    let hop = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Mine: 1\r\nX-Too: 2\r\n\
               Connection: keep-alive, x-mine\r\nConnection: X-Too\r\nX-Stays: 3\r\n";
    let pod = Pod::answering(move |_| answer("200 OK", hop, "x")).await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let more = "TE: gzip\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\n";
    let got = ana.request("GET", "/", &format!("{hop}{more}"), b"").await;
    for head in [&got.head, &pod.seen.last().head] {
        for name in ["keep-alive", "proxy-connection", "x-mine", "x-too", "te", "upgrade", "proxy-authorization"] {
            assert_eq!(head.get(name), None, "{name} in {}", head.line);
        }
        assert_eq!(head.get("x-stays"), Some("3"));
    }
    // `Connection` cannot remove the framing of a body or the identity of the visitor.
    let talk = "Connection: content-length, host, x-session-id, x-forwarded-for, cookie\r\nCookie: a=1\r\n";
    ana.request("POST", "/", talk, b"body").await;
    let asked = pod.seen.last();
    assert_eq!(asked.body, b"body");
    for name in ["host", "x-session-id", "x-forwarded-for", "cookie"] {
        assert!(asked.head.get(name).is_some(), "{name} is missing");
    }
}

#[tokio::test]
async fn only_the_dispatcher_sets_the_fields_that_identify_a_visitor() {
    let pod = Pod::named("x").await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let lies = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: evil.example\r\nForwarded: for=1.2.3.4\r\nX-Session-Id: mine\r\nX-Session-Id: too\r\n";
    let got = ana.request("GET", "/", lies, b"").await;
    assert!(!got.head.get("set-cookie").unwrap().contains("Secure"));
    let asked = pod.seen.last().head;
    assert_eq!(asked.all("x-forwarded-for").collect::<Vec<_>>(), ["127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-proto").collect::<Vec<_>>(), ["http"]);
    assert_eq!(asked.all("x-forwarded-host").collect::<Vec<_>>(), [ana.host.as_str()]);
    assert_eq!(asked.get("forwarded"), None);
    let names: Vec<&str> = asked.all("x-session-id").collect();
    assert_eq!((names.len(), names[0].len()), (1, 32));
    assert!(names[0].bytes().all(|b| b.is_ascii_hexdigit()));
    // The same name for the same session, another for another.
    ana.get("/again").await;
    assert_eq!(pod.seen.last().head.get("x-session-id"), Some(names[0]));
    Visitor::of(&dispatcher).get("/").await;
    assert_ne!(pod.seen.last().head.get("x-session-id"), Some(names[0]));
}

#[tokio::test]
async fn forwarding_fields_of_a_trusted_proxy_are_used() {
    let pod = Pod::named("x").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).top("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let mut ana = Visitor::of(&dispatcher);
    let said = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example\r\n";
    let got = ana.request("GET", "/", said, b"").await;
    assert!(got.head.get("set-cookie").unwrap().contains("; Secure"));
    let asked = pod.seen.last().head;
    assert_eq!(asked.get("x-forwarded-for"), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(asked.get("x-forwarded-proto"), Some("https"));
    assert_eq!(asked.get("x-forwarded-host"), Some("app.example"));
}

#[tokio::test]
async fn only_the_dispatchers_own_cookie_is_removed_from_requests() {
    let pod = Pod::named("x").await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let set = ana.get("/").await.head.get("set-cookie").unwrap().to_owned();
    for part in ["slotkeeper=", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=2592000"] {
        assert!(set.contains(part), "{part} in {set}");
    }
    let ours = format!("slotkeeper={}", ana.jar["slotkeeper"]);
    ana.jar.clear();
    let others = r#"a="x y"; b=%20=; slotkeeperx=1; __Host-c=d,e|f"#;
    for sent in [format!("{others}; {ours}"), format!("{ours}; {others}")] {
        let got = ana.request("GET", "/", &format!("Cookie: {sent}\r\n"), b"").await;
        assert_eq!(got.head.get("set-cookie"), None, "the session is known");
        assert_eq!(pod.seen.last().head.all("cookie").collect::<Vec<_>>(), [others]);
    }
    ana.request("GET", "/", &format!("Cookie: {others}\r\nCookie: {ours}\r\n"), b"").await;
    assert_eq!(pod.seen.last().head.all("cookie").collect::<Vec<_>>(), [others]);
    ana.jar.clear();
    ana.request("GET", "/", &format!("Cookie: {ours}\r\n"), b"").await;
    assert_eq!(pod.seen.last().head.get("cookie"), None);
}

#[tokio::test]
async fn a_visitor_who_disconnects_midway_ends_the_request_at_the_pod() {
    let pod = Pod::start(|mut wire, _| async move {
        if wire.head().await.is_none() {
            return;
        }
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
        wire.rest().await;
    })
    .await;
    let dispatcher = before(&pod).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/", PAGE).await;
    ana.hear(&mut wire).await;
    assert_eq!(wire.chunk().await.unwrap(), b"x");
    drop(wire);
    pod.is_left_alone().await;
    let open = r#"slotkeeper_connections_open"#;
    eventually("all connections to be closed", async || dispatcher.metrics().await.get(open) == Some(0.0)).await;
}
