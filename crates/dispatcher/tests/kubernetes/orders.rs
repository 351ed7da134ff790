//! The adaptor's writes: sizes in one guarded patch, and the deletion of one incarnation.

use super::rig::{PATIENCE, Rig, stateful_set};
use crate::size;
use serde_json::json;
use slotkeeper_apiserver::{Part, Refusal, Resource, Store, Writer};
use slotkeeper_core::Ordinal;
use std::time::Duration;

#[tokio::test]
async fn a_size_is_one_write_together_with_its_decision() {
    let mut rig = Rig::with(stateful_set(0)).await;
    rig.until("the size", |told| told.size == Some((0, 0, 0))).await;
    rig.server.forget_records();
    rig.scale(0, 3, 17).await;
    assert_eq!(rig.server.records().count("patch", "statefulsets"), 1);
    let set = rig.workload();
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["metadata"]["annotations"]["slotkeeper.dev/decided"], "17");
    rig.until_ready(&[0, 1, 2]).await;
    assert_eq!(rig.told.size, Some((0, 3, 17)));
    rig.scale(0, 3, 17).await;
    assert_eq!(rig.server.records().count("patch", "statefulsets"), 1, "an unchanged size is not written again");
}

#[tokio::test]
async fn the_start_slides_in_the_same_write() {
    let mut set = stateful_set(5);
    set["metadata"]["labels"] = json!({ "slides": "true" });
    let mut rig = Rig::with(set).await;
    rig.until_ready(&[0, 1, 2, 3, 4]).await;
    let kept = rig.told.uid(3);
    rig.scale(2, 3, 40).await;
    rig.until_ready(&[2, 3, 4]).await;
    assert_eq!((rig.told.size, rig.told.uid(3)), (Some((2, 3, 40)), kept), "a pod that stays is not touched");
    rig.scale(0, 0, 41).await;
    rig.until("no pod is left", |told| told.pods.is_empty() && told.size == Some((0, 0, 41))).await;
    rig.scale(0, 1, 42).await;
    rig.until_ready(&[0]).await;
}

#[tokio::test]
async fn a_set_with_the_policy_ordered_ready_cannot_slide() {
    let mut set = stateful_set(2);
    set["metadata"]["labels"] = json!({ "slides": "true" });
    set["spec"]["podManagementPolicy"] = json!("OrderedReady");
    let mut rig = Rig::with(set).await;
    rig.until("the size", |told| told.size.is_some()).await;
    let refused = rig.cluster.scale(size(1, 1, 5)).await.unwrap_err().to_string();
    assert!(refused.contains("OrderedReady") && refused.contains("Parallel"), "{refused}");
}

#[tokio::test]
async fn a_later_decision_is_not_undone() {
    let mut rig = Rig::with(stateful_set(0)).await;
    rig.until("the size", |told| told.size.is_some()).await;
    rig.scale(0, 4, 30).await;
    rig.scale(0, 1, 29).await;
    assert_eq!(rig.workload()["spec"]["replicas"], 4);
    // Another dispatcher has decided later, and this one has not read that yet.
    rig.patch(&json!({ "metadata": { "annotations": { "slotkeeper.dev/decided": "50" } }, "spec": { "replicas": 5 } }));
    rig.scale(0, 2, 49).await;
    assert_eq!(rig.workload()["spec"]["replicas"], 5, "the resource version guards changes that were not read");
}

#[tokio::test]
async fn a_concurrent_write_by_another_is_read_before_the_size_is_written() {
    let mut rig = Rig::with(stateful_set(1)).await;
    rig.until_ready(&[0]).await;
    for n in 0..20_u64 {
        rig.patch(&json!({ "metadata": { "labels": { "n": n.to_string() } } }));
        rig.scale(0, (n % 4) as u32, 100 + n).await;
        assert_eq!(rig.workload()["metadata"]["annotations"]["slotkeeper.dev/decided"], (100 + n).to_string());
    }
    assert_eq!(rig.workload()["metadata"]["labels"]["n"], "19", "no change of another writer is lost");
}

