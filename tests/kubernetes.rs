//! The shipped manifests in use: the workload, the configuration and the rights of `k8s/overlays/gamecube` and
//! `websocket-gateway-dispatcher`, with the built binary and a simulated API server; the pods are servers of this test.

mod benchmarks;
mod cluster;
mod keda;

use crate::manifests::objects::{Case, cases};
use cluster::{Cluster, GAMECUBE, GATEWAYS};
use futures_util::{SinkExt, StreamExt};
use keda::Keda;
use slotkeeper_api::Phase;
use slotkeeper_apiserver::{Key, Part, Resource, Store, Writer};
use slotkeeper_tests::pod::Socket;
use slotkeeper_tests::{Dispatcher, Visitor, eventually, patiently};
use tokio_tungstenite::tungstenite::Message;

/// Durations of minutes become fractions of a second; nothing else of the shipped files is changed.
const QUICK: [(&str, &str); 3] = [
    ("cooldown_seconds = 300", "cooldown_seconds = 0.4"),
    ("grace_seconds = 10", "grace_seconds = 0.3"),
    ("linger_seconds = 30", "linger_seconds = 0.3"),
];

fn shipped(name: &str) -> &'static Case {
    cases().iter().find(|case| case.name == name).unwrap_or_else(|| panic!("nothing is called {name}"))
}

async fn gamecube(changes: &[(&str, &str)]) -> (Cluster, Dispatcher) {
    let all: Vec<_> = QUICK.iter().chain(changes).copied().collect();
    let cluster = Cluster::of(shipped("gamecube-direct"), GAMECUBE, &all).await;
    let dispatcher = cluster.dispatcher().await;
    // The first apply creates one pod, which no session needs.
    eventually("the pool to sleep", async || cluster.pods().is_empty() && cluster.replicas() == 0).await;
    (cluster, dispatcher)
}

