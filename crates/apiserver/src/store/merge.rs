//! Merging, and checks of fields that a write must not change: the name and the resourceVersion.

use serde_json::{Map, Value};

use super::Key;
use crate::Status;

/// RFC 7386: `null` removes, objects merge, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(map) = target.as_object_mut() {
        for (key, change) in changes {
            if change.is_null() {
                map.remove(key);
            } else {
                merge(map.entry(key).or_insert(Value::Null), change);
            }
        }
    }
}

pub(super) fn same_name(key: &Key, new: &Value) -> Result<(), Status> {
    for (field, wanted) in [("name", &key.name), ("namespace", &key.namespace)] {
        let given = new["metadata"][field].as_str().filter(|given| !given.is_empty()).unwrap_or(wanted);
        if given != wanted {
            return Err(Status::bad_request(format!(
                "the {field} of the object ({given}) does not match the {field} on the URL ({wanted})"
            )));
        }
    }
    Ok(())
}

pub(super) fn same_version(key: &Key, old: &Value, new: &Value) -> Result<(), Status> {
    let asked = new["metadata"]["resourceVersion"].as_str().filter(|asked| !asked.is_empty());
    if asked.is_some_and(|asked| old["metadata"]["resourceVersion"] != *asked) {
        return Err(Status::modified(key.resource, &key.name));
    }
    Ok(())
}

/// Removes empty fields, as the API does.
pub(super) fn tidy(object: &mut Value) {
    for field in ["annotations", "labels", "finalizers", "ownerReferences"] {
        if is_empty(&object["metadata"][field]) {
            remove(&mut object["metadata"], field);
        }
    }
}

pub(super) fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

pub(super) fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}
