//! Label and field selectors of lists and watches, parsed and matched as the API does.

use serde_json::Value;

use crate::{Resource, Status};

/// A label selector: all requirements must hold. Empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Label>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    /// Also true of objects without the label.
    NotIn(String, Vec<String>),
}

impl Labels {
    /// `a=b,c!=d,e in (f,g),h notin (i),j,!k`
    pub fn parse(text: &str) -> Result<Labels, Status> {
        let mut labels = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if !part.is_empty() {
                labels.push(parse_label(part).ok_or_else(|| {
                    Status::bad_request(format!("unable to parse requirement: {part:?} in label selector {text:?}"))
                })?);
            }
        }
        Ok(Labels(labels))
    }

    /// Parses a workload's `spec.selector`: matchLabels and matchExpressions. An empty one matches nothing.
    #[must_use]
    pub fn of_spec(selector: &Value) -> Option<Labels> {
        let mut labels = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            labels.push(Label::In(key.clone(), vec![value.as_str()?.to_owned()]));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str()?.to_owned();
            let values =
                expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            labels.push(match expression["operator"].as_str()? {
                "In" => Label::In(key, values.collect()),
                "NotIn" => Label::NotIn(key, values.collect()),
                "Exists" => Label::Exists(key),
                "DoesNotExist" => Label::Missing(key),
                _ => return None,
            });
        }
        (!labels.is_empty()).then_some(Labels(labels))
    }

    /// Reports whether it selects every object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether the object's labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|label| match label {
            Label::Exists(key) => labels[key].is_string(),
            Label::Missing(key) => !labels[key].is_string(),
            Label::In(key, values) => labels[key].as_str().is_some_and(|found| values.iter().any(|v| v == found)),
            Label::NotIn(key, values) => !labels[key].as_str().is_some_and(|found| values.iter().any(|v| v == found)),
        })
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told: Vec<String> = self
            .0
            .iter()
            .map(|label| match label {
                Label::Exists(key) => key.clone(),
                Label::Missing(key) => format!("!{key}"),
                Label::In(key, values) if values.len() == 1 => format!("{key}={}", values.concat()),
                Label::In(key, values) => format!("{key} in ({})", values.join(",")),
                Label::NotIn(key, values) if values.len() == 1 => format!("{key}!={}", values.concat()),
                Label::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
            })
            .collect();
        f.write_str(&told.join(","))
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_label(part: &str) -> Option<Label> {
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Label::NotIn(checked_key(key)?, vec![checked_value(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Label::In(checked_key(key)?, vec![checked_value(value)?]));
    }
    if let Some(key) = part.strip_prefix('!') {
        return Some(Label::Missing(checked_key(key)?));
    }
    if let Some((head, values)) = part.split_once('(') {
        let values: Option<Vec<String>> = values.trim_end().strip_suffix(')')?.split(',').map(checked_value).collect();
        let mut words = head.split_whitespace();
        let (key, operator) = (checked_key(words.next()?)?, words.next()?);
        return match (operator, words.next()) {
            ("in", None) => Some(Label::In(key, values?)),
            ("notin", None) => Some(Label::NotIn(key, values?)),
            _ => None,
        };
    }
    Some(Label::Exists(checked_key(part)?))
}

fn checked_key(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!text.is_empty() && text.chars().all(fine)).then(|| text.to_owned())
}

fn checked_value(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (text.len() <= 63 && text.chars().all(fine)).then(|| text.to_owned())
}

/// A field selector: all requirements must hold. Empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

impl Fields {
    /// `metadata.name=a,status.phase!=Running`; only fields that the API can select this resource by.
    pub fn parse(resource: Resource, text: &str) -> Result<Fields, Status> {
        let mut fields = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (path, value, true)
            } else {
                return Err(Status::bad_request(format!("invalid field selector: {part:?}: no = in it")));
            };
            let path = path.trim();
            if !selectable(resource).contains(&path) && !["metadata.name", "metadata.namespace"].contains(&path) {
                return Err(Status::bad_request(format!(
                    "Unable to find {:?} that match field selector {text:?}: field label not supported: {path}",
                    format!("{}, Resource={}", resource.api_version(), resource.plural()),
                )));
            }
            fields.push(Field { path: path.to_owned(), value: value.trim().to_owned(), equal });
        }
        Ok(Fields(fields))
    }

    /// Reports whether it selects every object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the condition that the object has this name.
    #[must_use]
    pub fn and_name(mut self, name: &str) -> Fields {
        self.0.push(Field { path: "metadata.name".to_owned(), value: name.to_owned(), equal: true });
        self
    }

    /// The selected name, if the selector requires one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|field| field.equal && field.path == "metadata.name").map(|field| field.value.as_str())
    }

    /// Reports whether the object's fields have the required values. A missing field counts as empty.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|field| {
            let found = field.path.split('.').fold(object, |value, key| &value[key]);
            let equal = match found {
                Value::String(text) => *text == field.value,
                Value::Null => field.value.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    serde_json::to_string(found).is_ok_and(|text| text == field.value)
                }
            };
            equal == field.equal
        })
    }
}

fn selectable(resource: Resource) -> &'static [&'static str] {
    match resource {
        Resource::Pods => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        Resource::Events => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ],
        Resource::ReplicaSets => &["status.replicas"],
        Resource::StatefulSets
        | Resource::Deployments
        | Resource::ScaledObjects
        | Resource::HorizontalPodAutoscalers => &[],
    }
}
