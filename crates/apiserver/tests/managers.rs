//! The owners of `spec.replicas` after each write, and the conflicts of an apply, compared with the recording.

use serde_json::{Value, json};
use slotkeeper_apiserver::{Part, Resource, Server, Writer, milliseconds};

use crate::client;
use crate::replay::{Exchange, Transcript};

const FILE: &str = "12-field-managers.json";

/// Exchanges that are not compared, and why.
const EXCUSED: &[(&str, &str)] = &[
    ("merge-patch-field-manager-too-long-422", "managers of any length are taken"),
    ("apply-unknown-field-500", "there is no schema"),
    ("list-scaledobjects", "nothing about managers"),
    ("watch-scaledobjects", "the operator's writes"),
];

/// The user agents that the recording's notes list.
fn user_agent(name: &str) -> Option<&'static str> {
    let slotkeeper = [
        "merge-patch-user-agent-slotkeeper",
        "merge-patch-field-manager",
        "merge-patch-takes-it-from-apply",
        "merge-patch-on-it",
    ];
    Some(match name {
        "merge-patch-without-user-agent" => return None,
        "merge-patch-same-value-other-user-agent" => "somebody/1",
        "scale-put-hpa" | "scale-to-0-hpa" | "scale-from-0-hpa" => "kube-controller-manager/v1.36.2",
        "scale-merge-patch-kubectl" | "merge-patch-with-apply-of-the-same-name" => "kubectl/v1.36.2",
        _ if slotkeeper.contains(&name) || name.starts_with("apply-") && name.contains("-slotkeeper") => {
            "slotkeeper/0.9 (linux/amd64)"
        }
        _ if name.starts_with("apply-") || name.starts_with("so-apply-") => "kubectl/v1.36.2",
        _ => "recorder/1",
    })
}

/// The manager, operation and subresource of each owner of a field.
fn owners(object: &Value, pointer: &str) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let owns = |entry: &&Value| entry["fieldsV1"].pointer(pointer).is_some();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut owners: Vec<_> = entries
        .iter()
        .filter(owns)
        .map(|entry| (text(&entry["manager"]), text(&entry["operation"]), text(&entry["subresource"])))
        .collect();
    owners.sort();
    owners
}

async fn ask(server: &Server, exchange: &Exchange) -> Value {
    let asked = &exchange.request;
    let mut body: Value = asked.body.as_ref().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
    let stored = server.store(|store, _| store.get(Resource::StatefulSets, "arcade", "gamecube").ok());
    if let (Some(stored), true) = (stored, exchange.name == "scale-put-hpa") {
        for field in ["uid", "resourceVersion"] {
            body["metadata"][field] = stored["metadata"][field].clone();
        }
    }
    let mut headers: Vec<(&str, &str)> = asked.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    headers.extend(user_agent(&exchange.name).map(|agent| ("user-agent", agent)));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client::ask(server, &asked.method, &asked.path, &headers, &body).await.unwrap();
    let (status, ours) = (answer.status, answer.json().await);
    assert_eq!(status, exchange.response.status, "{}: {ours}", exchange.name);
    ours
}

/// KEDA's operator writes an object back in the form of its own types, which omit zero values.
fn operate(server: &Server, name: &str) {
    server.store(|store, now| {
        let key = slotkeeper_apiserver::Key::new(Resource::ScaledObjects, "arcade", name);
        let Ok(object) = store.get(key.resource, &key.namespace, name) else { return };
        if object["metadata"]["finalizers"].is_array() {
            return;
        }
        store.set_writer(Some(Writer { manager: "keda".into(), subresource: None, now }));
        store
            .change(&key, Part::Whole, |object| {
                object["metadata"]["finalizers"] = json!(["finalizer.keda.sh"]);
                for trigger in object["spec"]["triggers"].as_array_mut().into_iter().flatten() {
                    let zero = |value: &Value| *value == json!(false) || *value == json!("") || *value == json!(0);
                    trigger.as_object_mut().unwrap().retain(|_, value| !zero(value));
                }
            })
            .unwrap();
        store.set_writer(None);
    });
}

#[tokio::test(start_paused = true)]
async fn owners_of_the_size_and_conflicts_are_as_in_12() {
    let transcript = Transcript::read(FILE);
    let server = Server::on_tokio_time(milliseconds("2026-11-30T12:08:07Z").unwrap());
    let mut operator = true;
    let mut compared = 0;
    for exchange in &transcript.exchanges {
        let name = exchange.name.as_str();
        if EXCUSED.iter().any(|(excused, _)| *excused == name) {
            continue;
        }
        operator &= !name.contains("without-operator");
        let ours = ask(&server, exchange).await;
        let Some(recorded) = exchange.response.body.as_ref().map(|body| serde_json::from_str::<Value>(body).unwrap())
        else {
            continue;
        };
        if recorded["kind"] == "Status" && recorded["reason"] == "Conflict" {
            assert_eq!(ours["message"], recorded["message"], "{name}");
            assert_eq!(ours["details"], recorded["details"], "{name}");
        }
        for (kind, pointer) in [("StatefulSet", "/f:spec/f:replicas"), ("ScaledObject", "/f:spec/f:triggers")] {
            if recorded["kind"] == kind && recorded["metadata"]["managedFields"].is_array() {
                assert_eq!(owners(&ours, pointer), owners(&recorded, pointer), "{name}: {ours}");
                assert_eq!(ours["spec"]["replicas"], recorded["spec"]["replicas"], "{name}");
                compared += 1;
            }
        }
        if name.starts_with("so-delete") {
            // The operator removes its finalizer.
            server.store(|store, _| {
                let there: Vec<String> = store
                    .all(Resource::ScaledObjects)
                    .filter(|object| object["metadata"]["deletionTimestamp"].is_string())
                    .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
                    .collect();
                for name in there {
                    let key = slotkeeper_apiserver::Key::new(Resource::ScaledObjects, "arcade", &name);
                    store.change(&key, Part::Whole, |object| object["metadata"]["finalizers"] = json!([])).unwrap();
                }
            });
        }
        if name.starts_with("so-apply") && operator {
            let named = if exchange.request.path.contains("/wario?") { "wario" } else { "gamecube" };
            operate(&server, named);
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn all_excused_exchanges_were_recorded() {
    let transcript = Transcript::read(FILE);
    for (name, why) in EXCUSED {
        assert!(transcript.exchanges.iter().any(|exchange| exchange.name == *name), "{name}: {why}");
    }
}
