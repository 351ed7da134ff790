//! Keeps everything up to the first damage. The rest is moved aside, not deleted; and a lapse is written to the journal
//! (entries may be lost), so that returning sessions find their slots before new sessions are placed.

use super::{ToolError, no_folder};
use crate::journal::file::account::{self, Account};
use crate::journal::file::damage::{Damage, Flaw};
use crate::journal::file::disk::Disk;
use crate::journal::file::name::{DAMAGED, Name};
use crate::journal::file::tail::Tail;
use crate::journal::file::{OpenError, failed, folder, line, lock};
use crate::outside::Ids;
use slotkeeper_core::{Command, Entry, Fleet, Millis, PoolId, ReplicaId, Rules, Time, Timeline};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

pub(super) fn repair(folder: &Path, now: Time, out: &mut dyn Write) -> Result<bool, ToolError> {
    if !folder.is_dir() {
        return Err(no_folder(folder).into());
    }
    let _lock = lock::take(folder)?;
    let mut repairs = 0;
    let account = loop {
        let (listing, account) = folder::read(&Disk::default(), folder, u64::MAX)?;
        let Some(damage) = &account.damage else { break account };
        repairs += 1;
        writeln!(out, "found: {damage}")?;
        step(folder, &listing.names, &account, damage, out).map_err(failed("repair the journal in", folder))?;
    };
    let (position, checkpoint) = (account.position(), account.checkpoint());
    if repairs == 0 {
        writeln!(out, "there is nothing to repair: the journal is sound up to entry {position}")?;
        return Ok(true);
    }
    let patience = lapse(folder, account, now)?;
    writeln!(out, "kept: {} entries, {checkpoint} of them in a checkpoint", position)?;
    let seconds = patience.0 / 1000;
    writeln!(
        out,
        "entries after {position} may be lost: no session is placed in the first {seconds} s, so that returning sessions find their slots"
    )?;
    Ok(true)
}

/// Moves one damaged file or part aside, or begins the missing segment. Each step shortens the journal, so the loop ends.
fn step(folder: &Path, names: &[Name], account: &Account, damage: &Damage, out: &mut dyn Write) -> io::Result<()> {
    let disk = Disk::default();
    if damage.flaw == Flaw::NoEnd && damage.file.position() <= account.position() {
        return Tail::begin(&disk, folder, account.position() + 1).map(|_| ());
    }
    let whole = damage.line <= 1 || matches!(damage.file, Name::Checkpoint(_));
    // The newest first: an interrupted repair leaves no new gap.
    let later = names.iter().rev().filter(|name| matches!(damage.file, Name::Entries(_)) && **name > damage.file);
    for name in later.chain(Some(&damage.file).filter(|_| whole)) {
        let aside = aside(folder, &name.to_string());
        writeln!(out, "moved: {name} is now {aside}{}", lost(folder, *name, 0))?;
        disk.rename(folder, &name.to_string(), &aside)?;
    }
    if !whole {
        let name = damage.file.to_string();
        let path = folder.join(&name);
        let aside = aside(folder, &name);
        let content = fs::read(&path)?;
        let rest = content.get(damage.offset as usize..).unwrap_or_default();
        writeln!(
            out,
            "moved: {name} from byte {} on is now {aside}{}",
            damage.offset,
            lost(folder, damage.file, damage.offset)
        )?;
        disk.create(folder, &aside, rest)?;
        let file = disk.open(&path)?;
        disk.cut(&path, &*file, damage.offset)?;
        disk.sync(&path, &*file)?;
    }
    Ok(())
}

/// A name that is not in use.
fn aside(folder: &Path, name: &str) -> String {
    let plain = format!("{DAMAGED}{name}");
    let numbered = (2..).map(|n| format!("{plain}-{n}"));
    std::iter::once(plain.clone()).chain(numbered).find(|n| !folder.join(n).exists()).unwrap_or(plain)
}

/// Which entries of the part that is moved can still be read.
fn lost(folder: &Path, name: Name, offset: u64) -> String {
    let Name::Entries(first) = name else { return String::new() };
    let content = fs::read(folder.join(name.to_string())).unwrap_or_default();
    let rest = content.get(offset as usize..).unwrap_or_default();
    let readable = account::records_of(first, rest, offset == 0).filter_map(Result::ok);
    let span = readable.fold(None, |span: Option<(u64, u64)>, (position, entries)| {
        let last = position.saturating_add(entries.len() as u64) - 1;
        Some(span.map_or((position, last), |(begin, _)| (begin, last)))
    });
    span.map_or_else(String::new, |(from, to)| format!("; still readable: entries {from} to {to}"))
}

/// Writes to the journal that entries may be lost.
fn lapse(folder: &Path, account: Account, now: Time) -> Result<Millis, OpenError> {
    let failed = |source| OpenError::Io { what: "write to the journal in", path: folder.to_owned(), source };
    let (next, at, last) = (account.position() + 1, account.time().max(now), account.last);
    let mut fleet = account.state.map_or_else(Fleet::new, |fleet| *fleet);
    for entry in &account.entries {
        let _ = fleet.apply(entry);
    }
    let usual = Rules::default();
    let patience = Millis(fleet.patience().0.max(usual.silence.0 + usual.grace.0));
    let timeline = Ids::Os.draw().map(Timeline).map_err(failed)?;
    let command = Command::Lapse { patience, timeline };
    let entry = Entry { at, from: ReplicaId(0), number: 0, pool: PoolId::from(""), command };
    let json = serde_json::to_vec(&[entry]).map_err(|e| failed(io::Error::other(e)))?;
    let disk = Disk::default();
    let mut tail = match last.filter(|(first, _)| *first == next) {
        Some((first, length)) => Tail::open(&disk, folder, first, next, length),
        None => Tail::begin(&disk, folder, next),
    }
    .map_err(failed)?;
    tail.append(&line::sealed(next, &json), 1).map_err(failed)?;
    Ok(patience)
}
