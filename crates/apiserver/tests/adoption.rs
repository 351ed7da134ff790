//! Deleting a set without its pods, and adopting them with another: compared with the recording, pod by pod.

use serde_json::{Value, json};
use slotkeeper_apiserver::{Key, Resource, Server, controllers, milliseconds};

use crate::client;
use crate::replay::Transcript;
use crate::transcripts::revision;

const FILE: &str = "10-orphans-adopted.json";

/// The steps of a pod as its watch shows them: whether it has a controller, and whether it is being deleted. Without the
/// writes of a kubelet at the pod's end.
fn steps<'a>(changes: impl Iterator<Item = &'a Value>, name: &str) -> Vec<(bool, bool)> {
    let of = changes.filter(|object| object["metadata"]["name"] == name);
    let mut steps: Vec<(bool, bool)> = of
        .map(|object| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            (owners.is_some_and(|o| !o.is_empty()), object["metadata"]["deletionTimestamp"].is_string())
        })
        .collect();
    steps.dedup();
    steps
}

async fn ask(server: &Server, transcript: &Transcript, name: &str) -> Value {
    let asked = &transcript.exchange(name).request;
    let uid = server.store(|store, _| {
        let set = store.get(Resource::StatefulSets, "games", "gamecube");
        set.map(|set| set["metadata"]["uid"].as_str().unwrap().to_owned()).unwrap_or_default()
    });
    let recorded = transcript.body("list-statefulsets")["items"][0]["metadata"]["uid"].as_str().unwrap().to_owned();
    let body = asked.body.as_deref().unwrap_or_default().replace(&recorded, &uid);
    let headers: Vec<(&str, &str)> = asked.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let answer = client::ask(server, &asked.method, &asked.path, &headers, &body).await.unwrap();
    assert_eq!(answer.status, transcript.exchange(name).response.status, "{name}");
    answer.json().await
}

#[tokio::test(start_paused = true)]
async fn pods_lose_their_owner_and_find_another_as_in_10() {
    let transcript = Transcript::read(FILE);
    let server = Server::on_tokio_time(milliseconds("2026-11-30T11:55:14Z").unwrap());
    let template = &transcript.body("list-statefulsets")["items"][0]["spec"]["template"];
    let label = &transcript.body("list-pods")["items"][0]["metadata"]["labels"]["controller-revision-hash"];
    let (recorded, ours) = revision(template, "gamecube", label.as_str().unwrap());
    for list in ["list-statefulsets", "list-pods"] {
        let text = transcript.body(list).to_string().replace(&recorded, &ours);
        let list: Value = serde_json::from_str(&text).unwrap();
        server.store(|store, _| {
            for item in list["items"].as_array().unwrap() {
                let mut object = item.clone();
                object["kind"] = json!(list["kind"].as_str().unwrap().trim_end_matches("List"));
                object["apiVersion"] = list["apiVersion"].clone();
                store.load(object).unwrap();
            }
        });
    }
    let before = server.store(|store, _| store.version());
    let settle = || server.store(|store, now| while controllers::step(store, now) {});

    let deleted = ask(&server, &transcript, "delete-orphan").await;
    let recorded: Value = transcript.body("delete-orphan");
    for field in ["finalizers", "generation", "deletionGracePeriodSeconds"] {
        assert_eq!(deleted["metadata"][field], recorded["metadata"][field], "{field}");
    }
    let waiting = ask(&server, &transcript, "get-while-it-is-orphaned").await;
    assert_eq!(waiting["metadata"]["finalizers"], json!(["orphan"]));
    ask(&server, &transcript, "create-too-early-409").await;
    settle();
    ask(&server, &transcript, "get-gone-404").await;
    ask(&server, &transcript, "create-adopts-3").await;
    settle();
    let (ours, recorded) =
        (ask(&server, &transcript, "get-adopted").await, transcript.body("get-adopted")["status"].clone());
    for field in ["replicas", "readyReplicas", "observedGeneration"] {
        assert_eq!(ours["status"][field], recorded[field], "{field}");
    }
    ask(&server, &transcript, "delete-orphan-again").await;
    settle();
    ask(&server, &transcript, "create-without-replicas").await;
    settle();

    let recorded = transcript.lines("watch-pods");
    server.store(|store, _| {
        let changes: Vec<&slotkeeper_apiserver::Change> = store.changes_after(before).unwrap().collect();
        for pod in ["gamecube-0", "gamecube-1", "gamecube-2"] {
            let ours = steps(changes.iter().map(|c| &*c.object), pod);
            assert_eq!(ours, steps(recorded.iter().map(|(_, line)| &line["object"]), pod), "{pod}");
            let key = Key::new(Resource::Pods, "games", pod);
            let uids: std::collections::BTreeSet<String> =
                changes.iter().filter(|c| c.key == key).map(|c| c.object["metadata"]["uid"].to_string()).collect();
            assert_eq!(uids.len(), 1, "{pod} keeps its uid");
        }
    });
}

/// The first pod in the recording's watch that meets a condition.
fn at(transcript: &Transcript, is: impl Fn(&Value) -> bool) -> Value {
    let lines = transcript.lines("watch-pods").into_iter().map(|(_, line)| line["object"].clone());
    lines.into_iter().find(is).unwrap()
}

fn conditions(pod: &Value) -> Vec<(String, String, String)> {
    let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
    let all = pod["status"]["conditions"].as_array().unwrap().iter();
    all.map(|c| (text(c, "type"), text(c, "status"), text(c, "reason"))).collect()
}

#[test]
fn a_pod_on_a_lost_node_is_written_as_in_11() {
    let transcript = Transcript::read("11-node-lost.json");
    let now = milliseconds("2026-11-30T12:10:40Z").unwrap();
    let mut store = slotkeeper_apiserver::Store::default();
    let list = transcript.body("list-pods");
    for item in list["items"].as_array().unwrap() {
        let mut object = item.clone();
        (object["kind"], object["apiVersion"]) = (json!("Pod"), json!("v1"));
        store.load(object).unwrap();
    }
    let named = |name: &'static str| move |pod: &Value| pod["metadata"]["name"] == name;
    let lost = controllers::pod(&mut store, now, "games", "gamecube-0").lost().unwrap();
    assert_eq!(conditions(&lost), conditions(&at(&transcript, named("gamecube-0"))));
    controllers::pod(&mut store, now, "games", "wario-0").lost().unwrap();
    let found = controllers::pod(&mut store, now, "games", "wario-0").found().unwrap();
    let ready = |pod: &Value| conditions(pod).contains(&("Ready".into(), "True".into(), "ContainersNotReady".into()));
    let recorded = at(&transcript, |pod| named("wario-0")(pod) && ready(pod));
    assert_eq!(conditions(&found), conditions(&recorded));
    controllers::pod(&mut store, now + 10_000, "games", "gamecube-0").evict_from_lost_node().unwrap();
    while controllers::step(&mut store, now + 60_000) {}
    let stays = store.get(Resource::Pods, "games", "gamecube-0").unwrap();
    let recorded = at(&transcript, |pod| named("gamecube-0")(pod) && pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(conditions(&stays), conditions(&recorded));
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        assert_eq!(stays["metadata"][field], recorded["metadata"][field], "{field}");
    }
}
