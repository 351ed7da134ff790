//! The two systems of WebSocket gateways, compared with the built gateway and with each other.

use super::objects::{Case, cases};
use super::redis::Redis;
use super::{is_accepted, text_of};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Visitor, eventually, patiently};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use tokio_tungstenite::tungstenite::Message;

pub(super) fn behind_the_dispatcher() -> impl Iterator<Item = &'static Case> {
    cases().iter().filter(|case| case.name.starts_with("websocket-gateway-dispatcher"))
}

fn all() -> impl Iterator<Item = &'static Case> {
    cases().iter().filter(|case| case.name.starts_with("websocket-gateway"))
}

/// The cases in which KEDA scales the gateways.
fn alone() -> impl Iterator<Item = &'static Case> {
    all().filter(|case| !case.name.contains("dispatcher"))
}

fn gateway(case: &Case) -> &Value {
    &case.one("Deployment", "websocket-gateway")["spec"]
}

/// An argument of the gateways.
fn argument<'v>(case: &'v Case, name: &str) -> &'v str {
    let arguments = gateway(case)["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let mut found = arguments.iter().filter_map(|text| text.as_str()?.strip_prefix(name)?.strip_prefix('='));
    found.next().unwrap_or_else(|| panic!("{}: no {name}", case.name))
}

/// A process that ends with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn number(case: &Case, name: &str) -> i64 {
    argument(case, name).parse().unwrap()
}

