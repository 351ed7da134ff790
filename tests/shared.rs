//! Shared pools that scale by sessions, by messages or by a gauge of the pods; and pods that are drained before their removal.

use futures_util::{SinkExt, StreamExt};
use slotkeeper_api::Phase;
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Dispatcher, Setup, Visitor, eventually, patiently};
use tokio_tungstenite::tungstenite::Message;

/// Gateways as local processes.
fn gateways(settings: &str) -> Setup {
    let pools = format!(
        "[pools.pool]\ngrace_seconds = 2\nhold_seconds = 30\n{settings}\n[pools.pool.processes]\n\
         command = [{:?}, \"--listen\", \"{{host}}:{{port}}\", \"--metrics-listen\", \"off\", \"--drain-seconds\", \"1\"]\n\
         data_folder = \"data\"\nstop_grace_seconds = 5\n\
         [pools.pool.processes.probe]\npath = \"/readyz\"\nevery_seconds = 0.05\n",
        binary("slotkeeper-gateway").display().to_string()
    );
    Setup { pools, ..Setup::default() }
}

async fn is_ready(dispatcher: &Dispatcher, pod: usize) -> bool {
    dispatcher.pool().await.pods.get(pod).is_some_and(|pod| pod.phase == Phase::Ready)
}

async fn asked(dispatcher: &Dispatcher, target: &str) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_pods_asked", &format!("target={target}"))
}

#[tokio::test]
async fn a_pod_is_drained_before_its_removal_and_its_sockets_reconnect_elsewhere() {
    let settings = "slots_per_pod = 4\nmax_pods = 3\nshrink = \"move\"\ncooldown_seconds = 1\nlinger_seconds = 1\n\
                    targets = { sessions = 2, slack_percent = 0 }";
    let dispatcher = gateways(settings).top("drain_seconds = 0.5").start().await;
    let mut visitors = [(); 4].map(|()| Visitor::of(&dispatcher));
    let mut sockets = Vec::new();
    for visitor in &mut visitors {
        sockets.push(visitor.socket("/ws").await);
    }
    // The target is two sessions per pod: there is a second pod, to which new sessions go.
    dispatcher.pool_is("/desired", 2).await;
    eventually("the second pod", async || is_ready(&dispatcher, 1).await).await;
    let mut late = [(); 2].map(|()| Visitor::of(&dispatcher));
    let mut there = Vec::new();
    for visitor in &mut late {
        there.push(visitor.socket("/ws").await);
    }
    // Six sessions with two per pod are three pods; a new session goes to the pod with the fewest: not to the first one, and
    // perhaps already to the third.
    dispatcher.pool_is("/desired", 3).await;
    let sessions = dispatcher.sessions().await;
    let first = sessions.iter().filter(|s| s.pod == Some(0)).count();
    assert_eq!((first, sessions.len()), (4, 6), "{sessions:?}");

    // Four sessions leave the first pod: two are left, above it. One pod is enough for them, and it is the first.
    for visitor in &mut visitors {
        visitor.post("/.slotkeeper/leave").await;
    }
    drop(sockets);
    for socket in &mut there {
        let closed = patiently("the close", async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Close(close))) => return close,
                    Some(Ok(_)) => {}
                    other => panic!("no close: {other:?}"),
                }
            }
        });
        let close = closed.await.expect("a code");
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "pod_draining"));
    }
    dispatcher.pool_is("/desired", 1).await;
    for visitor in &mut late {
        let mut socket = visitor.socket("/ws").await;
        socket.send(Message::Text("still here".into())).await.unwrap();
        let echo = patiently("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo.to_text().unwrap(), "still here");
    }
    let released = dispatcher.metrics().await.of_pool("slotkeeper_releases_total", "reason=left");
    assert_eq!(released, 4, "no other session is released");
    let sessions = dispatcher.sessions().await;
    assert!(sessions.len() == 2 && sessions.iter().all(|s| s.pod == Some(0)), "{sessions:?}");
}

#[tokio::test]
async fn a_pool_scales_with_the_messages_that_pass() {
    let settings = "slots_per_pod = 100\nmax_pods = 3\n\
                    targets = { messages_per_second = 4, window_seconds = 5 }";
    let dispatcher = gateways(settings).start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut socket = ana.socket("/ws").await;
    assert_eq!(asked(&dispatcher, "slots").await, 1);
    // Twenty messages each way are eight per second over five seconds: two pods.
    for n in 0..20 {
        socket.send(Message::Text(n.to_string().into())).await.unwrap();
        patiently("the echo", socket.next()).await.unwrap().unwrap();
    }
    eventually("two pods to be asked for", async || asked(&dispatcher, "messages").await == 2).await;
    let rate = dispatcher.metrics().await.of_pool("slotkeeper_messages_per_second", "");
    assert_eq!(rate, 8);
    dispatcher.pool_is("/desired", 2).await;
    eventually("silence", async || asked(&dispatcher, "messages").await == 0).await;
}

#[tokio::test]
async fn a_pool_scales_with_a_gauge_of_its_pods() {
    let settings = "slots_per_pod = 10\nmax_pods = 3\n\
                    targets = { window_seconds = 5, gauge = { name = \"console_ready\", per_pod = 0.5, every_seconds = 1 } }";
    let dispatcher = Setup::consoles(settings).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    // Each pod that is ready shows 1 and should show a half: so there is always one more, up to the limit.
    eventually("three pods", async || is_ready(&dispatcher, 2).await).await;
    let metrics = dispatcher.metrics().await;
    let gauge = metrics.get("slotkeeper_pod_gauge{pool=\"pool\"}").expect("it has been read");
    assert!(gauge >= 1.0, "{gauge}");
    assert_eq!(metrics.of_pool("slotkeeper_pod_gauge_errors_total", ""), 0);
    assert_eq!(asked(&dispatcher, "gauge").await, 3);
}

#[tokio::test]
async fn a_gauge_that_cannot_be_read_is_logged_once() {
    let settings = "slots_per_pod = 10\nmax_pods = 3\n\
                    targets = { window_seconds = 5, gauge = { name = \"no_such_thing\", per_pod = 1, every_seconds = 1 } }";
    let dispatcher = Setup::consoles(settings).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let errors = async || dispatcher.metrics().await.of_pool("slotkeeper_pod_gauge_errors_total", "");
    eventually("three questions", async || errors().await >= 3).await;
    let complaints = dispatcher.log().lines().filter(|l| l.contains("did not return their gauge")).count();
    assert_eq!(complaints, 1, "{}", dispatcher.log());
    assert_eq!((asked(&dispatcher, "gauge").await, dispatcher.pool().await.desired), (1, 1));
}

#[tokio::test]
async fn an_operator_drains_a_pod() {
    let settings = "slots_per_pod = 4\nmax_pods = 2\nmin_pods = 2";
    let dispatcher = gateways(settings).top("drain_seconds = 0.2").start().await;
    // Both pods: the first may be the slower one, and a visitor who comes before it is ready is not placed on it.
    eventually("two pods", async || is_ready(&dispatcher, 0).await && is_ready(&dispatcher, 1).await).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut socket = ana.socket("/ws").await;
    let answer = dispatcher.admin_post("/api/v1/pools/pool/pods/0/drain").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(matches!(patiently("the close", socket.next()).await, Some(Ok(Message::Close(_)))));
    eventually("her to be elsewhere", async || dispatcher.sessions().await[0].pod == Some(1)).await;
    assert!(dispatcher.pool().await.pods[0].cordoned);
    assert_eq!(dispatcher.admin_post("/api/v1/pools/pool/pods/9/drain").await.status(), 404);
}
