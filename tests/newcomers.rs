//! Which clients begin a session: only those that can return with their cookie, and one browser only once.

use crate::http::SHARED;
use futures_util::future::join_all;
use slotkeeper_tests::pod::ok;
use slotkeeper_tests::visitor::{HANDSHAKE, PAGE};
use slotkeeper_tests::{Answer, Dispatcher, Pod, Setup, Visitor, eventually, patiently};
use std::collections::BTreeSet;
use tokio::sync::watch;

const IMMEDIATE: &str = "admission = \"immediate\"";
const PREFLIGHT: &str = "Origin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n\
                         Access-Control-Request-Headers: content-type, x-y\r\n";

async fn sessionless(dispatcher: &Dispatcher, why: &str) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_requests_without_session_total", &format!("why={why}"))
}

#[tokio::test]
async fn a_cors_preflight_is_answered_by_allowed_origins_and_costs_no_session() {
    let pod = Pod::named("pod").await;
    for settings in [SHARED, ""] {
        let settings = format!("{settings}\nallowed_origins = \"https://app.example\"");
        let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
        let seen = pod.seen.count();
        let got = Visitor::of(&dispatcher).request("OPTIONS", "/api", PREFLIGHT, b"").await;
        assert_eq!(got.status(), 204);
        for (field, value) in [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "content-type, x-y"),
            ("vary", "Origin"),
        ] {
            assert_eq!(got.head.get(field), Some(value), "{field}");
        }
        assert_eq!(got.head.get("set-cookie"), None);
        let foreign = PREFLIGHT.replace("app.example", "evil.example");
        let got = Visitor::of(&dispatcher).request("OPTIONS", "/api", &foreign, b"").await;
        assert_eq!((got.status(), got.head.get("access-control-allow-origin")), (403, None));
        assert_eq!((dispatcher.sessions().await.len(), pod.seen.count()), (0, seen));
        assert_eq!(sessionless(&dispatcher, "preflight").await, 2);
        // With a session, its pod answers, and to other requests of that method as well.
        let mut ana = Visitor::of(&dispatcher);
        ana.wait_for_slot().await;
        assert_eq!(ana.request("OPTIONS", "/api", PREFLIGHT, b"").await.text(), "pod");
        assert_eq!(pod.seen.last().head.method(), "OPTIONS");
    }
}

#[tokio::test]
async fn a_request_whose_response_cannot_carry_the_cookie_begins_no_session() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let foreign = "Sec-Fetch-Site: cross-site\r\n";
    for parts in [
        "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
        "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n",
    ] {
        let got = Visitor::of(&dispatcher).request("GET", "/", &format!("{foreign}{parts}"), b"").await;
        assert_eq!((got.status(), got.head.get("set-cookie")), (403, None), "{parts}");
    }
    assert_eq!((dispatcher.sessions().await.len(), pod.seen.count()), (0, 0));
    assert_eq!(sessionless(&dispatcher, "cookie").await, 3);
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let got = Visitor::of(&dispatcher).request("GET", "/", link, b"").await;
    assert_eq!((got.status(), got.head.get("set-cookie").is_some()), (200, true), "a link from another site");
}

