//! One test for each transcript, and the exchanges that are not replayed, with the reason.

use serde_json::{Value, json};
use slotkeeper_apiserver::{Access, Key, Part, Resource, Server, Store, controllers, milliseconds};

use crate::replay::{Act, Beside, Exchange, Transcript, replay};

/// Exchanges that are not replayed.
const EXCUSED: &[(&str, &str, &str)] = &[
    ("07-pod-stuck.json", "list-events-events-k8s-io-v1", "events.k8s.io is not served: no test needs it"),
    ("08-forbidden-and-eviction.json", "get-pdb", "disruption budgets are not served: no test needs them"),
    ("08-forbidden-and-eviction.json", "evict-429", "evictions are not served: no test needs them"),
    ("08-forbidden-and-eviction.json", "evict-missing-404", "an eviction"),
    ("08-forbidden-and-eviction.json", "watch-pods-evicted", "shows an eviction's DisruptionTarget condition"),
    ("08-forbidden-and-eviction.json", "evict-allowed", "an eviction"),
    ("08-forbidden-and-eviction.json", "evict-second-429", "an eviction"),
    ("08-forbidden-and-eviction.json", "get-pdb-after", "a disruption budget"),
    ("08-forbidden-and-eviction.json", "evict-wrong-uid-409", "an eviction"),
    ("08-forbidden-and-eviction.json", "get-pdb-after-wrong-uid", "a disruption budget"),
    ("08-forbidden-and-eviction.json", "evict-after-wrong-uid-429", "an eviction"),
    ("09-annotations.json", "hpa-get", "an HPA, made by KEDA's operator"),
];

fn excused(file: &str) -> Vec<&'static str> {
    EXCUSED.iter().filter(|(of, _, _)| *of == file).map(|(_, name, _)| *name).collect()
}

#[test]
fn all_excused_exchanges_were_recorded() {
    for (file, name, why) in EXCUSED {
        assert!(Transcript::read(file).exchanges.iter().any(|exchange| exchange.name == *name), "{file} {name}: {why}");
    }
}

/// A server whose time zero is that of the recording.
fn server(zero: &str) -> Server {
    Server::on_tokio_time(milliseconds(zero).unwrap())
}

