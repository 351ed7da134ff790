//! The real client on real loopback sockets: how it handles this server's answers and faults.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::{Api, Client, Config, Error};
use serde_json::json;
use slotkeeper_apiserver::{Access, Faults, Key, Part, Refusal, Resource, Server, controllers};

use crate::writes::{a_pod, a_set};

async fn a_cluster() -> (Server, Client) {
    let server = Server::new(|| 1_764_000_000_000);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listening = server.clone();
    tokio::spawn(async move { listening.listen(listener).await });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    server.store(|store, now| {
        store.create(Resource::StatefulSets, "games", a_set(2), now).unwrap();
        while controllers::step(store, now) {}
        for name in ["gamecube-0", "gamecube-1"] {
            controllers::pod(store, now, "games", name).schedule("node-a").unwrap();
            controllers::pod(store, now, "games", name).run("127.0.0.2").unwrap();
        }
    });
    (server, Client::try_from(config).unwrap())
}

/// The events of a watch until the server ends it, in words.
async fn told(pods: &Api<Pod>, watch: WatchParams, version: &str) -> Vec<String> {
    let stream = pods.watch(&watch, version).await.unwrap();
    let said = stream.map(|event| match event {
        Ok(WatchEvent::Added(pod)) => format!("added {}", pod.metadata.name.unwrap()),
        Ok(WatchEvent::Modified(pod)) => format!("modified {}", pod.metadata.name.unwrap()),
        Ok(WatchEvent::Deleted(pod)) => format!("deleted {}", pod.metadata.name.unwrap()),
        Ok(WatchEvent::Bookmark(_)) => "bookmark".to_owned(),
        Ok(WatchEvent::Error(status)) => format!("error {}", status.code),
        Err(error) => format!("broken: {error}"),
    });
    tokio::time::timeout(Duration::from_secs(30), said.collect()).await.unwrap()
}

fn code(error: &Error) -> u16 {
    if let Error::Api(status) = error { status.code } else { panic!("no refusal: {error}") }
}

#[tokio::test]
async fn it_lists_reads_patches_and_deletes() {
    let (_server, client) = a_cluster().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "games");
    let sets: Api<StatefulSet> = Api::namespaced(client, "games");
    let list = pods.list(&ListParams::default().labels("app=gamecube")).await.unwrap();
    assert_eq!(list.items.len(), 2);
    assert_eq!(list.items[0].status.as_ref().unwrap().pod_ip.as_deref(), Some("127.0.0.2"));
    let set = sets.get("gamecube").await.unwrap();
    let version = set.metadata.resource_version.unwrap();
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": version, "annotations": {"slotkeeper.dev/decided": "7"}},
        "spec": {"replicas": 1, "ordinals": {"start": 1}},
    }));
    let set = sets.patch("gamecube", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(set.spec.unwrap().ordinals.unwrap().start, Some(1));
    let stale = sets.patch("gamecube", &PatchParams::default(), &patch).await.unwrap_err();
    assert_eq!(code(&stale), 409);
    assert_eq!(sets.get_scale("gamecube").await.unwrap().spec.unwrap().replicas, Some(1));
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    assert_eq!(
        sets.patch_scale("gamecube", &PatchParams::default(), &scale).await.unwrap().spec.unwrap().replicas,
        Some(4)
    );
    let wrong = DeleteParams::default().preconditions(Preconditions { uid: Some("x".into()), resource_version: None });
    assert_eq!(code(&pods.delete("gamecube-0", &wrong).await.unwrap_err()), 409);
    let uid = list.items[0].metadata.uid.clone();
    let right = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
    let ending = pods.delete("gamecube-0", &right).await.unwrap().left().unwrap();
    assert!(ending.metadata.deletion_timestamp.is_some());
    assert!(pods.get_opt("nobody").await.unwrap().is_none());
    let made = pods.create(&PostParams::default(), &serde_json::from_value(a_pod("own")).unwrap()).await.unwrap();
    assert!(pods.delete("own", &DeleteParams::default()).await.unwrap().is_left());
    assert!(made.metadata.uid.is_some());
}

#[tokio::test]
async fn it_watches_streams_and_relists() {
    let (server, client) = a_cluster().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "games");
    let version = pods.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    server.store(|store, now| {
        controllers::pod(store, now, "games", "gamecube-1").unready().unwrap();
        controllers::pod(store, now, "games", "gamecube-1").end().unwrap();
    });
    let watch = || WatchParams::default().timeout(1);
    assert_eq!(
        told(&pods, watch(), &version).await[..3],
        ["modified gamecube-1", "modified gamecube-1", "deleted gamecube-1"]
    );
    let streamed = WatchParams { send_initial_events: true, ..watch() };
    assert_eq!(told(&pods, streamed, "0").await[..2], ["added gamecube-0", "bookmark"]);
    server.forget_history();
    assert_eq!(told(&pods, watch(), &version).await, ["error 410"]);
    let page = pods.list(&ListParams::default().limit(1)).await.unwrap();
    assert!(page.metadata.continue_.is_none(), "one pod is left: {:?}", page.metadata);
}

