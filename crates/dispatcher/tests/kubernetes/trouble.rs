//! Failures of the API server: in the end, the reported state is the server's.

use super::rig::{NAMESPACE, Rig, stateful_set};
use crate::size;
use serde_json::{Value, json};
use slotkeeper_apiserver::{Access, Deletion, Key, Refusal, Resource};
use std::time::Duration;

/// Ready pods by ordinal and uid, as the server has them.
fn truth(rig: &Rig) -> Vec<(u32, String)> {
    rig.server.store(|store, _| {
        let pods = store.all(Resource::Pods).filter(|p| p["metadata"]["deletionTimestamp"].is_null());
        let mut pods: Vec<(u32, String)> = pods
            .map(|p| {
                let name = p["metadata"]["name"].as_str().unwrap();
                (name.rsplit('-').next().unwrap().parse().unwrap(), p["metadata"]["uid"].as_str().unwrap().to_owned())
            })
            .collect();
        pods.sort();
        pods
    })
}

fn told(rig: &Rig) -> Vec<(u32, String)> {
    rig.told.ready().into_iter().map(|o| (o, rig.told.uid(o).0.to_string())).collect()
}

async fn agrees(rig: &mut Rig, ordinals: &[u32]) {
    rig.until_ready(ordinals).await;
    assert_eq!(told(rig), truth(rig));
}

#[tokio::test]
async fn a_watch_that_breaks_repeats_and_stutters_ends_in_the_true_state() {
    let mut rig = Rig::with(stateful_set(2)).await;
    agrees(&mut rig, &[0, 1]).await;
    rig.server.faults(|f| {
        f.duplicate_events = true;
        f.split_lines = Some(500);
        f.delay_events = Duration::from_millis(3);
    });
    for (n, replicas) in [5, 0, 3, 1, 4].into_iter().enumerate() {
        rig.server.break_watches();
        rig.scale(0, replicas, 10 + n as u64).await;
        if n % 2 == 1 {
            rig.server.forget_history();
        }
    }
    agrees(&mut rig, &[0, 1, 2, 3]).await;
}

#[tokio::test]
async fn a_deletion_missing_from_the_watch_shows_in_the_next_list() {
    let mut rig = Rig::with(stateful_set(3)).await;
    agrees(&mut rig, &[0, 1, 2]).await;
    rig.server.swallow_deletion(&Key::new(Resource::Pods, NAMESPACE, "gamecube-2")).unwrap();
    rig.scale(0, 2, 5).await;
    rig.until_stored("the pod is deleted", |store| store.get(Resource::Pods, NAMESPACE, "gamecube-2").is_err()).await;
    rig.server.forget_history();
    rig.server.break_watches();
    agrees(&mut rig, &[0, 1]).await;
}

#[tokio::test]
async fn the_adaptor_catches_up_after_an_outage_of_the_server() {
    let mut rig = Rig::with(stateful_set(2)).await;
    agrees(&mut rig, &[0, 1]).await;
    rig.server.faults(|f| f.away = true);
    rig.server.cut_connections();
    // Meanwhile another writer changes the set, and the history from which the watch could resume is dropped.
    rig.patch(&serde_json::json!({ "spec": { "replicas": 4 } }));
    rig.until_stored("four", |store| store.get(Resource::Pods, NAMESPACE, "gamecube-3").is_ok()).await;
    rig.server.forget_history();
    rig.server.faults(|f| f.away = false);
    agrees(&mut rig, &[0, 1, 2, 3]).await;
}

#[tokio::test]
async fn failed_requests_to_the_server_are_retried() {
    let mut rig = Rig::new(stateful_set(2), |server| {
        for (code, verb, resource) in [
            (500, "list", "pods"),
            (429, "list", "pods"),
            (504, "list", "statefulsets"),
            (500, "watch", "pods"),
            (410, "list", "pods"),
        ] {
            server.faults(|f| f.refuse(2, &Refusal::new(code).of(verb, resource)));
        }
        server.faults(|f| f.drop_connections = 2);
    })
    .await;
    agrees(&mut rig, &[0, 1]).await;
}

