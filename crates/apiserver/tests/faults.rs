//! Faults on demand, and rights. Time is paused: delays cost nothing and the order is deterministic.

use std::time::Duration;

use serde_json::{Value, json};
use slotkeeper_apiserver::{Access, Deletion, Key, Refusal, Resource, Rule, Server};
use tokio::time::Instant;

use crate::client::{ask, get, patch};
use crate::writes::{a_pod, a_set};

const PODS: &str = "/api/v1/namespaces/games/pods";
const WATCH: &str = "/api/v1/namespaces/games/pods?watch=true&timeoutSeconds=60&allowWatchBookmarks=true";
const SET: &str = "/apis/apps/v1/namespaces/games/statefulsets/gamecube";

fn server() -> Server {
    let server = Server::on_tokio_time(1_764_000_000_000);
    server.store(|store, now| {
        store.create(Resource::StatefulSets, "games", a_set(1), now).unwrap();
        store.create(Resource::Pods, "games", a_pod("a"), now).unwrap();
    });
    server
}

fn add(server: &Server, name: &str) {
    server.store(|store, now| store.create(Resource::Pods, "games", a_pod(name), now).map(|_| ())).unwrap();
}

fn told(lines: &[Value]) -> Vec<String> {
    let line = |line: &Value| {
        let name = line["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", line["type"].as_str().unwrap()).trim().to_owned()
    };
    lines.iter().map(line).collect()
}

async fn watching(server: &Server) -> tokio::task::JoinHandle<(Vec<Value>, bool)> {
    tokio::spawn(ask(server, "GET", WATCH, &[], "").await.unwrap().lines())
}

