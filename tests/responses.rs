//! Responses as visitors get them: one length, no dispatcher cookies from pods, nothing that a shared cache would store.

use crate::http::SHARED;
use slotkeeper_tests::pod::{answer, ok, read, switching};
use slotkeeper_tests::visitor::HANDSHAKE;
use slotkeeper_tests::{Head, Pod, Setup, Visitor, Wire};

/// A pod that answers `/n` with the nth of these, and then closes unless the response contains `Keep`.
async fn saying(answers: &'static [&'static str]) -> Pod {
    Pod::start(move |mut wire, seen| async move {
        while let Some(head) = wire.head().await {
            let request = read(&mut wire, head, 0).await;
            let n: usize = request.head.path().trim_start_matches('/').parse().unwrap_or(usize::MAX);
            seen.note(request);
            let Some(bytes) = answers.get(n) else {
                wire.send(ok("fine")).await;
                continue;
            };
            wire.send(bytes).await;
            if !bytes.contains("Keep") {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_response_that_can_be_understood_is_normalised() {
    const ANSWERS: &[&str] = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\nKeep: 1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nKeep: 1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nKeep: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 999\r\nKeep: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nKeep: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 3\r\nX-A\t: b\r\nKeep: 1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\n\tc\r\nContent-Length: 3\r\nKeep: 1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n: nameless\r\nno colon\r\nX(Y): 1\r\nContent-Length: 3\r\nKeep: 1\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\nKeep: 1\r\n\r\nabc",
        "HTTP/1.1 200\r\n\r\nabc",
    ];
    let pod = saying(ANSWERS).await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    for (n, sent) in ANSWERS.iter().enumerate() {
        // The second request shows whether the connection was left in order.
        for _ in 0..2 {
            let got = ana.get(&format!("/{n}")).await;
            assert_eq!((got.status(), got.text().as_str(), got.body.whole), (200, "abc", true), "{sent}");
            assert!(got.head.all("content-length").count() <= 1);
            assert!(got.head.fields.iter().all(|(name, _)| name.trim() == name && !name.is_empty()), "{:?}", got.head);
        }
        // A body to a pod that has answered in HTTP/1.0 before arrives complete.
        let mut wire = ana.ask("POST", "/x", "Transfer-Encoding: chunked\r\n").await;
        wire.send("3\r\nxyz\r\n0\r\n\r\n").await;
        assert_eq!(ana.answer(&mut wire, "POST").await.status(), 200, "after {sent}");
        let seen = pod.seen.last();
        assert_eq!((&seen.body[..], seen.whole), (&b"xyz"[..], true), "after {sent}");
    }
    let got = ana.get("/6").await;
    assert_eq!(got.head.get("x-folded").map(|v| v.split_whitespace().collect::<Vec<_>>()), Some(vec!["a", "b", "c"]));
    let corrected = dispatcher.metrics().await.of_pool("slotkeeper_responses_corrected_total", "what=framing");
    assert!(corrected >= 8, "{corrected}");
}

#[tokio::test]
async fn a_response_that_cannot_be_understood_is_a_502_with_the_reason_in_the_log() {
    const ANSWERS: &[&str] = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "not http at all\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    ];
    let pod = saying(ANSWERS).await;
    for (n, sent) in ANSWERS.iter().enumerate() {
        // One pod's failures of one kind are logged once a minute, so each case has its own dispatcher.
        let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
        let mut ana = Visitor::of(&dispatcher);
        ana.get("/fine").await;
        let lines = |log: String| log.lines().filter(|l| l.contains("the pod's response is invalid: ")).count();
        let before = lines(dispatcher.log());
        assert_eq!(ana.get(&format!("/{n}")).await.status(), 502, "{sent}");
        slotkeeper_tests::eventually("a line in the log", async || lines(dispatcher.log()) > before).await;
        assert_eq!(ana.get("/fine").await.text(), "fine", "after {sent}");
    }
    let many = "A: b\r\n".repeat(150);
    let text: &'static [&'static str] =
        vec![&*format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 3\r\n\r\nabc").leak()].leak();
    for (limit, status) in [("", 502), ("header_fields = 200", 200)] {
        let pod = saying(text).await;
        let dispatcher = Setup::fixed(&[&pod], SHARED).limit(limit).start().await;
        assert_eq!(Visitor::of(&dispatcher).get("/0").await.status(), status, "{limit}");
    }
}

#[tokio::test]
async fn a_truncated_response_does_not_look_complete_to_a_client_of_http_1_0() {
    const ANSWERS: &[&str] = &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"];
    let pod = saying(ANSWERS).await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut wire = Wire::to(dispatcher.visitors).await;
    wire.send("GET /0 HTTP/1.0\r\n\r\n").await;
    let (mut socket, mut bytes) = wire.into_parts();
    let ended = slotkeeper_tests::patiently("the end", async {
        use tokio::io::AsyncReadExt;
        loop {
            match socket.read_buf(&mut bytes).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.kind()),
            }
        }
    })
    .await;
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "{}", String::from_utf8_lossy(&bytes));
}

#[tokio::test]
async fn a_response_with_the_session_cookie_is_not_stored_by_a_shared_cache() {
    let caching = "Cache-Control: public, max-age=600, s-maxage=600\r\nCDN-Cache-Control: max-age=600\r\n\
                   Surrogate-Control: max-age=600\r\nX-Accel-Expires: 600\r\nExpires: Wed, 21 Oct 2099 07:28:00 GMT\r\n";
    let page =
        move |_: &_| answer("200 OK", &format!("{caching}Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n"), "x");
    let pod = Pod::answering(page).await;
    let landing = Pod::answering(page).await;
    let setup = Setup::fixed(&[&pod], &format!("{SHARED}\nhosts = [\"shared\"]"))
        .pool("other", &[&pod], &format!("hosts = [\"landing\"]\nlanding_url = \"http://{}/\"", landing.address))
        .start();
    let dispatcher = setup.await;
    for host in ["shared", "landing"] {
        let mut ana = Visitor::of(&dispatcher).for_host(host);
        let got = ana.page("/app.css").await;
        assert!(got.head.get("set-cookie").is_some(), "{host}");
        let control: Vec<&str> = got.head.all("cache-control").collect();
        assert!(
            control.len() == 1 && control[0].starts_with("private") && !control[0].contains("public"),
            "{control:?}"
        );
        assert!(!control[0].contains("s-maxage"));
        for field in ["cdn-cache-control", "surrogate-control", "x-accel-expires", "expires"] {
            assert_eq!(got.head.get(field), None, "{host}: {field}");
        }
        if host == "shared" {
            // Without the cookie, the pod's fields for caches are kept.
            let got = ana.get("/app.css").await;
            assert_eq!((got.head.get("set-cookie"), got.head.get("cdn-cache-control")), (None, Some("max-age=600")));
        }
    }
}

#[tokio::test]
async fn a_pod_can_neither_set_nor_delete_the_dispatchers_cookies() {
    const OURS: &str = "Set-Cookie: slotkeeper_pool=evil; Path=/\r\nSet-Cookie: app=1\r\nSet-Cookie: =slotkeeper_other=evil\r\n\
                        Set-Cookie: slotkeeper_other=; Max-Age=0\r\nClear-Site-Data: \"cookies\", \"cache\"\r\n";
    let pod = Pod::start(|mut wire, _| async move {
        while let Some(head) = wire.head().await {
            if head.get("upgrade").is_some() {
                wire.send(switching(&head, OURS)).await;
                return;
            }
            let mut bytes = format!("HTTP/1.1 103 Early Hints\r\n{OURS}\r\n").into_bytes();
            bytes.extend(match head.path() {
                "/trailers" => format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie, X-Fine, Clear-Site-Data\r\n\r\n\
                     1\r\nx\r\n0\r\nX-Fine: 1\r\n{OURS}\r\n"
                )
                .into_bytes(),
                "/404" => answer("404 Not Found", OURS, "x"),
                "/304" => format!("HTTP/1.1 304 Not Modified\r\n{OURS}\r\n").into_bytes(),
                _ => answer("200 OK", OURS, "x"),
            });
            wire.send(bytes).await;
        }
    })
    .await;
    let setup = Setup::fixed(&[&pod], SHARED).pool("other", &[&pod], &format!("{SHARED}\npath = \"/other\""));
    let dispatcher = setup.start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/first").await;
    let ours = ana.jar["slotkeeper_pool"].clone();
    for path in ["/", "/404", "/304", "/trailers"] {
        let got = ana.request("GET", path, "TE: trailers\r\nConnection: TE\r\n", b"").await;
        let cookies: Vec<&str> = got.head.all("set-cookie").collect();
        assert_eq!(cookies, if path == "/trailers" { vec![] } else { vec!["app=1"] }, "{path}");
        assert!(
            got.body.trailers.iter().all(|(name, _)| name.eq_ignore_ascii_case("x-fine")),
            "{:?}",
            got.body.trailers
        );
        assert!(got.head.all("clear-site-data").all(|v| v == "\"cache\""), "{path}");
    }
    let mut wire = ana.ask("GET", "/ws", HANDSHAKE).await;
    let head = wire.head().await.unwrap();
    assert_eq!((head.status(), head.all("set-cookie").collect::<Vec<_>>()), (101, vec!["app=1"]));
    assert_eq!(ana.jar["slotkeeper_pool"], ours);
    assert!(dispatcher.metrics().await.of_pool("slotkeeper_responses_corrected_total", "what=cookie") >= 4);
}

