//! Pods of a Deployment, which have no ordinals: they are numbered as they are observed, and the emptiest is removed first.

use super::rig::{NAMESPACE, Rig, deployment};
use serde_json::Value;
use slotkeeper_apiserver::{Resource, Store, controllers};

const ORDINAL: &str = "slotkeeper.dev/ordinal";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn pods(store: &Store) -> Vec<Value> {
    let there = store.all(Resource::Pods).filter(|p| p["metadata"]["deletionTimestamp"].is_null());
    there.map(|p| Value::clone(p)).collect()
}

fn name(rig: &Rig, ordinal: u32) -> String {
    let uid = rig.told.uid(ordinal);
    let pods = rig.server.store(|store, _| pods(store));
    let pod = pods.iter().find(|p| p["metadata"]["uid"] == *uid.0).unwrap();
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pods_are_numbered_and_keep_their_numbers() {
    let mut rig = Rig::with(deployment(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    let before: Vec<_> = (0..3).map(|o| rig.told.uid(o)).collect();
    let written = rig.server.store(|store, _| pods(store));
    assert!(written.iter().all(|p| p["metadata"]["annotations"][ORDINAL].is_string()), "{written:#?}");
    rig.restart();
    rig.until_ready(&[0, 1, 2]).await;
    assert_eq!((0..3).map(|o| rig.told.uid(o)).collect::<Vec<_>>(), before);
}

#[tokio::test]
async fn the_retiring_pod_is_removed_first_and_the_fullest_last() {
    let mut rig = Rig::with(deployment(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    rig.attend(&[5, 900, 0]);
    rig.until_stored("costs", |s| {
        pods(s).iter().filter(|p| p["metadata"]["annotations"][COST].is_string()).count() == 2
    })
    .await;
    rig.scale(0, 2, 7).await;
    rig.until("one pod is removed", |told| told.ready() == [0, 1] && told.pods.len() == 2).await;
    assert_eq!(rig.told.size, Some((0, 2, 7)));
}

#[tokio::test]
async fn the_retiring_pod_is_deleted_if_kubernetes_removed_another_one_first() {
    let mut rig = Rig::with(deployment(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    // Pod 1 is not ready when the size changes: Kubernetes removes it first, whatever its deletion cost.
    let one = name(&rig, 1);
    rig.server.store(|store, now| controllers::pod(store, now, NAMESPACE, &one).unready()).unwrap();
    rig.scale(0, 2, 7).await;
    rig.until("the size", |told| told.size == Some((0, 2, 7)) && !told.pods.contains_key(&1)).await;
    rig.attend(&[1, 0, 0]);
    rig.until_ready(&[0, 1]).await;
}
