//! Runs test vectors against the models: a folder of JSON files, each with cases of one component. The format is
//! described in `tests/vectors/README.md`. Reading and comparing is here and in `fields`; the operations of a
//! component are in its own module.

mod compare;
mod fields;
mod hpa;
mod keda;
mod statefulset;

use anyhow::{Context, bail, ensure};
use fields::{Fields, Wrong};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Number of vectors that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

/// Computes an operation's result from its input, for comparison with the expected one.
type Operation = fn(&Fields<'_>) -> Result<Value, Wrong>;

/// Runs every `*.json` file of the folder, ordered by name. Writes each failure with its file and id; the last line
/// is `N passed, M failed`. A vector that cannot be interpreted counts as failed.
///
/// # Errors
/// If the folder cannot be read or holds no vectors, a file is not JSON or not of this format, or `out` cannot be
/// written.
pub fn run(folder: &Path, out: &mut dyn Write) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let files = json_files(folder)?;
    ensure!(!files.is_empty(), "{}: no *.json files here", folder.display());
    for path in files {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        run_file(&name, &file, &mut tally, out).with_context(|| path.display().to_string())?;
    }
    writeln!(out, "{} passed, {} failed", tally.passed, tally.failed)?;
    Ok(tally)
}

fn json_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the folder of vectors {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn run_file(name: &str, file: &Value, tally: &mut Tally, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(component) = file.get("component").and_then(Value::as_str) else {
        bail!("the file has no string `component` (hpa, keda or statefulset)");
    };
    let Some(vectors) = file.get("vectors").and_then(Value::as_array) else {
        bail!("the file has no list `vectors`");
    };
    let mut ids = BTreeSet::new();
    for (index, vector) in vectors.iter().enumerate() {
        let id = vector.get("id").and_then(Value::as_str);
        let shown = id.map_or_else(|| format!("vector {index} (counted from 0)"), str::to_owned);
        let verdict = match id {
            None => Err(Failure::Wrong(Wrong::new("id", "is missing, or not a string"))),
            Some(id) if !ids.insert(id) => Err(Failure::Wrong(Wrong::new("id", "occurs twice in this file"))),
            Some(_) => check(component, vector),
        };
        match verdict {
            Ok(()) => tally.passed += 1,
            Err(failure) => {
                tally.failed += 1;
                let description = vector.get("description").and_then(Value::as_str).unwrap_or("no description");
                writeln!(out, "{name}: {shown}: {description}")?;
                failure.write(out)?;
            }
        }
    }
    Ok(())
}

/// Why a vector failed.
enum Failure {
    /// The vector cannot be interpreted.
    Wrong(Wrong),
    Differs {
        expected: Value,
        got: Value,
    },
}

fn check(component: &str, vector: &Value) -> Result<(), Failure> {
    let fields = Fields::root(vector).map_err(Failure::Wrong)?;
    let op: String = fields.get("op").map_err(Failure::Wrong)?;
    let input = fields.inner("input").map_err(Failure::Wrong)?;
    let expected = fields.inner("expected").map_err(Failure::Wrong)?;
    for word in ["id", "category", "description", "derivedFrom"] {
        fields.or(word, Value::Null).map_err(Failure::Wrong)?;
    }
    fields.done().map_err(Failure::Wrong)?;
    let operation = operation(component, &op).map_err(Failure::Wrong)?;
    let got = operation(&input).and_then(|got| input.done().map(|()| got)).map_err(Failure::Wrong)?;
    expected.known_to(&got).map_err(Failure::Wrong)?;
    let canonical = |value: &Value| match component {
        "statefulset" => statefulset::canonical(&input, value),
        _ => value.clone(),
    };
    let (expected, got) = (canonical(expected.value()), canonical(&got));
    if compare::holds(&expected, &got) { Ok(()) } else { Err(Failure::Differs { expected, got }) }
}

fn operation(component: &str, op: &str) -> Result<Operation, Wrong> {
    let operations: &[(&str, Operation)] = match component {
        "hpa" => hpa::OPERATIONS,
        "keda" => keda::OPERATIONS,
        "statefulset" => statefulset::OPERATIONS,
        _ => return Err(Wrong::new("component", format!("{component:?} is unknown: hpa, keda or statefulset"))),
    };
    let known = || operations.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = operations.iter().find(|(name, _)| *name == op).map(|(_, operation)| *operation);
    found.ok_or_else(|| Wrong::new("op", format!("{op:?} is unknown: {component} has {}", known())))
}

impl Failure {
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match self {
            Failure::Wrong(wrong) => writeln!(out, "  {wrong}"),
            Failure::Differs { expected, got } => writeln!(out, "  expected {expected}\n  got      {got}"),
        }
    }
}
