//! Pods on nodes that Kubernetes has lost may still run, which they show by answering; and pods that do not end in time.

use super::rig::{NAMESPACE, Rig, stateful_set};
use slotkeeper_apiserver::{Resource, controllers};
use slotkeeper_core::{Command, Phase, Uid};
use std::time::Duration;

/// An address without a listener: the listener has the other address family.
const NOWHERE: &str = "::1";

fn hands(rig: &Rig, act: impl FnOnce(&mut controllers::Pod<'_>)) {
    rig.server.store(|store, now| act(&mut controllers::pod(store, now, NAMESPACE, "gamecube-1")));
}

/// The node of pod 1 is dead, and nothing answers there any more.
fn die(rig: &Rig) {
    // No kubelet is left to end the pod.
    rig.hold("gamecube-1");
    hands(rig, |pod| {
        pod.run(NOWHERE).unwrap();
        pod.lost().unwrap();
    });
}

fn told_of(rig: &Rig, of: &Uid) -> Vec<Phase> {
    let seen = rig.told.all.iter().filter_map(|news| {
        let Command::PodSeen { uid, phase, .. } = news else { return None };
        (uid == of).then(|| phase.clone())
    });
    seen.collect()
}

async fn two() -> (Rig, Uid) {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    let uid = rig.told.uid(1);
    (rig, uid)
}

#[tokio::test]
async fn a_pod_on_a_lost_node_that_does_not_answer_is_deleted_and_reported_as_failed() {
    let (mut rig, uid) = two().await;
    die(&rig);
    rig.until("its end, and its failure", |told| {
        told.pods.get(&1).is_some_and(|(_, phase)| matches!(phase, Phase::Failed { .. }))
    })
    .await;
    let phases = told_of(&rig, &uid);
    assert!(
        matches!(phases.as_slice(), [.., Phase::Unready, Phase::Terminating, Phase::Failed { .. }]),
        "only the phase Terminating moves sessions to other pods: {phases:?}"
    );
    let pod = rig.pod("gamecube-1").expect("the pod's object still exists");
    assert!(pod["metadata"]["deletionTimestamp"].is_string() && pod["metadata"]["uid"] == *uid.0, "{pod}");
    assert_eq!(rig.server.records().count("delete", "pods"), 1);
    // A dispatcher that starts meanwhile comes to the same conclusion.
    rig.restart();
    rig.until("the same", |told| told.pods.get(&1).is_some_and(|(_, phase)| matches!(phase, Phase::Failed { .. })))
        .await;
    // The node returns: its kubelet ends the pod, and another one replaces it.
    rig.automatic.lock().unwrap().hold.clear();
    hands(&rig, |pod| pod.end().unwrap());
    rig.until_ready(&[0, 1]).await;
    assert_ne!(rig.told.uid(1), uid);
}

#[tokio::test]
async fn a_pod_on_a_lost_node_that_answers_keeps_its_sessions() {
    let (mut rig, uid) = two().await;
    rig.hold("gamecube-1");
    hands(&rig, |pod| drop(pod.lost().unwrap()));
    rig.until("no new session", |told| told.ready() == [0]).await;
    // Longer than `give_up`.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.server.records().count("delete", "pods"), 0);
    hands(&rig, |pod| drop(pod.found().unwrap()));
    rig.until_ready(&[0, 1]).await;
    assert_eq!(rig.told.uid(1), uid);
}

#[tokio::test]
async fn a_pod_whose_node_is_found_again_in_time_is_not_deleted() {
    let (mut rig, uid) = two().await;
    rig.config.give_up = Some(Duration::from_secs(3600));
    rig.restart();
    rig.until_ready(&[0, 1]).await;
    die(&rig);
    rig.until("no new session", |told| told.ready() == [0]).await;
    hands(&rig, |pod| {
        pod.run("127.0.0.77").unwrap();
        pod.found().unwrap();
    });
    rig.until_ready(&[0, 1]).await;
    assert_eq!((rig.told.uid(1), rig.server.records().count("delete", "pods")), (uid, 0));
}

#[tokio::test]
async fn without_give_up_a_pod_on_a_lost_node_is_left_to_kubernetes() {
    let (mut rig, uid) = two().await;
    rig.config.give_up = None;
    rig.restart();
    rig.until_ready(&[0, 1]).await;
    die(&rig);
    rig.until("no new session", |told| told.ready() == [0]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.server.records().count("delete", "pods"), 0);
    // Kubernetes itself evicts the pod in the end.
    hands(&rig, |pod| drop(pod.evict_from_lost_node().unwrap()));
    rig.until("its end", |told| told.pods.get(&1).is_some_and(|(_, phase)| *phase == Phase::Terminating)).await;
    assert_eq!(rig.told.uid(1), uid);
}

#[tokio::test]
async fn a_pod_that_its_kubelet_reports_as_not_ready_is_not_deleted() {
    let (mut rig, _) = two().await;
    rig.hold("gamecube-1");
    hands(&rig, |pod| {
        pod.run(NOWHERE).unwrap();
        pod.unready().unwrap();
    });
    rig.until("no new session", |told| told.ready() == [0]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.server.records().count("delete", "pods"), 0);
}

#[tokio::test]
async fn a_pod_that_does_not_end_within_its_grace_is_reported_as_failed() {
    let mut set = stateful_set(2);
    set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let mut rig = Rig::with(set).await;
    rig.until_ready(&[0, 1]).await;
    let uid = rig.told.uid(1);
    rig.hold("gamecube-1");
    rig.scale(0, 1, 7).await;
    rig.until("overdue", |told| told.pods.get(&1).is_some_and(|(_, phase)| matches!(phase, Phase::Failed { .. })))
        .await;
    assert!(matches!(told_of(&rig, &uid).as_slice(), [.., Phase::Terminating, Phase::Failed { .. }]));
    assert!(rig.server.store(|store, _| store.get(Resource::Pods, NAMESPACE, "gamecube-1").is_ok()));
}
