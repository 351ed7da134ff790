//! Reads one JSON object field by field, so that an error names the path of the field and the allowed values. A field
//! that no operation reads is an error too: a typing mistake, or a rule that is not modelled.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;

/// Maximum number of seconds in vectors.
const MOST_SECONDS: f64 = 10_000_000.0;
/// Maximum number of pods in vectors.
pub(super) const MOST_PODS: u32 = 100_000;

/// What is wrong, and in which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    field: String,
    what: String,
}

pub(super) struct Fields<'a> {
    path: String,
    value: &'a Value,
    map: &'a Map<String, Value>,
    /// The fields read so far; any other field is unknown.
    known: RefCell<Vec<&'static str>>,
}

impl Wrong {
    pub(super) fn new(field: impl Into<String>, what: impl Into<String>) -> Wrong {
        Wrong { field: field.into(), what: what.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field `{}`: {}", self.field, self.what)
    }
}

impl<'a> Fields<'a> {
    pub(super) fn root(value: &'a Value) -> Result<Fields<'a>, Wrong> {
        Fields::at(String::new(), value)
    }

    fn at(path: String, value: &'a Value) -> Result<Fields<'a>, Wrong> {
        let wrong = || Wrong::new(path.clone(), format!("is {value}, expected an object"));
        let map = value.as_object().ok_or_else(wrong)?;
        Ok(Fields { path, value, map, known: RefCell::default() })
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// Reads a required field.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, Wrong> {
        self.find(key).ok_or_else(|| self.wrong(key, "is missing")).and_then(|value| self.read(key, value))
    }

    /// Reads a field that may be absent or null.
    pub(super) fn maybe<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, Wrong> {
        self.find(key).filter(|v| !v.is_null()).map(|value| self.read(key, value)).transpose()
    }

    pub(super) fn or<T: DeserializeOwned>(&self, key: &'static str, otherwise: T) -> Result<T, Wrong> {
        Ok(self.maybe(key)?.unwrap_or(otherwise))
    }

    /// Reads a field that must be one of these words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Result<T, Wrong> {
        let text: String = self.get(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        let allowed = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| self.wrong(key, format!("is {text:?}, expected {}", allowed())))
    }

    /// Reads seconds, and returns milliseconds.
    pub(super) fn seconds(&self, key: &'static str) -> Result<u64, Wrong> {
        self.get(key).and_then(|seconds| self.milliseconds(key, seconds))
    }

    pub(super) fn maybe_seconds(&self, key: &'static str) -> Result<Option<u64>, Wrong> {
        self.maybe(key)?.map(|seconds| self.milliseconds(key, seconds)).transpose()
    }

    /// Reads a number of pods.
    pub(super) fn pods(&self, key: &'static str) -> Result<u32, Wrong> {
        let n: u32 = self.get(key)?;
        if n > MOST_PODS { Err(self.wrong(key, format!("is {n}, expected at most {MOST_PODS}"))) } else { Ok(n) }
    }

    /// Reads a required object.
    pub(super) fn inner(&self, key: &'static str) -> Result<Fields<'a>, Wrong> {
        self.maybe_inner(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    pub(super) fn maybe_inner(&self, key: &'static str) -> Result<Option<Fields<'a>>, Wrong> {
        self.find(key).filter(|v| !v.is_null()).map(|value| Fields::at(self.path_of(key), value)).transpose()
    }

    /// Reads a list of objects, and rejects unknown fields in each.
    pub(super) fn each<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Fields<'a>) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Wrong> {
        self.maybe_each(key, read)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    pub(super) fn maybe_each<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Fields<'a>) -> Result<T, Wrong>,
    ) -> Result<Option<Vec<T>>, Wrong> {
        let Some(value) = self.find(key).filter(|v| !v.is_null()) else { return Ok(None) };
        let Value::Array(items) = value else {
            return Err(self.wrong(key, format!("is {value}, expected a list")));
        };
        let one = |(index, item)| {
            let fields = Fields::at(format!("{}[{index}]", self.path_of(key)), item)?;
            let result = read(&fields)?;
            fields.done().map(|()| result)
        };
        items.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
    }

    /// Checks that every field has been read.
    pub(super) fn done(&self) -> Result<(), Wrong> {
        let known = self.known.borrow();
        let unknown = self.map.keys().find(|key| !known.contains(&key.as_str()));
        unknown.map_or(Ok(()), |key| Err(self.wrong(key, format!("is unknown here: there are {}", known.join(", ")))))
    }

    /// Checks that every field is among the computed ones.
    pub(super) fn known_to(&self, got: &Value) -> Result<(), Wrong> {
        let unknown = self.map.keys().find(|key| got.get(key.as_str()).is_none());
        let there = || got.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        unknown.map_or(Ok(()), |key| Err(self.wrong(key, format!("is unknown here: there are {}", there()))))
    }

    pub(super) fn wrong(&self, key: &str, what: impl Into<String>) -> Wrong {
        Wrong::new(self.path_of(key), what)
    }

    fn find(&self, key: &'static str) -> Option<&'a Value> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.map.get(key)
    }

    fn read<T: DeserializeOwned>(&self, key: &str, value: &Value) -> Result<T, Wrong> {
        T::deserialize(value).map_err(|error| self.wrong(key, error.to_string()))
    }

    pub(super) fn milliseconds(&self, key: &str, seconds: f64) -> Result<u64, Wrong> {
        if !(0.0..=MOST_SECONDS).contains(&seconds) {
            return Err(self.wrong(key, format!("is {seconds}, expected 0 to {MOST_SECONDS} seconds")));
        }
        Ok((seconds * 1000.0).round() as u64)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
