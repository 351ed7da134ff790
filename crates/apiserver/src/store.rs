//! The objects and the history of their changes, with one resourceVersion for all of them, as in etcd. Pure: no socket, no
//! clock (each write has `now` in milliseconds since the epoch), uids from a seeded counter, ordered maps only.

mod list;
mod managers;
mod merge;
mod naming;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

pub use list::{At, Page, Selection};
pub use managers::Writer;
pub(crate) use merge::merge;
use merge::{is_empty, remove, same_name, same_version, tidy};
use naming::Names;
pub(crate) use naming::{letters, mix};

use crate::{Resource, Status, content, stamp};

/// The finalizer of an object whose dependents stay when it is deleted.
pub(crate) const ORPHAN: &str = "orphan";

/// An object by its resource, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The kind of object.
    pub resource: Resource,
    /// Its namespace; every resource of this server is namespaced.
    pub namespace: String,
    /// Its name, unique in the namespace for its resource.
    pub name: String,
}

impl Key {
    /// Names an object.
    #[must_use]
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Key {
        Key { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// One write, as recorded in the history.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version of the store after the write: the object's `resourceVersion`.
    pub version: u64,
    /// The written object.
    pub key: Key,
    /// The previous state; none if the object is new.
    pub before: Option<Arc<Value>>,
    /// The new state; for a deletion, the last state with the version of the deletion.
    pub object: Arc<Value>,
    /// Whether the write deleted the object.
    pub deleted: bool,
}

/// The part that a write may change: `/status` changes only the status, and other writes everything but the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object except for its status.
    Whole,
    /// The status only: a write to `/status`.
    Status,
}

/// The options of a DELETE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Precondition: the object has this uid.
    pub uid: Option<String>,
    /// Precondition: the object has this resourceVersion.
    pub version: Option<String>,
    /// The grace period of a pod in seconds; 0 deletes it at once. `None`: the one in its spec.
    pub grace_seconds: Option<u64>,
    /// Leaves its dependents behind without an owner: the object waits for the finalizer `orphan`.
    pub orphan: bool,
}

/// The objects and the history of their changes. Pure: time comes with each write.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Resource, BTreeMap<(String, String), Arc<Value>>>,
    version: u64,
    history: VecDeque<Change>,
    history_limit: usize,
    /// A new watch can get all changes after this version.
    floor: u64,
    /// Changes after this version are still in the history (`floor` can be raised above it on purpose).
    kept: u64,
    names: Names,
    writer: Option<Writer>,
}

impl Default for Store {
    fn default() -> Self {
        Store::new(0)
    }
}

