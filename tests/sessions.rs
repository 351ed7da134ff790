//! Sessions and their slots: cookies, the queue, time limits, and what visitors and operators do.

use crate::http::SHARED;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use slotkeeper_api::{Operation, Parameters, Pool, PoolList, PoolRemoved, PoolStatus, ROUTES, Verb};
use slotkeeper_tests::pod::Socket;
use slotkeeper_tests::visitor::{HANDSHAKE, PAGE};
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually, patiently};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_tungstenite::tungstenite::{Error, Message};

/// One session per pod, and short durations.
const BRISK: &str = "grace_seconds = 0.3\nlinger_seconds = 0.2\n";

async fn two_pods() -> [Pod; 2] {
    [Pod::named("pod 0").await, Pod::named("pod 1").await]
}

async fn released(dispatcher: &Dispatcher, reason: &str) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_releases_total", &format!("reason={reason}"))
}

/// The close code and reason a socket ends with.
async fn close_of(socket: &mut Socket) -> Option<(u16, String)> {
    loop {
        match patiently("the close", socket.next()).await {
            Some(Ok(Message::Close(close))) => return close.map(|c| (u16::from(c.code), c.reason.to_string())),
            Some(Ok(_)) => {}
            Some(Err(Error::ConnectionClosed)) | None => return None,
            Some(Err(error)) => panic!("no close but {error}"),
        }
    }
}

#[tokio::test]
async fn foreign_and_forged_cookies_are_ignored() {
    let pod = Pod::named("x").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let elsewhere = Setup::default().pool("other", &[&pod], SHARED).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/").await;
    let good = ana.jar["slotkeeper"].clone();
    let name = pod.seen.last().head.get("x-session-id").unwrap().to_owned();
    let mut stranger = Visitor::of(&elsewhere);
    stranger.get("/").await;
    let mut forged = good.clone().into_bytes();
    forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let bad =
        [&forged, &good[..good.len() - 1], &good[..40], "", "x", &stranger.jar["slotkeeper"], &format!("{good}A")];
    for value in bad {
        let mut visitor = Visitor::of(&dispatcher);
        let got = visitor.request("GET", "/", &format!("Cookie: slotkeeper={value}\r\n"), b"").await;
        assert!(got.head.get("set-cookie").is_some(), "{value}");
        assert_ne!(pod.seen.last().head.get("x-session-id"), Some(name.as_str()), "{value}");
    }
    // A bad one and a good one: the good one counts, wherever it stands.
    for value in [format!("slotkeeper={forged}; slotkeeper={good}"), format!("slotkeeper={good}; slotkeeper={forged}")]
    {
        let mut visitor = Visitor::of(&dispatcher);
        let got = visitor.request("GET", "/", &format!("Cookie: {value}\r\n"), b"").await;
        assert_eq!(got.head.get("set-cookie"), None);
        assert_eq!(pod.seen.last().head.get("x-session-id"), Some(name.as_str()));
        assert_eq!(pod.seen.last().head.get("cookie"), None);
    }
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_a_new_key_but_not_the_loss_of_its_key() {
    let pod = Pod::named("x").await;
    let (old, new) = ("aa".repeat(32), "bb".repeat(32));
    let with = |keys: String| Setup::fixed(&[&pod], SHARED).top("cookie_keys_env = \"KEYS\"").env("KEYS", &keys);
    let mut names = Vec::new();
    let mut jar = std::collections::BTreeMap::new();
    for keys in [old.clone(), format!("{new}\n{old}"), new] {
        let dispatcher = with(keys).start().await;
        let mut ana = Visitor::of(&dispatcher);
        ana.jar = jar.clone();
        ana.get("/").await;
        if jar.is_empty() {
            jar = ana.jar;
        }
        names.push(pod.seen.last().head.get("x-session-id").unwrap().to_owned());
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
}

/// A cookie in the dispatcher's format: version, id, time of issue, last ordinal, and a MAC over the pool and all of them.
fn cookie(key: &[u8], issued_ms: u64) -> String {
    let mut text = vec![1];
    text.extend_from_slice(&7u128.to_be_bytes());
    text.extend_from_slice(&issued_ms.to_be_bytes());
    text.extend_from_slice(&u32::MAX.to_be_bytes());
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&4u64.to_be_bytes());
    mac.update(b"pool");
    mac.update(&text);
    text.extend_from_slice(&mac.finalize().into_bytes());
    URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn a_cookie_older_than_its_max_age_is_ignored() {
    let pod = Pod::named("x").await;
    let settings = format!("{SHARED}\ncookie_max_age_seconds = 3600");
    let setup = Setup::fixed(&[&pod], &settings).top("cookie_keys_env = \"KEYS\"").env("KEYS", &"aa".repeat(32));
    let dispatcher = setup.start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut names = Vec::new();
    for (minutes, known) in [(1, true), (20, true), (61, false), (600, false)] {
        let mut ana = Visitor::of(&dispatcher);
        let value = cookie(&[0xaa; 32], now - minutes * 60_000);
        ana.request("GET", "/", &format!("Cookie: slotkeeper={value}\r\n"), b"").await;
        names.push((pod.seen.last().head.get("x-session-id").unwrap().to_owned(), known));
    }
    let first = names[0].0.clone();
    assert!(names.iter().all(|(name, known)| (*name == first) == *known), "{names:?}");
}

#[tokio::test]
async fn two_visitors_from_one_address_have_two_pods() {
    let pods = two_pods().await;
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1]], "").start().await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    for _ in 0..3 {
        assert_eq!(ana.get("/").await.text(), "pod 0");
        assert_eq!(bob.get("/").await.text(), "pod 1");
    }
}

