//! Field management (Kubernetes docs, "Server-Side Apply"), as far as the recording covers it (tests/transcripts 12): the
//! owners of fields, conflicts of an apply, and fields that an apply removes. Lists are owned as a whole, as in custom
//! resources; the keyed lists of built-in types are treated alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Key, Part, Store, same_version, tidy};
use crate::{Status, stamp};

/// The field manager of a write. Writes without one leave `managedFields` unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The manager's name: `fieldManager`, or the first part of the client's `User-Agent`.
    pub manager: String,
    /// `status` or `scale`. `None` for the object itself.
    pub subresource: Option<String>,
    /// The time of the write, in milliseconds since the epoch.
    pub now: u64,
}

/// A field, as the keys on the path to it.
type Path = Vec<String>;

/// An entry of `managedFields`.
#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    operation: String,
    subresource: Option<String>,
    time: Value,
    fields: BTreeSet<Path>,
}

impl Entry {
    fn is_of(&self, writer: &Writer, operation: &str) -> bool {
        self.manager == writer.manager && self.operation == operation && self.subresource == writer.subresource
    }
}

impl Store {
    /// Sets the field manager of the following writes.
    pub fn set_writer(&mut self, writer: Option<Writer>) {
        self.writer = writer;
    }

    /// An update has turned `old` into `new`: changed fields now belong to the writer alone.
    pub(super) fn manage(&self, key: &Key, old: Option<&Value>, new: &mut Value) {
        let Some(writer) = &self.writer else { return };
        let (before, after) = (old.map(leaves).unwrap_or_default(), leaves(new));
        let value = |object: &Value, path: &Path| at(object, path).cloned();
        let mut changed: BTreeSet<Path> =
            after.iter().filter(|path| old.is_none_or(|old| value(old, path) != value(new, path))).cloned().collect();
        let gone: BTreeSet<Path> = before.difference(&after).cloned().collect();
        let mut entries = entries(new);
        for entry in &mut entries {
            entry.fields.retain(|path| !changed.contains(path) && !gone.contains(path));
        }
        let scale = writer.subresource.as_deref() == Some("scale");
        if scale {
            // Through `scale`, the writer becomes the owner of `replicas` only if the new value is not 0 (the scale object
            // omits 0) and the field had an owner before.
            let replicas: Path = ["spec", "replicas"].map(str::to_owned).to_vec();
            let owned = old.is_some_and(|old| self::entries(old).iter().any(|e| e.fields.contains(&replicas)));
            if at(new, &replicas).and_then(Value::as_u64) == Some(0) || !owned {
                changed.remove(&replicas);
            }
        }
        if !changed.is_empty() {
            let time = if scale { Value::Null } else { json!(stamp(writer.now)) };
            match entries.iter_mut().find(|entry| entry.is_of(writer, "Update")) {
                Some(entry) => {
                    entry.fields.extend(changed);
                    entry.time = time;
                }
                None => entries.push(Entry {
                    manager: writer.manager.clone(),
                    operation: "Update".to_owned(),
                    subresource: writer.subresource.clone(),
                    time,
                    fields: changed,
                }),
            }
        }
        write(key, new, entries);
    }

    /// Server-side apply. Returns true if the object is new.
    ///
    /// # Errors
    /// 400, 409 (other managers own fields that it changes, and it is not forced) or 422, like the API.
    pub fn apply(&mut self, key: &Key, object: &Value, force: bool, now: u64) -> Result<(bool, Arc<Value>), Status> {
        let Some(writer) = self.writer.take() else {
            return Err(Status::bad_request("fieldManager is required for apply patch"));
        };
        if !object["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let Ok(old) = self.get(key.resource, &key.namespace, &key.name) else {
            let mut new = object.clone();
            new["metadata"]["name"] = json!(key.name);
            let wanted = wanted(object);
            let created = self.create(key.resource, &key.namespace, new, now)?;
            let mut object = Value::clone(&created);
            write(key, &mut object, vec![applied(&writer, wanted)]);
            let namespaced = (key.namespace.clone(), key.name.clone());
            let object = Arc::new(object);
            self.objects.entry(key.resource).or_default().insert(namespaced, Arc::clone(&object));
            if let Some(last) = self.history.back_mut() {
                last.object = Arc::clone(&object);
            }
            return Ok((true, object));
        };
        same_version(key, &old, object)?;
        let wanted = wanted(object);
        // Items of lists are compared in their stored form, with defaults.
        let mut filled = object.clone();
        super::default(key, &mut filled);
        let mut entries = entries(&old);
        let mut conflicts = Vec::new();
        for entry in entries.iter_mut().filter(|entry| !entry.is_of(&writer, "Apply")) {
            let theirs: Vec<Path> = wanted
                .iter()
                .filter(|path| entry.fields.contains(*path) && at(&old, path) != at(&filled, path))
                .cloned()
                .collect();
            for path in theirs {
                if force {
                    entry.fields.remove(&path);
                } else {
                    conflicts.push((entry.clone(), path));
                }
            }
        }
        if !conflicts.is_empty() {
            return Err(conflict(key, &conflicts));
        }
        let given_up: Vec<Path> = entries
            .iter()
            .filter(|entry| entry.is_of(&writer, "Apply"))
            .flat_map(|entry| entry.fields.difference(&wanted).cloned())
            .collect();
        entries.retain(|entry| !entry.is_of(&writer, "Apply"));
        let mut new = Value::clone(&old);
        for path in given_up.iter().filter(|path| !entries.iter().any(|entry| entry.fields.contains(*path))) {
            take(&mut new, path);
        }
        for path in &wanted {
            put(&mut new, path, at(&filled, path).cloned().unwrap_or_default());
        }
        super::default(key, &mut new);
        tidy(&mut new);
        entries.push(applied(&writer, wanted));
        write(key, &mut new, entries);
        let managed = new["metadata"]["managedFields"].clone();
        if fields_only(&managed) == fields_only(&old["metadata"]["managedFields"]) {
            new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
        }
        let managed = new["metadata"]["managedFields"].clone();
        self.replace(key, Part::Whole, &old, new, Some(managed)).map(|object| (false, object))
    }
}

