//! When a pause of KEDA's scale-in makes it certain that no pod is removed, and how long it lasts.

use super::rig::{NAMESPACE, PATIENCE, Rig, stateful_set};
use serde_json::{Value, json};
use slotkeeper::cluster::Attendance;
use slotkeeper::io::now;
use slotkeeper_apiserver::{Key, Part, Resource};
use slotkeeper_core::{Command, Time, Timeline};
use std::time::Duration;

const PAUSED: &str = "autoscaling.keda.sh/paused-scale-in";
const GUARD: &str = "slotkeeper.dev/guard";
const POSITION: &str = "slotkeeper.dev/guard-position";
const AUTOSCALER: &str = "keda-hpa-gamecube";

/// Two pods that KEDA scales; its autoscaler allows `most`.
async fn scaled(policy: &str, most: u32) -> Rig {
    let object = json!({ "metadata": { "name": "gamecube" },
        "spec": { "scaleTargetRef": { "kind": "StatefulSet", "name": "gamecube" }, "triggers": [] } });
    let autoscaler = json!({ "metadata": { "name": AUTOSCALER },
        "spec": { "scaleTargetRef": { "kind": "StatefulSet", "name": "gamecube" }, "maxReplicas": most,
            "behavior": { "scaleDown": { "selectPolicy": policy } } } });
    let mut rig = Rig::new(stateful_set(2), |server| {
        for (resource, object) in [(Resource::ScaledObjects, object), (Resource::HorizontalPodAutoscalers, autoscaler)]
        {
            server.store(|store, now| store.create(resource, NAMESPACE, object, now)).unwrap();
        }
    })
    .await;
    rig.config.keda_guard = true;
    rig.restart();
    rig.until_ready(&[0, 1]).await;
    rig
}

/// A view at this journal position: sessions live or wait, and pods wait for the pause.
fn busy(position: u64) -> Attendance {
    let (at, heard) = (Time(position * 1_000), Some(now()));
    Attendance { active: true, awaits_pause: true, position, at, heard, ..Attendance::default() }
}

fn annotation(rig: &Rig, key: &str) -> Option<String> {
    let object = rig.server.store(|s, _| s.get(Resource::ScaledObjects, NAMESPACE, "gamecube")).unwrap();
    object["metadata"]["annotations"][key].as_str().map(str::to_owned)
}

fn write(rig: &Rig, resource: Resource, name: &str, patch: &Value) {
    let key = Key::new(resource, NAMESPACE, name);
    rig.server.store(|s, _| s.merge_patch(&key, Part::Whole, patch)).unwrap();
}

fn is_reported(command: &Command) -> bool {
    matches!(command, Command::ScaleInPaused { .. })
}

