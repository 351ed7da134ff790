//! `/metrics` agrees with what happened in a small scenario.

use futures_util::{SinkExt, StreamExt};
use slotkeeper_tests::{Pod, Setup, Visitor, eventually, patiently};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn the_metrics_agree_with_a_small_scenario() {
    let pods = [Pod::named("pod 0").await, Pod::named("pod 1").await];
    let settings = "grace_seconds = 0.3\nlinger_seconds = 0.2\nactive_sessions_gauge = \"players\"";
    let dispatcher = Setup::fixed(&[&pods[0], &pods[1]], settings).start().await;
    let [mut ana, mut bob, mut eve] = [(); 3].map(|()| Visitor::of(&dispatcher));

    // Three arrive (waiting), two get a slot, one waits; the first plays with two sockets.
    for visitor in [&mut ana, &mut bob, &mut eve] {
        assert_eq!(visitor.page("/").await.status(), 200);
    }
    let mut sockets = [ana.socket("/").await, ana.socket("/").await];
    for socket in &mut sockets {
        for n in 0..5 {
            socket.send(Message::Text(n.to_string().into())).await.unwrap();
            patiently("the echo", socket.next()).await.unwrap().unwrap();
        }
    }
    let bobs = bob.socket("/").await;
    assert_eq!(eve.get("/").await.status(), 503);
    assert_eq!(ana.get("/").await.text(), "pod 0");

    let now = dispatcher.metrics().await;
    let of = |name: &str, label: &str| now.of_pool(name, label);
    assert_eq!(of("slotkeeper_sessions", "state=taken"), 2);
    assert_eq!(of("slotkeeper_sessions", "state=queued"), 1);
    assert_eq!(of("slotkeeper_sessions", "state=held") + of("slotkeeper_sessions", "state=ending"), 0);
    assert_eq!(of("slotkeeper_queue_length", ""), 1);
    assert_eq!((of("slotkeeper_slots", "state=busy"), of("slotkeeper_slots", "state=free")), (2, 0));
    assert_eq!((of("slotkeeper_pods", "state=ready"), of("slotkeeper_pods", "state=desired")), (2, 2));
    assert_eq!(of("slotkeeper_active", ""), 1);
    assert_eq!(now.get("players"), Some(3.0));
    assert_eq!(of("slotkeeper_streams_open", "kind=upgraded"), 3);
    assert_eq!(of("slotkeeper_streams_open", "kind=request"), 0);
    assert_eq!(of("slotkeeper_time_to_slot_seconds_count", ""), 2);
    assert_eq!(of("slotkeeper_sessions_minted_total", ""), 3);

    // The first leaves, the third takes the slot; an operator ends the second; the third disconnects.
    ana.post("/.slotkeeper/leave").await;
    drop(sockets);
    eve.is_told("ready").await;
    let eves = eve.socket("/").await;
    let name = pods[1].seen.last().head.get("x-session-id").unwrap().to_owned();
    dispatcher.kick("pool", &name).await;
    drop(bobs);
    drop(eves);
    dispatcher.pool_is("/slots/busy", 0).await;
    eventually("all connections to be closed", async || {
        dispatcher.metrics().await.get("slotkeeper_connections_open") == Some(0.0)
    })
    .await;
    assert_eq!(ana.get("/nothing").await.json()["reason"], "left");

    let end = dispatcher.metrics().await;
    let of = |name: &str, label: &str| end.of_pool(name, label);
    for state in ["taken", "queued", "held", "ending"] {
        assert_eq!(of("slotkeeper_sessions", &format!("state={state}")), 0, "{state}");
    }
    let releases = ["left", "kicked", "disconnected", "no_show", "idle", "time_up", "left_queue", "pod_lost"]
        .map(|reason| of("slotkeeper_releases_total", &format!("reason={reason}")));
    assert_eq!(releases, [1, 1, 1, 0, 0, 0, 0, 0]);
    for kind in ["kind=upgraded", "kind=request"] {
        assert_eq!(of("slotkeeper_streams_open", kind), 0);
    }
    assert_eq!(of("slotkeeper_time_to_slot_seconds_count", ""), 3);
    assert_eq!((of("slotkeeper_active", ""), end.get("players")), (0, Some(0.0)));
    for direction in ["direction=in", "direction=out"] {
        assert_eq!(of("slotkeeper_messages_total", direction), 10);
    }
    let outcome = |word: &str| of("slotkeeper_request_seconds_count", &format!("outcome={word}"));
    assert_eq!((outcome("upgraded"), outcome("forwarded"), outcome("failed")), (4, 1, 0));
    assert_eq!(outcome("waiting"), 3 + 1 + 1);
    assert!(outcome("own") >= 2);
    assert_eq!(end.get("slotkeeper_broken_invariants_total"), Some(0.0));
}

#[tokio::test]
async fn failures_are_counted_by_fault() {
    let pod = Pod::start(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    let dispatcher = Setup::fixed(&[&pod], "slots_per_pod = 9").limit("body_bytes = 1").start().await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/").await.status(), 502);
    assert_eq!(ana.request("POST", "/", "", b"too much").await.status(), 413);
    assert_eq!(ana.get("/.slotkeeper/nothing").await.status(), 404);
    let metrics = dispatcher.metrics().await;
    let faults =
        ["visitor", "pod", "us"].map(|f| metrics.of_pool("slotkeeper_request_faults_total", &format!("fault={f}")));
    assert_eq!(faults, [2, 1, 0]);
    assert_eq!(metrics.of_pool("slotkeeper_request_seconds_count", "outcome=failed"), 3);
}
