//! Writes: versions, generations, locks, defaults, refusals. Tests the store itself, without a connection.

use serde_json::{Value, json};
use slotkeeper_apiserver::{At, Deletion, Key, Part, Resource, Selection, Store};

const NOW: u64 = 1_764_000_000_000;

fn set_key() -> Key {
    Key::new(Resource::StatefulSets, "games", "gamecube")
}

pub(crate) fn a_set(replicas: u64) -> Value {
    json!({
        "metadata": {"name": "gamecube", "labels": {"app": "gamecube"}},
        "spec": {
            "replicas": replicas, "serviceName": "gamecube", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "gamecube"}},
            "template": {
                "metadata": {"labels": {"app": "gamecube"}},
                "spec": {"containers": [{"name": "gamecube", "image": "gamecube:1", "ports": [{"containerPort": 3000}]}]},
            },
        },
    })
}

pub(crate) fn a_pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "gamecube"}},
        "spec": {"containers": [{"name": "gamecube", "image": "gamecube:1"}]},
    })
}

fn store() -> Store {
    let mut store = Store::new(7);
    store.create(Resource::StatefulSets, "games", a_set(1), NOW).unwrap();
    store
}

#[test]
fn two_stores_of_one_seed_are_the_same_to_the_last_uid() {
    let dump = |mut store: Store| {
        store.create(Resource::Pods, "games", a_pod("a"), NOW).unwrap();
        format!("{:?}", store.all(Resource::Pods).collect::<Vec<_>>())
    };
    assert_eq!(dump(Store::new(3)), dump(Store::new(3)));
    assert_ne!(dump(Store::new(3)), dump(Store::new(4)));
}

#[test]
fn the_generation_counts_changes_of_the_spec_only() {
    let mut store = store();
    let patch = |store: &mut Store, part, patch: Value| {
        store.merge_patch(&set_key(), part, &patch).unwrap()["metadata"]["generation"].clone()
    };
    assert_eq!(patch(&mut store, Part::Whole, json!({"metadata": {"annotations": {"a": "b"}}})), 1);
    assert_eq!(patch(&mut store, Part::Status, json!({"status": {"replicas": 1}})), 1);
    assert_eq!(patch(&mut store, Part::Whole, json!({"spec": {"replicas": 2}})), 2);
    assert_eq!(patch(&mut store, Part::Whole, json!({"spec": {"replicas": 2}})), 2);
}

#[test]
fn a_patch_without_changes_writes_nothing() {
    let mut store = store();
    let version = store.version();
    store.merge_patch(&set_key(), Part::Whole, &json!({"spec": {"replicas": 1}, "status": {"replicas": 9}})).unwrap();
    assert_eq!(store.version(), version);
}

#[test]
fn status_and_the_rest_are_written_separately() {
    let mut store = store();
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 4}});
    let object = store.merge_patch(&set_key(), Part::Status, &both).unwrap();
    assert_eq!((&object["spec"]["replicas"], &object["status"]["replicas"]), (&json!(1), &json!(4)));
    let object = store.merge_patch(&set_key(), Part::Whole, &both).unwrap();
    assert_eq!((&object["spec"]["replicas"], &object["status"]["replicas"]), (&json!(5), &json!(4)));
}

#[test]
fn a_put_over_an_old_version_is_refused() {
    let mut store = store();
    let old = Value::clone(&store.get(Resource::StatefulSets, "games", "gamecube").unwrap());
    store.merge_patch(&set_key(), Part::Whole, &json!({"spec": {"replicas": 2}})).unwrap();
    assert_eq!(store.update(&set_key(), Part::Whole, old.clone()).unwrap_err().code, 409);
    let mut unlocked = old;
    unlocked["metadata"]["resourceVersion"].take();
    assert_eq!(store.update(&set_key(), Part::Whole, unlocked).unwrap()["spec"]["replicas"], 1);
}

#[test]
fn fields_that_a_client_may_not_set_are_ignored() {
    let mut store = store();
    let old = store.get(Resource::StatefulSets, "games", "gamecube").unwrap();
    let wishes = json!({"metadata": {
        "generation": 99, "creationTimestamp": "2000-01-01T00:00:00Z", "deletionTimestamp": "2000-01-01T00:00:00Z",
    }});
    assert_eq!(*store.merge_patch(&set_key(), Part::Whole, &wishes).unwrap(), *old);
}

