//! The stand-ins for the controllers: which pods are created and deleted, and in which order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use slotkeeper_apiserver::controllers::{self, Automatic, pod};
use slotkeeper_apiserver::{Key, Part, Resource, Server, Store};

use crate::writes::a_set;

const NOW: u64 = 1_764_000_000_000;

fn pods(store: &Store) -> Vec<String> {
    let living = store.all(Resource::Pods).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    living.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn settle(store: &mut Store) {
    while controllers::step(store, NOW) {}
}

fn with_set(replicas: u64, change: impl Fn(&mut Value)) -> Store {
    let mut store = Store::default();
    let mut set = a_set(replicas);
    change(&mut set);
    store.create(Resource::StatefulSets, "games", set, NOW).unwrap();
    settle(&mut store);
    store
}

fn patch(store: &mut Store, resource: Resource, patch: &Value) {
    store.merge_patch(&Key::new(resource, "games", "gamecube"), Part::Whole, patch).unwrap();
    settle(store);
}

fn run(store: &mut Store, name: &str) {
    pod(store, NOW, "games", name).schedule("node-a").unwrap();
    pod(store, NOW, "games", name).run("127.0.0.2").unwrap();
    settle(store);
}

#[test]
fn a_parallel_set_moves_its_window_at_once() {
    let mut store = with_set(3, |_| {});
    assert_eq!(pods(&store), ["gamecube-0", "gamecube-1", "gamecube-2"]);
    for name in ["gamecube-0", "gamecube-1", "gamecube-2"] {
        run(&mut store, name);
    }
    patch(&mut store, Resource::StatefulSets, &json!({"spec": {"replicas": 2, "ordinals": {"start": 2}}}));
    assert_eq!(pods(&store), ["gamecube-2", "gamecube-3"]);
    let status = &store.get(Resource::StatefulSets, "games", "gamecube").unwrap()["status"];
    assert_eq!(status["replicas"], 4, "terminating pods are counted until they are deleted");
    pod(&mut store, NOW, "games", "gamecube-0").end().unwrap();
    pod(&mut store, NOW, "games", "gamecube-1").end().unwrap();
    settle(&mut store);
    let set = store.get(Resource::StatefulSets, "games", "gamecube").unwrap();
    assert_eq!((&set["status"]["replicas"], &set["status"]["observedGeneration"]), (&json!(2), &json!(2)));
}

#[test]
fn a_status_observes_a_generation_only_when_its_pods_are_done() {
    let mut store = with_set(1, |_| {});
    let before = store.version();
    let window = json!({"spec": {"replicas": 2, "ordinals": {"start": 1}}});
    patch(&mut store, Resource::StatefulSets, &window);
    let order: Vec<(Resource, bool)> = store
        .changes_after(before)
        .unwrap()
        .map(|change| (change.key.resource, change.object["status"]["observedGeneration"] == 2))
        .collect();
    let observed = order.iter().position(|(_, observed)| *observed).unwrap();
    let last_pod = order.iter().rposition(|(resource, _)| *resource == Resource::Pods).unwrap();
    assert!(last_pod < observed, "{order:?}");
}

#[test]
fn an_ordered_set_goes_one_by_one() {
    let mut store = with_set(3, |set| set["spec"]["podManagementPolicy"] = json!("OrderedReady"));
    assert_eq!(pods(&store), ["gamecube-0"]);
    run(&mut store, "gamecube-0");
    assert_eq!(pods(&store), ["gamecube-0", "gamecube-1"]);
    run(&mut store, "gamecube-1");
    run(&mut store, "gamecube-2");
    patch(&mut store, Resource::StatefulSets, &json!({"spec": {"replicas": 1}}));
    assert_eq!(pods(&store), ["gamecube-0", "gamecube-1"], "the highest first, and no other until it is deleted");
    pod(&mut store, NOW, "games", "gamecube-2").end().unwrap();
    settle(&mut store);
    assert_eq!(pods(&store), ["gamecube-0"]);
}

#[test]
fn an_unready_pod_blocks_an_ordered_set() {
    let mut store = with_set(3, |set| set["spec"]["podManagementPolicy"] = json!("OrderedReady"));
    for name in ["gamecube-0", "gamecube-1", "gamecube-2"] {
        run(&mut store, name);
    }
    pod(&mut store, NOW, "games", "gamecube-1").unready().unwrap();
    patch(&mut store, Resource::StatefulSets, &json!({"spec": {"replicas": 2}}));
    assert_eq!(pods(&store).len(), 3);
    // Measured on a real control plane: the surplus pod that blocks is the unready one itself, so this works.
    patch(&mut store, Resource::StatefulSets, &json!({"spec": {"replicas": 1}}));
    assert_eq!(pods(&store), ["gamecube-0", "gamecube-1"]);
    pod(&mut store, NOW, "games", "gamecube-2").end().unwrap();
    settle(&mut store);
    assert_eq!(pods(&store), ["gamecube-0"]);
}

#[test]
fn a_new_template_replaces_pods_from_the_top_unless_on_delete() {
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "gamecube", "image": "gamecube:2"}]}}}});
    for (strategy, left) in [("RollingUpdate", vec!["gamecube-0"]), ("OnDelete", vec!["gamecube-0", "gamecube-1"])] {
        let mut store = with_set(2, |set| set["spec"]["updateStrategy"] = json!({"type": strategy}));
        run(&mut store, "gamecube-0");
        run(&mut store, "gamecube-1");
        patch(&mut store, Resource::StatefulSets, &image);
        assert_eq!(pods(&store), left, "{strategy}");
    }
}