#[tokio::test]
async fn a_session_in_a_frame_of_another_site_is_possible_where_that_is_configured() {
    let pod = Pod::named("pod").await;
    let framed =
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nAccept: text/html\r\n";
    let by_tls = format!("{framed}X-Forwarded-Proto: https\r\n");
    let portal = "embedded_in = [\"https://portal.example\", \"https://*.campus.example\"]";
    let start =
        async |settings: &str| Setup::fixed(&[&pod], settings).top("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let ends = |cookie: &str, with: &str| assert!(cookie.ends_with(with), "{cookie}");

    // An exclusive pool: the waiting room first.
    let dispatcher = start(portal).await;
    let mut ana = Visitor::of(&dispatcher);
    let room = ana.request("GET", "/", &by_tls, b"").await.head;
    ends(room.get("set-cookie").unwrap(), "; HttpOnly; SameSite=None; Partitioned; Secure");
    let policy = room.get("content-security-policy").unwrap();
    ends(policy, "frame-ancestors 'self' https://portal.example https://*.campus.example");
    ana.wait_for_slot().await;
    assert_eq!(ana.request("GET", "/", &by_tls, b"").await.text(), "pod");
    // Without TLS no browser would take such a cookie.
    let plain = Visitor::of(&dispatcher).request("GET", "/", framed, b"").await.head;
    ends(plain.get("set-cookie").unwrap(), "; HttpOnly; SameSite=Lax");

    // A shared pool begins the session with that request.
    let dispatcher = start(&format!("{SHARED}\n{portal}")).await;
    assert_eq!(Visitor::of(&dispatcher).request("GET", "/", &by_tls, b"").await.text(), "pod");
    let parts = by_tls.replace("navigate", "no-cors").replace("iframe", "image");
    assert_eq!(Visitor::of(&dispatcher).request("GET", "/", &parts, b"").await.status(), 403, "no page of ours");

    // And where nothing is configured, nothing of it is there.
    let dispatcher = start("").await;
    let room = Visitor::of(&dispatcher).request("GET", "/", &by_tls, b"").await.head;
    ends(room.get("set-cookie").unwrap(), "; HttpOnly; SameSite=Lax; Secure");
    ends(room.get("content-security-policy").unwrap(), "frame-ancestors 'self'");
}

#[tokio::test]
async fn a_websocket_from_another_site_ends_its_session_when_it_ends() {
    let pod = Pod::sockets(slotkeeper_tests::pod::echo).await;
    let settings = format!("{IMMEDIATE}\ngrace_seconds = 600\nallowed_origins = \"https://app.example\"");
    let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
    let site =
        |site: &str| format!("Origin: https://app.example\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: websocket\r\n");
    let foreign = Visitor::of(&dispatcher).try_socket("/", &site("cross-site")).await.unwrap();
    dispatcher.pool_is("/sessions/taken", 1).await;
    drop(foreign);
    eventually("its session to end", async || dispatcher.sessions().await.is_empty()).await;
    let ours = Visitor::of(&dispatcher).try_socket("/", &site("same-site")).await.unwrap();
    drop(ours);
    dispatcher.pool_is("/sessions/held", 1).await;
}

/// Loads a page as a browser does: redirects are followed with the cookies that it has by then.
async fn tab(jar: &std::sync::Mutex<Visitor>, path: &str) -> Answer {
    for _ in 0..5 {
        let mut tab = jar.lock().unwrap().clone();
        let had = tab.jar.clone();
        let got = tab.page(path).await;
        if tab.jar != had {
            jar.lock().unwrap().jar = tab.jar;
        }
        if got.status() != 307 {
            return got;
        }
        assert_eq!(got.head.get("location"), Some(path));
        assert_eq!(got.head.get("cache-control"), Some("no-store"));
    }
    panic!("redirected without end");
}

#[tokio::test]
async fn five_tabs_of_one_browser_are_one_session_and_two_visitors_behind_one_address_are_two() {
    let (open, gate) = watch::channel(false);
    let script = move |mut wire: slotkeeper_tests::Wire, seen: slotkeeper_tests::pod::Seen| {
        let mut gate = gate.clone();
        async move {
            while let Some(head) = wire.head().await {
                seen.note(slotkeeper_tests::pod::read(&mut wire, head, 0).await);
                let _ = gate.wait_for(|open| *open).await;
                wire.send(ok("page")).await;
            }
        }
    };
    let pods = [Pod::start(script.clone()).await, Pod::start(script.clone()).await, Pod::start(script).await];
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1], &pods[2]], IMMEDIATE).start().await;
    let browser = std::sync::Mutex::new(Visitor::of(&dispatcher));
    // One request is at the pod, which is slow; the others wait for its cookie.
    let (tabs, ()) =
        tokio::join!(join_all(["/a", "/b?x=1", "/c", "/d", "/e"].map(|path| tab(&browser, path))), async {
            eventually("the first request", async || pods.iter().any(|pod| pod.seen.count() > 0)).await;
            eventually("the others", async || sessionless(&dispatcher, "again").await == 4).await;
            open.send(true).unwrap();
        });
    assert!(tabs.iter().all(|tab| tab.text() == "page"), "{tabs:?}");
    assert_eq!(dispatcher.sessions().await.len(), 1);
    assert_eq!(dispatcher.pool().await.slots.busy, 1);

    // The same headers from the same address at the same time, but two cookie jars.
    let (ana, bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    let alike = |mut visitor: Visitor| {
        visitor.fields = "User-Agent: both\r\n".into();
        std::sync::Mutex::new(visitor)
    };
    let (ana, bob) = (alike(ana), alike(bob));
    let (a, b) = tokio::join!(tab(&ana, "/"), tab(&bob, "/"));
    assert_eq!((a.text().as_str(), b.text().as_str()), ("page", "page"));
    assert_ne!(ana.lock().unwrap().jar, bob.lock().unwrap().jar);
    assert_eq!(dispatcher.sessions().await.len(), 3);
    let names: BTreeSet<_> = dispatcher.sessions().await.iter().map(|s| s.pod).collect();
    assert_eq!(names.len(), 3, "each has a pod of its own: {names:?}");
}

