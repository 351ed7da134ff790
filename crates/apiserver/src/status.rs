//! Refusals with the API's code, reason, message and details of a `Status` object. The texts are those of a real 1.36 server
//! wherever one was recorded (tests/transcripts).

use serde_json::{Value, json};

use crate::Resource;

/// A request that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// Empty if the answer has no reason.
    pub reason: &'static str,
    /// The message, for people.
    pub message: String,
    /// `details` as in the API. `None` if the answer has none.
    pub details: Option<Value>,
    /// A continue token with which an expired list can be continued.
    pub next: Option<String>,
}

impl Status {
    /// Returns a refusal without details.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None, next: None }
    }

    fn with_details(mut self, details: Value) -> Status {
        self.details = Some(details);
        self
    }

    /// There is no object of this name: 404.
    #[must_use]
    pub fn not_found(resource: Resource, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified())).with_details(named(
            name,
            resource.group(),
            resource.plural(),
        ))
    }

    /// A path that this server does not know.
    #[must_use]
    pub fn no_such_path() -> Status {
        Status::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    /// The path does not have this method: 405.
    #[must_use]
    pub fn method_not_allowed() -> Status {
        Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with_details(json!({}))
    }

    /// The request cannot be understood: 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// A patch that is not a JSON merge patch (RFC 7396): 415.
    #[must_use]
    pub fn unsupported_media_type() -> Status {
        Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/merge-patch+json",
        )
    }

    /// An object of this name exists: 409.
    #[must_use]
    pub fn already_exists(resource: Resource, name: &str) -> Status {
        Status::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.qualified()))
            .with_details(named(name, resource.group(), resource.plural()))
    }

    /// A write with an outdated resourceVersion.
    #[must_use]
    pub fn modified(resource: Resource, name: &str) -> Status {
        conflict(
            &resource.qualified(),
            resource.plural(),
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Other managers own fields that a server-side apply changes.
    pub(crate) fn apply_conflict(message: String, details: Value) -> Status {
        Status::new(409, "Conflict", message).with_details(details)
    }

    /// A DELETE whose precondition names another incarnation.
    #[must_use]
    pub fn other_uid(resource: Resource, name: &str, asked: &str, found: &str) -> Status {
        let why = format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({found}). \
             The object might have been deleted and then recreated"
        );
        conflict(&resource.qualified_kind(), resource.kind(), resource, name, &why)
    }

    /// A DELETE whose precondition names another version.
    #[must_use]
    pub fn other_version(resource: Resource, name: &str, asked: &str, found: &str) -> Status {
        let why = format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({found}). \
             The object might have been modified"
        );
        conflict(&resource.qualified_kind(), resource.kind(), resource, name, &why)
    }

    /// A PUT that names another incarnation.
    #[must_use]
    pub fn other_uid_in_put(resource: Resource, name: &str, asked: &str, found: &str) -> Status {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}");
        conflict(&resource.qualified(), resource.plural(), resource, name, &why)
    }

    /// Content that fails validation.
    #[must_use]
    pub fn invalid(resource: Resource, name: &str, causes: &[Cause]) -> Status {
        let mut told: Vec<String> = Vec::new();
        for cause in causes {
            let line = format!("{}: {}", cause.field, cause.message);
            if !told.contains(&line) {
                told.push(line);
            }
        }
        let told = if told.len() == 1 { told.concat() } else { format!("[{}]", told.join(", ")) };
        let mut details = named(name, resource.group(), resource.kind());
        details["causes"] = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        Status::new(422, "Invalid", format!("{} \"{name}\" is invalid: {told}", resource.qualified_kind()))
            .with_details(details)
    }

    /// List or watch options that contradict each other.
    #[must_use]
    pub fn invalid_options(field: &str, message: &str) -> Status {
        Status::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: Forbidden: {message}"))
            .with_details(json!({
                "group": "meta.k8s.io", "kind": "ListOptions",
                "causes": [{"reason": "FieldValueForbidden", "message": format!("Forbidden: {message}"), "field": field}],
            }))
    }

    /// The bearer token is missing or wrong: 401.
    #[must_use]
    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// `resource` in the terms of a rule, with the subresource: `statefulsets/scale`.
    #[must_use]
    pub fn forbidden(
        user: &str,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Status {
        let plural = resource.split('/').next().unwrap_or(resource);
        let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let what = name.map_or(qualified.clone(), |name| format!("{qualified} \"{name}\""));
        let place = namespace
            .map_or("at the cluster scope".to_owned(), |namespace| format!("in the namespace \"{namespace}\""));
        let mut details = json!({"kind": plural});
        if let Some(name) = name {
            details["name"] = json!(name);
        }
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        Status::new(
            403,
            "Forbidden",
            format!(
                "{what} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}"
            ),
        )
        .with_details(details)
    }

    /// A watch from a version whose changes have expired.
    #[must_use]
    pub fn too_old(asked: u64, oldest: u64) -> Status {
        Status::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// A list at exactly a version that has expired.
    #[must_use]
    pub fn list_too_old() -> Status {
        Status::new(410, "Expired", "The resourceVersion for the provided list is too old.")
    }

    /// A continue token of an expired version; `next` continues without consistency.
    #[must_use]
    pub fn continue_too_old(next: String) -> Status {
        let mut status = Status::new(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        );
        status.next = Some(next);
        status
    }

    /// A list at a version that this server has not reached.
    #[must_use]
    pub fn from_the_future(asked: u64, current: u64) -> Status {
        Status::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {current}"))
            .with_details(json!({
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            }))
    }

    /// A resourceVersion that is not a number: 500, as a real server answers.
    #[must_use]
    pub fn bad_version(text: &str) -> Status {
        Status::new(
            500,
            "",
            format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            ),
        )
    }

    /// An error of an overloaded or failing server: 429, 500, 503 or 504.
    #[must_use]
    pub fn trouble(code: u16, retry_after_seconds: Option<u64>) -> Status {
        let (reason, message) = match code {
            429 => ("TooManyRequests", "Too many requests, please try again later."),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "Timeout: request did not complete within the allotted timeout"),
            _ => ("InternalError", "Internal error occurred: etcdserver: request timed out"),
        };
        let status = Status::new(code, reason, message);
        match retry_after_seconds {
            Some(seconds) => status.with_details(json!({"retryAfterSeconds": seconds})),
            None => status,
        }
    }

    /// Returns the object that is sent as the body.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            value["details"] = details.clone();
        }
        if let Some(next) = &self.next {
            value["metadata"]["continue"] = json!(next);
        }
        value
    }

    /// Returns the number of seconds after which the client should retry, if the refusal has one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.details.as_ref()?["retryAfterSeconds"].as_u64()
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Status {}

