//! Answers an authorized request: the API without its transport, its rights and its faults.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Value, json};

use crate::request::RequestLine;
use crate::selector::{Fields, Labels};
use crate::store::{At, Deletion, Key, Page, Part, Selection, Store, Writer, merge};
use crate::watching::{Start, Watching, metadata_of};
use crate::{Resource, Status};

#[derive(Debug)]
pub(crate) enum Answer {
    Json(u16, Vec<u8>),
    Watch(Box<Watching>),
}

/// The headers that matter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers<'a> {
    pub accept: &'a str,
    pub content_type: &'a str,
    pub user_agent: &'a str,
}

/// Answers a request. Its writes are recorded for its field manager.
pub(crate) fn answer(
    store: &mut Store,
    now: u64,
    asked: &RequestLine,
    headers: Headers<'_>,
    body: &[u8],
) -> Result<Answer, Status> {
    let named = asked.text("fieldManager").or(headers.user_agent.split('/').next().filter(|name| !name.is_empty()));
    let writer = Writer { manager: named.unwrap_or("unknown").to_owned(), subresource: asked.subresource.clone(), now };
    store.set_writer(Some(writer));
    let answer = answer_to(store, now, asked, headers, body);
    store.set_writer(None);
    answer
}

fn answer_to(
    store: &mut Store,
    now: u64,
    asked: &RequestLine,
    headers: Headers<'_>,
    body: &[u8],
) -> Result<Answer, Status> {
    let resource = Resource::named(&asked.group, &asked.plural)
        .filter(|resource| resource.version() == asked.version)
        .ok_or_else(Status::no_such_path)?;
    if asked.text("dryRun").is_some() {
        return Err(Status::bad_request("dryRun: this test server does not support it"));
    }
    let shape = if headers.accept.contains("as=PartialObjectMetadata") { Shape::Metadata } else { Shape::Whole };
    let (Some(name), namespace) = (&asked.name, asked.namespace.as_deref()) else {
        return collection(store, now, asked, resource, shape, body);
    };
    if asked.verb == "watch" && asked.subresource.is_none() {
        return watch(store, asked, resource, shape);
    }
    let Some(namespace) = namespace else { return Err(Status::no_such_path()) };
    let key = Key::new(resource, namespace, name);
    let part = match asked.subresource.as_deref() {
        None => Part::Whole,
        Some("status") if resource.has_status() => Part::Status,
        Some("scale") if resource.has_scale() => return scale(store, asked, headers, &key, body),
        Some(_) => return Err(Status::no_such_path()),
    };
    match asked.verb {
        "get" => shape.one(200, &store.get(resource, namespace, name)?),
        "update" => shape.one(200, &store.update(&key, part, json_of(body)?)?),
        "patch" if part == Part::Whole && headers.content_type.starts_with("application/apply-patch+yaml") => {
            if asked.text("fieldManager").is_none() {
                return Err(Status::bad_request("fieldManager is required for apply patch"));
            }
            let (is_new, object) = store.apply(&key, &json_of(body)?, asked.text("force") == Some("true"), now)?;
            shape.one(if is_new { 201 } else { 200 }, &object)
        }
        "patch" => {
            merge_patches_only(headers)?;
            shape.one(200, &store.merge_patch(&key, part, &json_of(body)?)?)
        }
        "delete" if part == Part::Whole => {
            let uid = store.get(resource, namespace, name)?["metadata"]["uid"].clone();
            match store.delete(&key, &deletion(asked, body)?, now)? {
                Some(object) => shape.one(200, &object),
                None => {
                    let mut details = json!({"name": name, "kind": resource.plural(), "uid": uid});
                    if !resource.group().is_empty() {
                        details["group"] = json!(resource.group());
                    }
                    let done = json!({
                        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                    });
                    json_answer(200, &done)
                }
            }
        }
        _ => Err(Status::method_not_allowed()),
    }
}

fn collection(
    store: &mut Store,
    now: u64,
    asked: &RequestLine,
    resource: Resource,
    shape: Shape,
    body: &[u8],
) -> Result<Answer, Status> {
    match (asked.verb, asked.namespace.as_deref()) {
        ("list", _) => list(store, asked, resource, shape),
        ("watch", _) => watch(store, asked, resource, shape),
        ("create", Some(namespace)) => shape.one(201, &store.create(resource, namespace, json_of(body)?, now)?),
        _ => Err(Status::method_not_allowed()),
    }
}

fn selection(asked: &RequestLine, resource: Resource) -> Result<Selection, Status> {
    let fields = Fields::parse(resource, asked.text("fieldSelector").unwrap_or_default())?;
    Ok(Selection {
        namespace: asked.namespace.clone(),
        labels: Labels::parse(asked.text("labelSelector").unwrap_or_default())?,
        fields: match &asked.name {
            Some(name) => fields.and_name(name),
            None => fields,
        },
    })
}

fn version(asked: &RequestLine) -> Result<Option<u64>, Status> {
    asked.text("resourceVersion").map(|text| text.parse().map_err(|_| Status::bad_version(text))).transpose()
}

fn number(asked: &RequestLine, key: &str) -> Result<Option<u64>, Status> {
    let wrong = |text: &str| Status::bad_request(format!("{key}: {text:?} is no number"));
    asked.text(key).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}