#[test]
fn a_failed_pod_is_replaced() {
    let mut store = with_set(1, |_| {});
    run(&mut store, "gamecube-0");
    let uid = |store: &Store| store.get(Resource::Pods, "games", "gamecube-0").unwrap()["metadata"]["uid"].clone();
    let first = uid(&store);
    pod(&mut store, NOW, "games", "gamecube-0").fail("Evicted", "the node was low on memory").unwrap();
    settle(&mut store);
    assert_ne!(uid(&store), first);
}

#[test]
fn a_deployment_deletes_the_pods_with_the_lowest_cost_first() {
    let mut store = Store::default();
    let mut deployment = a_set(5);
    for field in ["serviceName", "podManagementPolicy"] {
        deployment["spec"].as_object_mut().unwrap().remove(field);
    }
    store.create(Resource::Deployments, "games", deployment, NOW).unwrap();
    settle(&mut store);
    let names = pods(&store);
    assert_eq!(names.len(), 5);
    let labels = &store.get(Resource::Pods, "games", &names[0]).unwrap()["metadata"]["labels"];
    assert!(labels["pod-template-hash"].is_string());
    // 0 and 1 are ready and expensive, 2 is ready and cheap, 3 is not ready, 4 has no node.
    for name in &names[..4] {
        pod(&mut store, NOW, "games", name).schedule("node-a").unwrap();
        pod(&mut store, NOW, "games", name).start("127.0.0.2").unwrap();
    }
    for (name, cost) in [(&names[0], "100"), (&names[1], "50"), (&names[2], "-5")] {
        pod(&mut store, NOW, "games", name).ready().unwrap();
        let cost = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
        store.merge_patch(&Key::new(Resource::Pods, "games", name), Part::Whole, &cost).unwrap();
    }
    settle(&mut store);
    for left in [vec![0, 1, 2, 3], vec![0, 1, 2], vec![0, 1], vec![0]] {
        patch(&mut store, Resource::Deployments, &json!({"spec": {"replicas": left.len()}}));
        assert_eq!(pods(&store), left.iter().map(|n| names[*n].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_deployment_rolls_to_a_new_template_as_the_new_pods_become_ready() {
    let mut store = Store::default();
    store.create(Resource::Deployments, "games", a_set(2), NOW).unwrap();
    settle(&mut store);
    let old = pods(&store);
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "gamecube", "image": "gamecube:2"}]}}}});
    patch(&mut store, Resource::Deployments, &image);
    assert_eq!(pods(&store).len(), 4);
    for name in pods(&store).into_iter().filter(|name| !old.contains(name)) {
        run(&mut store, &name);
    }
    assert!(pods(&store).iter().all(|name| !old.contains(name)));
    assert_eq!(store.get(Resource::Deployments, "games", "gamecube").unwrap()["status"]["readyReplicas"], 2);
}