#[tokio::test]
async fn without_rights_nothing_is_reported_until_they_are_granted() {
    let mut rig = Rig::new(stateful_set(2), |server| {
        server.restrict(Some(Access { user: "nobody".into(), namespace: None, rules: Vec::new() }));
    })
    .await;
    assert!(tokio::time::timeout(Duration::from_millis(300), rig.cluster.next_observation()).await.is_err());
    let refused = rig.cluster.scale(size(0, 1, 1)).await.unwrap_err().to_string();
    assert!(refused.contains("has not been read yet"), "{refused}");
    rig.server.restrict(None);
    agrees(&mut rig, &[0, 1]).await;
}

#[tokio::test]
async fn a_set_that_is_created_later_is_observed() {
    let mut set = stateful_set(1);
    set["metadata"]["name"] = "another".into();
    let mut rig = Rig::with(set).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), rig.cluster.next_observation()).await.is_err());
    rig.server.store(|store, now| store.create(Resource::StatefulSets, NAMESPACE, stateful_set(2), now)).unwrap();
    rig.until_ready(&[0, 1]).await;
}

#[tokio::test]
async fn in_a_steady_state_there_are_no_requests_and_no_observations() {
    let mut rig = Rig::with(stateful_set(3)).await;
    agrees(&mut rig, &[0, 1, 2]).await;
    rig.attend(&[1, 0, 1]);
    let marked = |p: &Value| p["metadata"]["annotations"]["slotkeeper.dev/kept"].is_string();
    rig.until_stored("annotations", |store| store.all(Resource::Pods).filter(|p| marked(p)).count() == 2).await;
    rig.server.forget_records();
    // A changed status message is not an observation.
    let key = Key::new(Resource::Pods, NAMESPACE, "gamecube-0");
    rig.server
        .store(|store, _| {
            store.change(&key, slotkeeper_apiserver::Part::Status, |pod| pod["status"]["message"] = "still here".into())
        })
        .unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(2500), rig.cluster.next_observation()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(rig.server.counts(), Default::default(), "there are only the two open watches");
}

#[tokio::test]
async fn ten_thousand_pods_are_listed_in_pages_and_a_thousand_are_deleted() {
    const MANY: u32 = 10_000;
    let mut rig = Rig::new(stateful_set(0), |server| {
        let set = server.store(|store, _| store.get(Resource::StatefulSets, NAMESPACE, "gamecube").unwrap());
        let owner = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "gamecube", "uid": set["metadata"]["uid"], "controller": true }]);
        for n in 0..MANY {
            let pod = json!({ "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": format!("gamecube-{n}"), "namespace": NAMESPACE, "uid": format!("uid-{n}"),
                    "resourceVersion": (1000 + n).to_string(), "labels": { "app": "gamecube" }, "ownerReferences": owner },
                "spec": { "nodeName": "fake-0", "containers": [{ "name": "gamecube", "image": "gamecube:1" }] },
                "status": { "phase": "Running", "podIP": format!("127.{}.{}.1", n / 250 + 1, n % 250),
                    "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "True" }] } });
            server.store(|store, _| store.load(pod)).unwrap();
        }
    })
    .await;
    rig.stop_controllers();
    rig.until("all", |told| told.ready().len() == MANY as usize).await;
    assert_eq!(rig.server.records().count("list", "pods"), u64::from(MANY / 500), "in pages");
    rig.server.store(|store, now| {
        for n in 9_000..MANY {
            let key = Key::new(Resource::Pods, NAMESPACE, &format!("gamecube-{n}"));
            store.delete(&key, &Deletion { grace_seconds: Some(0), ..Deletion::default() }, now).unwrap();
        }
    });
    rig.until("fewer", |told| told.pods.len() == 9_000).await;
    assert_eq!(told(&rig), truth(&rig));
}