async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_ends_in_the_middle_and_an_ended_one_in_order() {
    let server = server();
    let watch = watching(&server).await;
    a_moment().await;
    assert_eq!(server.open_watches(), 1);
    server.break_watches();
    let (lines, in_order) = watch.await.unwrap();
    assert_eq!((told(&lines), in_order), (vec!["ADDED a".to_owned()], false));
    let watch = watching(&server).await;
    a_moment().await;
    server.end_watches();
    assert!(watch.await.unwrap().1);
    a_moment().await;
    assert_eq!(server.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_swallowed_deletion_is_seen_in_a_list_only() {
    let server = server();
    let watch = watching(&server).await;
    a_moment().await;
    let key = Key::new(Resource::Pods, "games", "a");
    server.swallow_deletion(&key).unwrap();
    server.store(|store, now| {
        store.delete(&key, &Deletion::default(), now).unwrap();
        store.create(Resource::Pods, "games", a_pod("b"), now).unwrap();
    });
    a_moment().await;
    server.end_watches();
    // The pod was not scheduled: its deletion is announced and executed at once.
    assert_eq!(told(&watch.await.unwrap().0), ["ADDED a", "MODIFIED a", "ADDED b"]);
    let (_, list) = get(&server, PODS).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    // Another incarnation of the name is not affected.
    add(&server, "a");
    let watch = watching(&server).await;
    a_moment().await;
    server.store(|store, now| store.delete(&key, &Deletion::default(), now).map(|_| ())).unwrap();
    a_moment().await;
    server.end_watches();
    assert!(told(&watch.await.unwrap().0).contains(&"DELETED a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn events_come_twice_late_and_in_pieces() {
    let server = server();
    server.faults(|faults| {
        faults.duplicate_events = true;
        faults.delay_events = Duration::from_secs(2);
        faults.split_lines = Some(7);
    });
    let start = Instant::now();
    let mut watch = ask(&server, "GET", WATCH, &[], "").await.unwrap();
    let mut pending = Vec::new();
    let first = watch.line(&mut pending).await.unwrap();
    let late = start.elapsed();
    assert!(late >= Duration::from_secs(2) && late < Duration::from_secs(3), "{late:?}");
    let second = watch.line(&mut pending).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first["object"]["metadata"]["name"], "a");
}

#[tokio::test(start_paused = true)]
async fn answers_are_late_and_connections_hang_or_drop() {
    let server = server();
    server.faults(|faults| faults.delay_answers = Duration::from_secs(9));
    let start = Instant::now();
    assert_eq!(get(&server, PODS).await.0, 200);
    assert!(start.elapsed() >= Duration::from_secs(9));
    server.faults(|faults| {
        faults.delay_answers = Duration::ZERO;
        faults.hang = true;
    });
    let patient = tokio::time::timeout(Duration::from_secs(30), get(&server, PODS));
    assert!(patient.await.is_err());
    server.faults(|faults| faults.hang = false);
    assert_eq!(get(&server, PODS).await.0, 200);
    server.faults(|faults| faults.drop_connections = 2);
    assert!(ask(&server, "GET", PODS, &[], "").await.is_err());
    assert!(ask(&server, "GET", PODS, &[], "").await.is_err());
    assert_eq!(get(&server, PODS).await.0, 200);
    let watch = watching(&server).await;
    a_moment().await;
    server.faults(|faults| faults.away = true);
    server.cut_connections();
    assert!(!watch.await.unwrap().1);
    assert!(ask(&server, "GET", PODS, &[], "").await.is_err());
    server.faults(|faults| faults.away = false);
    assert_eq!(get(&server, PODS).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_keeps_its_watches_open() {
    let server = server();
    let watch = watching(&server).await;
    a_moment().await;
    server.faults(|faults| faults.hang = true);
    add(&server, "b");
    tokio::time::sleep(Duration::from_secs(30)).await;
    server.faults(|faults| faults.hang = false);
    a_moment().await;
    server.end_watches();
    assert_eq!(told(&watch.await.unwrap().0)[..2], ["ADDED a", "ADDED b"]);
}

#[tokio::test(start_paused = true)]
async fn refusals_apply_only_to_matching_requests() {
    let server = server();
    server.faults(|faults| faults.refuse(1, &Refusal::new(429).retry_after(3).of("patch", "statefulsets")));
    assert_eq!(get(&server, PODS).await.0, 200);
    let headers = [("content-type", "application/merge-patch+json")];
    let refused = ask(&server, "PATCH", SET, &headers, r#"{"spec":{"replicas":2}}"#).await.unwrap();
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "3"));
    assert_eq!(refused.json().await["reason"], "TooManyRequests");
    assert_eq!(get(&server, SET).await.1["spec"]["replicas"], 1);
    // A lost answer: the write is executed.
    server.faults(|faults| faults.refuse(1, &Refusal::new(504).but_done()));
    assert_eq!(patch(&server, SET, r#"{"spec":{"replicas":2}}"#).await.0, 504);
    assert_eq!(get(&server, SET).await.1["spec"]["replicas"], 2);
    server.faults(|faults| faults.refuse(2, &Refusal::new(500)));
    assert_eq!((get(&server, PODS).await.0, get(&server, PODS).await.0, get(&server, PODS).await.0), (500, 500, 200));
}

#[tokio::test(start_paused = true)]
async fn forgotten_history_expires_old_versions_and_spares_open_watches() {
    let server = server();
    let version = server.store(|store, _| store.version());
    let watch = watching(&server).await;
    a_moment().await;
    add(&server, "b");
    server.forget_history();
    add(&server, "c");
    a_moment().await;
    server.end_watches();
    assert_eq!(told(&watch.await.unwrap().0), ["ADDED a", "ADDED b", "ADDED c"]);
    let (lines, in_order) =
        ask(&server, "GET", &format!("{WATCH}&resourceVersion={version}"), &[], "").await.unwrap().lines().await;
    assert!(in_order);
    assert_eq!((&lines[0]["type"], &lines[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(lines.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_standing_refusal_answers_every_matching_request_until_it_is_removed() {
    let server = server();
    server.faults(|faults| {
        faults.standing = vec![Refusal { verb: Some("patch".to_owned()), ..Refusal::new(429).retry_after(2) }];
        faults.refuse(1, &Refusal::new(503).of("patch", "statefulsets"));
    });
    // A refusal for one request takes precedence.
    assert_eq!(patch(&server, SET, r#"{"spec":{"replicas":2}}"#).await.0, 503);
    for _ in 0..3 {
        let refused = ask(&server, "PATCH", SET, &[("content-type", "application/merge-patch+json")], "{}");
        let refused = refused.await.unwrap();
        assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "2"));
        assert_eq!(refused.json().await["reason"], "TooManyRequests");
    }
    let (code, set) = get(&server, SET).await;
    assert_eq!((code, &set["spec"]["replicas"]), (200, &json!(1)));
    server.faults(|faults| faults.standing.clear());
    assert_eq!(patch(&server, SET, r#"{"spec":{"replicas":2}}"#).await.0, 200);
    assert_eq!(server.records().codes, [(200, 2), (429, 3), (503, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_late_write_is_done_although_its_client_has_given_up() {
    let server = server();
    server.faults(|faults| faults.late_writes = Duration::from_secs(4));
    let merge = [("content-type", "application/merge-patch+json")];
    let asked = ask(&server, "PATCH", SET, &merge, r#"{"spec":{"replicas":5}}"#);
    assert!(tokio::time::timeout(Duration::from_secs(2), asked).await.is_err());
    // Reads are not delayed, and do not see the write yet.
    assert_eq!(get(&server, SET).await.1["spec"]["replicas"], 1);
    assert_eq!(server.records().given_up, [("patch".to_owned(), 1)].into());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(get(&server, SET).await.1["spec"]["replicas"], 5);
    // A client that waits gets its answer, and a precondition is checked when the write is executed.
    let version = get(&server, SET).await.1["metadata"]["resourceVersion"].clone();
    let begun = Instant::now();
    let stale = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": 6}}).to_string();
    let (first, second) = tokio::join!(patch(&server, SET, r#"{"spec":{"replicas":7}}"#), patch(&server, SET, &stale));
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!((first.0, second.0), (200, 409));
    assert_eq!(server.records().given_up, [("patch".to_owned(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn quiet_watches_get_bookmarks_at_the_configured_interval() {
    let server = server();
    server.set_bookmarks(Duration::from_secs(10));
    let (lines, in_order) = watching(&server).await.await.unwrap();
    // At 10, 20, 30, 40, 50 s, and two seconds before the end.
    assert_eq!(told(&lines), ["ADDED a", "BOOKMARK", "BOOKMARK", "BOOKMARK", "BOOKMARK", "BOOKMARK", "BOOKMARK"]);
    assert!(in_order);
}

#[tokio::test(start_paused = true)]
async fn a_role_grants_its_rules_only_in_its_namespace() {
    let server = server();
    let role = json!({"kind": "Role", "metadata": {"namespace": "games"}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["statefulsets"], "resourceNames": ["gamecube"], "verbs": ["get", "patch"]},
    ]});
    server.restrict(Some(Access::of_role("system:serviceaccount:games:slotkeeper", &role).unwrap()));
    let code = async |method: &str, path: &str| ask(&server, method, path, &[], "{}").await.unwrap().status;
    assert_eq!(code("GET", PODS).await, 200);
    assert_eq!(code("GET", WATCH).await, 200);
    assert_eq!(code("GET", SET).await, 200);
    assert_eq!(code("DELETE", &format!("{PODS}/a")).await, 403);
    assert_eq!(code("GET", "/api/v1/pods").await, 403);
    assert_eq!(code("GET", "/api/v1/namespaces/chats/pods").await, 403);
    assert_eq!(code("GET", &format!("{SET}/scale")).await, 403);
    assert_eq!(code("GET", "/apis/apps/v1/namespaces/games/statefulsets").await, 403);
    assert_eq!(code("GET", "/apis/coordination.k8s.io/v1/namespaces/games/leases/x").await, 403);
    assert_eq!(patch(&server, SET, r#"{"spec":{"replicas":2}}"#).await.0, 200);
    let rules = vec![Rule::new(&["*"], "apps", &["statefulsets/scale"])];
    server.restrict(Some(Access { user: "me".to_owned(), namespace: None, rules }));
    assert_eq!(code("GET", &format!("{SET}/scale")).await, 200);
    assert_eq!(code("GET", SET).await, 403);
    assert!(Access::of_role("me", &json!({"kind": "Pod"})).unwrap_err().contains("Role"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_required_if_one_is_set() {
    let server = server();
    server.require_token(Some("secret"));
    assert_eq!(get(&server, PODS).await.0, 401);
    let mine = ask(&server, "GET", PODS, &[("authorization", "Bearer secret")], "").await.unwrap();
    assert_eq!(mine.status, 200);
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_and_recorded() {
    let server = server();
    get(&server, PODS).await;
    get(&server, PODS).await;
    patch(&server, &format!("{SET}/scale"), r#"{"spec":{"replicas":2}}"#).await;
    get(&server, &format!("{PODS}/nobody")).await;
    let records = server.records();
    assert_eq!(records.count("list", "pods"), 2);
    assert_eq!(records.count("patch", "statefulsets/scale"), 1);
    let last = records.lines.back().unwrap();
    assert_eq!((last.line.as_str(), last.code), ("GET /api/v1/namespaces/games/pods/nobody", 404));
    server.forget_records();
    assert!(server.counts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_methods_are_refused_like_in_the_api() {
    let server = server();
    for path in
        ["/api/v1/namespaces/games/configmaps/x", "/apis/nobody.org/v1/things", "/apis/apps/v2/statefulsets", "/"]
    {
        let (code, body) = get(&server, path).await;
        assert_eq!((code, body["kind"].as_str(), body["reason"].as_str()), (404, Some("Status"), Some("NotFound")));
    }
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let refused = ask(&server, "PATCH", &format!("{PODS}/a"), &strategic, "{}").await.unwrap();
    assert_eq!((refused.status, refused.json().await["reason"].as_str()), (415, Some("UnsupportedMediaType")));
    assert_eq!(patch(&server, &format!("{PODS}/a"), "no json").await.0, 400);
    assert_eq!(ask(&server, "DELETE", PODS, &[], "").await.unwrap().status, 405);
    for query in ["continue=xyz", "limit=many", "fieldSelector=spec.x%3D1", "labelSelector=a%20b", "dryRun=All"] {
        assert_eq!(get(&server, &format!("{PODS}?{query}")).await.0, 400, "{query}");
    }
    assert_eq!(get(&server, &format!("{PODS}?watch=true&sendInitialEvents=true")).await.0, 422);
    assert_eq!(get(&server, &format!("{PODS}?resourceVersionMatch=Exact")).await.0, 422);
    let gone = ask(&server, "DELETE", SET, &[], "").await.unwrap();
    assert_eq!(gone.status, 200);
    assert_eq!(gone.json().await["status"], "Success");
}