/// Stores recorded objects unchanged, also those in lists. The revision is renamed to that of our controller.
fn load(server: &Server, recorded: &Value) {
    let kind = recorded["kind"].as_str().unwrap();
    let objects = match kind.strip_suffix("List") {
        None => vec![recorded.clone()],
        Some(kind) => recorded["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let mut item = item.clone();
                item["kind"] = json!(kind);
                item["apiVersion"] = recorded["apiVersion"].clone();
                item
            })
            .collect(),
    };
    server.store(|store, _| {
        for mut object in objects {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
            store.load(object).unwrap();
        }
        store.skip_to(recorded["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap());
        // A list's version is newer than those of its objects: nothing was written meanwhile.
        store.forget_history();
    });
}

/// The recorded actions of scheduler and kubelet on a watch's pods, at the times at which the watch showed them.
fn pod_lives(lines: &[(u64, Value)]) -> Vec<(u64, Act)> {
    let mut acts: Vec<(u64, Act)> = Vec::new();
    let mut seen: std::collections::BTreeMap<String, Value> = std::collections::BTreeMap::new();
    for (at, line) in lines {
        let pod = &line["object"];
        let Some(name) = pod["metadata"]["name"].as_str().map(str::to_owned) else { continue };
        let before = seen.insert(pod["metadata"]["uid"].to_string(), pod.clone()).unwrap_or(Value::Null);
        let new = |pointer: &str| {
            pod.pointer(pointer).filter(|_| before.is_object() && before.pointer(pointer).is_none()).cloned()
        };
        if let Some(node) = new("/spec/nodeName") {
            let name = name.clone();
            acts.push((
                *at,
                Box::new(move |store: &mut Store, now| {
                    controllers::pod(store, now, "games", &name).schedule(node.as_str().unwrap()).unwrap();
                }),
            ));
        }
        if let Some(ip) = new("/status/podIP") {
            let name = name.clone();
            acts.push((
                *at,
                Box::new(move |store: &mut Store, now| {
                    controllers::pod(store, now, "games", &name).run(ip.as_str().unwrap()).unwrap();
                }),
            ));
        }
        if line["type"] == "DELETED" {
            acts.push((
                *at,
                Box::new(move |store: &mut Store, now| {
                    let Ok(pod) = store.get(Resource::Pods, "games", &name) else { return };
                    // A request ended it, and another incarnation exists already.
                    if pod["metadata"]["deletionTimestamp"].is_string() {
                        controllers::pod(store, now, "games", &name).end().unwrap();
                    }
                }),
            ));
        }
    }
    acts
}

/// The name of a template's revision in the recordings, and by our controller.
pub(crate) fn revision(template: &Value, name: &str, recorded: &str) -> (String, String) {
    let mut store = Store::default();
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    store.create(Resource::StatefulSets, "games", json!({"metadata": {"name": name}, "spec": spec}), 0).unwrap();
    controllers::step(&mut store, 0);
    let set = store.get(Resource::StatefulSets, "games", name).unwrap();
    (recorded.to_owned(), set["status"]["updateRevision"].as_str().unwrap().to_owned())
}

/// Reads a transcript and renames its revisions to those of our controller.
fn read(file: &str) -> Transcript {
    let sets = Transcript::read("02-statefulset-list-watch.json").body("list-statefulsets");
    let stuck = Transcript::read("07-pod-stuck.json").body("create-gpu");
    let names = [
        revision(&sets["items"][0]["spec"]["template"], "gamecube", "gamecube-7b597ff845"),
        revision(&stuck["spec"]["template"], "gamecube-gpu", "gamecube-gpu-9595f56f8"),
    ];
    let renamed = |mut text: String| {
        for (recorded, ours) in &names {
            text = text.replace(recorded, ours);
        }
        text
    };
    let mut transcript = Transcript::read(file);
    for exchange in &mut transcript.exchanges {
        exchange.response.body = exchange.response.body.take().map(renamed);
        for line in exchange.response.lines.iter_mut().flatten() {
            line.line = renamed(std::mem::take(&mut line.line));
        }
    }
    transcript
}

/// The same object, as it was at another version.
fn at_version(mut object: Value, version: &str) -> Value {
    object["metadata"]["resourceVersion"] = json!(version);
    object
}

/// The initial objects of a streamed list.
fn streamed(transcript: &Transcript, watch: &str) -> Vec<Value> {
    let lines = transcript.lines(watch).into_iter();
    lines.filter(|(_, line)| line["type"] == "ADDED").map(|(_, line)| line["object"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_set_goes_from_zero_to_three_to_one_as_in_01_and_02() {
    let mut both = read("01-pods-list-watch.json");
    both.exchanges.extend(read("02-statefulset-list-watch.json").exchanges);
    let server = server("2026-11-21T18:23:43.300Z");
    load(&server, &both.body("list-statefulsets"));
    let lives = pod_lives(&both.lines("watch-pods"));
    replay(&server, &both, &[], Beside::acts(lives)).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_start_and_an_annotation_are_patched_at_once_as_in_03() {
    let transcript = read("03-statefulset-merge-patch.json");
    let server = server("2026-11-21T18:24:23.100Z");
    load(&server, &transcript.body("get"));
    load(&server, &transcript.body("list-pods-before"));
    let mut lives = pod_lives(&transcript.lines("watch-pods"));
    // gamecube-0 existed before the watch, which therefore does not show its creation.
    lives.sort_by_key(|(at, _)| *at);
    replay(&server, &transcript, &excused("03-statefulset-merge-patch.json"), Beside::acts(lives)).await;
}

#[tokio::test(start_paused = true)]
async fn scale_is_read_patched_and_put_as_in_04() {
    let server = server("2026-11-21T18:24:32Z");
    let mut pods = read("05-pod-delete.json").body("list-pods");
    // The patch creates the third one.
    pods["items"].as_array_mut().unwrap().retain(|pod| pod["metadata"]["name"] != "gamecube-3");
    load(&server, &at_version(pods, "51581"));
    load(&server, &read("03-statefulset-merge-patch.json").body("get-after"));
    // The recorded controller did not act between two requests.
    let beside = Beside { slow_controllers: true, ..Beside::acts(vec![(600, Box::new(|_: &mut Store, _| {}))]) };
    replay(&server, &read("04-scale-subresource.json"), &[], beside).await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_deleted_with_preconditions_and_grace_as_in_05() {
    let server = server("2026-11-21T18:24:34.200Z");
    let transcript = read("05-pod-delete.json");
    let set = streamed(&read("06-expired-and-streaming-list.json"), "streaming-list-statefulsets").remove(0);
    load(&server, &at_version(set, "51599"));
    load(&server, &transcript.body("list-pods"));
    let lives = pod_lives(&transcript.lines("watch-pods"));
    replay(&server, &transcript, &[], Beside::acts(lives)).await;
}

#[tokio::test(start_paused = true)]
async fn versions_expire_pages_follow_and_lists_stream_as_in_06() {
    let server = server("2026-11-21T18:24:47Z");
    let transcript = read("06-expired-and-streaming-list.json");
    for watch in ["streaming-list-statefulsets", "streaming-list-pods"] {
        for object in streamed(&transcript, watch) {
            load(&server, &object);
        }
    }
    server.store(|store, _| {
        store.skip_to(51_663);
        store.forget_history();
    });
    replay(&server, &transcript, &[], Beside::acts(Vec::new())).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_stuck_in_every_way_as_in_07() {
    let server = server("2026-11-21T18:24:54.950Z");
    let transcript = read("07-pod-stuck.json");
    load(&server, &at_version(transcript.body("get-crash-scheduled"), "51600"));
    let stuck = transcript.body("get-unschedulable-pod")["status"]["conditions"][0]["message"].clone();
    let acts: Vec<(u64, Act)> = vec![
        (
            100,
            Box::new(move |store: &mut Store, now| {
                let why = stuck.as_str().unwrap();
                let mut pod = controllers::pod(store, now, "games", "gamecube-gpu-0");
                pod.event("FailedScheduling", why).unwrap();
                pod.unschedulable(why).unwrap();
                // The real controller's event refers to the set as it was created.
                let mut changes = store.changes_after(51_600).unwrap();
                let set = changes.find(|change| change.key.resource == Resource::StatefulSets).unwrap().object.clone();
                drop(changes);
                let message = "Create Pod gamecube-gpu-0 in StatefulSet gamecube-gpu successful";
                controllers::event(store, now, &set, "SuccessfulCreate", message).unwrap();
            }),
        ),
        (1110, {
            // They existed all the time; their versions are later than those of the set created here.
            let pods = ["get-pull-scheduled", "get-crash-scheduled"].map(|name| transcript.body(name));
            Box::new(move |store: &mut Store, _| {
                for pod in pods {
                    store.load(pod).unwrap();
                }
            })
        }),
    ];
    replay(&server, &transcript, &excused("07-pod-stuck.json"), Beside::acts(acts)).await;
}

#[tokio::test(start_paused = true)]
async fn missing_rights_are_refused_as_in_08() {
    let server = server("2026-11-21T18:26:14Z");
    let transcript = read("08-forbidden-and-eviction.json");
    load(&server, &transcript.body("list-pods"));
    let prepare = |server: &Server, exchange: &Exchange| {
        let nobody = Access { user: "system:serviceaccount:games:nobody".to_owned(), namespace: None, rules: vec![] };
        server.restrict(exchange.name.ends_with("-403").then_some(nobody));
        server.require_token((exchange.name == "list-pods-401").then_some("another"));
    };
    replay(
        &server,
        &transcript,
        &excused("08-forbidden-and-eviction.json"),
        Beside { prepare, ..Beside::acts(Vec::new()) },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn annotations_come_and_go_as_in_09() {
    let server = server("2026-11-21T18:25:06.950Z");
    let transcript = read("09-annotations.json");
    load(&server, &transcript.body("get-pod"));
    server.store(|store, _| {
        store.skip_to(51_745);
        store.forget_history();
    });
    // KEDA's operator: its write before the list, then each line of the watch that none of our answers explains.
    let mut operator: Vec<(u64, Value)> = vec![(1200, transcript.body("so-list")["items"][0].clone())];
    let ours: Vec<Value> = ["so-set-own", "so-pause", "so-unpause", "so-delete"]
        .map(|name| transcript.body(name)["metadata"]["resourceVersion"].clone())
        .to_vec();
    for (at, line) in transcript.lines("so-watch") {
        let mut object = line["object"].clone();
        if line["type"] == "BOOKMARK" || ours.contains(&object["metadata"]["resourceVersion"]) {
            continue;
        }
        if line["type"] == "DELETED" {
            object["metadata"]["finalizers"] = json!([]);
        }
        operator.push((at, object));
    }
    let acts = operator.into_iter().map(|(at, object)| -> (u64, Act) {
        let act = move |store: &mut Store, _| {
            let key = Key::new(Resource::ScaledObjects, "games", "gamecube");
            store.change(&key, Part::Status, |now| now["status"] = object["status"].clone()).unwrap();
            store
                .change(&key, Part::Whole, |now| {
                    for field in ["labels", "finalizers"] {
                        now["metadata"][field] = object["metadata"][field].clone();
                    }
                })
                .unwrap();
        };
        (at, Box::new(act))
    });
    replay(&server, &transcript, &excused("09-annotations.json"), Beside::acts(acts.collect())).await;
}
