//! The rendered combinations of `k8s/`, as plain values.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// One combination of an overlay and its components.
pub(crate) struct Case {
    pub(crate) name: String,
    objects: Vec<Value>,
}

/// The target folder of the binaries under test, whatever its name.
fn target() -> PathBuf {
    let binary = slotkeeper_tests::dispatcher::binary("slotkeeper");
    binary.ancestors().nth(2).expect("target/debug/slotkeeper").to_owned()
}

/// The output of `manifests/check`, and the cases that it rendered. It runs once.
fn checked() -> &'static (Output, Vec<Case>) {
    static CHECKED: OnceLock<(Output, Vec<Case>)> = OnceLock::new();
    CHECKED.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/check");
        let output = Command::new(script).env("CARGO_TARGET_DIR", target()).output().unwrap();
        let rendered = std::fs::read_dir(target().join("manifests/rendered")).unwrap();
        let mut files: Vec<PathBuf> = rendered.map(|file| file.unwrap().path()).collect();
        files.sort();
        (output, files.iter().map(|file| Case::read(file)).collect())
    })
}

/// The folder of kubectl, which `manifests/setup` has installed.
pub(crate) fn tools() -> PathBuf {
    checked();
    target().join("manifests/venv/bin")
}

/// A program that `manifests/setup` has installed.
pub(crate) fn tool(name: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/setup");
    let output = Command::new(script).env("CARGO_TARGET_DIR", target()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Command::new(target().join("manifests/venv/bin").join(name))
}

pub(crate) fn check() -> &'static Output {
    &checked().0
}

pub(crate) fn cases() -> &'static [Case] {
    &checked().1
}

impl Case {
    fn read(file: &Path) -> Case {
        let text = std::fs::read_to_string(file).unwrap();
        let objects = serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        Case { name: file.file_stem().unwrap().to_string_lossy().into_owned(), objects }
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter()
    }

    pub(crate) fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of this name in the system's namespaces. Fails if there is none, or more than one.
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.all(kind).filter(|object| object["metadata"]["name"] == name);
        match (found.next(), found.next()) {
            (Some(object), None) => object,
            (None, _) => panic!("{}: there is no {kind} {name}", self.name),
            (Some(_), Some(_)) => panic!("{}: {kind} {name} is there twice", self.name),
        }
    }

    /// The text of slotkeeper.toml.
    pub(crate) fn configuration(&self) -> String {
        let mut found = self.all("ConfigMap").filter_map(|map| map["data"]["slotkeeper.toml"].as_str());
        let text = found.next().unwrap_or_else(|| panic!("{}: no configuration", self.name)).to_owned();
        assert_eq!(found.next(), None, "{}: two configurations", self.name);
        text
    }

    fn templates(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let workloads = self.objects.iter().filter(|o| o["spec"]["template"]["spec"]["containers"].is_array());
        workloads.map(|o| (&o["metadata"]["namespace"], &o["spec"]["template"]))
    }

    /// Every container with the spec of its pod.
    pub(crate) fn containers(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.templates().flat_map(|(_, template)| {
            let spec = &template["spec"];
            let lists = [&spec["containers"], &spec["initContainers"]];
            lists.into_iter().filter_map(Value::as_array).flatten().map(move |container| (spec, container))
        })
    }

    /// The named ports of a pod.
    pub(crate) fn ports_of(&self, template: &Value) -> BTreeMap<String, u16> {
        let containers = template["spec"]["containers"].as_array().unwrap();
        let ports = containers.iter().filter_map(|c| c["ports"].as_array()).flatten();
        ports
            .map(|port| {
                let number = port["containerPort"].as_u64().unwrap();
                (port["name"].as_str().unwrap().to_owned(), u16::try_from(number).unwrap())
            })
            .collect()
    }

    /// The ports of the pods that a selector of this namespace finds.
    pub(crate) fn ports_selected(&self, namespace: &Value, selector: &Value) -> BTreeMap<String, u16> {
        let labels = selector.as_object().unwrap();
        let found = self.templates().filter(|(there, template)| {
            *there == namespace && labels.iter().all(|(key, value)| template["metadata"]["labels"][key] == *value)
        });
        found.flat_map(|(_, template)| self.ports_of(template)).collect()
    }

    /// The ports of the pods behind a Service.
    pub(crate) fn ports_behind(&self, service: &Value) -> BTreeMap<String, u16> {
        self.ports_selected(&service["metadata"]["namespace"], &service["spec"]["selector"])
    }
}