#[tokio::test]
async fn a_redirect_to_the_pods_own_address_leads_to_the_visitors() {
    let pod = Pod::start(|mut wire, _| async move {
        let at = wire.local();
        while let Some(head) = wire.head().await {
            let request = read(&mut wire, head, 0).await;
            let to = match request.head.path() {
                "/own" => format!("http://{at}/login?x=1"),
                "/local" => format!("http://localhost:{}/login", at.port()),
                "/sly" => format!("http://{at}//evil.example/"),
                _ => "http://evil.example/login".to_owned(),
            };
            let fields = format!("Location: {to}\r\nContent-Location: {to}\r\nRefresh: 1; url={to}\r\n");
            wire.send(answer("302 Found", &fields, "")).await;
        }
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    for (path, to) in [
        ("/own", "/login?x=1"),
        ("/local", "/login"),
        ("/sly", "/.//evil.example/"),
        ("/other", "http://evil.example/login"),
    ] {
        let head = ana.get(path).await.head;
        assert_eq!(head.get("location"), Some(to), "{path}");
        assert_eq!(head.get("content-location"), Some(to), "{path}");
        assert_eq!(head.get("refresh"), Some(format!("1; url={to}").as_str()), "{path}");
    }
    assert_eq!(dispatcher.metrics().await.of_pool("slotkeeper_responses_corrected_total", "what=location"), 3);
}

#[tokio::test]
async fn names_of_fields_keep_their_case_in_both_directions_if_that_is_configured() {
    let pod =
        Pod::answering(|_| answer("200 OK", "X-CaSe: 1\r\nx-lower: 2\r\nWWW-Thing: 3\r\nX-CaSe: 4\r\n", "x")).await;
    let dispatcher = Setup::fixed(&[&pod], "slots_per_pod = 1000\nconnections.preserve_case = true").start().await;
    let mut ana = Visitor::of(&dispatcher);
    let fields = "X-MyKey: 1\r\nSOAPAction: x\r\nx-lower: y\r\nConnection: X-Hop\r\nX-Hop: gone\r\n";
    for _ in 0..2 {
        // The second time on a kept connection.
        let got = ana.request("GET", "/", fields, b"").await.head;
        let sent = pod.seen.last().head;
        let names = |head: &Head| head.fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        for name in ["X-MyKey", "SOAPAction", "x-lower", "Host"] {
            assert!(names(&sent).iter().any(|n| n == name), "{name}: {sent:?}");
        }
        assert!(!names(&sent).iter().any(|n| n.eq_ignore_ascii_case("x-hop")), "{sent:?}");
        for name in ["X-CaSe", "x-lower", "WWW-Thing", "Content-Length"] {
            assert!(names(&got).iter().any(|n| n == name), "{name}: {got:?}");
        }
        assert_eq!(got.all("x-case").collect::<Vec<_>>(), ["1", "4"]);
    }
}

#[tokio::test]
async fn a_response_that_ends_early_is_counted_and_logged_once_a_minute() {
    const ANSWERS: &[&str] = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nno trailer\r\n\r\n",
    ];
    let pod = saying(ANSWERS).await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/whole").await.text(), "fine");
    for n in 0..ANSWERS.len() {
        let got = ana.get(&format!("/{n}")).await;
        assert_eq!((got.status(), got.text().as_str(), got.body.whole), (200, "abc", false), "{n}");
    }
    let faults = dispatcher.metrics().await.of_pool("slotkeeper_request_faults_total", "fault=pod");
    assert_eq!(faults, ANSWERS.len() as u64);
    let what = "the pod's response ended early";
    slotkeeper_tests::eventually("a line in the log", async || dispatcher.log().contains(what)).await;
    let log = dispatcher.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains(what)).collect();
    assert!(matches!(lines[..], [one] if one.contains("pod=0") && one.contains("end of file")), "{log}");
}