/// One error in an object.
#[derive(Clone, Debug)]
pub struct Cause {
    /// A `CauseType` of the API, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The path of the field: `spec.replicas`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Cause {
    /// The field has this value, which is not allowed.
    #[must_use]
    pub fn value(field: &str, value: &Value, why: &str) -> Cause {
        let message = format!("Invalid value: {value}: {why}");
        Cause { reason: "FieldValueInvalid", field: field.to_owned(), message }
    }

    /// The field may not be set or changed.
    #[must_use]
    pub fn forbidden(field: &str, why: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.to_owned(), message: format!("Forbidden: {why}") }
    }

    /// The field is missing.
    #[must_use]
    pub fn required(field: &str, why: &str) -> Cause {
        Cause { reason: "FieldValueRequired", field: field.to_owned(), message: format!("Required value: {why}") }
    }
}

fn named(name: &str, group: &str, kind: &str) -> Value {
    if group.is_empty() {
        json!({"name": name, "kind": kind})
    } else {
        json!({"name": name, "group": group, "kind": kind})
    }
}

fn conflict(what: &str, kind: &str, resource: Resource, name: &str, why: &str) -> Status {
    Status::new(409, "Conflict", format!("Operation cannot be fulfilled on {what} \"{name}\": {why}"))
        .with_details(named(name, resource.group(), kind))
}
