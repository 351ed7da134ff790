//! Monitoring of WebSocket gateways: three real gateways with the shipped Redis of the chat, and a real Prometheus.

use super::TOKEN;
use super::prometheus::{Prometheus, Site, number};
use super::shipped::{self, GATEWAY, text};
use crate::manifests::redis::Redis;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::pod::Socket;
use slotkeeper_tests::{Visitor, eventually, patiently};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use tokio_tungstenite::tungstenite::Message;

/// The connection limit of the gateways in this test.
const ROOM: usize = 40;

struct Gateway {
    child: Child,
    clients: SocketAddr,
    metrics: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.7:0").and_then(|listener| listener.local_addr()).unwrap()
}

impl Gateway {
    async fn start(name: &str, redis: &Redis) -> Gateway {
        let (clients, metrics) = (free_port(), free_port());
        let child = Command::new(binary("slotkeeper-gateway"))
            .arg(format!("--listen={clients}"))
            .arg(format!("--metrics-listen={metrics}"))
            .arg(format!("--name={name}"))
            .arg(format!("--connections={ROOM}"))
            .arg(format!("--redis={}", redis.address()))
            .arg("--redis-password-file")
            .arg(redis.password_file())
            // Longer than this test: the gateway ends when it is dropped.
            .arg("--drain-seconds=600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut gateway = Gateway { child, clients, metrics };
        eventually(&format!("{name} to be ready"), async || {
            assert!(gateway.child.try_wait().unwrap().is_none(), "{name} has ended");
            let listens = tokio::net::TcpStream::connect(metrics).await.is_ok();
            listens && Visitor::at(metrics).get("/readyz").await.status() == 200
        })
        .await;
        gateway
    }

    /// A client whose messages are echoed.
    async fn client(&self) -> Socket {
        Visitor::at(self.clients).socket("/ws").await
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }
}

/// Each client sends a message and waits for the echo.
async fn talk(clients: &mut [Socket]) {
    for client in clients {
        client.send(Message::text("hello")).await.unwrap();
        let heard = patiently("an echo", async {
            loop {
                match client.next().await {
                    Some(Ok(message)) if message.is_text() => break message,
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        assert!(heard.await.to_text().unwrap().contains("hello"));
    }
}

#[tokio::test]
async fn every_query_about_gateways_is_answered_by_a_real_prometheus() {
    let redis = Redis::start("k8s/components/websocket-gateway", &[("password", "a-password")]);
    eventually("Redis to answer", async || redis.ask(&["PING"]).is_some()).await;
    let gateways = [
        Gateway::start("gateway-a", &redis).await,
        Gateway::start("gateway-b", &redis).await,
        Gateway::start("gateway-c", &redis).await,
    ];
    let targets: Vec<_> =
        ["gateway-a", "gateway-b", "gateway-c"].into_iter().zip(gateways.each_ref().map(|g| g.metrics)).collect();
    let prometheus = Prometheus::start(Site::GATEWAYS, &targets, TOKEN, &GATEWAY.rules()).await;
    prometheus.says("sum(up)", 3.0).await;

    let mut clients = Vec::new();
    for (gateway, many) in gateways.iter().zip([3, 2, 1]) {
        for _ in 0..many {
            clients.push(gateway.client().await);
        }
    }
    // KEDA's queries, which are the same in the manifest and in the README.
    let keda = GATEWAY.keda_queries();
    let [connections, messages] = &keda[..] else { panic!("two queries for KEDA") };
    let object = shipped::read("k8s/overlays/websocket-gateway/scaled-object.yaml");
    assert!(keda.iter().all(|query| object.contains(&format!("        query: {query}\n"))), "{keda:?}");
    prometheus.says(connections, 6.0).await;
    prometheus.says("stddev(websocket_active_connections)^2 < bool 0.7", 1.0).await;
    eventually("messages to be counted", async || {
        talk(&mut clients).await;
        prometheus.value(messages).await.is_some_and(|rate| rate > 1.0)
    })
    .await;

    let queries = GATEWAY.panel_queries();
    for (name, query) in &queries {
        eventually(&format!("{name}, {query}, to show something"), async || {
            talk(&mut clients).await;
            prometheus.query(query).await.unwrap().iter().any(|result| number(result).is_finite())
        })
        .await;
    }

    // Every metric that alerts, panels and KEDA use exists, and every metric that exists is documented.
    let exposed = Visitor::at(gateways[0].metrics).get("/metrics").await.text();
    let known: BTreeSet<&str> = exposed.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let expressions = GATEWAY.alerts().into_iter().map(|a| text(&a, "expr").to_owned());
    let asked = expressions.chain(queries.into_iter().map(|q| q.1)).chain(keda.iter().cloned());
    for metric in asked.flat_map(|query| GATEWAY.metrics_in(&query)) {
        assert!(known.contains(metric.as_str()), "there is no metric {metric}");
    }
    let readme = GATEWAY.readme();
    for metric in &known {
        assert!(
            readme.contains(&format!("`{metric}`")) || readme.contains(&format!("`{metric}{{reason}}`")),
            "README.md does not describe {metric}"
        );
    }
    for label in ["namespace", "job", "instance", "pod", "service", "endpoint", "container"] {
        assert!(!exposed.contains(&format!("{label}=")), "a label {label} would be renamed");
    }

    // At first nothing is wrong; then one thing after the other is.
    let judge = async |wrong: &[&str]| {
        for alert in GATEWAY.alerts() {
            let (name, expression) = (text(&alert, "alert"), text(&alert, "expr"));
            eventually(&format!("{name} to be evaluated correctly beside {wrong:?}"), async || {
                prometheus.query(expression).await.unwrap().is_empty() != wrong.contains(&name)
            })
            .await;
        }
    };
    judge(&[]).await;
    let full = &gateways[2];
    while clients.len() < 5 + ROOM {
        clients.push(full.client().await);
    }
    for _ in 0..30 {
        let answer = Visitor::at(full.clients).try_socket("/ws", "").await;
        assert_eq!(answer.err().map(|answer| answer.status()), Some(503), "it has room for more than {ROOM}");
    }
    judge(&["GatewayRefusing"]).await;
    drop(redis);
    judge(&["GatewayRefusing", "GatewayRedisAway"]).await;
    gateways[0].terminate();
    prometheus.says("sum(websocket_draining)", 1.0).await;
    prometheus
        .says("sum(websocket_active_connections * on (namespace, job, pod) websocket_draining > bool 0)", 1.0)
        .await;
    let groups = prometheus.api("/api/v1/rules").await;
    for rule in groups["data"]["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()) {
        assert_eq!((&rule["health"], rule.get("lastError")), (&json!("ok"), None), "{rule}");
    }
}

#[test]
fn the_service_monitor_fits_the_service() {
    let monitor = GATEWAY.service_monitor();
    let folders = ["k8s/components/websocket-gateway/metrics.yaml", "k8s/overlays/websocket-gateway/service.yaml"];
    let services: Vec<_> = folders.into_iter().flat_map(shipped::yaml).collect();
    let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
    let fitting: Vec<_> =
        services.iter().filter(|s| wanted.iter().all(|(k, v)| s["metadata"]["labels"].get(k) == Some(v))).collect();
    assert_eq!(fitting.len(), 1, "through two Services every connection would be counted twice");
    let ports = fitting[0]["spec"]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == monitor["endpoints"][0]["port"]), "{ports:?}");
    // The job of alerts' groups, and of KEDA's queries.
    assert_eq!(fitting[0]["metadata"]["labels"][text(&monitor, "jobLabel")], "websocket-gateway");
    assert_eq!(fitting[0]["spec"]["clusterIP"], "None");
}