#[tokio::test]
async fn all_requests_and_sockets_of_a_session_go_to_one_pod() {
    let pods = two_pods().await;
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1]], "").start().await;
    for round in 0..2 {
        let mut ana = Visitor::of(&dispatcher);
        ana.page("/").await;
        // Two hundred requests at once, before the session exists, and sockets of three tabs.
        let requests = join_all((0..200).map(|_| {
            let mut tab = ana.clone();
            async move { tab.get("/").await.text() }
        }));
        let sockets = join_all((0..3).map(|_| {
            let mut tab = ana.clone();
            async move { tab.socket("/").await }
        }));
        let (texts, mut sockets) = tokio::join!(requests, sockets);
        let texts: BTreeSet<String> = texts.into_iter().collect();
        assert_eq!(texts, BTreeSet::from([format!("pod {round}")]));
        for socket in &mut sockets {
            socket.send(Message::Text("hello".into())).await.unwrap();
            assert_eq!(patiently("the echo", socket.next()).await.unwrap().unwrap(), Message::Text("hello".into()));
        }
        assert_eq!(dispatcher.pool().await.slots.busy, round + 1);
    }
}

#[tokio::test]
async fn the_third_visitor_of_two_slots_waits_until_one_leaves() {
    let pods = two_pods().await;
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1]], "").start().await;
    let [mut ana, mut bob, mut eve, mut ian] = [(); 4].map(|()| Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    ana.get("/").await;
    let first = eve.page("/game?x=1").await;
    assert_eq!((first.status(), first.head.get("cache-control")), (200, Some("private, no-store")));
    assert_eq!(eve.status().await["position"], 1);
    ian.page("/").await;
    assert_eq!(ian.status().await["position"], 2);
    let told = eve.get("/").await;
    assert_eq!((told.status(), told.json()["state"].clone()), (503, "queued".into()));
    assert!(told.head.get("retry-after").is_some());
    // Without data there is no estimate.
    assert!(told.json()["estimate_seconds"].is_null());

    let mut events = eve.ask("GET", "/.slotkeeper/events", "").await;
    let head = eve.hear(&mut events).await;
    assert_eq!(head.get("content-type"), Some("text/event-stream"));
    let event = String::from_utf8(events.chunk().await.unwrap()).unwrap();
    assert!(event.starts_with("data: ") && event.contains(r#""position":1"#), "{event}");
    let left = ana.post("/.slotkeeper/leave").await;
    assert_eq!((left.status(), left.head.get("location")), (303, Some("/")));
    while !String::from_utf8(events.chunk().await.unwrap()).unwrap().contains(r#""state":"ready""#) {}
    assert_eq!(eve.get("/").await.text(), "pod 0");
    assert_eq!(ian.status().await["position"], 1);
    // A visitor who has left sees that, and gets no new slot by a reload.
    let page = ana.page("/").await;
    assert!(page.text().contains("You have left"), "{}", page.text());
    let json = ana.get("/").await;
    assert_eq!((json.status(), json.json()["reason"].clone()), (503, "left".into()));
    // Joining again is a new session at the end of the queue.
    let joined = ana
        .request(
            "POST",
            "/.slotkeeper/join",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"to=%2Fgame%3Fx%3D1",
        )
        .await;
    assert_eq!((joined.status(), joined.head.get("location")), (303, Some("/game?x=1")));
    assert_eq!(ana.status().await["position"], 2);
}

#[tokio::test]
async fn a_slot_is_kept_for_grace_and_then_goes_to_the_next() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "grace_seconds = 2").start().await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    let socket = ana.socket("/").await;
    bob.page("/").await;
    assert_eq!(bob.status().await["position"], 1);
    drop(socket);
    dispatcher.pool_is("/sessions/held", 1).await;
    let socket = ana.socket("/").await;
    dispatcher.pool_is("/sessions/taken", 1).await;
    assert_eq!(bob.status().await["position"], 1);
    drop(socket);
    bob.is_told("ready").await;
    assert_eq!(released(&dispatcher, "disconnected").await, 1);
    // Later, the same cookie joins the queue again.
    assert_eq!(ana.page("/").await.status(), 200);
    assert_eq!(ana.status().await["position"], 1);
}

#[tokio::test]
async fn a_session_without_sockets_is_present_for_linger_after_its_last_request() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], BRISK).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    assert_eq!(ana.get("/").await.text(), "pod");
    dispatcher.pool_is("/slots/busy", 0).await;
    assert_eq!(released(&dispatcher, "disconnected").await, 1);
    assert_eq!(released(&dispatcher, "no_show").await, 0);
}

