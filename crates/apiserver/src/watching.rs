//! One watch: turns changes into its events. Pure; server/stream.rs connects it to a client.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::store::{Change, Selection, Store};
use crate::{Resource, Status};

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With an ADDED for each existing object, then their changes.
    Now,
    /// The same, with a bookmark after the initial events (`sendInitialEvents`).
    Streamed,
    /// With the changes after this version.
    After(u64),
}

#[derive(Debug)]
pub(crate) struct Watching {
    resource: Resource,
    selection: Selection,
    metadata_only: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    /// All changes up to this version have been sent or queued.
    version: u64,
    queue: VecDeque<Event>,
    over: bool,
}

#[derive(Debug)]
enum Event {
    Object(&'static str, Arc<Value>),
    /// Follows all changes up to the version.
    Bookmark {
        version: u64,
        initial_events_end: bool,
    },
    Error(Status),
}

impl Watching {
    pub(crate) fn new(
        store: &Store,
        resource: Resource,
        selection: Selection,
        start: Start,
        metadata_only: bool,
    ) -> Watching {
        let mut watching = Watching {
            resource,
            selection,
            metadata_only,
            bookmarks: false,
            timeout_seconds: None,
            version: store.version(),
            queue: VecDeque::new(),
            over: false,
        };
        match start {
            Start::After(version) if version < store.oldest() => {
                watching.fail(Status::too_old(version, store.oldest()));
            }
            Start::After(version) => watching.version = version,
            Start::Now | Start::Streamed => {
                for object in store.all(resource).filter(|object| watching.selection.matches(object)) {
                    watching.queue.push_back(Event::Object("ADDED", Arc::clone(object)));
                }
                if start == Start::Streamed {
                    let version = watching.version;
                    watching.queue.push_back(Event::Bookmark { version, initial_events_end: true });
                }
            }
        }
        watching
    }

    /// Queues events for new changes. Deletions of the uids in `swallowed` are dropped.
    pub(crate) fn read(&mut self, store: &Store, swallowed: &BTreeSet<String>) {
        if self.over {
            return;
        }
        let Some(changes) = store.changes_after(self.version) else {
            return self.fail(Status::too_old(self.version, store.oldest()));
        };
        for change in changes.filter(|change| change.key.resource == self.resource) {
            let lost =
                change.deleted && change.object["metadata"]["uid"].as_str().is_some_and(|u| swallowed.contains(u));
            if let Some(event) = self.event(change).filter(|_| !lost) {
                self.queue.push_back(event);
            }
        }
        // A watch may start after a version that has not been reached yet.
        self.version = self.version.max(store.version());
    }

    pub(crate) fn bookmark(&mut self) {
        self.queue.push_back(Event::Bookmark { version: self.version, initial_events_end: false });
    }

    pub(crate) fn waits(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether everything has been sent: nothing follows after an error.
    pub(crate) fn over(&self) -> bool {
        self.over && self.queue.is_empty()
    }

    /// The next line with its newline, and whether it is about an object (not a bookmark or error).
    pub(crate) fn line(&mut self) -> Option<(Vec<u8>, bool)> {
        let event = self.queue.pop_front()?;
        let (kind, object) = match &event {
            Event::Object(kind, object) => (*kind, self.shown(object)),
            Event::Bookmark { version, initial_events_end } => {
                ("BOOKMARK", self.shown(&Arc::new(self.resource.bookmark(*version, *initial_events_end))))
            }
            Event::Error(status) => ("ERROR", Arc::new(status.to_value())),
        };
        // A Value always serialises.
        let mut line = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
        line.extend(serde_json::to_vec(&*object).unwrap_or_default());
        line.extend(b"}\n");
        Some((line, matches!(event, Event::Object(..))))
    }

    fn shown(&self, object: &Arc<Value>) -> Arc<Value> {
        if self.metadata_only { Arc::new(metadata_of(object)) } else { Arc::clone(object) }
    }

    fn event(&self, change: &Change) -> Option<Event> {
        let before = change.before.as_ref().filter(|object| self.selection.matches(object));
        let after = !change.deleted && self.selection.matches(&change.object);
        match (before, after) {
            (None, true) => Some(Event::Object("ADDED", Arc::clone(&change.object))),
            (Some(_), true) => Some(Event::Object("MODIFIED", Arc::clone(&change.object))),
            (Some(_), false) if change.deleted => Some(Event::Object("DELETED", Arc::clone(&change.object))),
            // No longer selected: this watch gets a DELETED with the last state that was selected.
            (Some(before), false) => {
                let mut last = Value::clone(before);
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                Some(Event::Object("DELETED", Arc::new(last)))
            }
            (None, false) => None,
        }
    }

    fn fail(&mut self, status: Status) {
        self.queue.push_back(Event::Error(status));
        self.over = true;
    }
}

/// The answer to an Accept header with `as=PartialObjectMetadata`.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
