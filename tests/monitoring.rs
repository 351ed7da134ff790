//! Alerts, dashboards and the queries for KEDA, tested with promtool, and on a real Prometheus that scrapes a real
//! dispatcher.

mod gateways;
mod prometheus;
mod shipped;

use futures_util::StreamExt;
use prometheus::{Prometheus, Site, Way, number, promtool};
use serde_json::{Value, json};
use shipped::{DISPATCHER, alerts, each_alert, text};
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tempfile::TempDir;
use tokio::task::JoinSet;

const CASES: [&str; 3] = ["pools.yaml", "replicas.yaml", "gateways.yaml"];
const TOKEN: &str = "a-token-of-some-length";

/// Metrics of pools in Kubernetes, of pools that KEDA scales, and of journals in Redis or with errors: here their panels
/// stay empty.
const ELSEWHERE: [&str; 7] = [
    "slotkeeper_sizes_overwritten_total",
    "slotkeeper_scaler_requests_total",
    "slotkeeper_scaler_streams_open",
    "slotkeeper_kubernetes_requests_total",
    "slotkeeper_journal_lapses_total",
    "slotkeeper_journal_errors_total",
    "slotkeeper_tls_certificate_expires_seconds",
];

// ---- alerts, with promtool ----

/// A folder with the rules and their cases.
fn bench(rules: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
    for case in CASES {
        std::fs::write(folder.path().join(case), shipped::read(Path::new("tests/monitoring").join(case))).unwrap();
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = promtool(folder, arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn promtool_accepts_the_rules_and_every_case_holds() {
    let folder = bench(&shipped::rules());
    let (well, said) = run(folder.path(), &["check", "rules", "rules.yaml"]);
    assert!(well && said.contains(&format!("{} rules found", alerts().len())), "{said}");
    let (well, said) = run(folder.path(), &[&["test", "rules"], &CASES[..]].concat());
    assert!(well, "{said}");
}

/// The alerts whose cases no longer hold with these rules.
fn failing(rules: &Value) -> BTreeSet<String> {
    let (_, said) = run(bench(rules).path(), &[&["test", "rules"], &CASES[..]].concat());
    let names = said.lines().filter_map(|line| line.split_once("alertname=\"")?.1.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let all: BTreeSet<String> = alerts().iter().map(|a| text(a, "alert").to_owned()).collect();
    let with = |expression: &str| {
        let mut rules = shipped::rules();
        each_alert(&mut rules, |alert| alert["expr"] = expression.into());
        rules
    };
    assert_eq!(failing(&with("vector(1)")), all, "alerts that always fire break these");
    assert_eq!(failing(&with("vector(0) > 1")), all, "alerts that never fire break these");
}

#[test]
fn every_alert_with_a_for_has_a_case_that_needs_it() {
    let mut hasty = shipped::rules();
    let mut patient = BTreeSet::new();
    each_alert(&mut hasty, |alert| {
        if alert.as_object_mut().unwrap().remove("for").is_some() {
            patient.insert(text(alert, "alert").to_owned());
        }
    });
    assert_eq!(failing(&hasty), patient);
}

#[test]
fn every_alert_has_a_severity_a_description_and_a_runbook() {
    for component in shipped::ALL {
        let readme = component.readme();
        for alert in component.alerts() {
            let name = text(&alert, "alert");
            assert!(matches!(text(&alert["labels"], "severity"), "critical" | "warning"), "{name}");
            for part in ["summary", "description", "runbook"] {
                assert!(!text(&alert["annotations"], part).is_empty(), "{part} of {name}");
            }
            assert!(text(&alert["annotations"], "runbook").ends_with(&format!("(README.md, {name})")), "{name}");
            assert_eq!(readme.matches(&format!("\n### {name}\n")).count(), 1, "a section of the README for {name}");
        }
        assert_eq!(
            readme.matches("\n### ").count() - readme.matches("\n### Without").count(),
            component.alerts().len()
        );
    }
}

#[tokio::test]
async fn the_texts_of_alerts_are_rendered_completely() {
    let mut loud = shipped::rules();
    each_alert(&mut loud, |alert| {
        let mut expression = "vector(301)".to_owned();
        for label in ["namespace", "job", "pool", "pod", "instance", "order", "method"] {
            expression = format!("label_replace({expression}, \"{label}\", \"the-{label}\", \"\", \"\")");
        }
        alert["expr"] = expression.into();
        alert["for"] = "0s".into();
    });
    let prometheus = Prometheus::start(Site::DISPATCHERS, &[], TOKEN, &loud).await;
    let mut said = Vec::new();
    eventually("all alerts to fire", async || {
        said = prometheus.api("/api/v1/alerts").await["data"]["alerts"].as_array().unwrap().clone();
        said.len() == alerts().len()
    })
    .await;
    for alert in said {
        let words = alert["annotations"].to_string();
        assert!(!words.contains('<') && !words.contains("{{"), "{words}");
        assert!(words.contains("the-namespace"), "{words}");
    }
}

// ---- dashboards, as files ----

#[test]
fn dashboards_are_valid_for_grafana() {
    let (mut uids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for dashboard in shipped::ALL.iter().flat_map(shipped::Component::dashboards) {
        let title = text(&dashboard, "title");
        assert!(uids.insert(text(&dashboard, "uid").to_owned()) && titles.insert(title.to_owned()));
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "{title}");
        assert!(dashboard.get("id").is_none(), "{title}: Grafana assigns ids itself");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<&str> = variables.iter().map(|v| text(v, "name")).collect();
        assert!(names.starts_with(&["datasource", "namespace"]), "{title}: {names:?}");
        let whole = dashboard.to_string();
        for name in names {
            let used = whole.contains(&format!("${name}")) || whole.contains(&format!("${{{name}}}"));
            assert!(used, "{title}: no panel uses ${name}");
        }
        let mut ids = BTreeSet::new();
        let mut covered = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let name = format!("{title}: {}", text(panel, "title"));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: its id is used twice");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|k| panel["gridPos"][k].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}: outside the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(covered.insert(cell), "{name}: lies on another panel");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(!text(panel, "description").is_empty(), "{name}");
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{name}");
            let targets = panel["targets"].as_array().unwrap();
            let references: BTreeSet<&str> = targets.iter().map(|t| text(t, "refId")).collect();
            assert!(!targets.is_empty() && references.len() == targets.len(), "{name}");
            for source in targets.iter().chain([panel]).map(|t| &t["datasource"]) {
                assert_eq!(source, &json!({"type": "prometheus", "uid": "${datasource}"}), "{name}");
            }
        }
    }
}

#[test]
fn the_service_monitor_fits_the_service_and_the_secret() {
    let monitor = DISPATCHER.service_monitor();
    let services = shipped::yaml("k8s/base/services.yaml");
    let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
    let fits = |s: &&Value| wanted.iter().all(|(k, v)| s["metadata"]["labels"].get(k) == Some(v));
    let fitting: Vec<&Value> = services.iter().filter(fits).collect();
    assert_eq!(fitting.len(), 1, "through two Services every replica would be counted twice");
    let endpoint = &monitor["endpoints"][0];
    let ports = fitting[0]["spec"]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|p| p["name"] == endpoint["port"]), "{ports:?}");
    let label = text(&monitor, "jobLabel");
    assert!(fitting[0]["metadata"]["labels"].get(label).is_some(), "{label}");
    let token = &endpoint["authorization"]["credentials"];
    let deployment = shipped::yaml("k8s/base/deployment.yaml").remove(0);
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].to_string();
    let mounted = volumes.contains(&format!("\"name\":{}", token["name"]))
        && volumes.contains(&format!("\"key\":{}", token["key"]));
    assert!(mounted, "the dispatcher's own token is another one: {token} in {volumes}");
}