#[tokio::test]
async fn a_slot_that_is_not_claimed_goes_to_the_next() {
    let pod = Pod::named("pod").await;
    let settings = format!("{BRISK}claim_seconds = 1");
    let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.page("/").await;
    assert_eq!(ana.status().await["state"], "ready");
    bob.page("/").await;
    bob.is_told("ready").await;
    assert_eq!(ana.status().await["reason"], "no_show");
    assert_eq!(ana.get("/").await.json()["reason"], "no_show");
    assert_eq!(released(&dispatcher, "no_show").await, 1);
    // Loading a page is enough to be in the queue again.
    ana.page("/").await;
    assert!(["queued", "ready"].contains(&ana.status().await["state"].as_str().unwrap()));
}

#[tokio::test]
async fn an_idle_session_is_warned_may_extend_and_ends() {
    let pod = Pod::named("pod").await;
    let settings = "idle_seconds = 3\nwarn_before_seconds = 2.5\nextend_limit_seconds = 100";
    let dispatcher = Setup::fixed(&[&pod], settings).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = ana.socket("/").await;
    let warned = async |ana: &mut Visitor| {
        let mut ana = ana.clone();
        eventually("a warning", async || {
            let status = ana.status().await;
            assert_eq!(status["state"], "ready");
            !status["ends_in_seconds"].is_null() && status["reason"] == "idle"
        })
        .await;
    };
    warned(&mut ana).await;
    let extended = ana.post("/.slotkeeper/extend").await.json();
    assert!(extended["ends_in_seconds"].is_null(), "{extended}");
    // The warning is repeated although the status is requested all the time, which is not activity.
    warned(&mut ana).await;
    assert_eq!(close_of(&mut socket).await, Some((4001, "idle".into())));
    drop(socket);
    assert_eq!(ana.get("/").await.json()["reason"], "idle");
    assert!(ana.page("/").await.text().contains("Your session ended while you were away"));
    dispatcher.pool_is("/slots/busy", 0).await;
    assert_eq!(released(&dispatcher, "idle").await, 1);
}

