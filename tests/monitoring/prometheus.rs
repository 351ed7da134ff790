//! A real Prometheus (Debian's package of that name) on its own port, which scrapes every second, and targets that can be
//! disconnected from it.

use serde_json::{Value, json};
use slotkeeper_tests::{Visitor, eventually};
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use tokio::task::{AbortHandle, JoinSet};

pub(super) struct Prometheus {
    child: Child,
    at: SocketAddr,
    folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A target, as from a ServiceMonitor: the name of its pod, and its address.
pub(super) type Target<'a> = (&'a str, SocketAddr);

/// The values of the labels that a ServiceMonitor adds.
#[derive(Clone, Copy)]
pub(super) struct Site {
    namespace: &'static str,
    job: &'static str,
    service: &'static str,
}

impl Site {
    pub(super) const DISPATCHERS: Site = Site { namespace: "gamecube", job: "slotkeeper", service: "slotkeeper-admin" };
    pub(super) const GATEWAYS: Site =
        Site { namespace: "websocket-gateway", job: "websocket-gateway", service: "websocket-gateway-metrics" };
}

impl Prometheus {
    /// Starts a Prometheus that scrapes these targets with the token, and evaluates the rules, every second.
    pub(super) async fn start(site: Site, targets: &[Target<'_>], token: &str, rules: &Value) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let scrapes: Vec<Value> = targets
            .iter()
            .map(|(pod, at)| {
                let labels = json!({"namespace": site.namespace, "service": site.service, "pod": pod});
                json!({"targets": [at.to_string()], "labels": labels})
            })
            .collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": site.job,
                "authorization": {"type": "Bearer", "credentials": token},
                "static_configs": scrapes,
            }],
        });
        // JSON is YAML.
        std::fs::write(folder.path().join("prometheus.yaml"), config.to_string()).expect("a file");
        std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).expect("a file");
        let at = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus starts (Debian's package prometheus; tests/run installs it)");
        let mut prometheus = Prometheus { child, at, folder };
        eventually("Prometheus to be ready", async || {
            let ended = prometheus.child.try_wait().expect("it can be asked");
            assert!(
                ended.is_none(),
                "Prometheus has ended: {ended:?}; its files are in {:?}",
                prometheus.folder.path()
            );
            let listens = tokio::net::TcpStream::connect(at).await.is_ok();
            listens && Visitor::at(at).get("/-/ready").await.status() == 200
        })
        .await;
        prometheus
    }

    /// The result of an instant query, a vector or a scalar.
    ///
    /// # Errors
    /// The error that Prometheus reports.
    pub(super) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut path = String::from("/api/v1/query?query=");
        for byte in query.bytes() {
            let _ = write!(path, "%{byte:02x}");
        }
        let answer = self.api(&path).await;
        if answer["status"] != "success" {
            return Err(format!("{}: {query}", answer["error"]));
        }
        assert_eq!(answer["data"]["resultType"], "vector", "{query}");
        Ok(answer["data"]["result"].as_array().expect("a vector").clone())
    }

    pub(super) async fn api(&self, path: &str) -> Value {
        Visitor::at(self.at).get(path).await.json()
    }

    /// The only value of a query: `None` if there is nothing, as KEDA reads it.
    pub(super) async fn value(&self, query: &str) -> Option<f64> {
        let result = self.query(query).await.unwrap();
        assert!(result.len() <= 1, "KEDA treats more than one series as an error: {result:?}");
        result.first().map(number)
    }

    /// Waits until the query's only value is this.
    pub(super) async fn says(&self, query: &str, value: impl Into<Option<f64>>) {
        let value = value.into();
        eventually(&format!("{query} to be {value:?}"), async || self.value(query).await == value).await;
    }
}

/// The number of one result.
pub(super) fn number(result: &Value) -> f64 {
    result["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number")
}

fn free_port() -> SocketAddr {
    // Prometheus does not report the port that it got, so the test chooses one. On an address that nothing else uses, the
    // port is likely to stay free until Prometheus listens.
    TcpListener::bind("127.0.0.9:0").and_then(|l| l.local_addr()).expect("a free port")
}

/// Another address of the same target, as another replica has. Dropping it closes all its connections.
pub(super) struct Way {
    pub(super) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    pub(super) async fn to(target: SocketAddr) -> Way {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut to) = tokio::net::TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Way { address, task: task.abort_handle() }
    }
}

/// Runs promtool in a folder.
pub(super) fn promtool(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder);
    command.output().expect("promtool starts (Debian's package prometheus; tests/run installs it)")
}