#[test]
fn a_pod_crashes_and_waits_in_the_shapes_of_a_kubelet() {
    let mut store = with_set(1, |_| {});
    let name = "gamecube-0";
    pod(&mut store, NOW, "games", name).schedule("node-a").unwrap();
    let state =
        |store: &Store| store.get(Resource::Pods, "games", name).unwrap()["status"]["containerStatuses"][0].clone();
    pod(&mut store, NOW, "games", name).waiting("ContainerCreating", "").unwrap();
    assert_eq!(state(&store)["state"], json!({"waiting": {"reason": "ContainerCreating"}}));
    pod(&mut store, NOW, "games", name).start("127.0.0.2").unwrap();
    assert_eq!((&state(&store)["ready"], &state(&store)["started"]), (&json!(false), &json!(false)));
    pod(&mut store, NOW, "games", name).crash(137, "OOMKilled").unwrap();
    pod(&mut store, NOW, "games", name).back_off("10s").unwrap();
    let now = state(&store);
    assert_eq!(now["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!((&now["lastState"]["terminated"]["exitCode"], &now["restartCount"]), (&json!(137), &json!(1)));
}

#[test]
fn an_event_that_repeats_is_counted() {
    let mut store = with_set(1, |_| {});
    for _ in 0..3 {
        pod(&mut store, NOW, "games", "gamecube-0").event("FailedMount", "no disk").unwrap();
    }
    pod(&mut store, NOW, "games", "gamecube-0").event("Pulling", "Pulling image \"gamecube:1\"").unwrap();
    let events: Vec<_> = store.all(Resource::Events).collect();
    assert_eq!(events.len(), 2);
    let mount = events.iter().find(|event| event["reason"] == "FailedMount").unwrap();
    assert_eq!((&mount["count"], &mount["type"]), (&json!(3), &json!("Warning")));
}

#[tokio::test(start_paused = true)]
async fn an_automatic_cluster_brings_pods_up_and_down_in_time() {
    let server = Server::on_tokio_time(NOW);
    let mut life = Automatic::new(|pod| format!("127.0.0.{}", 10 + pod["metadata"]["name"].as_str().unwrap().len()));
    life.ready_after_ms = 4000;
    life.hold.insert("gamecube-1".to_owned());
    let life = Arc::new(Mutex::new(life));
    tokio::spawn(controllers::drive(server.clone(), Arc::clone(&life)));
    server.store(|store, now| store.create(Resource::StatefulSets, "games", a_set(2), now).map(|_| ())).unwrap();
    let ready = |store: &Store| {
        let of = |set: &Value| set["status"]["readyReplicas"].as_u64();
        store.get(Resource::StatefulSets, "games", "gamecube").ok().and_then(|set| of(&set)).unwrap_or(0)
    };
    let start = tokio::time::Instant::now();
    server.until(|store| ready(store) == 1).await;
    assert_eq!(start.elapsed(), Duration::from_secs(4));
    life.lock().unwrap().hold.clear();
    server.store(|store, now| {
        let key = Key::new(Resource::StatefulSets, "games", "gamecube");
        store.merge_patch(&key, Part::Whole, &json!({"spec": {"replicas": 3}})).unwrap();
        assert!(now > NOW);
    });
    server.until(|store| ready(store) == 3).await;
    server
        .store(|store, _| {
            let key = Key::new(Resource::StatefulSets, "games", "gamecube");
            store.merge_patch(&key, Part::Whole, &json!({"spec": {"replicas": 0}})).map(|_| ())
        })
        .unwrap();
    server.until(|store| store.all(Resource::Pods).count() == 0).await;
    server.until(|store| ready(store) == 0).await;
}
