//! The models against the vectors: every vector holds, and a wrong one is detected.

use serde_json::{Value, json};
use slotkeeper_sim::vectors::{Tally, run};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Runs these vectors as one file in a separate folder.
fn run_one(component: &str, vectors: &Value) -> (Tally, String) {
    let folder = Scratch::new();
    let file = json!({ "component": component, "vectors": vectors });
    std::fs::write(folder.0.join("some.json"), file.to_string()).expect("a temporary folder");
    let mut out = Vec::new();
    let tally = run(&folder.0, &mut out).expect("a folder of vectors");
    (tally, String::from_utf8(out).expect("text"))
}

/// Returns a vector of the data.
fn vector(file: &str, id: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(file)).expect("the data is there");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let vectors = file["vectors"].as_array().expect("a list");
    vectors.iter().find(|v| v["id"] == id).expect("a vector of this id").clone()
}

/// Makes a vector wrong.
type Change = fn(&mut Value);

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("slotkeeper-vectors-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_vector_holds() {
    let mut out = Vec::new();
    let tally = run(&folder(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(tally.failed, 0, "{out}");
    let mut count = 0;
    for file in ["hpa.json", "keda.json", "statefulset.json"] {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        count += file["vectors"].as_array().unwrap().len();
    }
    assert_eq!(tally.passed, count);
    assert!(count >= 176, "vectors are missing: {count}");
    assert_eq!(out, format!("{count} passed, 0 failed\n"));
}

#[test]
fn a_wrong_expectation_is_reported_with_the_actual_value() {
    let mut wrong = vector("hpa.json", "hpa-tol-001");
    wrong["expected"]["replicas"] = json!(11);
    let (tally, out) = run_one("hpa", &json!([wrong, vector("hpa.json", "hpa-tol-002")]));
    assert_eq!(tally, Tally { passed: 1, failed: 1 });
    assert!(out.starts_with("some.json: hpa-tol-001: 10 pods, target 1 per pod, metric 11"), "{out}");
    assert!(out.contains(r#"expected {"replicas":11,"reportedMilli":1100}"#), "{out}");
    assert!(out.contains(r#"got      {"replicas":10,"reportedMilli":1100}"#), "{out}");
    assert!(out.ends_with("1 passed, 1 failed\n"), "{out}");
}

#[test]
fn the_order_of_actions_counts_between_groups_of_a_parallel_set_but_not_within() {
    let mut shuffled = vector("statefulset.json", "sts-038");
    shuffled["expected"]["actions"] = json!([
        { "action": "create", "ordinal": 1 },
        { "action": "delete", "ordinal": 2 },
        { "action": "delete", "ordinal": 3 },
    ]);
    let mut wrong = shuffled.clone();
    wrong["id"] = json!("wrong");
    wrong["expected"]["actions"].as_array_mut().unwrap().rotate_left(1);
    let mut short = shuffled.clone();
    short["id"] = json!("short");
    short["expected"]["actions"].as_array_mut().unwrap().pop();
    let (tally, out) = run_one("statefulset", &json!([shuffled, wrong, short]));
    assert_eq!(tally, Tally { passed: 1, failed: 2 }, "{out}");
}

#[test]
fn an_invalid_vector_is_reported_with_its_field() {
    let good = || vector("hpa.json", "hpa-lim-011");
    let broken = |change: Change| {
        let mut vector = good();
        change(&mut vector);
        let (tally, out) = run_one("hpa", &json!([vector]));
        assert_eq!(tally, Tally { passed: 0, failed: 1 }, "{out}");
        out.lines().nth(1).unwrap().trim().to_owned()
    };
    let cases: [(Change, &str); 9] = [
        (|v| v["op"] = json!("limits"), "field `op`: \"limits\" is unknown: hpa has proposal, stabilize, limit"),
        (|v| v["input"]["desired"] = json!("ten"), "field `input.desired`: invalid type: string \"ten\""),
        (|v| v["input"]["desired"] = json!(-1), "field `input.desired`: invalid value: integer `-1`"),
        (|v| v["input"] = json!({}), "field `input.behaviorSet`: is missing"),
        (|v| v["input"]["max"] = json!(5), "field `input.max`: is unknown here: there are "),
        (
            |v| v["expected"]["reasons"] = json!(1),
            "field `expected.reasons`: is unknown here: there are reason, replicas",
        ),
        (
            |v| v["input"]["behavior"]["scaleUp"]["policies"][1]["type"] = json!("Pod"),
            "field `input.behavior.scaleUp.policies[1].type`: is \"Pod\", expected Pods, Percent",
        ),
        (
            |v| v["input"]["behavior"]["scaleUp"]["policies"] = json!(7),
            "field `input.behavior.scaleUp.policies`: is 7, expected a list",
        ),
        (|v| v["input"] = json!([1]), "field `input`: is [1], expected an object"),
    ];
    for (change, expected) in cases {
        let said = broken(change);
        assert!(said.starts_with(expected), "{said}\nexpected {expected}");
    }
}

#[test]
fn values_that_would_run_for_ever_are_refused() {
    let mut huge = vector("statefulset.json", "sts-006");
    huge["input"]["replicas"] = json!(4_000_000_000_u32);
    let (tally, out) = run_one("statefulset", &json!([huge]));
    assert_eq!(tally.failed, 1);
    assert!(out.contains("field `input.replicas`: is 4000000000, expected at most 100000"), "{out}");
    let mut long = vector("keda.json", "keda-tl-001");
    long["input"]["untilSecond"] = json!(99_999_999);
    let (tally, out) = run_one("keda", &json!([long]));
    assert_eq!(tally.failed, 1);
    assert!(out.contains("field `input.untilSecond`: is 99999999, expected 0 to 10000000 seconds"), "{out}");
}

#[test]
fn a_query_result_or_related_pods_of_another_kind_are_refused() {
    let said = |component: &str, file: &str, id: &str, key: &str, value: Value| {
        let mut changed = vector(file, id);
        changed["input"][key] = value;
        let (tally, out) = run_one(component, &json!([changed]));
        assert_eq!(tally, Tally { passed: 0, failed: 1 }, "{out}");
        out.lines().nth(1).expect("a reason").trim().to_owned()
    };
    let prometheus = |value| said("keda", "keda.json", "keda-prom-001", "result", value);
    assert_eq!(prometheus(json!([[1, 2]])), "field `input.result`: holds the value 2, expected a text or null");
    assert!(prometheus(json!(7)).starts_with("field `input.result`: invalid type"));
    assert!(prometheus(json!([7])).starts_with("field `input.result`: invalid type"));
    let related = |value| said("statefulset", "statefulset.json", "sts-322", "relatedPods", value);
    let wrong = [
        (json!("n1"), "is \"n1\", expected a list or numbers of pods per node"),
        (json!([3]), "holds 3, expected the name of a node or a pod"),
        (json!([{ "node": 3 }]), "holds a pod with the node 3, expected a text or null"),
        (json!({ "n1": -1 }), "has -1 pods on n1"),
        (json!({ "n1": 100_000, "n2": 1 }), "has more than 100000 pods"),
        (json!({ "n1": u64::MAX }), "has more than 100000 pods"),
    ];
    for (value, expected) in wrong {
        assert_eq!(related(value), format!("field `input.relatedPods`: {expected}"));
    }
}

#[test]
fn a_vector_without_an_id_or_with_a_duplicate_id_fails() {
    let one = vector("keda.json", "keda-act-001");
    let mut nameless = one.clone();
    nameless.as_object_mut().unwrap().remove("id");
    let (tally, out) = run_one("keda", &json!([one, one, nameless]));
    assert_eq!(tally, Tally { passed: 1, failed: 2 }, "{out}");
    assert!(out.contains("field `id`: occurs twice in this file"), "{out}");
    assert!(out.contains("vector 2 (counted from 0)"), "{out}");
}

#[test]
fn invalid_files_are_errors_with_their_names() {
    let error = |folder: &Path| format!("{:#}", run(folder, &mut Vec::new()).unwrap_err());
    assert!(error(Path::new("/nowhere/at/all")).starts_with("cannot read the folder of vectors /nowhere/at/all: "));
    let folder = Scratch::new();
    assert!(error(&folder.0).ends_with("no *.json files here"));
    let file = folder.0.join("x.json");
    for (text, expected) in [
        ("{", "x.json is not JSON: EOF while parsing"),
        ("[]", "x.json: the file has no string `component`"),
        (r#"{"component": "hpa"}"#, "x.json: the file has no list `vectors`"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = error(&folder.0);
        assert!(said.contains(expected), "{said}\nexpected {expected}");
    }
}
