//! Prints the files of a folder, and whether a dispatcher would start from it.

use super::{Files, Moment, ToolError};
use crate::journal::file::account;
use crate::journal::file::checkpoint;
use crate::journal::file::name::Name;
use std::io::Write;

pub(super) fn check(files: &Files, out: &mut dyn Write) -> Result<bool, ToolError> {
    let mut sound = true;
    for (name, bytes) in &files.0 {
        let what = match name {
            Name::Checkpoint(position) => checkpoint::read(*position, bytes).map_or_else(
                |damage| Err(damage.to_string()),
                |fleet| Ok(format!("{} sessions in {} pools", fleet.population(), fleet.pools().count())),
            ),
            Name::Entries(first) => segment(*first, bytes),
        };
        match what {
            Ok(what) => writeln!(out, "{name}  {:>10} bytes  {what}", bytes.len())?,
            Err(what) => {
                sound = false;
                writeln!(out, "{name}  {:>10} bytes  DAMAGED: {what}", bytes.len())?;
            }
        }
    }
    let account = files.account(u64::MAX)?;
    if let Some(damage) = &account.damage {
        writeln!(out, "not sound: {damage}")?;
        writeln!(out, "a dispatcher does not start from it; a repair keeps it up to entry {}", account.position())?;
        return Ok(false);
    }
    let (position, checkpoint) = (account.position(), account.checkpoint());
    if position == 0 {
        writeln!(out, "there are no entries")?;
    } else {
        let from =
            if checkpoint == 0 { "the beginning".to_owned() } else { format!("the checkpoint of entry {checkpoint}") };
        writeln!(
            out,
            "a dispatcher starts from {from}, and continues to entry {position} of {}",
            Moment(account.time())
        )?;
    }
    if let Some(torn) = &account.torn {
        writeln!(out, "the last record is incomplete, as after a crash: the next start cuts it off ({torn})")?;
    }
    for remark in &account.remarks {
        sound = false;
        writeln!(out, "damaged, but nothing is lost by it: {remark}")?;
    }
    writeln!(out, "{}", if sound { "sound" } else { "damaged, but nothing is lost" })?;
    Ok(sound)
}

/// Describes a segment. A torn last line is no damage here: if it is not that of the last segment, the account reports it.
fn segment(first: u64, bytes: &[u8]) -> Result<String, String> {
    let (mut last, mut flawed) = (first.saturating_sub(1), None);
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    for record in account::records(first, bytes) {
        match (record, &flawed) {
            (Ok((position, entries)), None) => last = position.saturating_add(entries.len() as u64) - 1,
            (Err(damage), None) => flawed = Some(damage),
            (_, Some(damage)) => return Err(damage.to_string()),
        }
    }
    match flawed {
        Some(damage) if !damage.flaw.is_torn() => Err(damage.to_string()),
        _ if last < first => Ok("no entries yet".to_owned()),
        _ => Ok(format!("entries {first} to {last}")),
    }
}