#[tokio::test]
async fn the_cookie_is_renewed_when_the_session_gets_a_pod_and_not_with_every_answer() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "").start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let first = ana.get("/").await;
    assert_eq!(first.text(), "pod");
    assert!(first.head.get("set-cookie").is_some(), "it names the pod from now on");
    assert_eq!(ana.get("/").await.head.get("set-cookie"), None);
}

#[tokio::test]
async fn only_messages_of_the_client_are_activity_of_a_websocket() {
    let talkative = async || {
        Pod::sockets(|socket: Socket| async move {
            let (mut send, mut receive) = socket.split();
            let talk = async {
                while send.send(Message::text("from the pod")).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let listen = async { while receive.next().await.is_some_and(|message| message.is_ok()) {} };
            tokio::join!(talk, listen);
        })
        .await
    };
    let (first, second) = (talkative().await, talkative().await);
    let dispatcher = Setup::fixed(&[&first, &second], "idle_seconds = 3").start().await;
    let (mut ana, mut ben) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    ben.wait_for_slot().await;
    let (mut silent, busy) = (ana.socket("/").await, ben.socket("/").await);
    let (mut send, mut receive) = busy.split();
    let talk = async {
        loop {
            send.send(Message::text("from the client")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let listen = async { while receive.next().await.is_some_and(|message| message.is_ok()) {} };
    // The silent client's session ends although its pod sends all the time; the session of the client that sends does not.
    let close = async {
        tokio::select! {
            close = close_of(&mut silent) => close,
            () = talk => None,
            () = listen => panic!("the session of a client that sends has ended"),
        }
    };
    assert_eq!(patiently("the close", close).await, Some((4001, "idle".into())));
    dispatcher.pool_is("/slots/busy", 1).await;
    assert_eq!(released(&dispatcher, "idle").await, 1);
}

#[tokio::test]
async fn even_a_busy_session_ends_after_max_session_seconds() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "max_session_seconds = 2").start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = ana.socket("/").await;
    let mut tab = ana.clone();
    let busy = async { while tab.get("/").await.status() == 200 {} };
    let (close, ()) = tokio::join!(close_of(&mut socket), busy);
    assert_eq!(close, Some((4001, "time_up".into())));
    assert_eq!(ana.get("/").await.json()["reason"], "time_up");
    assert_eq!(released(&dispatcher, "time_up").await, 1);
}

#[tokio::test]
async fn an_operator_kicks_a_session_and_takes_a_pod_out_of_use() {
    let pods = two_pods().await;
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1]], BRISK).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = ana.socket("/").await;
    let session = dispatcher.sessions().await[0].session.clone();
    assert_eq!(pods[0].seen.last().head.get("x-session-id"), Some(session.as_str()));
    let cordoned = dispatcher.admin_post("/api/v1/pools/pool/pods/0/cordon").await;
    assert!(cordoned.read::<PoolStatus>().pods[0].cordoned);
    dispatcher.kick("pool", &session).await;
    assert_eq!(close_of(&mut socket).await, Some((4001, "kicked".into())));
    drop(socket);
    dispatcher.pool_is("/slots/busy", 0).await;
    assert_eq!(ana.get("/").await.json()["reason"], "kicked");
    assert!(ana.page("/").await.text().contains("An operator of this service ended it."));

    let mut bob = Visitor::of(&dispatcher);
    bob.wait_for_slot().await;
    assert_eq!(bob.get("/").await.text(), "pod 1");
    let mut eve = Visitor::of(&dispatcher);
    eve.page("/").await;
    assert_eq!(eve.status().await["state"], "queued");
    dispatcher.admin_post("/api/v1/pools/pool/pods/0/uncordon").await;
    eve.is_told("ready").await;
    assert_eq!(eve.get("/").await.text(), "pod 0");
    for wrong in ["sessions/nobody/kick", "pods/2/cordon", "pods/x/cordon"] {
        assert_eq!(dispatcher.admin_post(&format!("/api/v1/pools/pool/{wrong}")).await.status(), 404, "{wrong}");
    }
    assert_eq!(dispatcher.admin_get("/api/v1/pools/pool/pods/0/cordon").await.status(), 405);
}

