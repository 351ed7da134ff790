//! A StatefulSet that is deleted with `--cascade=orphan` and created again: the new one adopts the pods, and deletes at
//! once those that its number of replicas does not cover.

use super::rig::{NAMESPACE, Rig, stateful_set};
use serde_json::Value;
use slotkeeper_apiserver::{Deletion, Resource};
use slotkeeper_core::{Command, Ordinal, Phase, Uid};

/// Deletes the set and leaves its pods.
async fn orphan(rig: &Rig) {
    let key = rig.key();
    let deletion = Deletion { orphan: true, ..Deletion::default() };
    rig.server.store(|store, now| store.delete(&key, &deletion, now)).unwrap();
    rig.until_stored("the set is deleted", |s| s.get(Resource::StatefulSets, NAMESPACE, "gamecube").is_err()).await;
}

fn make(rig: &Rig, set: Value) {
    rig.server.store(|store, now| store.create(Resource::StatefulSets, NAMESPACE, set, now)).unwrap();
}

/// The phases reported of this incarnation, in order.
fn told_of(rig: &Rig, of: &Uid) -> Vec<Phase> {
    let mut phases = Vec::new();
    for news in &rig.told.all {
        if let Command::PodsListed { pods, .. } = news {
            phases.extend(pods.iter().filter(|s| s.uid == *of).map(|s| s.phase.clone()));
        }
        if let Command::PodSeen { uid, phase, .. } = news
            && uid == of
        {
            phases.push(phase.clone());
        }
    }
    phases.dedup();
    phases
}

fn is_ready(phase: &Phase) -> bool {
    matches!(phase, Phase::Ready { .. })
}

#[tokio::test]
async fn pods_that_a_new_set_adopts_become_ready_again() {
    let mut rig = Rig::with(stateful_set(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    let uids = [0, 1, 2].map(|ordinal| rig.told.uid(ordinal));
    orphan(&rig).await;
    rig.until("pods without a set get no new session", |told| {
        told.ready().is_empty() && told.pods.values().all(|(_, phase)| *phase == Phase::Unready)
    })
    .await;
    make(&rig, stateful_set(5));
    rig.until_ready(&[0, 1, 2, 3, 4]).await;
    assert_eq!([0, 1, 2].map(|ordinal| rig.told.uid(ordinal)), uids);
    for uid in &uids {
        let phases = told_of(&rig, uid);
        let names = [is_ready as fn(&Phase) -> bool, |p| *p == Phase::Unready, is_ready];
        assert!(phases.len() == 3 && names.iter().zip(&phases).all(|(is, phase)| is(phase)), "{phases:?}");
    }
    assert_eq!(rig.told.size.map(|(start, replicas, _)| (start, replicas)), Some((0, 5)));
}

#[tokio::test]
async fn pods_that_a_new_set_deletes_are_not_ready_meanwhile() {
    let mut rig = Rig::with(stateful_set(3)).await;
    rig.until_ready(&[0, 1, 2]).await;
    let uids = [0, 1, 2].map(|ordinal| rig.told.uid(ordinal));
    orphan(&rig).await;
    // As in the shipped manifest: without `replicas`, which means 1.
    let mut set = stateful_set(1);
    set["spec"].as_object_mut().unwrap().remove("replicas");
    make(&rig, set);
    rig.until("the rest", |told| told.ready() == [0] && told.pods.len() == 1 && told.size == Some((0, 1, 0))).await;
    assert_eq!(rig.told.uid(0), uids[0]);
    for uid in &uids[1..] {
        let phases = told_of(&rig, uid);
        assert!(is_ready(&phases[0]) && !phases[1..].iter().any(is_ready), "{phases:?}");
    }
}

#[tokio::test]
async fn a_dispatcher_that_starts_while_pods_have_no_set_finds_them_after_adoption() {
    let mut rig = Rig::with(stateful_set(2)).await;
    rig.until_ready(&[0, 1]).await;
    let uids = [rig.told.uid(0), rig.told.uid(1)];
    orphan(&rig).await;
    rig.restart();
    // The set exists, but its controller has not adopted the pods yet: running pods are not reported as removed.
    rig.stop_controllers();
    make(&rig, stateful_set(2));
    rig.until("the list", |told| told.pods.len() == 2).await;
    assert!(rig.told.pods.values().all(|(_, phase)| *phase == Phase::Unready), "{:?}", rig.told);
    rig.start_controllers();
    rig.until_ready(&[0, 1]).await;
    assert_eq!([rig.told.uid(0), rig.told.uid(1)], uids);
    let gone = |c: &Command| matches!(c, Command::PodGone { pod: Ordinal(0 | 1), .. });
    assert!(!rig.told.all.iter().any(gone), "{:?}", rig.told.all);
}