#[test]
fn invalid_objects_are_refused_with_a_message() {
    let mut store = store();
    let mut refused = |patch: Value| {
        let status = store.merge_patch(&set_key(), Part::Whole, &patch).unwrap_err();
        (status.code, status.message)
    };
    assert_eq!(refused(json!([1])).0, 400);
    assert_eq!(refused(json!({"metadata": {"name": "other"}})).0, 400);
    let (code, message) = refused(json!({"metadata": {"annotations": {"a": 1}}}));
    assert_eq!(code, 400);
    assert!(message.contains("cannot unmarshal number into Go struct field StatefulSet.metadata.annotations.a"));
    assert_eq!(refused(json!({"spec": {"replicas": "3"}})).0, 400);
    assert_eq!(refused(json!({"spec": {"replicas": 1.5}})).0, 400);
    assert_eq!(refused(json!({"spec": {"ordinals": {"start": -1}}})).0, 422);
    assert_eq!(refused(json!({"spec": null})).0, 422);
    let create = |store: &mut Store, object: Value| {
        store.create(Resource::Pods, "games", object, NOW).map(|_| ()).unwrap_err().code
    };
    assert_eq!(create(&mut store, json!("pod")), 400);
    assert_eq!(create(&mut store, json!({"metadata": {}})), 422);
    assert_eq!(create(&mut store, json!({"metadata": {"name": "a", "namespace": "others"}})), 400);
    store.create(Resource::Pods, "games", a_pod("a"), NOW).unwrap();
    assert_eq!(create(&mut store, a_pod("a")), 409);
    let pod = Key::new(Resource::Pods, "games", "a");
    let moved = json!({"spec": {"nodeName": "elsewhere"}});
    assert_eq!(store.merge_patch(&pod, Part::Whole, &moved).unwrap_err().code, 422);
}

#[test]
fn the_grace_period_can_only_be_shortened() {
    let mut store = Store::default();
    let key = Key::new(Resource::Pods, "games", "a");
    store.create(Resource::Pods, "games", a_pod("a"), NOW).unwrap();
    slotkeeper_apiserver::controllers::pod(&mut store, NOW, "games", "a").schedule("node-a").unwrap();
    let delete = |store: &mut Store, grace_seconds, now| {
        store.delete(&key, &Deletion { grace_seconds, ..Deletion::default() }, now).unwrap().unwrap()
    };
    delete(&mut store, Some(10), NOW);
    let version = store.version();
    for longer in [None, Some(10), Some(60)] {
        let pod = delete(&mut store, longer, NOW + 1000);
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 10);
    }
    assert_eq!(store.version(), version, "nothing was written");
    assert_eq!(delete(&mut store, Some(3), NOW + 1000)["metadata"]["deletionGracePeriodSeconds"], 3);
    delete(&mut store, Some(0), NOW + 2000);
    assert!(store.get(Resource::Pods, "games", "a").is_err());
}

#[test]
fn an_object_is_deleted_with_its_last_finalizer() {
    let mut store = Store::default();
    let key = Key::new(Resource::ScaledObjects, "games", "gamecube");
    let object = json!({"metadata": {"name": "gamecube", "finalizers": ["one", "two"]}, "spec": {}});
    store.create(Resource::ScaledObjects, "games", object, NOW).unwrap();
    assert!(store.delete(&key, &Deletion::default(), NOW).unwrap().is_some());
    store.merge_patch(&key, Part::Whole, &json!({"metadata": {"finalizers": ["two"]}})).unwrap();
    assert!(store.get(Resource::ScaledObjects, "games", "gamecube").is_ok());
    store.merge_patch(&key, Part::Whole, &json!({"metadata": {"finalizers": []}})).unwrap();
    assert_eq!(store.get(Resource::ScaledObjects, "games", "gamecube").unwrap_err().code, 404);
}

#[test]
fn a_page_shows_the_state_of_the_first_page() {
    let mut store = Store::default();
    for name in ["a", "b", "c", "d"] {
        store.create(Resource::Pods, "games", a_pod(name), NOW).unwrap();
    }
    let everywhere = Selection::default();
    let first = store.list(Resource::Pods, &everywhere, At::Newest, 2, None).unwrap();
    assert_eq!(first.remaining, Some(2));
    store.delete(&Key::new(Resource::Pods, "games", "c"), &Deletion::default(), NOW).unwrap();
    store.create(Resource::Pods, "games", a_pod("bb"), NOW).unwrap();
    let second = store.list(Resource::Pods, &everywhere, At::Newest, 2, first.next.as_deref()).unwrap();
    let names: Vec<&Value> = second.items.iter().map(|pod| &pod["metadata"]["name"]).collect();
    assert_eq!(names, ["c", "d"]);
    assert_eq!((second.version, second.next), (first.version, None));
    let then = store.list(Resource::Pods, &everywhere, At::Exactly(first.version), 0, None).unwrap();
    assert_eq!(then.items.len(), 4);
}

#[test]
fn history_is_bounded() {
    let mut store = Store::default();
    store.keep_history(3);
    for name in ["a", "b", "c", "d", "e"] {
        store.create(Resource::Pods, "games", a_pod(name), NOW).unwrap();
    }
    assert_eq!(store.oldest(), store.version() - 3);
    assert!(store.changes_after(store.oldest()).is_some());
    assert!(store.changes_after(store.oldest() - 1).is_none());
    let exactly = At::Exactly(store.oldest() - 1);
    assert_eq!(store.list(Resource::Pods, &Selection::default(), exactly, 0, None).unwrap_err().code, 410);
}