#[tokio::test]
async fn the_admin_listener_serves_its_own_description() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], BRISK).start().await;
    // That an answer is as the table promises is checked for each request of this kind: `slotkeeper_tests::contract`.
    let served = dispatcher.call(Operation::OpenApi, Parameters::default()).await.json();
    assert_eq!(served["openapi"], "3.1.0");
    for route in ROUTES.iter().filter(|route| route.verb == Verb::Get) {
        let path = route.operation.path(Parameters { pool: "pool", ..Parameters::default() });
        assert_eq!(dispatcher.admin_get(&path).await.status(), 200, "{path}");
        let head = Visitor::at(dispatcher.admin).request("HEAD", &path, "", b"").await;
        assert_eq!((head.status(), head.text().as_str()), (200, ""), "{path}");
        let wrong = dispatcher.admin_post(&path).await;
        let allowed = if path == "/api/v1/pools/pool" { "GET, HEAD, DELETE" } else { "GET, HEAD" };
        assert_eq!((wrong.status(), wrong.head.get("allow")), (405, Some(allowed)), "{path}");
    }
    let nowhere = dispatcher.admin_get("/api/v1/nowhere").await;
    assert_eq!(nowhere.status(), 404);
    assert!(nowhere.text().contains("/api/v1/pools/{pool}/sessions"), "{}", nowhere.text());
}

#[tokio::test]
async fn an_operator_removes_a_pool() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], BRISK).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = ana.socket("/").await;
    assert_eq!(dispatcher.admin_delete("/api/v1/pools/nobody").await.status(), 404);
    let removed = dispatcher.admin_delete("/api/v1/pools/pool").await;
    assert_eq!(removed.status(), 200);
    assert_eq!(removed.read::<PoolRemoved>(), PoolRemoved { pool: "pool".into(), removed: true });
    assert_eq!(close_of(&mut socket).await, Some((4001, "pool_removed".into())));
    drop(socket);
    assert_eq!(released(&dispatcher, "pool_removed").await, 1);
    eventually("the journal to have no such pool", async || {
        let list: PoolList = dispatcher.call(Operation::ListPools, Parameters::default()).await.read();
        matches!(&list.pools[..], [Pool::Unknown(_)])
    })
    .await;
    assert_eq!(Visitor::of(&dispatcher).page("/").await.status(), 200, "the first page costs nothing");
    let mut bob = Visitor::of(&dispatcher);
    bob.page("/").await;
    bob.is_told("full").await;
    assert_eq!(dispatcher.admin_get("/readyz").await.status(), 200, "its other pools are served");
}

#[tokio::test]
async fn an_api_call_is_held_until_there_is_a_slot() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "hold_seconds = 50\nadmission = \"immediate\"").start().await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    assert_eq!(ana.get("/").await.text(), "pod");
    let mut call = bob.ask("GET", "/", "").await;
    dispatcher.pool_is("/sessions/queued", 1).await;
    let mut socket = Visitor::of(&dispatcher).ask("GET", "/", HANDSHAKE).await;
    dispatcher.pool_is("/sessions/queued", 2).await;
    // A page is not held: it has a waiting room.
    assert!(Visitor::of(&dispatcher).page("/").await.text().contains("slotkeeper"));
    ana.post("/.slotkeeper/leave").await;
    assert_eq!(bob.answer(&mut call, "GET").await.text(), "pod");
    bob.post("/.slotkeeper/leave").await;
    assert_eq!(socket.head().await.unwrap().status(), 101);
}

