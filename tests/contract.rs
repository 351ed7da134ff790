//! Compares an answer of the admin listener with the API's table: its status is listed, its body has the type of the operation, and
//! nothing that the type does not have.

use crate::visitor::Answer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use slotkeeper_api::{Body, Miss, Pool, PoolList, PoolRemoved, Problem, Role, SessionList, find};

/// # Panics
/// If the answer is not as the table promises.
pub fn is_kept(method: &str, path: &str, answer: &Answer) {
    let (status, text) = (answer.status(), answer.text());
    let at = format!("{method} {path}: {status} {text}");
    let route = match find(method, path) {
        Ok((route, _)) => route,
        Err(miss) => {
            let expected = if miss == Miss::Path { 404 } else { 405 };
            assert!([401, 403, expected].contains(&status), "{at}");
            assert_eq!(status == 405, answer.head.get("allow").is_some(), "{at}");
            return is_exactly::<Problem>(answer, &at);
        }
    };
    if status != 200 {
        assert!(route.failures().any(|failure| failure.status == status), "not in the table: {at}");
        if route.role == Role::Probe {
            return assert!(text.ends_with('\n'), "{at}");
        }
        return is_exactly::<Problem>(answer, &at);
    }
    match route.answer {
        Body::Line => assert_eq!((text.matches('\n').count(), text.ends_with('\n')), (1, true), "{at}"),
        Body::Metrics => assert!(text.starts_with("# HELP "), "{at}"),
        Body::OpenApi => assert_eq!(answer.json(), slotkeeper_api::openapi(), "{at}"),
        Body::PoolList => is_exactly::<PoolList>(answer, &at),
        Body::Pool => is_exactly::<Pool>(answer, &at),
        Body::PoolRemoved => is_exactly::<PoolRemoved>(answer, &at),
        Body::SessionList => is_exactly::<SessionList>(answer, &at),
    }
}

fn is_exactly<T: DeserializeOwned + Serialize>(answer: &Answer, at: &str) {
    assert_eq!(answer.head.get("content-type"), Some("application/json"), "{at}");
    let sent: Value = answer.json();
    let read: T = answer.read();
    assert_eq!(serde_json::to_value(read).expect("it can be written"), sent, "the type has other fields: {at}");
}
