//! What is reported of pods: which ones exist, and why one is not ready yet.

use super::rig::{NAMESPACE, Rig, stateful_set};
use serde_json::json;
use slotkeeper_apiserver::{Key, Part, Resource, controllers};
use slotkeeper_core::{Command, Phase};

#[tokio::test]
async fn running_pods_are_ready_in_the_first_observation() {
    let mut rig = Rig::with(stateful_set(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    let Some(Command::PodsListed { pods, .. }) = rig.told.all.first() else { panic!("{:?}", rig.told.all) };
    assert!(pods.iter().all(|s| matches!(s.phase, Phase::Ready { .. })), "{pods:?}");
    let sizes = rig.told.all.iter().position(|c| matches!(c, Command::ScaleSeen { .. }));
    assert!(sizes.is_some_and(|at| at > 0), "the size comes after the pods");
}

#[tokio::test]
async fn pods_of_other_owners_are_ignored() {
    let owner = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "another", "uid": "7", "controller": true }]);
    let foreign = json!({ "metadata": { "name": "gamecube-9", "labels": { "app": "gamecube" }, "ownerReferences": owner },
        "spec": { "containers": [] } });
    let mut rig = Rig::new(stateful_set(1), |server| {
        server.store(|store, now| store.create(Resource::Pods, NAMESPACE, foreign, now)).unwrap();
    })
    .await;
    rig.until_ready(&[0]).await;
}

#[tokio::test]
async fn a_pending_pod_is_reported_with_what_it_waits_for_in_plain_words() {
    let mut rig = Rig::with(stateful_set(0)).await;
    rig.until("the size", |told| told.size.is_some()).await;
    rig.hold("gamecube-0");
    rig.scale(0, 1, 1).await;
    rig.until("it is there", |told| told.why(0) == "it is waiting for a machine").await;
    let server = rig.server.clone();
    let pod = |act: &dyn Fn(&mut controllers::Pod<'_>)| {
        server.store(|store, now| act(&mut controllers::pod(store, now, NAMESPACE, "gamecube-0")));
    };
    pod(&|p| drop(p.unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.").unwrap()));
    rig.until("no GPU", |told| told.why(0) == "no GPU is free").await;
    pod(&|p| drop(p.event("TriggeredScaleUp", "pod triggered scale-up").unwrap()));
    rig.until("a machine", |told| told.why(0) == "a new machine is being started for it").await;
    pod(&|p| drop(p.schedule("fake-0").unwrap()));
    pod(&|p| drop(p.waiting("ContainerCreating", "").unwrap()));
    pod(&|p| drop(p.event("Pulling", "Pulling image \"gamecube:1\"").unwrap()));
    rig.until("the image", |told| told.why(0) == "its program is being downloaded").await;
    pod(&|p| drop(p.event("FailedMount", "Unable to attach or mount volumes").unwrap()));
    rig.until("the disk", |told| told.why(0) == "its disk cannot be connected yet").await;
    pod(&|p| drop(p.waiting("ImagePullBackOff", "no such image").unwrap()));
    rig.until("no image", |told| told.why(0) == "its program cannot be downloaded").await;
    pod(&|p| drop(p.start("127.0.0.9").unwrap()));
    rig.until("it starts", |told| told.pods.get(&0).is_some_and(|(_, phase)| *phase == Phase::Starting)).await;
    pod(&|p| drop(p.crash(1, "Error").unwrap()));
    pod(&|p| drop(p.back_off("10s").unwrap()));
    rig.until("it crashes", |told| told.why(0) == "it crashes again and again").await;
    pod(&|p| drop(p.run("127.0.0.9").unwrap()));
    rig.until_ready(&[0]).await;
}

#[tokio::test]
async fn a_pod_that_was_ready_once_is_unready_and_never_pending_again() {
    let mut rig = Rig::with(stateful_set(1)).await;
    rig.until_ready(&[0]).await;
    let key = Key::new(Resource::Pods, NAMESPACE, "gamecube-0");
    rig.server.store(|store, now| controllers::pod(store, now + 60_000, NAMESPACE, "gamecube-0").unready()).unwrap();
    rig.until("unready", |told| matches!(told.pods.get(&0), Some((_, Phase::Unready)))).await;
    // This also holds for a dispatcher that started after the pod was ready.
    rig.restart();
    rig.until("the list", |told| !told.pods.is_empty()).await;
    assert!(matches!(rig.told.pods.get(&0), Some((_, Phase::Unready))), "{:?}", rig.told);
    rig.server
        .store(|store, _| store.change(&key, Part::Status, |pod| pod["status"]["phase"] = json!("Failed")))
        .unwrap();
    rig.until("the failed pod is replaced", |told| told.ready() == [0]).await;
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_not_ready_whatever_its_status_is() {
    let mut rig = Rig::with(stateful_set(1)).await;
    rig.until_ready(&[0]).await;
    rig.hold("gamecube-1");
    rig.scale(0, 2, 1).await;
    rig.until_stored("the pod", |store| store.get(Resource::Pods, NAMESPACE, "gamecube-1").is_ok()).await;
    // An address without a listener: the listener has the other address family.
    let server = rig.server.clone();
    let run = |ip: &str| {
        server.store(|store, now| {
            let mut pod = controllers::pod(store, now, NAMESPACE, "gamecube-1");
            let _ = pod.schedule("fake-1");
            pod.run(ip).map(drop)
        })
    };
    run("::1").unwrap();
    rig.until("unready", |told| matches!(told.pods.get(&1), Some((_, Phase::Unready)))).await;
    run("127.0.0.77").unwrap();
    rig.until_ready(&[0, 1]).await;
}
