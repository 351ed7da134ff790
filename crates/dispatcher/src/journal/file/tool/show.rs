//! Prints the entries as they are in the files, and damage where it is.

use super::{Files, Shown, ToolError};
use crate::journal::file::account;
use std::io::Write;
use std::ops::RangeInclusive;

pub(super) fn show(files: &Files, positions: RangeInclusive<u64>, out: &mut dyn Write) -> Result<bool, ToolError> {
    let (mut sound, mut next) = (true, None);
    for (first, bytes) in files.segments() {
        for record in account::records(first, bytes) {
            let (position, entries) = match record {
                Ok(record) => record,
                Err(damage) => {
                    sound = false;
                    writeln!(out, "-- {damage}")?;
                    continue;
                }
            };
            if let Some(next) = next.filter(|next| *next != position) {
                writeln!(out, "-- entry {position} follows, but {next} would be the next")?;
                sound = false;
            }
            next = position.checked_add(entries.len() as u64);
            for (position, entry) in (position..).zip(&entries).filter(|(p, _)| positions.contains(p)) {
                writeln!(out, "{}", Shown(position, entry))?;
            }
        }
    }
    Ok(sound)
}
