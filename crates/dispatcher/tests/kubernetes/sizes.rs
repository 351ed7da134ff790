//! When a size is reported, and which observations of pods must precede it.

use super::rig::{NAMESPACE, Rig, stateful_set};
use serde_json::json;
use slotkeeper_apiserver::{Deletion, Key, Part, Refusal, Resource};
use slotkeeper_core::{Command, Phase};

#[tokio::test]
async fn a_larger_size_is_reported_after_the_deletions_for_the_smaller_one() {
    let mut rig = Rig::with(stateful_set(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    // The watch of pods breaks and does not recover, the set's continues; pods take 10 minutes to end.
    rig.automatic.lock().unwrap().gone_after_ms = 600_000;
    rig.server.faults(|f| f.refuse(100_000, &Refusal::new(500).of("watch", "pods")));
    rig.server.break_watches();
    rig.patch(&json!({ "spec": { "replicas": 1 } }));
    rig.until("the lower size", |told| told.size == Some((0, 1, 0))).await;
    rig.patch(&json!({ "spec": { "replicas": 3 } }));
    rig.until("the higher size", |told| told.size == Some((0, 3, 0))).await;
    for ordinal in [1, 2] {
        let phase = rig.told.pods.get(&ordinal).map(|(_, phase)| phase.clone());
        assert_eq!(phase, Some(Phase::Terminating), "pod {ordinal} was deleted before the size was raised again");
    }
    assert!(rig.server.records().count("watch", "pods") > 1);
}

#[tokio::test]
async fn a_larger_size_is_not_reported_before_its_controller_has_acted_on_it() {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    rig.stop_controllers();
    rig.patch(&json!({ "spec": { "replicas": 1 } }));
    rig.until("a lower size counts at once", |told| told.size == Some((0, 1, 0))).await;
    rig.patch(&json!({ "spec": { "replicas": 4 } }));
    let key = rig.key();
    rig.patch(&json!({ "metadata": { "labels": { "seen": "yes" } } }));
    rig.server
        .store(|store, _| store.change(&key, Part::Status, |set| set["status"]["observedGeneration"] = json!(2)))
        .unwrap();
    let generation = rig.workload()["metadata"]["generation"].clone();
    rig.server
        .store(|store, _| {
            store.change(&key, Part::Status, |set| set["status"]["observedGeneration"] = generation.clone())
        })
        .unwrap();
    rig.until("the higher one", |told| told.size == Some((0, 4, 0))).await;
    let sizes: Vec<u32> = rig
        .told
        .all
        .iter()
        .filter_map(|c| if let Command::ScaleSeen { replicas, .. } = c { Some(*replicas) } else { None })
        .collect();
    assert_eq!(sizes, [2, 1, 4], "an uncertain size is not reported");
    assert!(rig.server.store(|store, _| store.get(Resource::Pods, NAMESPACE, "gamecube-1").is_ok()));
}

#[tokio::test]
async fn a_set_that_is_created_again_starts_with_new_pods() {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    let before = [rig.told.uid(0), rig.told.uid(1)];
    let key = rig.key();
    rig.server.store(|store, now| {
        store.delete(&key, &Deletion::default(), now).unwrap();
        store.create(Resource::StatefulSets, NAMESPACE, stateful_set(1), now).unwrap();
    });
    rig.until("no session is placed in the old pods", |told| {
        told.pods.values().all(|(uid, phase)| !before.contains(uid) || !matches!(phase, Phase::Ready { .. }))
    })
    .await;
    for name in ["gamecube-0", "gamecube-1"] {
        let pod = Key::new(Resource::Pods, NAMESPACE, name);
        rig.server.store(|store, now| {
            let _ = store.delete(&pod, &Deletion { grace_seconds: Some(0), ..Deletion::default() }, now);
        });
    }
    rig.until("the new set's pods", |told| told.ready() == [0] && told.size == Some((0, 1, 0))).await;
}
