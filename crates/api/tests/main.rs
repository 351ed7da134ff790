//! The table of paths is sound and documented, the documents of earlier dispatchers are read, and the OpenAPI document in `docs` is
//! the generated one.
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is a failure")]

mod documents;
mod routes;

use serde_json::Value;
use std::path::PathBuf;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Regenerate it with `REGENERATE=1 cargo test -p slotkeeper-api openapi`.
#[test]
fn the_openapi_document_in_docs_is_the_generated_one() {
    let path = project().join("docs/openapi.json");
    let generated = slotkeeper_api::openapi();
    if std::env::var_os("REGENERATE").is_some() {
        let text = serde_json::to_string_pretty(&generated).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()).unwrap_or_default();
    // Not as text: another crate of the workspace may change the order of a map's keys.
    assert!(
        stored == generated,
        "docs/openapi.json differs from the table and the types; regenerate it: REGENERATE=1 cargo test -p slotkeeper-api openapi"
    );
}

#[test]
fn every_reference_in_the_openapi_document_leads_to_a_schema() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(all) => all.iter().for_each(|v| references(v, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = slotkeeper_api::openapi();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(|s| s["description"].is_string()), "{reference}");
    }
}