impl Store {
    /// An empty store at version 1; the uids are derived from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Store {
        Store {
            objects: BTreeMap::new(),
            version: 1,
            history: VecDeque::new(),
            history_limit: 50_000,
            floor: 1,
            kept: 1,
            names: Names::new(seed),
            writer: None,
        }
    }

    /// Sets how many changes are kept (default: 50 000; each holds some kilobytes for a pod). Older versions get 410, also
    /// in open watches that lag that far behind.
    pub fn keep_history(&mut self, changes: usize) {
        self.history_limit = changes;
        self.trim();
    }

    /// From now on all earlier versions are expired for new requests; open watches continue.
    pub fn forget_history(&mut self) {
        self.floor = self.version;
    }

    /// The newest resourceVersion.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version that a watch can start from.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.floor
    }

    /// Advances the version, as writes to other objects do in a real cluster.
    pub fn skip_to(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Stores an object unchanged as an initial state, with its uid, times, status and resourceVersion (if it has one). If
    /// that version has already passed, all versions before the newest expire.
    ///
    /// # Errors
    /// 400 if `apiVersion`, `kind`, namespace or name are missing or unknown.
    pub fn load(&mut self, mut object: Value) -> Result<Arc<Value>, Status> {
        let resource = Resource::of(&object)
            .ok_or_else(|| Status::bad_request(format!("unknown kind: {} {}", object["apiVersion"], object["kind"])))?;
        let text = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty());
        let (Some(namespace), Some(name)) = (text("namespace"), text("name")) else {
            return Err(Status::bad_request("metadata.namespace and metadata.name are needed"));
        };
        let key = Key::new(resource, namespace, name);
        let asked = text("resourceVersion").and_then(|version| version.parse::<u64>().ok());
        if text("uid").is_none() {
            object["metadata"]["uid"] = json!(self.names.uid());
        }
        let Some(version) = asked else { return Ok(self.write(key, object)) };
        if version > self.version {
            self.version = version - 1;
            return Ok(self.write(key, object));
        }
        // Older than the current version: this cannot be represented as a change, so all earlier versions expire.
        let object = Arc::new(object);
        self.objects.entry(resource).or_default().insert((key.namespace, key.name), Arc::clone(&object));
        self.floor = self.version;
        self.kept = self.version;
        self.history.clear();
        Ok(object)
    }

    /// Creates an object, with defaults filled in.
    ///
    /// # Errors
    /// 400, 409 (it exists) or 422, like the API.
    pub fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
        now: u64,
    ) -> Result<Arc<Value>, Status> {
        if !object.is_object() {
            return Err(Status::bad_request("the object provided is no JSON object"));
        }
        let given = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        if given != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let prefix = object["metadata"]["generateName"].as_str().filter(|prefix| !prefix.is_empty());
        let name = match (object["metadata"]["name"].as_str().filter(|name| !name.is_empty()), prefix) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}{}", self.names.suffix()),
            (None, None) => {
                let cause = crate::status::Cause::required("metadata.name", "name or generateName is required");
                return Err(Status::invalid(resource, "", &[cause]));
            }
        };
        let key = Key::new(resource, namespace, &name);
        if self.get(resource, namespace, &name).is_ok() {
            return Err(Status::already_exists(resource, &name));
        }
        object["kind"] = json!(resource.kind());
        object["apiVersion"] = json!(resource.api_version());
        let uid = self.names.uid();
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(namespace);
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(stamp(now));
        // Autoscalers have none before Kubernetes 1.37.
        if matches!(resource, Resource::Events | Resource::HorizontalPodAutoscalers) {
            remove(metadata, "generation");
        } else {
            metadata["generation"] = json!(1);
        }
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"] {
            remove(metadata, field);
        }
        if resource.has_status() {
            remove(&mut object, "status");
        }
        content::check(resource, &name, None, &object)?;
        content::fill(resource, &mut object);
        tidy(&mut object);
        self.manage(&key, None, &mut object);
        Ok(self.write(key, object))
    }

    /// # Errors
    /// 404.
    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Arc<Value>, Status> {
        self.objects
            .get(&resource)
            .and_then(|objects| objects.get(&(namespace.to_owned(), name.to_owned())))
            .cloned()
            .ok_or_else(|| Status::not_found(resource, name))
    }

    /// All objects of a resource, sorted by namespace and name.
    pub fn all(&self, resource: Resource) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.get(&resource).into_iter().flat_map(BTreeMap::values)
    }

    /// PUT: replaces the whole object. If it has a resourceVersion, only that version.
    ///
    /// # Errors
    /// 404, 409 or 422, like the API.
    pub fn update(&mut self, key: &Key, part: Part, new: Value) -> Result<Arc<Value>, Status> {
        let old = self.get(key.resource, &key.namespace, &key.name)?;
        same_name(key, &new)?;
        same_version(key, &old, &new)?;
        let asked = new["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty());
        let found = old["metadata"]["uid"].as_str().unwrap_or_default();
        if let Some(asked) = asked.filter(|asked| *asked != found) {
            return Err(Status::other_uid_in_put(key.resource, &key.name, asked, found));
        }
        self.replace(key, part, &old, new, None)
    }

    /// A JSON merge patch (RFC 7386). `metadata.resourceVersion` in it is an optimistic lock.
    ///
    /// # Errors
    /// 400, 404, 409 or 422, like the API.
    pub fn merge_patch(&mut self, key: &Key, part: Part, patch: &Value) -> Result<Arc<Value>, Status> {
        let old = self.get(key.resource, &key.namespace, &key.name)?;
        if !patch.is_object() {
            return Err(Status::bad_request("the patch is no JSON object"));
        }
        let mut new = Value::clone(&old);
        merge(&mut new, patch);
        same_name(key, &new)?;
        same_version(key, &old, &new)?;
        let uid = &new["metadata"]["uid"];
        if *uid != old["metadata"]["uid"] && uid.as_str().is_some_and(|uid| !uid.is_empty()) {
            // A real server lists this cause twice.
            let cause = crate::status::Cause::value("metadata.uid", uid, "field is immutable");
            return Err(Status::invalid(key.resource, &key.name, &[cause.clone(), cause]));
        }
        self.replace(key, part, &old, new, None)
    }

    /// Reads, changes and writes back: for controllers, which always have the newest version.
    ///
    /// # Errors
    /// 404 or 422, like the API.
    pub fn change(&mut self, key: &Key, part: Part, change: impl FnOnce(&mut Value)) -> Result<Arc<Value>, Status> {
        let old = self.get(key.resource, &key.namespace, &key.name)?;
        let mut new = Value::clone(&old);
        change(&mut new);
        self.replace(key, part, &old, new, None)
    }

    /// The scheduler's binding: the only write that changes spec and status at once, without a new generation.
    pub(crate) fn bind(&mut self, key: &Key, bound: Value) -> Result<Arc<Value>, Status> {
        self.get(key.resource, &key.namespace, &key.name)?;
        Ok(self.write(key.clone(), bound))
    }

    /// DELETE. A scheduled pod only starts terminating (unless its grace period is 0), and an object with finalizers waits
    /// for them. Returns the object, or nothing if the API returns only a success.
    ///
    /// # Errors
    /// 404, or 409 if a precondition does not hold.
    pub fn delete(&mut self, key: &Key, deletion: &Deletion, now: u64) -> Result<Option<Arc<Value>>, Status> {
        let old = self.get(key.resource, &key.namespace, &key.name)?;
        let metadata = &old["metadata"];
        let found = |field: &str| metadata[field].as_str().unwrap_or_default();
        if let Some(asked) = deletion.uid.as_deref().filter(|asked| *asked != found("uid")) {
            return Err(Status::other_uid(key.resource, &key.name, asked, found("uid")));
        }
        if let Some(asked) = deletion.version.as_deref().filter(|asked| *asked != found("resourceVersion")) {
            return Err(Status::other_version(key.resource, &key.name, asked, found("resourceVersion")));
        }
        let is_pod = key.resource == Resource::Pods;
        let ending = metadata["deletionTimestamp"].as_str();
        let grace = match (ending, metadata["deletionGracePeriodSeconds"].as_u64()) {
            // Already terminating: the grace period can only become shorter.
            (Some(_), Some(current)) => match deletion.grace_seconds {
                Some(asked) if asked < current => asked,
                Some(_) | None => return Ok(Some(old)),
            },
            (Some(_), None) | (None, _) if is_pod => {
                let unscheduled = old["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
                let over = matches!(old["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
                let own = old["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
                if unscheduled || over { 0 } else { deletion.grace_seconds.unwrap_or(own) }
            }
            (Some(_), None) | (None, _) => 0,
        };
        let orphans = deletion.orphan && !is_pod && ending.is_none();
        let waits = orphans || !is_empty(&metadata["finalizers"]);
        if !is_pod && !waits {
            self.remove(key, &old);
            return Ok(None);
        }
        let end = match (ending.and_then(crate::milliseconds), metadata["deletionGracePeriodSeconds"].as_u64()) {
            (Some(end), Some(current)) => now.max(end.saturating_sub(current * 1000).saturating_add(grace * 1000)),
            (Some(_), None) | (None, _) => now + grace * 1000,
        };
        let mut new = Value::clone(&old);
        new["metadata"]["deletionTimestamp"] = json!(stamp(end));
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if orphans {
            let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
            finalizers.push(json!(ORPHAN));
            new["metadata"]["finalizers"] = json!(finalizers);
        }
        if ending.is_none()
            && let Some(generation) = new["metadata"]["generation"].as_u64()
        {
            new["metadata"]["generation"] = json!(generation + 1);
        }
        let new = self.write(key.clone(), new);
        if grace > 0 || waits { Ok(Some(new)) } else { Ok(Some(self.remove(key, &new))) }
    }

    /// The changes after a version, oldest first; `None` if some of them are no longer kept.
    #[must_use]
    pub fn changes_after(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let start = self.history.partition_point(|change| change.version <= version);
        (version >= self.kept).then(|| self.history.range(start..))
    }

    /// `managed`: the owners of its fields, if they are already known.
    fn replace(
        &mut self,
        key: &Key,
        part: Part,
        old: &Arc<Value>,
        mut new: Value,
        managed: Option<Value>,
    ) -> Result<Arc<Value>, Status> {
        if part == Part::Status {
            let status = new["status"].take();
            new = Value::clone(old);
            new["status"] = status;
        } else if key.resource.has_status() {
            match old.get("status") {
                Some(status) => new["status"] = status.clone(),
                None => remove(&mut new, "status"),
            }
        }
        let fixed = [
            "name",
            "namespace",
            "generateName",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
        ];
        if !new["metadata"].is_object() {
            new["metadata"] = json!({});
        }
        for field in fixed {
            match old["metadata"].get(field) {
                Some(value) => new["metadata"][field] = value.clone(),
                None => remove(&mut new["metadata"], field),
            }
        }
        new["kind"] = old["kind"].clone();
        new["apiVersion"] = old["apiVersion"].clone();
        tidy(&mut new);
        if part == Part::Whole && self.writer.is_some() {
            default(key, &mut new);
        }
        content::check(key.resource, &key.name, Some(old), &new)?;
        match managed {
            Some(managed) => new["metadata"]["managedFields"] = managed,
            None if part == Part::Whole && new != **old => self.manage(key, Some(old), &mut new),
            None => {}
        }
        if new == **old {
            return Ok(Arc::clone(old));
        }
        let over = new["metadata"]["deletionGracePeriodSeconds"].as_u64() == Some(0);
        if over && is_empty(&new["metadata"]["finalizers"]) && !is_empty(&old["metadata"]["finalizers"]) {
            return Ok(self.remove(key, old));
        }
        if let Some(generation) = new["metadata"]["generation"].as_u64().filter(|_| new["spec"] != old["spec"]) {
            new["metadata"]["generation"] = json!(generation + 1);
        }
        Ok(self.write(key.clone(), new))
    }

    fn write(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let place = (key.namespace.clone(), key.name.clone());
        let before = self.objects.entry(key.resource).or_default().insert(place, Arc::clone(&object));
        self.record(Change { version: self.version, key, before, object: Arc::clone(&object), deleted: false });
        object
    }

    fn remove(&mut self, key: &Key, old: &Arc<Value>) -> Arc<Value> {
        self.version += 1;
        let mut last = Value::clone(old);
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(last);
        let before = self
            .objects
            .get_mut(&key.resource)
            .and_then(|objects| objects.remove(&(key.namespace.clone(), key.name.clone())));
        let change =
            Change { version: self.version, key: key.clone(), before, object: Arc::clone(&object), deleted: true };
        self.record(change);
        object
    }

    fn record(&mut self, change: Change) {
        self.history.push_back(change);
        self.trim();
    }

    fn trim(&mut self) {
        while self.history.len() > self.history_limit {
            if let Some(gone) = self.history.pop_front() {
                self.kept = gone.version;
                self.floor = self.floor.max(gone.version);
            }
        }
    }
}

/// Fills in fields that a write has omitted, except for the status.
fn default(key: &Key, object: &mut Value) {
    let status = object.get("status").cloned();
    content::fill(key.resource, object);
    match status {
        Some(status) => object["status"] = status,
        None => remove(object, "status"),
    }
}