// ---- on a real Prometheus ----

/// A pool of at most two consoles, and a fixed pool.
async fn arcade(pod: &Pod) -> Dispatcher {
    let consoles = "max_pods = 2\ncooldown_seconds = 0.5\ngrace_seconds = 0.3\nactive_sessions_gauge = \"gamecube_active_sessions\"";
    let mut setup = Setup::consoles(consoles).admin("token_env = \"TOKEN\"").env("TOKEN", TOKEN);
    setup.pools = setup.pools.replace("pools.pool", "pools.gamecube");
    let mut dispatcher = setup.pool("fixed", &[pod], "path = \"/fixed\"\nslots_per_pod = 9").start().await;
    dispatcher.token = Some(TOKEN.into());
    dispatcher
}

/// A visitor at a console, whose socket is read until the set is dropped.
async fn plays(dispatcher: &Dispatcher) -> (Visitor, JoinSet<()>) {
    let mut visitor = Visitor::of(dispatcher);
    visitor.wait_for_slot().await;
    let mut socket = visitor.socket("/play").await;
    let mut looks = JoinSet::new();
    looks.spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    (visitor, looks)
}

/// The metrics' names as they are exposed.
async fn exposed(dispatcher: &Dispatcher) -> BTreeSet<String> {
    let text = dispatcher.metrics().await.0;
    text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_query_is_answered_by_a_real_prometheus() {
    let pod = Pod::named("fixed").await;
    let dispatcher = arcade(&pod).await;
    let prometheus =
        Prometheus::start(Site::DISPATCHERS, &[("slotkeeper-0", dispatcher.admin)], TOKEN, &DISPATCHER.rules()).await;
    prometheus.says("up", 1.0).await;
    let queries = DISPATCHER.panel_queries();

    // Prometheus must have scraped the counters at 0 first.
    prometheus.says("sum(slotkeeper_time_to_slot_seconds_count{pool=\"gamecube\"})", 0.0).await;
    let ana = plays(&dispatcher).await;
    let _bob = plays(&dispatcher).await;
    let mut eve = Visitor::of(&dispatcher);
    eve.page("/").await;
    assert_eq!(eve.status().await["position"], 1);
    let mut fay = Visitor::of(&dispatcher);
    fay.base = "/fixed".into();
    fay.wait_for_slot().await;
    fay.get("/fixed/").await;

    let mut answers = BTreeMap::new();
    for (name, query) in &queries {
        eventually(&format!("{name}, {query}, to show something"), async || {
            // Rates need something to happen.
            eve.status().await;
            fay.get("/fixed/").await;
            let result = prometheus.query(query).await.unwrap();
            let shows = result.iter().any(|r| number(r).is_finite());
            answers.insert((name, query), result);
            shows || ELSEWHERE.iter().any(|metric| query.contains(metric))
        })
        .await;
    }
    if let Some(file) = std::env::var_os("SLOTKEEPER_PANELS") {
        std::fs::write(file, table(&answers)).unwrap();
    }

    // Every metric in alerts and panels exists and is documented, and has no label that Prometheus adds to a target.
    let known = exposed(&dispatcher).await;
    let expressions = DISPATCHER.alerts().into_iter().map(|a| text(&a, "expr").to_owned());
    for metric in expressions.chain(queries.iter().map(|q| q.1.clone())).flat_map(|q| DISPATCHER.metrics_in(&q)) {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|s| metric.strip_suffix(s)).unwrap_or(&metric);
        let is_known = known.contains(base) || known.contains(&metric) || ELSEWHERE.contains(&metric.as_str());
        assert!(is_known, "there is no metric {metric}");
    }
    let documented = shipped::read("crates/dispatcher/OPERATING.md");
    for metric in known.iter().map(String::as_str).chain(ELSEWHERE).filter(|m| m.starts_with("slotkeeper_")) {
        assert!(documented.contains(&format!("| `{metric}` |")), "OPERATING.md does not describe {metric}");
    }
    let text_of_all = dispatcher.metrics().await.0;
    for label in ["namespace", "job", "instance", "pod", "service", "endpoint", "container"] {
        assert!(!text_of_all.contains(&format!("{label}=")), "a label {label} would be renamed");
    }

    // Two visitors play, one waits, and the pool has all its pods: only the alert about that may fire.
    for alert in DISPATCHER.alerts() {
        let (name, expression) = (text(&alert, "alert"), text(&alert, "expr"));
        eventually(&format!("{name} to be evaluated correctly"), async || {
            eve.status().await;
            prometheus.query(expression).await.unwrap().is_empty() != (name == "SlotkeeperPoolFull")
        })
        .await;
    }
    let groups = prometheus.api("/api/v1/rules").await;
    for rule in groups["data"]["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()) {
        assert_eq!((&rule["health"], rule.get("lastError")), (&json!("ok"), None), "{rule}");
    }

    // No dispatcher is left.
    drop(ana);
    drop(dispatcher);
    eventually("an alert to be pending", async || {
        let alerts = prometheus.api("/api/v1/alerts").await;
        let alerts = alerts["data"]["alerts"].as_array().unwrap();
        alerts
            .iter()
            .any(|a| a["labels"]["alertname"] == "SlotkeeperNotReady" && a["labels"]["namespace"] == "gamecube")
    })
    .await;
}

