//! An entry as it lies in the stream: JSON in the field `entry`. Its position and its time are in the id, not here.

use crate::journal::{Draft, JournalError};
use serde::{Deserialize, Serialize};
use slotkeeper_core::{Command, Entry, Millis, PoolId, ReplicaId, Time, Timeline};

pub(super) const FIELD: &str = "entry";

/// The semantics that a reader must know to make sense of what is written here. Commands that only newer ones have are
/// written when the fleet has gone over to them, not before: a new version runs next to an old one until then.
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

/// The id of a stream's entry: the journal's time, and the position.
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

/// The journal's own word that entries may be lost, and the name of the timeline that begins.
pub(super) fn lapse(patience: Millis, timeline: Timeline) -> Result<String, JournalError> {
    write(&Draft { from: ReplicaId(0), number: 0, pool: "".into(), command: Command::Lapse { patience, timeline } })
}

/// The error says what it is, not where.
pub(super) fn read(id: Id, json: &[u8]) -> Result<Entry, String> {
    let Version { v } = serde_json::from_slice(json).map_err(|error| format!("no entry of slotkeeper's: {error}"))?;
    if v > Entry::SEMANTICS {
        return Err(format!("of version {v}, and this slotkeeper knows only {}", Entry::SEMANTICS));
    }
    let Read { from, number, pool, command } =
        serde_json::from_slice(json).map_err(|error| format!("of version {v}, but {error}"))?;
    Ok(Entry { at: id.at, from, number, pool, command })
}