#[tokio::test]
async fn streams_new_sessions_and_the_queue_are_limited() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "queue_limit = 1")
        .limit("streams_per_session = 3\nnew_sessions_per_second = 5")
        .start()
        .await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let sockets = [ana.socket("/").await, ana.socket("/").await, ana.socket("/").await];
    assert_eq!(ana.try_socket("/", "").await.err().unwrap().status(), 429);
    assert_eq!(ana.get("/").await.status(), 429);
    drop(sockets);
    eventually("the streams to end", async || ana.clone().get("/").await.status() == 200).await;

    let (mut bob, mut eve) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    eventually("a cookie for bob", async || bob.page("/").await.status() == 200).await;
    bob.is_told("queued").await;
    eventually("a cookie for eve", async || eve.page("/").await.status() == 200).await;
    let full = eve.page("/").await;
    assert_eq!(full.status(), 503);
    assert!(full.text().contains("The line is full") && full.head.get("retry-after").is_some());
    assert_eq!(eve.get("/").await.json()["state"], "full");

    let mut statuses = BTreeSet::new();
    eventually("too many new visitors", async || {
        statuses.insert(Visitor::of(&dispatcher).page("/").await.status());
        statuses.contains(&429)
    })
    .await;
    assert!(statuses.is_subset(&BTreeSet::from([200, 429])), "{statuses:?}");
}

#[tokio::test]
async fn a_priority_class_is_accepted_from_a_trusted_proxy_only() {
    for (trusted, first) in [("127.0.0.1", "bob"), ("192.0.2.1", "ana")] {
        let pod = Pod::named("pod").await;
        let setup = Setup::fixed(&[&pod], "priority_header = \"x-class\"");
        let setup = setup.top(&format!("trusted_proxies = [\"{trusted}\"]"));
        let dispatcher = setup.start().await;
        let [mut sits, mut ana, mut bob] = [(); 3].map(|()| Visitor::of(&dispatcher));
        sits.wait_for_slot().await;
        for (visitor, class) in [(&mut ana, "5"), (&mut bob, "0")] {
            visitor.fields = format!("X-Class: {class}\r\n");
            visitor.page("/").await;
            assert_eq!(visitor.get("/").await.status(), 503);
        }
        let ahead = if ana.status().await["position"] == 1 { "ana" } else { "bob" };
        assert_eq!(ahead, first, "trusted: {trusted}");
        assert_eq!(sits.post("/.slotkeeper/leave").await.status(), 303);
        let next = if first == "ana" { &mut ana } else { &mut bob };
        next.is_told("ready").await;
    }
}

#[tokio::test]
async fn a_configured_landing_page_is_shown_and_the_built_in_one_if_it_fails() {
    let landing = Pod::answering(|r| match r.head.path() {
        "/wait?x=1" => {
            slotkeeper_tests::pod::answer("200 OK", "Content-Type: text/html\r\nX-Own: yes\r\n", "<p>our own</p>")
        }
        _ => slotkeeper_tests::pod::answer("500 Oops", "", "broken"),
    })
    .await;
    let pod = Pod::named("pod").await;
    for (path, own) in [("/wait?x=1", true), ("/broken", false)] {
        let settings = format!("landing_url = \"http://{}{path}\"", landing.address);
        let dispatcher = Setup::fixed(&[&pod], &settings).start().await;
        let mut ana = Visitor::of(&dispatcher);
        let got = ana.page("/").await;
        assert_eq!((got.status(), got.head.get("cache-control")), (200, Some("private, no-store")));
        assert_eq!((got.text() == "<p>our own</p>", got.head.get("x-own").is_some()), (own, own), "{}", got.text());
        assert!(ana.jar.contains_key("slotkeeper"));
        assert_eq!(landing.seen.last().head.get("cookie"), None);
    }
}