fn list(store: &Store, asked: &RequestLine, resource: Resource, shape: Shape) -> Result<Answer, Status> {
    let at = match (version(asked)?, asked.text("resourceVersionMatch")) {
        (None, Some(_)) => {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(Status::invalid_options("resourceVersionMatch", why));
        }
        (Some(wanted), Some("Exact")) => At::Exactly(wanted),
        (None | Some(0), None | Some(_)) => At::Newest,
        (Some(wanted), None | Some(_)) => At::NotOlderThan(wanted),
    };
    let limit = usize::try_from(number(asked, "limit")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let page = store.list(resource, &selection(asked, resource)?, at, limit, asked.text("continue"))?;
    shape.many(resource, &page)
}

fn watch(store: &Store, asked: &RequestLine, resource: Resource, shape: Shape) -> Result<Answer, Status> {
    let streamed = asked.text("sendInitialEvents") == Some("true");
    let wanted = version(asked)?;
    if streamed != (asked.text("resourceVersionMatch") == Some("NotOlderThan")) {
        let why = if streamed {
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        } else {
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        };
        return Err(Status::invalid_options("resourceVersionMatch", why));
    }
    let start = match wanted {
        Some(wanted) if streamed && wanted > store.version() => {
            return Err(Status::from_the_future(wanted, store.version()));
        }
        Some(_) | None if streamed => Start::Streamed,
        None | Some(0) => Start::Now,
        Some(wanted) => Start::After(wanted),
    };
    let selection = selection(asked, resource)?;
    let mut watching = Watching::new(store, resource, selection, start, shape == Shape::Metadata);
    watching.bookmarks = matches!(asked.text("allowWatchBookmarks"), Some("true" | "1"));
    watching.timeout_seconds = number(asked, "timeoutSeconds")?;
    Ok(Answer::Watch(Box::new(watching)))
}

fn deletion(asked: &RequestLine, body: &[u8]) -> Result<Deletion, Status> {
    let options = if body.is_empty() { Value::Null } else { json_of(body)? };
    let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    Ok(Deletion {
        uid: text("uid"),
        version: text("resourceVersion"),
        grace_seconds: options["gracePeriodSeconds"].as_u64().or(number(asked, "gracePeriodSeconds")?),
        orphan: options["propagationPolicy"].as_str().or(asked.text("propagationPolicy")) == Some("Orphan"),
    })
}

/// The scale subresource: `spec.replicas` and the current status, nothing else of the workload.
fn scale(
    store: &mut Store,
    asked: &RequestLine,
    headers: Headers<'_>,
    key: &Key,
    body: &[u8],
) -> Result<Answer, Status> {
    let old = store.get(key.resource, &key.namespace, &key.name)?;
    let new = match asked.verb {
        "get" => return json_answer(200, &scale_of(&old)),
        "update" => json_of(body)?,
        "patch" => {
            merge_patches_only(headers)?;
            let mut new = scale_of(&old);
            merge(&mut new, &json_of(body)?);
            new
        }
        _ => return Err(Status::method_not_allowed()),
    };
    let mut patch = json!({"metadata": {}, "spec": {"replicas": new["spec"]["replicas"].as_i64().unwrap_or(0)}});
    for field in ["resourceVersion", "uid"] {
        if let Some(text) = new["metadata"][field].as_str() {
            patch["metadata"][field] = json!(text);
        }
    }
    json_answer(200, &scale_of(&*store.merge_patch(key, Part::Whole, &patch)?))
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let selector = Labels::of_spec(&object["spec"]["selector"]).unwrap_or_default().to_string();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector},
    })
}

fn merge_patches_only(headers: Headers<'_>) -> Result<(), Status> {
    let kind = headers.content_type.split(';').next().unwrap_or_default().trim();
    if kind == "application/merge-patch+json" { Ok(()) } else { Err(Status::unsupported_media_type()) }
}

fn json_of(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("the body is no JSON: {e}")))
}

fn json_answer(code: u16, value: &impl Serialize) -> Result<Answer, Status> {
    let mut bytes =
        serde_json::to_vec(value).map_err(|e| Status::new(500, "InternalError", format!("cannot write JSON: {e}")))?;
    bytes.push(b'\n');
    Ok(Answer::Json(code, bytes))
}

/// The form in which the client wants an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    Metadata,
}

impl Shape {
    fn one(self, code: u16, object: &Arc<Value>) -> Result<Answer, Status> {
        match self {
            Shape::Whole => json_answer(code, &**object),
            Shape::Metadata => json_answer(code, &metadata_of(object)),
        }
    }

    fn many(self, resource: Resource, page: &Page) -> Result<Answer, Status> {
        let mut metadata = json!({"resourceVersion": page.version.to_string()});
        if let Some(next) = &page.next {
            metadata["continue"] = json!(next);
        } else if resource.custom() {
            // Lists of custom resources have another type, which never omits the token.
            metadata["continue"] = json!("");
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        let list = match self {
            Shape::Whole => List {
                kind: format!("{}List", resource.kind()),
                api_version: resource.api_version(),
                metadata,
                items: page.items.iter().map(|object| Item { object, named: resource.custom() }).collect(),
            },
            Shape::Metadata => {
                let items: Vec<Value> = page.items.iter().map(|object| metadata_of(object)).collect();
                return json_answer(
                    200,
                    &json!({
                        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                        "metadata": metadata, "items": items,
                    }),
                );
            }
        };
        json_answer(200, &list)
    }
}

/// Serialized from the stored objects without copying them: a list may have ten thousand.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<Item<'a>>,
}

struct Item<'a> {
    object: &'a Value,
    /// Whether the item names its kind; items of built-in lists do not.
    named: bool,
}

impl Serialize for Item<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.object.as_object().into_iter().flatten() {
            if self.named || !matches!(key.as_str(), "kind" | "apiVersion") {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}