/// Reads observations until the server has answered this many further requests for the resource.
async fn asked(rig: &mut Rig, verb: &str, resource: &str, times: u64) {
    let until = rig.server.records().count(verb, resource) + times;
    let asked = async {
        while rig.server.records().count(verb, resource) < until {
            rig.cluster.attend(busy(7));
            let _ = tokio::time::timeout(Duration::from_millis(50), rig.until("never", |_| false)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("the resource is requested");
}

async fn reported(rig: &mut Rig, position: u64) -> Command {
    let found = async {
        loop {
            // As in a dispatcher, the view is renewed all the time.
            rig.cluster.attend(busy(position));
            let news = rig.until("reported", |told| told.all.last().is_some_and(is_reported));
            if tokio::time::timeout(Duration::from_millis(500), news).await.is_ok() {
                return rig.told.all.last().unwrap().clone();
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the pause is reported")
}

#[tokio::test]
async fn the_pause_is_reported_when_the_autoscaler_has_been_disabled_for_long_enough() {
    let mut rig = scaled("Disabled", 5).await;
    let news = reported(&mut rig, 7).await;
    assert_eq!(news, Command::ScaleInPaused { at: Time(7_000), timeline: Timeline::FIRST });
    assert_eq!(annotation(&rig, PAUSED).as_deref(), Some("true"));
    assert_eq!(
        annotation(&rig, POSITION).as_deref(),
        Some("7"),
        "only a dispatcher that has read position 7 may end it"
    );
}

#[tokio::test]
async fn the_pause_is_not_reported_before_the_autoscaler_is_disabled() {
    let mut rig = scaled("Max", 5).await;
    asked(&mut rig, "get", "horizontalpodautoscalers", 3).await;
    assert!(!rig.told.all.iter().any(is_reported));
    let disabled = json!({ "spec": { "behavior": { "scaleDown": { "selectPolicy": "Disabled" } } } });
    write(&rig, Resource::HorizontalPodAutoscalers, AUTOSCALER, &disabled);
    reported(&mut rig, 8).await;
}

#[tokio::test]
async fn the_pause_is_not_reported_if_the_autoscalers_maximum_is_below_the_size() {
    let mut rig = scaled("Disabled", 1).await;
    asked(&mut rig, "get", "horizontalpodautoscalers", 3).await;
    assert!(!rig.told.all.iter().any(is_reported));
    write(&rig, Resource::HorizontalPodAutoscalers, AUTOSCALER, &json!({ "spec": { "maxReplicas": 2 } }));
    reported(&mut rig, 8).await;
}

#[tokio::test]
async fn the_pause_is_not_reported_for_another_workloads_autoscaler() {
    let mut rig = scaled("Disabled", 5).await;
    let other = json!({ "spec": { "scaleTargetRef": { "name": "other" } } });
    write(&rig, Resource::HorizontalPodAutoscalers, AUTOSCALER, &other);
    asked(&mut rig, "get", "horizontalpodautoscalers", 3).await;
    assert!(!rig.told.all.iter().any(is_reported));
}

#[tokio::test]
async fn the_pause_is_not_reported_before_the_controller_has_acted_on_the_size() {
    let mut rig = scaled("Disabled", 5).await;
    rig.stop_controllers();
    // A size that removes a pod, and one that restores it before the controller has acted.
    rig.patch(&json!({ "spec": { "replicas": 1 } }));
    rig.patch(&json!({ "spec": { "replicas": 2 } }));
    asked(&mut rig, "get", "statefulsets", 2).await;
    assert!(!rig.told.all.iter().any(is_reported));
    rig.start_controllers();
    reported(&mut rig, 8).await;
    assert_eq!(rig.told.size, Some((0, 2, 0)));
}

#[tokio::test]
async fn pods_that_were_scaled_in_before_are_reported_as_terminating_before_the_pause() {
    let mut rig = scaled("Disabled", 5).await;
    // The watch of pods delivers nothing, and the size is raised again at once.
    rig.hold("gamecube-1");
    rig.patch(&json!({ "spec": { "replicas": 1 } }));
    rig.until_stored("the pod is terminating", |s| {
        let pod = s.get(Resource::Pods, NAMESPACE, "gamecube-1");
        pod.is_ok_and(|pod| pod["metadata"]["deletionTimestamp"].is_string())
    })
    .await;
    rig.patch(&json!({ "spec": { "replicas": 2 } }));
    reported(&mut rig, 8).await;
    let (at, seen) = (rig.told.all.iter().position(is_reported).unwrap(), rig.told.all.iter());
    let goes = seen.clone().position(|c| format!("{c:?}").contains("Terminating")).expect("its end is reported");
    assert!(goes < at, "{:#?}", rig.told.all);
}

#[tokio::test]
async fn the_pause_of_an_operator_proves_nothing() {
    let mut rig = scaled("Disabled", 5).await;
    write(&rig, Resource::ScaledObjects, "gamecube", &json!({ "metadata": { "annotations": { PAUSED: "true" } } }));
    rig.cluster.attend(busy(7));
    asked(&mut rig, "get", "scaledobjects", 3).await;
    assert!(!rig.told.all.iter().any(is_reported), "the operator may end it at any time");
}

#[tokio::test]
async fn a_view_that_is_too_old_is_renewed_first() {
    let mut rig = scaled("Disabled", 5).await;
    let old = now().checked_sub(Duration::from_secs(4)).unwrap();
    rig.cluster.attend(Attendance { heard: Some(old), ..busy(7) });
    rig.until("an entry is requested", |told| matches!(told.all.last(), Some(Command::Tick))).await;
    assert!(!rig.told.all.iter().any(is_reported));
    reported(&mut rig, 8).await;
}

#[tokio::test]
async fn a_dispatcher_ends_anothers_pause_only_after_it_has_read_the_reason() {
    let mut rig = scaled("Disabled", 5).await;
    rig.pace.quiet = Duration::from_millis(1_500);
    rig.restart();
    rig.until_ready(&[0, 1]).await;
    let guard = json!({ "metadata": { "annotations": { PAUSED: "true", GUARD: "true", POSITION: "9" } } });
    rig.cluster.attend(Attendance { active: true, position: 3, ..Attendance::default() });
    rig.until_stored("paused", |s| {
        s.get(Resource::ScaledObjects, NAMESPACE, "gamecube").unwrap()["metadata"]["annotations"][POSITION] == "3"
    })
    .await;
    write(&rig, Resource::ScaledObjects, "gamecube", &guard);
    let before = rig.server.records().count("get", "scaledobjects");
    // The session for which another dispatcher paused is not known here yet.
    rig.cluster.attend(Attendance { active: false, position: 4, ..Attendance::default() });
    let looked = async {
        while rig.server.records().count("get", "scaledobjects") == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("it reads the object before it ends the pause");
    rig.cluster.attend(Attendance { active: false, position: 12, ..Attendance::default() });
    let ended = rig.until_stored("the pause ends", |s| {
        s.get(Resource::ScaledObjects, NAMESPACE, "gamecube").unwrap()["metadata"]["annotations"][PAUSED].is_null()
    });
    ended.await;
    let looks = rig.server.records().count("get", "scaledobjects") - before;
    assert!(looks >= 2, "it ended the pause at its first read");
    assert_eq!((annotation(&rig, GUARD), annotation(&rig, POSITION)), (None, None));
}