#[tokio::test]
async fn a_cookie_that_the_browser_has_overwritten_gets_no_slot() {
    let pods = [Pod::named("page").await, Pod::named("page").await];
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1]], "").start().await;
    let cookie = async || {
        let mut tab = Visitor::of(&dispatcher);
        tab.page("/").await;
        tab
    };
    let (mut first, mut last) = (cookie().await, cookie().await);
    assert_ne!(first.jar, last.jar);
    // A tab sends a request before the browser has stored the last cookie.
    assert_eq!(first.status().await["state"], "arriving");
    assert_eq!(first.page("/").await.status(), 307);
    assert_eq!(dispatcher.sessions().await.len(), 0);
    eventually("the page", async || last.page("/").await.text() == "page").await;
    assert_eq!(dispatcher.sessions().await.len(), 1);
    // If the first cookie belongs to another visitor, that visitor gets a slot a moment later.
    eventually("the page", async || first.page("/").await.text() == "page").await;
    assert_eq!(dispatcher.sessions().await.len(), 2);
}

#[tokio::test]
async fn a_held_client_that_disconnects_leaves_the_queue() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "hold_seconds = 600\nqueue_lease_seconds = 3600\nadmission = \"immediate\"");
    let dispatcher = dispatcher.start().await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/").await.text(), "pod");
    // A client without a cookie, and one with a cookie.
    let new = Visitor::of(&dispatcher).ask("GET", "/", "").await;
    dispatcher.pool_is("/sessions/queued", 1).await;
    let socket = Visitor::of(&dispatcher).ask("GET", "/", HANDSHAKE).await;
    dispatcher.pool_is("/sessions/queued", 2).await;
    let mut known = Visitor::of(&dispatcher);
    known.page("/").await;
    assert!(known.jar.contains_key("slotkeeper"));
    dispatcher.pool_is("/sessions/queued", 3).await;
    let known_call = known.ask("GET", "/", "").await;
    let mut bob = Visitor::of(&dispatcher);
    let mut last = bob.ask("GET", "/", "").await;
    dispatcher.pool_is("/sessions/queued", 4).await;
    drop((new, socket, known_call));
    dispatcher.pool_is("/sessions/queued", 1).await;
    assert_eq!(sessionless(&dispatcher, "gone").await, 2);
    ana.post("/.slotkeeper/leave").await;
    assert_eq!(patiently("the last in line", bob.answer(&mut last, "GET")).await.text(), "pod");
    // The one with a cookie may join again without an act of its visitor.
    assert!(known.request("GET", "/", PAGE, b"").await.text().contains("data-state=\"queued\""));
}
