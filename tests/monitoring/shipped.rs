//! The files of `k8s/components/monitoring` and `gateway-monitoring`, in a form for the tests.

use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// A folder with a rule, dashboards and a README.
#[derive(Clone, Copy)]
pub(super) struct Component {
    folder: &'static str,
    /// The prefixes of the names of its metrics.
    prefixes: &'static [&'static str],
}

pub(super) const DISPATCHER: Component = Component { folder: "monitoring", prefixes: &["slotkeeper_"] };
pub(super) const GATEWAY: Component =
    Component { folder: "gateway-monitoring", prefixes: &["websocket_", "ws_", "chat_", "process_"] };
pub(super) const ALL: [Component; 2] = [DISPATCHER, GATEWAY];

pub(super) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The documents of a YAML file.
pub(super) fn yaml(path: impl AsRef<Path>) -> Vec<Value> {
    let path = path.as_ref();
    let parse = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    read(path).split("\n---\n").map(parse).collect()
}

pub(super) fn each_alert(rules: &mut Value, mut then: impl FnMut(&mut Value)) {
    for group in rules["groups"].as_array_mut().expect("groups") {
        group["rules"].as_array_mut().expect("rules").iter_mut().for_each(&mut then);
    }
}

/// The rules of all components as one file.
pub(super) fn rules() -> Value {
    let groups = ALL.iter().flat_map(|component| component.rules()["groups"].as_array().expect("groups").clone());
    serde_json::json!({"groups": groups.collect::<Vec<_>>()})
}

/// The alerts of all components.
pub(super) fn alerts() -> Vec<Value> {
    ALL.iter().flat_map(Component::alerts).collect()
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key:?} in {value}"))
}

impl Component {
    fn path(&self, name: &str) -> PathBuf {
        root().join("k8s/components").join(self.folder).join(name)
    }

    /// The PrometheusRule's `spec`, which Prometheus accepts as a file of rules.
    pub(super) fn rules(&self) -> Value {
        yaml(self.path("prometheusrule.yaml")).remove(0)["spec"].take()
    }

    pub(super) fn alerts(&self) -> Vec<Value> {
        let mut alerts = Vec::new();
        each_alert(&mut self.rules(), |alert| alerts.push(alert.clone()));
        alerts
    }

    pub(super) fn readme(&self) -> String {
        read(self.path("README.md"))
    }

    /// The ServiceMonitor's `spec`.
    pub(super) fn service_monitor(&self) -> Value {
        yaml(self.path("servicemonitor.yaml")).remove(0)["spec"].take()
    }

    pub(super) fn dashboards(&self) -> Vec<Value> {
        let folder = self.path("dashboards");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("it is there").map(|f| f.expect("a file").path()).collect();
        files.sort();
        files
            .iter()
            .map(|file| serde_json::from_str(&read(file)).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
            .collect()
    }

    /// Every query of every panel, with the titles of its dashboard and panel, all variables filled in.
    pub(super) fn panel_queries(&self) -> Vec<(String, String)> {
        let mut queries = Vec::new();
        for dashboard in self.dashboards() {
            for panel in dashboard["panels"].as_array().expect("panels") {
                for target in panel["targets"].as_array().into_iter().flatten() {
                    let name = format!("{}: {}", text(&dashboard, "title"), text(panel, "title"));
                    queries.push((name, filled_in(text(target, "expr"))));
                }
            }
        }
        queries
    }

    /// The names of its metrics in a query.
    pub(super) fn metrics_in(&self, query: &str) -> Vec<String> {
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = words.filter(|word| self.prefixes.iter().any(|prefix| word.starts_with(prefix)));
        ours.map(str::to_owned).collect()
    }

    /// The queries for KEDA: the README's blocks of PromQL.
    pub(super) fn keda_queries(&self) -> Vec<String> {
        let readme = self.readme();
        let blocks = readme.split("```promql\n").skip(1);
        blocks.map(|block| block.split("```").next().unwrap_or_default().trim().to_owned()).collect()
    }
}

/// The query as Grafana sends it with all values selected and a scrape interval of a second.
fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "10s").replace("$namespace", ".*").replace("$pool", ".*");
    assert!(!query.contains('$'), "a variable without a value: {query}");
    query
}
