//! Parses a request's line: verb, resource, subresource, namespace, name, query. Does not read its body.

use std::collections::BTreeMap;

use http::Method;

use crate::access::Wanted;

/// A parsed request line. The resource is as written: whether it exists is checked after the rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine {
    /// In the terms of a rule: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    pub plural: String,
    pub subresource: Option<String>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub query: BTreeMap<String, String>,
}

impl RequestLine {
    /// None: the path is not one of a resource.
    pub(crate) fn read(method: &Method, path: &str, query: Option<&str>) -> Option<RequestLine> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, _, ..] => (Some(*namespace), &rest[2..]),
            _ => (None, &rest[..]),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, subresource] => (plural, Some(name), Some(subresource)),
            _ => return None,
        };
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        let watches = query.get("watch").is_some_and(|value| matches!(value.as_str(), "true" | "1"));
        let verb = match (method.as_str(), name) {
            ("GET", _) if watches => "watch",
            ("GET", Some(_)) => "get",
            ("GET", None) => "list",
            ("POST", _) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            _ => return None,
        };
        Some(RequestLine {
            verb,
            group: group.to_owned(),
            version: version.to_owned(),
            plural: (*plural).to_owned(),
            subresource: subresource.map(|&text| text.to_owned()),
            namespace: namespace.map(str::to_owned),
            name: name.map(|&text| text.to_owned()),
            query,
        })
    }

    /// In the terms of a rule: `pods`, `statefulsets/scale`.
    pub(crate) fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.plural),
            None => self.plural.clone(),
        }
    }

    pub(crate) fn wanted<'a>(&'a self, resource: &'a str) -> Wanted<'a> {
        // A list or watch of one name by field selector counts as one of that name.
        let by_field = || self.query.get("fieldSelector")?.strip_prefix("metadata.name=");
        Wanted {
            verb: self.verb,
            group: &self.group,
            resource,
            namespace: self.namespace.as_deref(),
            name: self.name.as_deref().or_else(by_field),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }
}