#[tokio::test]
async fn sockets_and_posts_from_pages_of_other_sites_are_refused() {
    let pod = Pod::named("pod").await;
    let dispatcher =
        Setup::fixed(&[&pod], &format!("{SHARED}\nallowed_origins = [\"https://app.example\"]")).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.get("/").await;
    let seen = pod.seen.count();
    let same = format!("http://{}", ana.host);
    for (origin, allowed) in [
        (same.as_str(), true),
        ("https://app.example", true),
        ("https://APP.example", true),
        ("https://app.example.evil", false),
        ("https://evil.example", false),
        ("null", false),
        ("http://127.0.0.1:1", false),
    ] {
        let field = format!("Origin: {origin}\r\n");
        let opened = ana.try_socket("/", &field).await;
        assert_eq!(opened.as_ref().err().map(|a| a.status()), (!allowed).then_some(403), "{origin}");
        let left = ana.request("POST", "/.slotkeeper/join", &format!("{field}Content-Length: 0\r\n"), b"").await;
        assert_eq!(left.status(), if allowed { 303 } else { 403 }, "{origin}");
        // An ordinary request is left to the pod.
        assert_eq!(ana.request("GET", "/", &field, b"").await.status(), 200);
    }
    assert_eq!(pod.seen.count() - seen, 7 + 3);
}

#[tokio::test]
async fn the_dispatchers_own_paths_accept_only_their_methods() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let reads: &[&str] = &["GET", "HEAD"];
    let table: &[(&str, &[&str], u16)] = &[
        ("health", reads, 200),
        ("status", reads, 200),
        ("room.css", reads, 200),
        ("room.js", reads, 200),
        ("room.svg", reads, 200),
        ("client.js", reads, 200),
        ("events", &["GET"], 503), // without a cookie there is nothing to follow
        ("leave", &["POST"], 303),
        ("join", &["POST"], 303),
        ("extend", &["POST"], 200),
        ("nothing", &[], 404),
        ("", &[], 404),
    ];
    for (path, methods, status) in table {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            let mut nobody = Visitor::of(&dispatcher);
            let got = nobody.request(method, &format!("/.slotkeeper/{path}"), "Content-Length: 0\r\n", b"").await;
            let expected = if *status == 404 {
                404
            } else if methods.contains(&method) {
                *status
            } else {
                405
            };
            assert_eq!(got.status(), expected, "{method} {path}");
            if method == "HEAD" {
                assert!(got.body.bytes.is_empty());
            }
        }
    }
    assert_eq!(pod.seen.count(), 0, "no request reaches the pod");
    assert_eq!(dispatcher.pool().await.sessions.taken, 0);
}

#[tokio::test]
async fn the_waiting_room_is_a_page_for_people_and_json_for_programs() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], "title = \"Game <b>& co\"").start().await;
    let got = Visitor::of(&dispatcher).page("/x").await;
    assert_eq!((got.status(), got.head.get("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(got.head.get("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(got.text().contains("Game &lt;b&gt;&amp; co") && !got.text().contains("<b>&"));
    let got = Visitor::of(&dispatcher).request("HEAD", "/x", PAGE, b"").await;
    assert_eq!((got.status(), got.body.bytes.len()), (200, 0));
    let got = Visitor::of(&dispatcher).get("/x").await;
    assert_eq!((got.status(), got.json()["state"].clone()), (503, "arriving".into()));
    assert_eq!(got.head.get("cache-control"), Some("private, no-store"));
    assert_eq!(Visitor::of(&dispatcher).get("/.slotkeeper/health").await.json()["state"], "awake");
    assert_eq!(dispatcher.pool().await.slots.busy, 0);
}
