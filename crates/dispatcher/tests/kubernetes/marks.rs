//! Annotations that protect pods in use from eviction, and keep KEDA from scaling in.

use super::rig::{NAMESPACE, Rig, stateful_set};
use serde_json::{Value, json};
use slotkeeper::cluster::Attendance;
use slotkeeper_apiserver::{Key, Part, Resource, Store};
use slotkeeper_core::Timeline;

const EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
const DISRUPT: &str = "karpenter.sh/do-not-disrupt";
const PAUSED: &str = "autoscaling.keda.sh/paused-scale-in";

fn annotation(store: &Store, pod: &str, key: &str) -> Option<String> {
    let pod = store.get(Resource::Pods, NAMESPACE, pod).ok()?;
    pod["metadata"]["annotations"][key].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_pod_in_use_is_protected_from_eviction_and_a_free_one_is_not() {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    rig.attend(&[1, 0]);
    rig.until_stored("kept", |s| annotation(s, "gamecube-0", EVICT).as_deref() == Some("false")).await;
    rig.server.store(|s, _| {
        assert_eq!(annotation(s, "gamecube-0", DISRUPT).as_deref(), Some("true"));
        assert_eq!(annotation(s, "gamecube-1", EVICT), None);
    });
    rig.attend(&[0, 0]);
    rig.until_stored("free", |s| annotation(s, "gamecube-0", EVICT).is_none()).await;
    rig.server.store(|s, _| assert_eq!(annotation(s, "gamecube-0", DISRUPT), None));
}

#[tokio::test]
async fn annotations_of_an_operator_are_left_alone() {
    let mut set = stateful_set(1);
    set["spec"]["template"]["metadata"]["annotations"] = json!({ EVICT: "false", DISRUPT: "true" });
    let mut rig = Rig::with(set).await;
    rig.until_ready(&[0]).await;
    rig.server.forget_records();
    rig.attend(&[1]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    rig.attend(&[0]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(rig.server.records().count("patch", "pods"), 0);
    rig.server.store(|s, _| assert_eq!(annotation(s, "gamecube-0", EVICT).as_deref(), Some("false")));
}

fn scaled_object(store: &Store) -> Value {
    Value::clone(&*store.get(Resource::ScaledObjects, NAMESPACE, "gamecube").unwrap())
}

/// A pool with a guard against KEDA's scale-in.
async fn guarded(annotations: Value) -> Rig {
    let mut rig = Rig::new(stateful_set(1), |server| {
        let object = json!({ "metadata": { "name": "gamecube", "annotations": annotations },
            "spec": { "scaleTargetRef": { "kind": "StatefulSet", "name": "gamecube" }, "triggers": [] } });
        server.store(|store, now| store.create(Resource::ScaledObjects, NAMESPACE, object, now)).unwrap();
    })
    .await;
    rig.config.keda_guard = true;
    rig.restart();
    rig.until_ready(&[0]).await;
    rig
}

#[tokio::test]
async fn while_sessions_live_kedas_scale_in_is_paused() {
    let rig = guarded(json!({ "other": "stays" })).await;
    rig.attend(&[1]);
    rig.until_stored("paused", |s| scaled_object(s)["metadata"]["annotations"][PAUSED] == "true").await;
    rig.server.store(|s, _| assert_eq!(scaled_object(s)["metadata"]["annotations"]["other"], "stays"));
    rig.attend(&[0]);
    rig.until_stored("the pause ends", |s| scaled_object(s)["metadata"]["annotations"][PAUSED].is_null()).await;
}

#[tokio::test]
async fn a_pause_of_a_former_dispatcher_stays_until_it_is_certain_that_no_session_is_left() {
    let mut rig = guarded(json!({})).await;
    rig.attend(&[1]);
    rig.until_stored("paused", |s| scaled_object(s)["metadata"]["annotations"][PAUSED] == "true").await;
    rig.restart();
    rig.until_ready(&[0]).await;
    rig.server.forget_records();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(rig.server.records().count("patch", "scaledobjects"), 0, "nothing is known yet");
    // No session has reconnected so far: the pause stays for some time.
    rig.attend(&[0]);
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(rig.server.records().count("patch", "scaledobjects"), 0);
    rig.until_stored("the pause ends", |s| scaled_object(s)["metadata"]["annotations"][PAUSED].is_null()).await;
}

#[tokio::test]
async fn of_two_annotations_the_one_of_the_operator_is_kept() {
    let mut set = stateful_set(1);
    set["spec"]["template"]["metadata"]["annotations"] = json!({ EVICT: "true" });
    let mut rig = Rig::with(set).await;
    rig.until_ready(&[0]).await;
    rig.attend(&[1]);
    rig.until_stored("kept", |s| annotation(s, "gamecube-0", DISRUPT).as_deref() == Some("true")).await;
    rig.attend(&[0]);
    rig.until_stored("free", |s| annotation(s, "gamecube-0", DISRUPT).is_none()).await;
    rig.server.store(|s, _| assert_eq!(annotation(s, "gamecube-0", EVICT).as_deref(), Some("true")));
}

#[tokio::test]
async fn an_operators_own_pause_is_not_taken_for_a_guard_of_another_timeline() {
    let rig = guarded(json!({ PAUSED: "true" })).await;
    // A guard of another timeline would be renewed as soon as it is read; this pause is not a guard.
    rig.cluster.attend(Attendance { active: true, timeline: Timeline(7), ..Attendance::default() });
    while rig.server.records().count("get", "scaledobjects") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(rig.server.records().count("patch", "scaledobjects"), 0);
    rig.server.store(|s, _| assert!(scaled_object(s)["metadata"]["annotations"]["slotkeeper.dev/guard"].is_null()));
}

#[tokio::test]
async fn an_operators_own_pause_is_left_alone() {
    let rig = guarded(json!({ PAUSED: "true" })).await;
    rig.attend(&[1]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    rig.attend(&[0]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(rig.server.records().count("patch", "scaledobjects"), 0);
    let key = Key::new(Resource::ScaledObjects, NAMESPACE, "gamecube");
    let cleared = json!({ "metadata": { "annotations": { PAUSED: null } } });
    rig.server.store(|s, _| s.merge_patch(&key, Part::Whole, &cleared)).unwrap();
}
