//! Lists: selected objects at a version, in pages. Later pages show the state of the first one.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Store;
use crate::selector::{Fields, Labels};
use crate::{Resource, Status};

/// Selects objects of a resource.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// None: all namespaces.
    pub namespace: Option<String>,
    /// Requirements on labels.
    pub labels: Labels,
    /// Requirements on fields.
    pub fields: Fields,
}

impl Selection {
    /// Selects all objects of a namespace.
    #[must_use]
    pub fn in_namespace(namespace: &str) -> Selection {
        Selection { namespace: Some(namespace.to_owned()), ..Selection::default() }
    }

    /// Reports whether the object is selected.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let here = |namespace: &str| object["metadata"]["namespace"] == namespace;
        self.namespace.as_deref().is_none_or(here) && self.labels.matches(object) && self.fields.matches(object)
    }
}

/// The version that a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The present one.
    Newest,
    /// The present one, which must have reached this version.
    NotOlderThan(u64),
    /// This version, from the history.
    Exactly(u64),
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The version of the store that the page shows.
    pub version: u64,
    /// The selected objects, by namespace and name.
    pub items: Vec<Arc<Value>>,
    /// The token for the next page.
    pub next: Option<String>,
    /// How many objects follow this page, in the cases in which the API reports it (only without selectors).
    pub remaining: Option<usize>,
}

/// The continue token, with the same bytes as a real server's.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Store {
    /// Lists objects in the order of their keys. A `limit` of 0 is unlimited.
    ///
    /// # Errors
    /// 400 (token), 410 (too old) or 504 (version not reached), like the API.
    pub fn list(
        &self,
        resource: Resource,
        selection: &Selection,
        at: At,
        limit: usize,
        token: Option<&str>,
    ) -> Result<Page, Status> {
        let (version, start) = match token {
            Some(token) => self.resume(token)?,
            None => (self.version_at(at)?, None),
        };
        let snapshot = self.snapshot(resource, version);
        let place = |object: &Value| -> String {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            match selection.namespace {
                // Under the prefix of one namespace, the key is the name with a slash in front.
                Some(_) => format!("/{}", text("name")),
                None => format!("{}/{}", text("namespace"), text("name")),
            }
        };
        let start = start.map(|start| match selection.namespace {
            Some(_) => format!("/{}", start.trim_start_matches('/')),
            None => start,
        });
        let mut items = snapshot.into_iter().filter(|object| {
            selection.matches(object) && start.as_deref().is_none_or(|start| place(object).as_str() >= start)
        });
        let page: Vec<Arc<Value>> =
            if limit == 0 { items.by_ref().collect() } else { items.by_ref().take(limit).collect() };
        let after = items.count();
        let next = (after > 0).then(|| page.last().map(|last| token_of(version, &format!("{}\0", place(last)))));
        let unselected = selection.labels.is_empty() && selection.fields.is_empty();
        let remaining = (after > 0 && unselected).then_some(after);
        Ok(Page { version, items: page, next: next.flatten(), remaining })
    }

    fn version_at(&self, at: At) -> Result<u64, Status> {
        match at {
            At::Newest => Ok(self.version),
            At::NotOlderThan(wanted) | At::Exactly(wanted) if wanted > self.version => {
                Err(Status::from_the_future(wanted, self.version))
            }
            At::NotOlderThan(_) => Ok(self.version),
            At::Exactly(wanted) if wanted < self.floor => Err(Status::list_too_old()),
            At::Exactly(wanted) => Ok(wanted),
        }
    }

    fn resume(&self, token: &str) -> Result<(u64, Option<String>), Status> {
        let wrong = || Status::bad_request("continue key is not valid: it must be a token that a list answered with");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        match u64::try_from(token.rv) {
            // Minus one: continue in the current state.
            Err(_) => Ok((self.version, Some(token.start))),
            Ok(version) if version < self.floor => Err(Status::continue_too_old(encode(-1, token.start))),
            Ok(version) if version > self.version => Err(Status::from_the_future(version, self.version)),
            Ok(version) => Ok((version, Some(token.start))),
        }
    }

    /// The objects as of a version within the history.
    fn snapshot(&self, resource: Resource, version: u64) -> Vec<Arc<Value>> {
        let mut undone: BTreeMap<(&str, &str), Option<&Arc<Value>>> = BTreeMap::new();
        for change in self.changes_after(version).into_iter().flatten().filter(|c| c.key.resource == resource) {
            undone.entry((&change.key.namespace, &change.key.name)).or_insert(change.before.as_ref());
        }
        if undone.is_empty() {
            return self.all(resource).cloned().collect();
        }
        let mut then: BTreeMap<(&str, &str), &Arc<Value>> = self
            .objects
            .get(&resource)
            .into_iter()
            .flatten()
            .map(|((namespace, name), object)| ((namespace.as_str(), name.as_str()), object))
            .collect();
        for (key, before) in undone {
            match before {
                Some(object) => then.insert(key, object),
                None => then.remove(&key),
            };
        }
        then.into_values().cloned().collect()
    }
}

fn token_of(version: u64, start: &str) -> String {
    encode(i64::try_from(version).unwrap_or(i64::MAX), start.to_owned())
}

fn encode(rv: i64, start: String) -> String {
    let token = Token { v: "meta.k8s.io/v1".to_owned(), rv, start };
    // This cannot fail: three plain fields.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}