#[tokio::test]
async fn the_shipped_system_scales_from_zero_to_two_pods_and_back() {
    let (cluster, dispatcher) = gamecube(&[]).await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.page("/").await.status(), 200);
    assert_eq!(cluster.replicas(), 0, "a first request wakes no pod");
    ana.wait_for_slot().await;
    assert_eq!(ana.get("/").await.text(), "gamecube-0");
    let anas = ana.socket("/").await;
    let mut bob = Visitor::of(&dispatcher);
    bob.wait_for_slot().await;
    assert_eq!((bob.get("/").await.text(), cluster.replicas()), ("gamecube-1".into(), 2));
    let bobs = bob.socket("/").await;
    let kept = |pod: &str| cluster.annotation(pod, "cluster-autoscaler.kubernetes.io/safe-to-evict");
    eventually("both to be kept", async || {
        kept("gamecube-0").as_deref() == Some("false") && kept("gamecube-1").as_deref() == Some("false")
    })
    .await;
    // The lower pod is removed: the window slides to the remaining one.
    drop(anas);
    eventually("only the second to be left", async || cluster.pods() == ["gamecube-1"]).await;
    assert_eq!(bob.get("/").await.text(), "gamecube-1");
    drop(bobs);
    eventually("no pod to be left", async || cluster.pods().is_empty() && cluster.replicas() == 0).await;
    assert_eq!(cluster.killed(), Vec::<String>::new(), "no pod was deleted under a session");
    assert_eq!(cluster.refused(), 0, "the shipped role allows all that was asked for");
    let metrics = dispatcher.metrics().await.0;
    assert!(metrics.contains(r#"slotkeeper_kubernetes_requests_total{code="200""#), "{metrics}");
}

#[tokio::test]
async fn a_waiting_visitor_sees_what_the_pod_waits_for() {
    let (cluster, dispatcher) = gamecube(&[]).await;
    cluster.hold("gamecube-0");
    let mut ana = Visitor::of(&dispatcher);
    ana.page("/").await;
    ana.page("/").await;
    eventually("a pod to be asked for", async || cluster.pods() == ["gamecube-0"]).await;
    cluster.touch("gamecube-0", |pod| {
        pod.unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.").map(drop)
    });
    eventually("plain words", async || ana.status().await.to_string().contains("no GPU is free")).await;
    cluster.touch("gamecube-0", |pod| pod.schedule("node-a").map(drop));
    cluster.touch("gamecube-0", |pod| pod.waiting("ContainerCreating", "").map(drop));
    cluster.touch("gamecube-0", |pod| pod.event("Pulling", "Pulling image").map(drop));
    eventually("plain words", async || ana.status().await.to_string().contains("is being downloaded")).await;
    cluster.release("gamecube-0");
    ana.wait_for_slot().await;
    assert_eq!(ana.get("/").await.text(), "gamecube-0");
}

#[tokio::test]
async fn without_the_api_server_sessions_go_on_and_free_slots_are_granted() {
    let (cluster, dispatcher) = gamecube(&[("cooldown_seconds = 0.4", "cooldown_seconds = 5")]).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut bob = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    let anas = ana.socket("/").await;
    bob.post("/.slotkeeper/leave").await;
    cluster.away(true);
    assert_eq!(ana.get("/").await.text(), "gamecube-0");
    let mut eve = Visitor::of(&dispatcher);
    eve.wait_for_slot().await;
    assert_eq!(eve.get("/").await.text(), "gamecube-1", "a warm pod needs no API server");
    let eves = eve.socket("/").await;
    let mut joe = Visitor::of(&dispatcher);
    joe.page("/").await;
    joe.page("/").await;
    let queued = async || dispatcher.metrics().await.get("slotkeeper_queue_length{pool=\"gamecube\"}");
    eventually("a session to wait", async || queued().await == Some(1.0)).await;
    cluster.away(false);
    joe.wait_for_slot().await;
    assert_eq!(joe.get("/").await.text(), "gamecube-2");
    drop((anas, eves));
}

#[tokio::test]
async fn a_restarted_dispatcher_finds_the_pods_and_keeps_their_sessions() {
    let (cluster, mut dispatcher) = gamecube(&[("cooldown_seconds = 0.4", "cooldown_seconds = 5")]).await;
    let mut ana = Visitor::of(&dispatcher);
    let mut bob = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    let place = bob.get("/").await.text();
    dispatcher.stop().await;
    let second = cluster.dispatcher().await;
    let jar = bob.jar;
    let mut bob = Visitor::of(&second);
    bob.jar = jar;
    bob.wait_for_slot().await;
    assert_eq!(bob.get("/").await.text(), place, "the cookie remembers the ordinal");
    assert_eq!((cluster.pods().len(), cluster.killed()), (2, Vec::new()));
}

#[tokio::test]
async fn a_dispatcher_that_does_not_know_its_pods_yet_is_not_ready() {
    let cluster = Cluster::of(shipped("gamecube-direct"), GAMECUBE, &QUICK).await;
    cluster.away(true);
    let dispatcher = cluster.beginning().await;
    eventually("its journal to be read", async || {
        let answer = dispatcher.admin_get("/readyz").await;
        assert_eq!(answer.status(), 503, "{}", answer.text());
        answer.text().contains("the pods of pool gamecube have not been listed yet")
    })
    .await;
    cluster.away(false);
    eventually("its pods to be listed", async || dispatcher.admin_get("/readyz").await.status() == 200).await;
}

#[tokio::test]
async fn shipped_gateways_are_drained_before_their_deployment_scales_in() {
    let small = [
        ("slots_per_pod = 8000", "slots_per_pod = 4"),
        ("sessions = 6000", "sessions = 2\nslack_percent = 0"),
        ("min_pods = 3", "min_pods = 1"),
        ("cooldown_seconds = 600", "cooldown_seconds = 0.4"),
        ("grace_seconds = 30", "grace_seconds = 1"),
        ("drain_seconds = 20", "drain_seconds = 0.3"),
    ];
    let cluster = Cluster::of(shipped("websocket-gateway-dispatcher"), GATEWAYS, &small).await;
    let dispatcher = cluster.dispatcher().await;
    let pool = async || dispatcher.pool_of("gateway").await;
    let ready = async |pods: usize| {
        pool().await.pods.iter().filter(|pod| pod.phase == Phase::Ready && !pod.retiring).count() == pods
    };
    eventually("one gateway to be left", async || cluster.replicas() == 1 && ready(1).await).await;
    let (mut visitors, mut sockets) = (Vec::new(), Vec::new());
    for pods in [1, 1, 2, 2, 3, 3] {
        let mut visitor = Visitor::of(&dispatcher);
        sockets.push(visitor.socket("/").await);
        visitors.push(visitor);
        eventually("as many gateways as they need", async || ready(pods).await).await;
    }
    let first = visitors[0].get("/").await.text();
    let others = [visitors[4].get("/").await.text(), visitors[5].get("/").await.text()];
    assert!(!others.contains(&first), "they are spread: {first}, {others:?}");

    // Four leave, and one gateway is enough: sessions on the others are moved there, and no pod is deleted under a session.
    for visitor in &mut visitors[..4] {
        visitor.post("/.slotkeeper/leave").await;
    }
    let mut kept = Vec::new();
    for (visitor, mut socket) in visitors.iter_mut().zip(sockets).skip(4) {
        let told = patiently("the close", socket.next()).await;
        assert!(matches!(&told, Some(Ok(Message::Close(Some(close)))) if u16::from(close.code) == 1001), "{told:?}");
        drop(socket);
        // A visitor who reconnects at once may be closed once more.
        eventually("an echo", async || {
            let mut socket = visitor.socket("/").await;
            let sent = socket.send(Message::Text("still here".into())).await.is_ok();
            let is_heard = sent && matches!(patiently("an answer", socket.next()).await, Some(Ok(Message::Text(_))));
            kept.push(socket);
            is_heard
        })
        .await;
        assert_eq!(visitor.get("/").await.text(), first);
    }
    eventually("one gateway to be left", async || cluster.replicas() == 1 && ready(1).await).await;
    assert_eq!(cluster.killed(), Vec::<String>::new(), "no pod was deleted under a session");
    assert_eq!(cluster.refused(), 0, "the shipped role allows all that was asked for");
    assert_eq!(pool().await.sessions.taken, 2, "no session is lost");
}

/// Three visitors on three pods, each with an open stream.
async fn three(dispatcher: &Dispatcher) -> Vec<(Visitor, Socket)> {
    let mut all = Vec::new();
    for pod in ["gamecube-0", "gamecube-1", "gamecube-2"] {
        let mut visitor = Visitor::of(dispatcher);
        visitor.wait_for_slot().await;
        assert_eq!(visitor.get("/").await.text(), pod);
        let socket = visitor.socket("/").await;
        all.push((visitor, socket));
    }
    all
}

/// Another visitor gets a slot on the fourth pod, and those three are where they were, their streams as well.
async fn none_has_moved(cluster: &Cluster, dispatcher: &Dispatcher, visitors: &mut [(Visitor, Socket)]) {
    let mut dan = Visitor::of(dispatcher);
    dan.wait_for_slot().await;
    assert_eq!(dan.get("/").await.text(), "gamecube-3");
    for (n, (visitor, socket)) in visitors.iter_mut().enumerate() {
        assert_eq!(visitor.get("/").await.text(), format!("gamecube-{n}"));
        socket.send(Message::Text("still here".into())).await.expect("an open stream");
        let heard = patiently("an echo", socket.next()).await;
        assert!(matches!(heard, Some(Ok(Message::Text(_)))), "{heard:?}");
    }
    assert_eq!(cluster.killed(), Vec::<String>::new(), "no pod was deleted under a session");
}

#[tokio::test]
async fn a_set_that_is_recreated_as_documented_ends_no_session() {
    let (cluster, dispatcher) = gamecube(&[("cooldown_seconds = 0.4", "cooldown_seconds = 5")]).await;
    let mut visitors = three(&dispatcher).await;
    cluster.orphan().await;
    eventually("a warning before it is made again", async || {
        dispatcher.log().contains("its pods stay (--cascade=orphan)")
    })
    .await;
    cluster.make_again(Some(5));
    // The dispatcher writes its own size again, and a new session is placed.
    cluster.wants(3).await;
    none_has_moved(&cluster, &dispatcher, &mut visitors).await;
}

#[tokio::test]
async fn the_script_recreates_a_set_with_kubectl_and_ends_no_session() {
    let (cluster, dispatcher) = gamecube(&[("cooldown_seconds = 0.4", "cooldown_seconds = 5")]).await;
    let mut visitors = three(&dispatcher).await;
    let before = cluster.workload_uid();
    for _ in 0..2 {
        let output = cluster.make_again_by_script(5).await;
        assert!(output.contains("statefulset.apps/gamecube serverside-applied"), "{output}");
        cluster.wants(3).await;
    }
    assert_ne!(cluster.workload_uid(), before, "it is another set");
    none_has_moved(&cluster, &dispatcher, &mut visitors).await;
}

#[tokio::test]
async fn a_session_on_a_dead_node_gets_another_slot_and_its_old_slot_is_not_granted() {
    let quick = [("cooldown_seconds = 0.4", "cooldown_seconds = 5"), ("port = ", "give_up_seconds = 1\nport = ")];
    let (cluster, dispatcher) = gamecube(&quick).await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    assert_eq!((ana.get("/").await.text(), bob.get("/").await.text()), ("gamecube-0".into(), "gamecube-1".into()));
    let (_anas, mut bobs) = (ana.socket("/").await, bob.socket("/").await);
    cluster.lose_node_of("gamecube-0");
    // The object stays, since no kubelet reports the end: there is no successor, and another ordinal takes its place.
    eventually("another slot", async || ana.get("/").await.text() == "gamecube-2").await;
    let mut cem = Visitor::of(&dispatcher);
    cem.wait_for_slot().await;
    assert_eq!(cem.get("/").await.text(), "gamecube-3", "no session is placed on a pod that may still run");
    bobs.send(Message::Text("still here".into())).await.expect("an open stream");
    let heard = patiently("an echo", bobs.next()).await;
    assert!(matches!(heard, Some(Ok(Message::Text(_)))), "{heard:?}");
    assert!(cluster.pods().contains(&"gamecube-0".to_owned()));
    let log = dispatcher.log();
    assert!(log.contains("node lost, and no answer from the pod"), "{log}");
    // The node returns: its kubelet ends the pod, and the ordinal can be used again.
    cluster.release("gamecube-0");
    eventually("a new incarnation", async || {
        let pods = dispatcher.pool_of("gamecube").await.pods;
        pods.iter().any(|pod| pod.ordinal == 0 && pod.phase == Phase::Ready)
    })
    .await;
    let mut dan = Visitor::of(&dispatcher);
    dan.wait_for_slot().await;
    assert_eq!(dan.get("/").await.text(), "gamecube-0");
}

#[tokio::test]
async fn a_set_that_is_recreated_from_its_manifest_loses_all_pods_but_the_first_and_replaces_them() {
    let (cluster, dispatcher) = gamecube(&[("cooldown_seconds = 0.4", "cooldown_seconds = 5")]).await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    let (_anas, _bobs) = (ana.socket("/").await, bob.socket("/").await);
    cluster.orphan().await;
    cluster.make_again(None);
    eventually("gamecube-1 to be deleted under its session", async || cluster.killed() == ["gamecube-1"]).await;
    // Until the dispatcher has noticed, it still forwards Bob to the deleted pod.
    eventually("the next incarnation of Bob's pod", async || bob.get("/").await.text() == "gamecube-1").await;
    assert_eq!(ana.get("/").await.text(), "gamecube-0");
}

#[tokio::test]
async fn a_pod_that_keda_may_still_remove_is_used_as_soon_as_its_scale_in_is_paused() {
    let quick = [
        ("cooldown_seconds = 120", "cooldown_seconds = 0.4"),
        ("grace_seconds = 10", "grace_seconds = 0.3"),
        ("linger_seconds = 30", "linger_seconds = 0.3"),
        // So long that only the pause can be the reason.
        ("settle_seconds = 50", "settle_seconds = 3600"),
    ];
    let case = shipped("gamecube-keda-prometheus");
    let cluster = Cluster::of(case, GAMECUBE, &quick).await;
    cluster.add(Resource::ScaledObjects, case.one("ScaledObject", "gamecube").clone());
    let dispatcher = cluster.dispatcher().await;
    let keda = Keda::of(&cluster, &dispatcher);
    eventually("the pool to sleep", async || cluster.pods().is_empty() && cluster.replicas() == 0).await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    let (anas, bobs) = (ana.socket("/").await, bob.socket("/").await);
    assert_eq!(bob.get("/").await.text(), "gamecube-1");
    assert!(keda.is_paused() && keda.scales_in_nothing(), "the operator has noticed the annotation by now");

    // The operator is late, and its autoscaler acts on a number that is older than Bob's departure.
    keda.sleeps(true);
    keda.allow_scale_in();
    keda.reads(Some(2));
    drop(bobs);
    bob.post("/.slotkeeper/leave").await;
    let desired = async |pods: f64| {
        eventually("another number", async || dispatcher.metrics().await.get(keda::DESIRED) == Some(pods)).await;
    };
    desired(1.0).await;
    keda.acts().await;
    let uid = cluster.uid("gamecube-1");
    let mut cem = Visitor::of(&dispatcher);
    cem.page("/").await;
    cem.page("/").await;
    desired(2.0).await;
    let asked = || cluster.server.records().count("get", "horizontalpodautoscalers");
    let before = asked();
    eventually("the dispatcher to read the autoscaler several times", async || asked() > before + 3).await;
    assert_eq!(cem.status().await["state"], "queued", "the autoscaler can still remove the pod");

    // The operator continues: from now on no older number takes effect.
    keda.sleeps(false);
    cem.wait_for_slot().await;
    keda.reads(Some(1));
    keda.acts().await;
    let mut cems = cem.socket("/").await;
    assert_eq!((cem.get("/").await.text(), cluster.uid("gamecube-1")), ("gamecube-1".into(), uid));
    cems.send(Message::Text("still here".into())).await.expect("an open stream");
    let heard = patiently("an echo", cems.next()).await;
    assert!(matches!(heard, Some(Ok(Message::Text(_)))), "{heard:?}");
    let log = dispatcher.log();
    assert!(log.contains("KEDA cannot scale in: pods that were given up are used again"), "{log}");

    // No session needs the pause any more: it is removed, and KEDA scales to 0.
    drop((anas, cems));
    ana.post("/.slotkeeper/leave").await;
    cem.post("/.slotkeeper/leave").await;
    keda.reads(None);
    desired(0.0).await;
    keda.acts().await;
    assert_eq!(cluster.pods(), ["gamecube-0", "gamecube-1"], "the pause lasts a little longer than the last session");
    eventually("the pause to end", async || !keda.is_paused()).await;
    eventually("the pool to sleep", async || cluster.pods().is_empty() && cluster.replicas() == 0).await;
    assert_eq!(cluster.killed(), Vec::<String>::new(), "no pod was deleted under a session");
    assert_eq!(cluster.refused(), 0, "the shipped role allows all that was asked for");
}

/// Changes an object as KEDA's operator does: it writes the object back as its own types have it, which omit zero values.
fn as_keda_writes_it(object: &mut serde_json::Value) {
    object["metadata"]["finalizers"] = serde_json::json!(["finalizer.keda.sh"]);
    for trigger in object["spec"]["triggers"].as_array_mut().into_iter().flatten() {
        let is_zero = |value: &serde_json::Value| [false.into(), 0.into(), "".into()].contains(value);
        trigger.as_object_mut().expect("a trigger").retain(|_, value| !is_zero(value));
    }
}

#[test]
fn everything_that_is_shipped_can_be_applied_twice() {
    let mut scaled = 0;
    for case in cases() {
        let mut store = Store::new(7);
        let writer = |manager: &str| Some(Writer { manager: manager.into(), subresource: None, now: 1_000 });
        let known: Vec<(Key, &serde_json::Value)> = case
            .objects()
            .filter_map(|object| {
                let text = |field: &str| object["metadata"][field].as_str();
                let key = Key::new(Resource::of(object)?, text("namespace")?, text("name")?);
                Some((key, object))
            })
            .collect();
        let apply = |store: &mut Store| {
            for (key, object) in &known {
                store.set_writer(writer("kubectl"));
                store.apply(key, object, false, 1_000).unwrap_or_else(|e| panic!("{}: {key:?}: {e:?}", case.name));
            }
        };
        apply(&mut store);
        for (key, _) in &known {
            if key.resource == Resource::ScaledObjects {
                scaled += 1;
                store.set_writer(writer("keda"));
                store.change(key, Part::Whole, as_keda_writes_it).expect("it is there");
            } else if key.resource == Resource::StatefulSets && key.name == "gamecube" {
                store.set_writer(writer("slotkeeper"));
                let size = serde_json::json!({ "spec": { "replicas": 3 } });
                store.merge_patch(key, Part::Whole, &size).expect("it is there");
            }
        }
        apply(&mut store);
        if let Ok(set) = store.get(Resource::StatefulSets, "gamecube", "gamecube") {
            assert_eq!(set["spec"]["replicas"], 3, "{}: an apply leaves the number alone", case.name);
        }
    }
    assert!(scaled > 2, "{scaled}");
}
