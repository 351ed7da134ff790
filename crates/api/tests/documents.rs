//! Answers of an earlier dispatcher: they are read, and written as they were. They stay as they are when the API grows: what is new
//! must have a default.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use slotkeeper_api::{
    Condition, Phase, Pool, PoolList, PoolRemoved, Problem, Reason, Session, SessionList, SessionState,
};

/// Reads the document. What is written again has at least the same fields with the same values.
fn read<T: DeserializeOwned + Serialize>(text: &str) -> T {
    let parsed: T = serde_json::from_str(text).unwrap();
    let written = serde_json::to_value(&parsed).unwrap();
    contains(&written, &serde_json::from_str(text).unwrap(), "");
    parsed
}

fn contains(written: &Value, old: &Value, at: &str) {
    match (written, old) {
        (Value::Object(written), Value::Object(old)) => {
            for (key, value) in old {
                contains(
                    written.get(key).unwrap_or_else(|| panic!("{at}/{key} is gone")),
                    value,
                    &format!("{at}/{key}"),
                );
            }
        }
        (Value::Array(written), Value::Array(old)) => {
            assert_eq!(written.len(), old.len(), "{at}");
            for (n, (written, old)) in written.iter().zip(old).enumerate() {
                contains(written, old, &format!("{at}/{n}"));
            }
        }
        (written, old) => assert_eq!(written, old, "{at}"),
    }
}

#[test]
fn pools() {
    let pools: PoolList = read(include_str!("documents/pools.json"));
    let status = pools.pools[0].status().unwrap();
    assert_eq!((pools.pools[0].name(), status.state, status.slots.busy), ("consoles", Condition::Awake, 1));
    let Pool::Known(pool) = read(include_str!("documents/pool.json")) else { panic!("an unknown pool") };
    assert_eq!((pool.pods[0].phase, pool.pods[0].address.as_deref()), (Phase::Ready, Some("127.0.0.1:44879")));
    assert_eq!(pool.gauge, None);
    let scaled: PoolList = read(include_str!("documents/scaled.json"));
    let status = scaled.pools[0].status().unwrap();
    assert_eq!((status.gauge, status.asked.gauge, status.messages_per_second), (Some(2.5), 2, 40));
    let phases: Vec<Phase> = status.pods.iter().map(|p| p.phase).collect();
    use Phase::{Absent, Failed, Pending, Starting, Terminating, Unready};
    assert_eq!(phases, [Absent, Pending, Starting, Unready, Terminating, Failed]);
}

#[test]
fn a_condition_has_one_word() {
    for condition in [Condition::Dormant, Condition::Waking, Condition::Awake, Condition::Full] {
        assert_eq!(serde_json::to_value(condition).unwrap(), condition.word());
    }
}

#[test]
fn a_removed_pool() {
    let removed: PoolRemoved = read(include_str!("documents/removed.json"));
    assert_eq!((removed.pool.as_str(), removed.removed), ("consoles", true));
    let pools: PoolList = read(include_str!("documents/after-removal.json"));
    assert_eq!((pools.pools[0].name(), pools.pools[0].status()), ("consoles", None));
}

/// A field that is missing or of another type is an error, and not an unknown pool.
#[test]
fn a_pool_that_is_not_understood_is_an_error() {
    let whole: Value = serde_json::from_str(include_str!("documents/pool.json")).unwrap();
    for field in whole.as_object().unwrap().keys().filter(|k| *k != "gauge") {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<Pool>(part).is_err(), "without {field}");
    }
    let mut wrong = whole;
    wrong["needed"] = "two".into();
    assert!(serde_json::from_value::<Pool>(wrong).is_err());
}

#[test]
fn sessions() {
    let list: SessionList = read(include_str!("documents/sessions.json"));
    assert_eq!((list.total, list.sessions[0].state, list.sessions[0].pod), (1, SessionState::Taken, Some(0)));
    let session: Session = read(
        r#"{"active_seconds_ago":3,"ends_because":"idle","ends_in_seconds":57,"pod":null,"session":"9aae","since_seconds":4,"state":"held"}"#,
    );
    assert_eq!((session.ends_because, session.ends_in_seconds), (Some(Reason::Idle), Some(57)));
}

#[test]
fn a_problem() {
    let problem: Problem = read(include_str!("documents/error.json"));
    assert!(problem.error.contains("\"9\""), "{problem:?}");
}

/// A dispatcher that is newer than its client may report more.
#[test]
fn unknown_fields_are_ignored() {
    let mut list: Value = serde_json::from_str(include_str!("documents/sessions.json")).unwrap();
    list["more"] = true.into();
    list["sessions"][0]["address"] = "192.0.2.1".into();
    let list: SessionList = serde_json::from_value(list).unwrap();
    assert_eq!(list.total, 1);
}