/// The results of all panels, as a table.
fn table(answers: &BTreeMap<(&String, &String), Vec<Value>>) -> String {
    let mut lines = vec!["| panel | query | result |".to_owned(), "|---|---|---|".to_owned()];
    for ((name, query), result) in answers {
        let shown: Vec<String> = result.iter().take(6).map(|r| format!("{:.4}", number(r))).collect();
        lines.push(format!(
            "| {name} | `{}` | {} series: {} |",
            query.replace('|', "\\|"),
            result.len(),
            shown.join(", ")
        ));
    }
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn queries_of_keda_return_the_true_number_or_nothing() {
    let pod = Pod::named("fixed").await;
    let [wanted, sessions] = &DISPATCHER.keda_queries()[..] else { panic!("two queries for KEDA") };
    assert!(shipped::read("k8s/components/keda-prometheus/scaled-object.yaml").contains(&format!(" {wanted}\n")));
    // With a window of 5 s the test need not wait for a minute until old samples no longer count.
    let brisk = wanted.replace("[1m]", "[5s]");
    assert_ne!(&brisk, wanted);

    let nobody = Prometheus::start(Site::DISPATCHERS, &[], TOKEN, &json!({"groups": []})).await;
    assert_eq!(nobody.value(wanted).await, None);
    assert_eq!(nobody.value(sessions).await, None);
    drop(nobody);

    let dispatcher = arcade(&pod).await;
    let truth = async || Some(f64::from(dispatcher.pool_of("gamecube").await.desired));
    // A second address of the same dispatcher, like a second replica; and a replica that has not read the state yet.
    let (twin, idle) = (Way::to(dispatcher.admin).await, arcade(&pod).await);
    let stranger = Way::to(dispatcher.visitors).await;
    let targets =
        [("a", dispatcher.admin), ("b", twin.address), ("c", idle.admin), ("no-dispatcher", stranger.address)];
    let prometheus = Prometheus::start(Site::DISPATCHERS, &targets, TOKEN, &json!({"groups": []})).await;
    prometheus.says("sum(up)", 3.0).await;
    assert_eq!((prometheus.value(wanted).await, truth().await), (Some(0.0), Some(0.0)));

    let ana = plays(&dispatcher).await;
    prometheus.says(wanted, 1.0).await;
    let bob = plays(&dispatcher).await;
    prometheus.says(wanted, 2.0).await;
    prometheus.says(sessions, 2.0).await;
    assert_eq!(truth().await, Some(2.0));
    let naive = "sum(slotkeeper_pods{namespace=\"gamecube\",pool=\"gamecube\",state=\"desired\"})";
    prometheus.says(naive, 4.0).await;

    drop(twin);
    prometheus.says("sum(up)", 2.0).await;
    assert_eq!((prometheus.value(wanted).await, prometheus.value(&brisk).await), (Some(2.0), Some(2.0)));

    for (mut visitor, looks) in [ana, bob] {
        visitor.post("/.slotkeeper/leave").await;
        drop(looks);
    }
    eventually("no pod to be wanted", async || truth().await == Some(0.0)).await;
    prometheus.says(&brisk, 0.0).await;
    prometheus.says(sessions, 0.0).await;

    drop(dispatcher);
    drop(idle);
    prometheus.says(&brisk, None).await;
    prometheus.says(sessions, None).await;
}
