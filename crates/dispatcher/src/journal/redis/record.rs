//! The format of an entry in the stream: JSON in the field `entry`. Its position and its time are in the stream id, not here.

use crate::journal::{Draft, JournalError};
use serde::{Deserialize, Serialize};
use slotkeeper_core::{Command, Entry, Millis, PoolId, ReplicaId, Time, Timeline};

pub(super) const FIELD: &str = "entry";

/// The semantics that a reader must know to understand the entries written here. Commands of newer semantics are only written
/// after the fleet has switched to them: until then, a new version can run next to an old one.
const NEEDS: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    from: ReplicaId,
    number: u64,
    pool: &'a PoolId,
    command: &'a Command,
}

#[derive(Deserialize)]
struct Read {
    from: ReplicaId,
    number: u64,
    pool: PoolId,
    command: Command,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// The id of an entry in the stream: the journal's time, and the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) at: Time,
    pub(super) position: u64,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.at.0, self.position)
    }
}

impl Id {
    pub(super) fn read(text: &str) -> Option<Id> {
        let (at, position) = text.split_once('-')?;
        Some(Id { at: Time(at.parse().ok()?), position: position.parse().ok()? })
    }
}

pub(super) fn write(draft: &Draft) -> Result<String, JournalError> {
    let Draft { from, number, pool, command } = draft;
    let written = Written { v: NEEDS, from: *from, number: *number, pool, command };
    serde_json::to_string(&written)
        .map_err(|error| JournalError::Unreadable(format!("{command:?} cannot be written as JSON: {error}")))
}

/// A lapse, the journal's own entry: entries may be lost, and a new timeline with this name begins.
pub(super) fn lapse(patience: Millis, timeline: Timeline) -> Result<String, JournalError> {
    write(&Draft { from: ReplicaId(0), number: 0, pool: "".into(), command: Command::Lapse { patience, timeline } })
}

/// Parses an entry. The error contains the reason, not the position.
pub(super) fn read(id: Id, json: &[u8]) -> Result<Entry, String> {
    let Version { v } = serde_json::from_slice(json).map_err(|error| format!("not an entry of slotkeeper: {error}"))?;
    if v > Entry::SEMANTICS {
        return Err(format!("of version {v}, and this slotkeeper knows only {}", Entry::SEMANTICS));
    }
    let Read { from, number, pool, command } =
        serde_json::from_slice(json).map_err(|error| format!("of version {v}, but {error}"))?;
    Ok(Entry { at: id.at, from, number, pool, command })
}
