//! Selectors, and the events of a watch when objects start or stop matching.

use serde_json::json;
use slotkeeper_apiserver::selector::{Fields, Labels};
use slotkeeper_apiserver::{Key, Part, Resource, Server};

use crate::client::{ask, get};
use crate::writes::a_pod;

#[test]
fn label_selectors_match_like_in_the_api() {
    let pod = json!({"metadata": {"labels": {"app": "gamecube", "tier": "front"}}});
    let cases = [
        ("", true),
        ("app=gamecube", true),
        ("app==gamecube", true),
        ("app=wii", false),
        ("app!=wii", true),
        ("missing!=anything", true),
        ("app in (wii, gamecube)", true),
        ("app notin (wii,gamecube)", false),
        ("missing notin (x)", true),
        ("app", true),
        ("!app", false),
        ("missing", false),
        ("!missing", true),
        ("app=gamecube,tier=front", true),
        ("app in (gamecube),tier=back", false),
        ("example.org/name=", false),
    ];
    for (text, matches) in cases {
        assert_eq!(Labels::parse(text).unwrap().matches(&pod), matches, "{text}");
    }
    for text in ["app in gamecube", "app of (a)", "a b", "=x", "app=(x", "app>1", "app=a b"] {
        assert_eq!(Labels::parse(text).unwrap_err().code, 400, "{text}");
    }
}

#[test]
fn field_selectors_know_their_resource() {
    let pod = json!({
        "metadata": {"name": "a", "namespace": "games"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"},
    });
    let cases = [
        ("metadata.name=a", true),
        ("metadata.name!=a", false),
        ("spec.nodeName=n,status.phase=Running", true),
        ("status.phase!=Running", false),
        ("spec.schedulerName=", true),
    ];
    for (text, matches) in cases {
        assert_eq!(Fields::parse(Resource::Pods, text).unwrap().matches(&pod), matches, "{text}");
    }
    assert_eq!(Fields::parse(Resource::Pods, "spec.hostname=x").unwrap_err().code, 400);
    assert_eq!(Fields::parse(Resource::ScaledObjects, "status.phase=x").unwrap_err().code, 400);
    assert!(Fields::parse(Resource::Events, "involvedObject.kind=Pod,involvedObject.uid=1").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_watch_reports_objects_that_start_or_stop_matching_its_selector() {
    let server = Server::on_tokio_time(0);
    let path = "/api/v1/namespaces/games/pods?watch=true&timeoutSeconds=5&labelSelector=free%3Dyes";
    let watch = tokio::spawn(ask(&server, "GET", path, &[], "").await.unwrap().lines());
    let key = Key::new(Resource::Pods, "games", "a");
    server.store(|store, now| {
        store.create(Resource::Pods, "games", a_pod("a"), now).unwrap();
        for labels in [json!({"free": "yes"}), json!({"free": "yes", "x": "y"}), json!({"free": "no"})] {
            store.merge_patch(&key, Part::Whole, &json!({"metadata": {"labels": labels}})).unwrap();
        }
    });
    let (lines, _) = watch.await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(told, ["ADDED", "MODIFIED", "DELETED"]);
    assert_eq!(lines[2]["object"]["metadata"]["labels"]["free"], "yes", "the last state that was selected");
    assert_eq!(lines[2]["object"]["metadata"]["resourceVersion"], server.store(|s, _| s.version()).to_string());
}

#[tokio::test]
async fn namespaces_are_separate_and_can_be_listed_together() {
    let server = Server::on_tokio_time(0);
    server.store(|store, now| {
        store.create(Resource::Pods, "games", a_pod("a"), now).unwrap();
        store.create(Resource::Pods, "chats", a_pod("a"), now).unwrap();
    });
    let count = async |path: &str| get(&server, path).await.1["items"].as_array().unwrap().len();
    assert_eq!(count("/api/v1/namespaces/games/pods").await, 1);
    assert_eq!(count("/api/v1/pods").await, 2);
    assert_eq!(count("/api/v1/pods?fieldSelector=metadata.namespace%3Dchats").await, 1);
    let first = get(&server, "/api/v1/pods?limit=1").await.1;
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let next = first["metadata"]["continue"].as_str().unwrap();
    let second = get(&server, &format!("/api/v1/pods?limit=1&continue={next}")).await.1;
    assert_eq!(second["items"][0]["metadata"]["namespace"], "games");
}

#[tokio::test(start_paused = true)]
async fn a_request_for_metadata_gets_only_metadata() {
    let server = Server::on_tokio_time(0);
    server.store(|store, now| store.create(Resource::Pods, "games", a_pod("a"), now).map(|_| ())).unwrap();
    let path = "/api/v1/namespaces/games/pods";
    let list = [("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")];
    let list = ask(&server, "GET", path, &list, "").await.unwrap().json().await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert!(list["items"][0]["spec"].is_null());
    let one = [("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")];
    let watch = format!("{path}?watch=true&timeoutSeconds=3&allowWatchBookmarks=true");
    let (lines, _) = ask(&server, "GET", &watch, &one, "").await.unwrap().lines().await;
    let told: Vec<_> = lines.iter().map(|line| (&line["type"], &line["object"]["kind"])).collect();
    let kind = json!("PartialObjectMetadata");
    assert_eq!(told, [(&json!("ADDED"), &kind), (&json!("BOOKMARK"), &kind)]);
}