fn applied(writer: &Writer, fields: BTreeSet<Path>) -> Entry {
    Entry {
        manager: writer.manager.clone(),
        operation: "Apply".to_owned(),
        subresource: writer.subresource.clone(),
        time: json!(stamp(writer.now)),
        fields,
    }
}

/// `managedFields` without the times.
fn fields_only(managed: &Value) -> Value {
    let mut managed = managed.clone();
    for entry in managed.as_array_mut().into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("time");
        }
    }
    managed
}

fn conflict(key: &Key, conflicts: &[(Entry, Path)]) -> Status {
    let with = |entry: &Entry| {
        let sub = entry.subresource.as_ref().map(|sub| format!(" with subresource \"{sub}\"")).unwrap_or_default();
        format!("conflict with \"{}\"{sub} using {}", entry.manager, key.resource.api_version())
    };
    let named: Vec<(String, String)> =
        conflicts.iter().map(|(entry, path)| (with(entry), format!(".{}", path.join(".")))).collect();
    let said: Vec<String> = named.iter().map(|(with, field)| format!("{with}: {field}")).collect();
    let number = if named.len() == 1 { "1 conflict".to_owned() } else { format!("{} conflicts", named.len()) };
    let causes: Vec<Value> = named
        .iter()
        .map(|(with, field)| json!({"reason": "FieldManagerConflict", "message": with, "field": field}))
        .collect();
    Status::apply_conflict(format!("Apply failed with {number}: {}", said.join("\n")), json!({ "causes": causes }))
}

/// The fields of an applied configuration, without its identity.
fn wanted(object: &Value) -> BTreeSet<Path> {
    leaves(object)
}

/// Fields that hold a value, an empty map or a list. Identity and status have no owner.
fn leaves(object: &Value) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for field in ["annotations", "labels", "finalizers"] {
                    if let Some(value) = value.get(field) {
                        walk(vec![key.clone(), field.to_owned()], value, &mut found);
                    }
                }
            }
            _ => walk(vec![key.clone()], value, &mut found),
        }
    }
    found
}

fn walk(path: Path, value: &Value, found: &mut BTreeSet<Path>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let mut path = path.clone();
                path.push(key.clone());
                walk(path, value, found);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.insert(path);
        }
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

fn put(object: &mut Value, path: &[String], value: Value) {
    let mut place = object;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key.as_str()];
    }
    *place = value;
}

fn take(object: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(object, |value, key| value.get_mut(key));
    if let Some(map) = parent.and_then(Value::as_object_mut) {
        map.remove(last);
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    let read = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let mut fields = BTreeSet::new();
        owned(&Vec::new(), &entry["fieldsV1"], &mut fields);
        Entry {
            manager: text("manager"),
            operation: text("operation"),
            subresource: entry["subresource"].as_str().map(str::to_owned),
            time: entry["time"].clone(),
            fields,
        }
    };
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(read).collect()
}

fn owned(path: &Path, fields: &Value, found: &mut BTreeSet<Path>) {
    let named =
        fields.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.strip_prefix("f:")?, value)));
    let mut any = false;
    for (key, value) in named {
        any = true;
        let mut path = path.clone();
        path.push(key.to_owned());
        owned(&path, value, found);
    }
    if !any && !path.is_empty() {
        found.insert(path.clone());
    }
}

fn write(key: &Key, object: &mut Value, entries: Vec<Entry>) {
    let written: Vec<Value> = entries
        .into_iter()
        .filter(|entry| !entry.fields.is_empty())
        .map(|entry| {
            let mut fields = json!({});
            for path in &entry.fields {
                let path: Path = path.iter().map(|key| format!("f:{key}")).collect();
                put(&mut fields, &path, json!({}));
            }
            let mut written = json!({
                "manager": entry.manager, "operation": entry.operation, "apiVersion": key.resource.api_version(),
                "fieldsType": "FieldsV1", "fieldsV1": fields,
            });
            if !entry.time.is_null() {
                written["time"] = entry.time;
            }
            if let Some(subresource) = entry.subresource {
                written["subresource"] = json!(subresource);
            }
            written
        })
        .collect();
    if written.is_empty() {
        super::remove(&mut object["metadata"], "managedFields");
    } else {
        object["metadata"]["managedFields"] = json!(written);
    }
}
