//! The OpenAPI 3.1 document: paths from the table, schemas from the types (OpenAPI 3.1 uses JSON Schema 2020-12, as schemars does).

use crate::routes::{Body, Role, Route};
use crate::{Pool, PoolList, PoolRemoved, Problem, ROUTES, SessionList};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

const DESCRIPTION: &str = "For operators, on the address that `[admin]` sets. Loopback by default; if a token is configured, it is \
required for everything but the probes (`x-role: probe`). Requests from web pages are refused: they carry an `Origin`, and \
without a token the request's `Host` must be an IP address or `localhost`.\n\nThe API only grows: clients ignore fields that they \
do not know.";

/// Generates the document.
#[must_use]
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|s| {
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.name().to_lowercase()] = operation(route, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Slotkeeper's admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    answers.insert(
        "200".into(),
        json!({ "description": described(route.answer), "content": content(route.answer, schemas) }),
    );
    for failure in route.failures() {
        let status = failure.status.to_string();
        let Some(Value::String(description)) = answers.get_mut(&status).and_then(|a| a.get_mut("description")) else {
            let content = if route.role == Role::Probe && failure.status == 503 {
                text("text/plain")
            } else {
                json_of::<Problem>(schemas)
            };
            answers.insert(status, json!({ "description": capital(failure.when), "content": content }));
            continue;
        };
        description.push_str(", or ");
        description.push_str(failure.when);
    }
    let parameters: Vec<Value> = route
        .parameters()
        .map(|p| {
            let schema =
                if p.is_number { json!({ "type": "integer", "minimum": 0 }) } else { json!({ "type": "string" }) };
            json!({ "name": p.name, "in": "path", "required": true, "description": p.description, "schema": schema })
        })
        .collect();
    let mut operation = json!({
        "operationId": route.id, "summary": route.summary, "tags": [tag(route)], "x-role": route.role.name(), "responses": answers,
        // Without a configured token none is needed: the empty requirement.
        "security": if route.role == Role::Probe { json!([]) } else { json!([{ "token": [] }, {}]) },
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    operation
}

/// The group in which a viewer shows it.
fn tag(route: &Route) -> &'static str {
    match route.answer {
        Body::Line | Body::Metrics | Body::OpenApi => "dispatcher",
        Body::SessionList => "sessions",
        Body::PoolList | Body::Pool | Body::PoolRemoved => {
            if route.path.contains("{session}") {
                "sessions"
            } else if route.path.contains("{ordinal}") {
                "pods"
            } else {
                "pools"
            }
        }
    }
}

fn described(body: Body) -> &'static str {
    match body {
        Body::Line => "One line of plain text.",
        Body::Metrics => "The metrics in Prometheus' text format.",
        Body::OpenApi => "An OpenAPI document.",
        Body::PoolList => "The pools.",
        Body::Pool => "The pool, after the request.",
        Body::PoolRemoved => "The pool has been removed.",
        Body::SessionList => "The sessions.",
    }
}

fn content(body: Body, schemas: &mut SchemaGenerator) -> Value {
    match body {
        Body::Line | Body::Metrics => text("text/plain"),
        Body::OpenApi => json!({ "application/json": { "schema": { "type": "object" } } }),
        Body::PoolList => json_of::<PoolList>(schemas),
        Body::Pool => json_of::<Pool>(schemas),
        Body::PoolRemoved => json_of::<PoolRemoved>(schemas),
        Body::SessionList => json_of::<SessionList>(schemas),
    }
}

fn text(kind: &str) -> Value {
    json!({ kind: { "schema": { "type": "string" } } })
}

fn json_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({ "application/json": { "schema": schemas.subschema_for::<T>() } })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