#[tokio::test]
async fn scaling_without_an_api_server_returns_an_error() {
    let mut rig = Rig::with(stateful_set(1)).await;
    rig.until_ready(&[0]).await;
    rig.server.faults(|f| f.refuse(1, &Refusal::new(500).of("patch", "statefulsets")));
    let refused = rig.cluster.scale(size(0, 2, 9)).await.unwrap_err().to_string();
    assert!(refused.contains("500"), "{refused}");
    rig.server.faults(|f| f.away = true);
    rig.server.cut_connections();
    rig.cluster.scale(size(0, 2, 9)).await.unwrap_err();
    rig.server.faults(|f| f.away = false);
    rig.scale(0, 2, 9).await;
    rig.until_ready(&[0, 1]).await;
}

#[tokio::test]
async fn only_the_named_incarnation_is_deleted() {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    let first = rig.told.uid(1);
    rig.cluster.recycle(Ordinal(1), first.clone()).await.unwrap();
    rig.until("a new incarnation", |told| told.ready() == [0, 1] && told.uid(1) != first).await;
    let second = rig.told.uid(1);
    rig.cluster.recycle(Ordinal(1), first.clone()).await.unwrap();
    rig.cluster.recycle(Ordinal(0), second.clone()).await.unwrap();
    rig.cluster.recycle(Ordinal(7), second.clone()).await.unwrap();
    assert_eq!(rig.server.records().count("delete", "pods"), 1, "no other incarnation is deleted");
    assert!(rig.pod("gamecube-0").is_some_and(|p| p["metadata"]["deletionTimestamp"].is_null()));
    assert_eq!(rig.pod("gamecube-1").unwrap()["metadata"]["uid"], *second.0);
}

#[tokio::test]
async fn a_successor_that_has_not_been_read_yet_is_not_deleted_in_place_of_its_predecessor() {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    let first = rig.told.uid(1);
    // From here on the watch is an hour late: for the adaptor the first incarnation is still running.
    rig.server.faults(|f| f.delay_events = Duration::from_secs(3600));
    rig.cluster.recycle(Ordinal(1), first.clone()).await.unwrap();
    let uid = |rig: &Rig| rig.pod("gamecube-1").map(|pod| pod["metadata"]["uid"].to_string());
    let is_second = |store: &Store| {
        let mut pods = store.all(Resource::Pods);
        pods.any(|p| p["metadata"]["name"] == "gamecube-1" && p["metadata"]["uid"] != *first.0)
    };
    tokio::time::timeout(PATIENCE, rig.server.until(is_second)).await.expect("a successor comes");
    let second = uid(&rig);
    rig.cluster.recycle(Ordinal(1), first.clone()).await.unwrap();
    assert_eq!(rig.server.records().count("delete", "pods"), 2, "the second deletion was sent");
    assert_eq!(uid(&rig), second);
    assert!(rig.pod("gamecube-1").is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null()));
}

#[tokio::test]
async fn size_writes_by_others_are_counted_and_the_dispatchers_own_are_not() {
    let mut rig = Rig::with(stateful_set(1)).await;
    rig.until_ready(&[0]).await;
    let overwritten = |rig: &Rig| -> f64 {
        let collectors = rig.cluster.collectors();
        let families = collectors.iter().flat_map(|figure| figure.collect());
        let ours = families.filter(|family| family.name() == "slotkeeper_sizes_overwritten_total");
        ours.map(|family| family.get_metric()[0].get_counter().get_value()).sum()
    };
    rig.scale(0, 2, 7).await;
    rig.until("our own", |told| told.size == Some((0, 2, 7))).await;
    let managed = rig.workload()["metadata"]["managedFields"].to_string();
    assert!(managed.contains(r#""manager":"slotkeeper""#), "{managed}");
    assert_eq!(overwritten(&rig), 0.0);
    // An HPA, through the scale subresource.
    let key = rig.key();
    rig.server.store(|store, now| {
        let (manager, subresource) = ("kube-controller-manager".to_owned(), Some("scale".to_owned()));
        store.set_writer(Some(Writer { manager, subresource, now }));
        store.merge_patch(&key, Part::Whole, &json!({ "spec": { "replicas": 5 } })).unwrap();
        store.set_writer(None);
    });
    rig.until("theirs", |told| told.size == Some((0, 5, 7))).await;
    assert_eq!(overwritten(&rig), 1.0);
    rig.scale(0, 2, 7).await;
    rig.until("ours again", |told| told.size == Some((0, 2, 7))).await;
    assert_eq!(overwritten(&rig), 1.0, "writing the size back is not counted");
}