#[tokio::test]
async fn it_asks_for_metadata_only() {
    let (_server, client) = a_cluster().await;
    let pods: Api<Pod> = Api::namespaced(client, "games");
    let list = pods.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[1].metadata.name.as_deref(), Some("gamecube-1"));
    let watch = pods.watch_metadata(&WatchParams::default().timeout(1), "0").await.unwrap();
    let events: Vec<_> = watch.try_collect().await.unwrap();
    assert!(matches!(&events[0], WatchEvent::Added(pod) if pod.metadata.name.as_deref() == Some("gamecube-0")));
}

#[tokio::test]
async fn it_reads_events_about_pods() {
    let (server, client) = a_cluster().await;
    server.store(|store, now| {
        let mut pod = controllers::pod(store, now, "games", "gamecube-0");
        pod.event("Scheduled", "Successfully assigned games/gamecube-0 to node-a").unwrap();
        pod.event("Pulling", "Pulling image \"gamecube:1\"").unwrap();
    });
    let events: Api<Event> = Api::namespaced(client, "games");
    let of_pods = ListParams::default().fields("involvedObject.kind=Pod,involvedObject.name=gamecube-0");
    let mut reasons: Vec<_> =
        events.list(&of_pods).await.unwrap().items.into_iter().map(|e| e.reason.unwrap()).collect();
    reasons.sort();
    assert_eq!(reasons, ["Pulling", "Scheduled"]);
    let of_sets = ListParams::default().fields("involvedObject.kind=StatefulSet");
    assert!(events.list(&of_sets).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn it_survives_faults() {
    let (server, client) = a_cluster().await;
    let pods: Api<Pod> = Api::namespaced(client, "games");
    server.faults(|faults| {
        faults.split_lines = Some(100);
        faults.duplicate_events = true;
    });
    let mut watch = Box::pin(pods.watch(&WatchParams::default().timeout(60), "0").await.unwrap());
    for name in ["gamecube-0", "gamecube-0", "gamecube-1", "gamecube-1"] {
        let Some(Ok(WatchEvent::Added(pod))) = watch.next().await else { panic!("no pod {name}") };
        assert_eq!(pod.metadata.name.as_deref(), Some(name));
    }
    server.break_watches();
    let rest = tokio::time::timeout(Duration::from_secs(30), watch.collect::<Vec<_>>()).await.unwrap();
    assert!(rest.iter().all(Result::is_err), "no more events: {rest:?}");
    server.faults(|faults| *faults = Faults::default());
    server.faults(|faults| faults.refuse(1, &Refusal::new(500).of("list", "pods")));
    assert_eq!(code(&pods.list(&ListParams::default()).await.unwrap_err()), 500);
    server.restrict(Some(Access { user: "me".to_owned(), namespace: None, rules: Vec::new() }));
    assert_eq!(code(&pods.list(&ListParams::default()).await.unwrap_err()), 403);
    server.restrict(None);
    server.require_token(Some("secret"));
    assert_eq!(code(&pods.list(&ListParams::default()).await.unwrap_err()), 401);
    server.require_token(None);
    server.cut_connections();
    // The client may notice only on use that a pooled connection was cut.
    let mut left = 3;
    while pods.list(&ListParams::default()).await.is_err() {
        left -= 1;
        assert!(left > 0, "the client does not recover");
    }
    let key = Key::new(Resource::Pods, "games", "gamecube-0");
    let busy = json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}});
    server.store(|store, _| store.merge_patch(&key, Part::Whole, &busy).map(|_| ())).unwrap();
    assert!(pods.get("gamecube-0").await.unwrap().metadata.annotations.is_some());
}

#[tokio::test]
async fn ten_thousand_pods_are_listed_in_pages_and_sent_in_one_watch() {
    let (server, client) = a_cluster().await;
    let pods: Api<Pod> = Api::namespaced(client, "games");
    server.store(|store, _| store.skip_to(1000));
    let version = server.store(|store, _| store.version()).to_string();
    server.store(|store, now| {
        for n in 0..10_000 {
            store.create(Resource::Pods, "games", a_pod(&format!("many-{n}")), now).unwrap();
        }
    });
    let mut watch = Box::pin(pods.watch(&WatchParams::default().timeout(200), &version).await.unwrap());
    for _ in 0..10_000 {
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    }
    let (mut count, mut next) = (0, None::<String>);
    loop {
        let mut page = ListParams::default().limit(3000);
        if let Some(token) = &next {
            page = page.continue_token(token);
        }
        let page = pods.list(&page).await.unwrap();
        count += page.items.len();
        next = page.metadata.continue_.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    assert_eq!(count, 10_002);
}