/// Seconds from the deletion of a pod until its last client is closed.
fn gone_after(case: &Case) -> i64 {
    let wait = &gateway(case)["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
    wait.as_i64().unwrap() + number(case, "--drain-seconds")
}

#[test]
fn every_configuration_for_gateways_is_accepted_by_the_binary() {
    assert_eq!((alone().count(), behind_the_dispatcher().count()), (2, 4));
    for case in behind_the_dispatcher() {
        let said = is_accepted(case);
        assert!(said.contains("gateway"), "{said}");
    }
}

#[test]
fn a_drain_ends_before_the_pod_is_killed_and_before_the_next_begins() {
    for case in all() {
        let spec = gateway(case);
        let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap();
        // Time for a few scrapes of Prometheus, so that a process that hangs is noticed.
        assert!(grace >= gone_after(case) + 40, "{}: killed after {grace} s", case.name);
        let rolling = &spec["strategy"]["rollingUpdate"];
        assert_eq!((&rolling["maxUnavailable"], &rolling["maxSurge"]), (&json!(0), &json!(1)));
        assert_eq!(spec["replicas"], Value::Null, "they belong to the scaler");
        // Two pods at a time, as deployment.yaml describes.
        assert!(spec["minReadySeconds"].as_i64().unwrap() * 2 >= gone_after(case));
        for constraint in spec["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap() {
            assert_eq!(constraint["labelSelector"], spec["selector"], "spread over other pods");
        }
        assert_eq!(case.one("PodDisruptionBudget", "websocket-gateway")["spec"]["selector"], spec["selector"]);
    }
    let case = alone().next().unwrap();
    let rules = text_of("k8s/components/gateway-monitoring/prometheusrule.yaml");
    let patience = rules.lines().find_map(|line| line.split_once("drain_started_timestamp_seconds > ")).unwrap().1;
    let patience: i64 = patience.parse().unwrap();
    let drain = number(case, "--drain-seconds");
    let killed = drain + 40;
    assert!(drain < patience && patience + 30 <= killed, "{patience} s into a drain of {drain} s");
}

#[test]
fn the_queries_of_keda_are_not_divided() {
    for case in alone() {
        let spec = &case.one("ScaledObject", "websocket-gateway")["spec"];
        assert_eq!(spec["scaleTargetRef"]["kind"], "Deployment");
        case.one("Deployment", spec["scaleTargetRef"]["name"].as_str().unwrap());
        assert!(spec["minReplicaCount"].as_i64().unwrap() > 1, "no gateway would answer the first client");
        assert_eq!(spec["fallback"]["behavior"], "currentReplicasIfHigher");
        assert_eq!(spec["fallback"]["replicas"], spec["minReplicaCount"]);
        let triggers = spec["triggers"].as_array().unwrap();
        let names: Vec<_> = triggers.iter().map(|trigger| trigger["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["connections", "messages"]);
        for trigger in triggers {
            assert_eq!((&trigger["type"], &trigger["metricType"]), (&json!("prometheus"), &json!("AverageValue")));
            assert_eq!(trigger["metadata"]["ignoreNullValues"], "false");
            let query = trigger["metadata"]["query"].as_str().unwrap();
            let divided = query.contains("avg") || query.contains("count(") || query.contains('/');
            assert!(query.starts_with("sum(") && !divided, "the HPA divides by itself: {query}");
            assert!(query.contains("namespace=\"websocket-gateway\",job=\"websocket-gateway\""), "{query}");
        }
        // With the HPA's tolerance of 10 %, the Deployment still grows before a pod is full.
        let aim: f64 = triggers[0]["metadata"]["threshold"].as_str().unwrap().parse().unwrap();
        assert!(aim * 1.1 < number(case, "--connections") as f64 * 0.85, "{aim} is too near the limit");
        let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        let down = &behavior["scaleDown"];
        assert_eq!(down["policies"], json!([{"type": "Pods", "value": 1, "periodSeconds": 120}]));
        assert_eq!(down["stabilizationWindowSeconds"], 600);
        assert!(gone_after(case) < 120, "the next pod ends before all clients have reconnected");
        assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert_eq!(case.all("HorizontalPodAutoscaler").count(), 0, "KEDA creates it");
    }
}

#[test]
fn both_systems_have_the_same_targets_for_a_gateway() {
    let object = &alone().next().unwrap().one("ScaledObject", "websocket-gateway")["spec"];
    let threshold = |at: usize| object["triggers"][at]["metadata"]["threshold"].as_str().unwrap().parse::<i64>().ok();
    for case in behind_the_dispatcher() {
        let config: toml::Table = case.configuration().parse().unwrap();
        let pool = &config["pools"]["gateway"];
        let whole = |table: &toml::Value, key: &str| table[key].as_integer();
        assert_eq!(whole(pool, "slots_per_pod"), Some(number(case, "--connections")));
        assert_eq!(whole(&pool["targets"], "sessions"), threshold(0));
        assert_eq!(whole(&pool["targets"], "messages_per_second"), threshold(1));
        assert_eq!(whole(pool, "min_pods"), object["minReplicaCount"].as_i64());
        assert_eq!(whole(pool, "max_pods"), object["maxReplicaCount"].as_i64());
        assert_eq!(whole(pool, "cooldown_seconds"), Some(600));
        assert_eq!((pool["scaling"].as_str(), pool["shrink"].as_str()), (Some("direct"), Some("move")));
        let kubernetes = &pool["kubernetes"];
        assert_eq!(kubernetes["deployment"].as_str(), Some("websocket-gateway"));
        let ports = case.ports_of(&gateway(case)["template"]);
        assert_eq!(whole(kubernetes, "port"), Some(i64::from(ports["http"])));
        assert_eq!(
            case.all("ScaledObject").count() + case.all("HorizontalPodAutoscaler").count(),
            0,
            "a second scaler"
        );
        // All dispatchers but one can hold the connections that all gateways are meant to have.
        let dispatchers = case.one("Deployment", "slotkeeper")["spec"]["replicas"].as_i64().unwrap();
        let meant = whole(pool, "max_pods").unwrap() * whole(&pool["targets"], "sessions").unwrap();
        assert!((dispatchers - 1) * whole(&config["limits"], "connections").unwrap() >= meant);
    }
    for case in all() {
        let ports = case.ports_of(&gateway(case)["template"]);
        for (name, flag) in [("http", "--listen"), ("metrics", "--metrics-listen")] {
            assert_eq!(argument(case, flag).parse::<SocketAddr>().unwrap().port(), ports[name], "{name}");
        }
    }
}

#[test]
fn the_dispatcher_may_write_this_one_deployment() {
    for case in behind_the_dispatcher() {
        let rules = &case.one("Role", "slotkeeper")["rules"];
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let granted: BTreeSet<(String, String, Vec<String>)> = rules
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| {
                (texts(&rule["resources"]).join(" "), texts(&rule["verbs"]).join(" "), texts(&rule["resourceNames"]))
            })
            .collect();
        let wanted = [
            ("deployments", "get list watch", None),
            ("deployments", "patch", Some("websocket-gateway")),
            ("events", "list watch", None),
            ("pods", "get list watch patch delete", None),
        ];
        let wanted = wanted.map(|(what, verbs, name)| {
            (what.to_owned(), verbs.to_owned(), name.into_iter().map(str::to_owned).collect::<Vec<_>>())
        });
        assert_eq!(granted, BTreeSet::from(wanted), "{}", case.name);
        // Clients connect through the dispatcher, which alone knows the pods of their sessions.
        let dispatcher = &case.one("Deployment", "slotkeeper")["spec"]["selector"];
        let policy = &case.one("NetworkPolicy", "websocket-gateway")["spec"]["ingress"];
        assert_eq!(policy[0]["from"], json!([{"podSelector": dispatcher}]));
        assert_eq!(policy.as_array().unwrap().len(), 2, "{policy}");
        for door in case.all("Ingress").chain(case.all("HTTPRoute")) {
            assert_eq!(door["metadata"]["name"], "websocket-gateway");
            assert!(!door.to_string().contains("gamecube"), "{door}");
        }
    }
    for case in all() {
        let policy = &case.one("NetworkPolicy", "websocket-gateway-redis")["spec"];
        assert_eq!(policy["egress"], json!([]));
        assert_eq!(policy["ingress"][0]["from"], json!([{"podSelector": gateway(case)["selector"]}]));
        let redis = case.one("Service", "websocket-gateway-redis");
        let address =
            format!("redis://{}:{}", redis["metadata"]["name"].as_str().unwrap(), redis["spec"]["ports"][0]["port"]);
        assert_eq!(argument(case, "--redis"), address);
        let mounts = gateway(case)["template"]["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        assert_eq!(
            argument(case, "--redis-password-file"),
            format!("{}/password", mounts[0]["mountPath"].as_str().unwrap())
        );
    }
}

#[tokio::test]
async fn a_gateway_with_the_shipped_arguments_answers_probes_and_has_its_redis() {
    let redis =
        Redis::start("k8s/components/websocket-gateway", &[("password", "the new one\n"), ("former", "the-old-one")]);
    eventually("Redis to answer", async || redis.ask(&["PING"]).is_some()).await;
    let refused = |answers: &[String]| answers.iter().all(|answer| answer.starts_with("-NO"));
    assert!(refused(&redis.ask(&["PING", "XLEN any"]).unwrap()), "without a password");
    let probed = redis.ask(&["AUTH probe any", "PING", "PUBLISH any any"]).unwrap();
    assert!(probed[..2] == ["+OK", "+PONG"] && refused(&probed[2..]), "{probed:?}");
    let known = [
        "AUTH the-old-one",
        "PUBLISH slotkeeper-chat:live:0 any",
        "PUBLISH any any",
        "FLUSHALL",
        "CONFIG GET *",
        "GET any",
    ];
    let known = redis.ask(&known).unwrap();
    assert!(known[..2] == ["+OK", ":0"] && refused(&known[2..]), "{known:?}");

    let case = alone().next().unwrap();
    let container = &gateway(case)["template"]["spec"]["containers"][0];
    let port = || TcpListener::bind("127.0.0.8:0").and_then(|listener| listener.local_addr()).unwrap();
    let (clients, metrics) = (port(), port());
    let arguments = container["args"].as_array().unwrap().iter().map(|text| {
        let (flag, value) = text.as_str().unwrap().split_once('=').unwrap();
        let value = match flag {
            "--listen" => clients.to_string(),
            "--metrics-listen" => metrics.to_string(),
            "--redis" => redis.address(),
            "--redis-password-file" => redis.password_file().display().to_string(),
            "--name" => value.replace("$(POD_NAME)", "websocket-gateway-abc"),
            _ => value.to_owned(),
        };
        format!("{flag}={value}")
    });
    let mut command = Command::new(binary("slotkeeper-gateway"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut gateway = Process(command.spawn().unwrap());
    eventually("it to listen", async || {
        assert!(gateway.0.try_wait().unwrap().is_none(), "it has ended");
        tokio::net::TcpStream::connect(metrics).await.is_ok()
    })
    .await;
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        eventually(&format!("{probe} to succeed"), async || Visitor::at(metrics).get(path).await.status() == 200).await;
    }
    eventually("the chat to have its Redis", async || {
        Visitor::at(metrics).get("/metrics").await.text().contains("\nchat_redis_connected 1\n")
    })
    .await;
    // The gateway's rights suffice: a message is accepted and delivered.
    let mut chat = Visitor::at(clients).socket("/chat").await;
    let said = json!({"type": "say", "client_id": "of-this-test", "text": "can you hear me?"});
    chat.send(Message::text(said.to_string())).await.unwrap();
    let (mut sent, mut heard) = (false, false);
    while !(sent && heard) {
        let message = patiently("the chat's answer", chat.next()).await.unwrap().unwrap();
        let Ok(Ok(answer)) = message.to_text().map(serde_json::from_str::<Value>) else { continue };
        assert_ne!(answer["type"], "refused", "{answer}");
        sent |= answer["type"] == "sent";
        heard |= answer["type"] == "message" && answer["client_id"] == "of-this-test";
    }
}

#[test]
fn both_redis_start_scripts_are_the_same() {
    let script = |component: &str| {
        let text = text_of(&format!("k8s/components/{component}/start"));
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(script("websocket-gateway"), script("journal-redis"));
}
