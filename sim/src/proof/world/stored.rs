//! Worlds as data: a setting as JSON. A file may contain only the differences from the scenario `plain` with its
//! seed; the files that `hunt --keep` writes are complete, so that they remain the same world when drawing changes.

use super::points;
use super::setting::Setting;
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};

/// The folder in which `--keep NAME` stores worlds and `--scenario NAME` finds them, relative to the repository's
/// root.
pub const FOLDER: &str = "sim/scenarios";

/// Keys whose values are objects: a file may contain some of their fields.
const NESTED: [&str; 3] = ["rules", "habits", "targets"];

/// Why a file is not a valid world.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("cannot read {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0}: {1}")]
    Json(PathBuf, #[source] serde_json::Error),
    #[error("{0}: not a JSON object; allowed: the settings of one world")]
    NoObject(PathBuf),
    #[error("{path}: unknown setting {key:?}; allowed: {allowed}")]
    Unknown { path: PathBuf, key: String, allowed: String },
    #[error("{path}: {what}; allowed: {allowed}")]
    OutOfRange { path: PathBuf, what: &'static str, allowed: &'static str },
}

/// Returns the file of a stored world's name; a path is returned unchanged.
#[must_use]
pub fn path(name: &str, folder: &Path) -> PathBuf {
    if name.contains('/') || name.ends_with(".json") { name.into() } else { folder.join(format!("{name}.json")) }
}

/// Writes a world to a file.
///
/// # Errors
/// If writing fails.
pub fn write(setting: &Setting, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(setting)? + "\n")
}

/// Reads a world from a file. `seed` replaces the file's seed.
///
/// # Errors
/// If there is no such file, or it is not a valid world.
pub fn read(path: &Path, seed: Option<u64>) -> Result<Setting, StoredError> {
    let text = std::fs::read_to_string(path).map_err(|error| StoredError::Io(path.into(), error))?;
    parse(&text, path, seed)
}

/// Parses a world from a file's text.
///
/// # Errors
/// If it is not a valid world.
pub fn parse(text: &str, path: &Path, seed: Option<u64>) -> Result<Setting, StoredError> {
    let json = |error| StoredError::Json(path.into(), error);
    let Value::Object(mut given) = serde_json::from_str(text).map_err(json)? else {
        return Err(StoredError::NoObject(path.into()));
    };
    if let Some(seed) = seed {
        given.insert("seed".into(), seed.into());
    }
    let seed = given.get("seed").and_then(Value::as_u64).unwrap_or(1);
    let Value::Object(mut all) = serde_json::to_value(Setting::plain(seed)).map_err(json)? else {
        return Err(StoredError::NoObject(path.into()));
    };
    merge(&mut all, given, path)?;
    let mut setting: Setting = serde_json::from_value(Value::Object(all)).map_err(json)?;
    (0..).zip(&mut setting.faults).for_each(|(number, fault)| fault.number = number);
    possible(&setting).map_err(|(what, allowed)| StoredError::OutOfRange { path: path.into(), what, allowed })?;
    Ok(setting)
}

fn merge(all: &mut Map<String, Value>, given: Map<String, Value>, path: &Path) -> Result<(), StoredError> {
    for (key, value) in given {
        match (all.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(given)) if NESTED.contains(&key.as_str()) => {
                merge(inner, given, path)?;
            }
            (Some(known), value) => *known = value,
            (None, _) => {
                let allowed = all.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(StoredError::Unknown { path: path.into(), key, allowed });
            }
        }
    }
    Ok(())
}

/// Checks what every world requires. Returns the problem, and what is allowed.
fn possible(setting: &Setting) -> Result<(), (&'static str, &'static str)> {
    let s = setting;
    let least = [s.dispatchers, s.nodes, s.homes, s.rules.slots_per_pod, s.rules.max];
    if least.contains(&0) {
        return Err(("dispatchers, nodes, homes, slots_per_pod or max is 0", "1 or more"));
    }
    if [s.dispatchers, s.nodes, s.homes].iter().any(|n| *n > 20) || s.visitors > 10_000 {
        return Err(("the world is too large", "20 dispatchers, nodes and homes, 10000 visitors"));
    }
    if s.dispatchers > 1 && !s.shared_journal {
        return Err(("several dispatchers have no shared journal", "shared_journal = true"));
    }
    if s.cold_start.0 > s.cold_start.1 || s.latency.0 > s.latency.1 || s.habits.stay.0 > s.habits.stay.1 {
        return Err(("cold_start, latency or stay ends before it begins", "[least, most]"));
    }
    if s.points.iter().any(|rate| !points::words().contains(&rate.point.as_str())) {
        return Err((
            "a fault point is unknown here",
            "the points of crates/dispatcher/src/faultpoints.rs, in a build with the feature `faultpoints`",
        ));
    }
    if s.chaos > 3_600_000 || s.calm > 3_600_000 {
        return Err(("chaos or calm is too long", "3600000 ms at most"));
    }
    Ok(())
}
