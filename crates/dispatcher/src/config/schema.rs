//! The JSON Schema of a configuration file, for editors: made from the rows of all settings (`reference.rs`). It knows names,
//! types and ranges; rules between settings are checked by `slotkeeper check` only.

use super::reference::{Documented, Section, sections};
use super::setting::{Kind, Setting, Shown};
use serde_json::{Map, Value, json};

/// The name that the operator chooses, in paths of tables.
const NAME: &str = "NAME";

/// The schema of a file.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object(&sections(), "");
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Slotkeeper's configuration");
    schema["required"] = json!(["pools"]);
    schema
}

/// The schema of one pool, `[pools.NAME]`.
#[must_use]
pub fn pool() -> Value {
    object(&sections(), "pools.NAME")
}

/// The schema of a table with its own settings and the tables in it.
fn object(all: &[Section], path: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for documented in all.iter().filter(|section| section.path == path).flat_map(|section| &section.settings) {
        let setting = &documented.setting;
        if setting.required {
            required.push(setting.key);
        }
        properties.insert(setting.key.to_owned(), of_setting(documented));
    }
    for name in inner(all, path) {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut table = object(all, &path);
        if all.iter().any(|section| section.path == path && section.many) {
            table = json!({"type": "array", "items": table});
        }
        if let Some(description) = properties.get(name).and_then(|property| property.get("description")) {
            table["description"] = description.clone();
        }
        properties.insert(name.to_owned(), table);
    }
    if let Some(named) = properties.remove(NAME) {
        return json!({"type": "object", "additionalProperties": named, "minProperties": 1});
    }
    let mut object = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// The names of the tables directly in this one.
fn inner<'s>(all: &'s [Section], path: &str) -> Vec<&'s str> {
    let below = |section: &'s Section| {
        if path.is_empty() { Some(section.path) } else { section.path.strip_prefix(path)?.strip_prefix('.') }
    };
    let mut names: Vec<&str> = all.iter().filter_map(below).filter_map(|rest| rest.split('.').next()).collect();
    names.retain(|name| !name.is_empty());
    names.dedup();
    names
}

fn of_setting(documented: &Documented) -> Value {
    let setting = &documented.setting;
    let mut schema = of_kind(setting);
    schema["description"] = json!(format!("{}{}", setting.meaning(), end(setting)));
    if let [(_, shown)] = documented.defaults.as_slice()
        && let Some(default) = default(shown)
        && setting.default.is_none()
        && !setting.required
    {
        schema["default"] = default;
    }
    schema
}

fn end(setting: &Setting) -> &'static str {
    if setting.live { "" } else { ". A change needs a restart" }
}

fn of_kind(setting: &Setting) -> Value {
    let text = json!({"type": "string"});
    match setting.kind {
        Kind::Number { least, most, or: None } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Number { least, most, or: Some(or) } => {
            json!({"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, {"const": or}]})
        }
        Kind::Decimal { least, most } => json!({"type": "number", "minimum": least, "maximum": most}),
        Kind::Seconds { least, most, off } => {
            let mut all = vec![json!({"type": "number", "minimum": least, "maximum": most}), text];
            if off && least > 0.0 {
                all.push(json!({"const": 0}));
            }
            json!({"anyOf": all})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Choice(all) => json!({"enum": all().iter().map(|(name, _)| *name).collect::<Vec<_>>()}),
        Kind::Text(_) | Kind::Path | Kind::Variable => text,
        Kind::List(_) => json!({"type": "array", "items": text}),
        Kind::OneOrList(_) => json!({"anyOf": [text, {"type": "array", "items": text}]}),
        Kind::Slots => {
            json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]})
        }
        Kind::Account => json!({"anyOf": [text, {"type": "integer", "minimum": 0, "maximum": u32::MAX - 1}]}),
        Kind::Texts => json!({"type": "object", "additionalProperties": text}),
        Kind::Table => json!({"type": "object"}),
        Kind::Tables => json!({"type": "array", "items": {"type": "object"}}),
    }
}

fn default(shown: &Shown) -> Option<Value> {
    match shown {
        Shown::Seconds(duration) => Some(json!(duration.as_millis() as f64 / 1000.0)),
        Shown::Plain(text) => serde_json::from_str(text).ok(),
        Shown::Text(text) => Some(json!(text)),
        Shown::List(items) => Some(json!(items)),
        Shown::Words(_) => None,
    }
}
