//! A checkpoint: the state after a number of entries, in a file of its own.

use super::damage::{Damage, Flaw};
use super::line;
use super::name::Name;
use slotkeeper_core::Fleet;

/// The content of the file.
///
/// # Errors
/// When the state cannot be serialized as JSON.
pub(super) fn bytes(fleet: &Fleet) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = line::head(Name::Checkpoint(fleet.applied()));
    bytes.extend(line::sealed(fleet.applied(), &serde_json::to_vec(fleet)?));
    Ok(bytes)
}

pub(super) fn read(position: u64, bytes: &[u8]) -> Result<Box<Fleet>, Damage> {
    let file = Name::Checkpoint(position);
    let damage = |line, offset, flaw| Damage { file, line, offset, flaw };
    let mut lines = line::lines(bytes);
    let (_, head) = lines.next().ok_or_else(|| damage(1, 0, Flaw::Empty))?;
    line::check_head(file, head).map_err(|flaw| damage(1, 0, flaw))?;
    let (offset, state) = lines.next().ok_or_else(|| damage(2, head.len() as u64, Flaw::Hollow))?;
    let damage = |flaw| damage(2, offset, flaw);
    let (named, json) = line::opened(state).map_err(damage)?;
    let fleet: Fleet = serde_json::from_slice(json).map_err(|e| damage(Flaw::Unreadable(e.to_string())))?;
    if let Some(other) = [named, fleet.applied()].into_iter().find(|p| *p != position) {
        return Err(damage(Flaw::Misnamed(other)));
    }
    Ok(Box::new(fleet))
}
