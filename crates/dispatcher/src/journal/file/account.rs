//! Parses a journal's files: the newest intact checkpoint, the entries after it, and the first damage. Works on bytes, writes
//! nothing, and trusts no byte: this is what the fuzzer runs.
//!
//! Damage by which nothing is lost is only a remark: a damaged checkpoint while an older one leads to the same state, a damaged
//! record of entries that a checkpoint covers. Each record contains its position, so a missing record is always noticed.

use super::damage::{Damage, Flaw};
use super::name::Name;
use super::{checkpoint, line};
use slotkeeper_core::{Entry, Fleet, Time};
use std::io;

/// The content of a journal's folder, as it was read, without any change to it.
#[derive(Debug, Default)]
pub struct Account {
    /// The state of the newest usable checkpoint. `None`: the journal begins with the first entry.
    pub state: Option<Box<Fleet>>,
    /// The entries after it.
    pub entries: Vec<Entry>,
    /// The position of the last segment, and how many of its bytes are complete records.
    pub last: Option<(u64, u64)>,
    /// The last record if it is incomplete, as after a crash: where it begins.
    pub torn: Option<Damage>,
    /// Damage by which nothing is lost.
    pub remarks: Vec<Damage>,
    /// Segments that were begun and never used: the attempt failed, and the journal continued in the segment before.
    pub abandoned: Vec<Name>,
    /// The damage at which reading stopped, although the journal continues after it.
    pub damage: Option<Damage>,
}

impl Account {
    /// The position of the last entry that was read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.checkpoint() + self.entries.len() as u64
    }

    /// The position of the checkpoint in `state`; 0 without one.
    #[must_use]
    pub fn checkpoint(&self) -> u64 {
        self.state.as_ref().map_or(0, |fleet| fleet.applied())
    }

    /// The journal's clock at the end.
    #[must_use]
    pub fn time(&self) -> Time {
        let before = self.state.as_ref().map_or(Time(0), |fleet| fleet.journal());
        self.entries.iter().map(|entry| entry.at).fold(before, Time::max)
    }
}

/// Reads the files of these names. Checkpoints after the position `newest` are ignored.
///
/// # Errors
/// When a file cannot be read at all.
pub fn read(names: &[Name], newest: u64, bytes_of: &mut dyn FnMut(Name) -> io::Result<Vec<u8>>) -> io::Result<Account> {
    let mut account = Account::default();
    let mut checkpoints: Vec<u64> = names.iter().filter_map(|n| checkpoint_of(*n)).filter(|p| *p <= newest).collect();
    checkpoints.sort_unstable_by(|a, b| b.cmp(a));
    let mut refused = None;
    for position in &checkpoints {
        match checkpoint::read(*position, &bytes_of(Name::Checkpoint(*position))?) {
            Ok(fleet) => {
                account.state = Some(fleet);
                break;
            }
            // Written by a newer version, so the journal is refused. The state of an older checkpoint is only used by a repair.
            Err(damage) if damage.flaw.is_foreign_version() => refused = refused.or(Some(damage)),
            Err(damage) => account.remarks.push(damage),
        }
    }
    let mut segments: Vec<u64> = names.iter().filter_map(|n| segment_of(*n)).collect();
    segments.sort_unstable();
    let next = account.position() + 1;
    // The last segment that begins at or before the next position.
    let start = segments.partition_point(|first| *first <= next).saturating_sub(1);
    let mut reading = Reading { running: 0, next, hole: None, account };
    for first in &segments[start..] {
        let bytes = bytes_of(Name::Entries(*first))?;
        if let Err(damage) = reading.segment(*first, &bytes) {
            return Ok(reading.stopped(refused.unwrap_or(damage)));
        }
    }
    segments.retain(|first| !reading.account.abandoned.contains(&Name::Entries(*first)));
    let end = reading.end(checkpoints.first().copied(), segments.last().copied());
    Ok(match refused.or(end) {
        Some(damage) => reading.stopped(damage),
        None => reading.account,
    })
}

fn checkpoint_of(name: Name) -> Option<u64> {
    match name {
        Name::Checkpoint(position) => Some(position),
        Name::Entries(_) => None,
    }
}

fn segment_of(name: Name) -> Option<u64> {
    match name {
        Name::Entries(first) => Some(first),
        Name::Checkpoint(_) => None,
    }
}

struct Reading {
    /// The next position in the files; 0 before the first one.
    running: u64,
    /// The next position of the account.
    next: u64,
    /// Unreadable lines. The next readable record shows whether anything is lost by them.
    hole: Option<Hole>,
    account: Account,
}

struct Hole {
    damage: Damage,
    lines: usize,
}

impl Reading {
    fn segment(&mut self, first: u64, bytes: &[u8]) -> Result<(), Damage> {
        let file = Name::Entries(first);
        let begin = Damage { file, line: 1, offset: 0, flaw: Flaw::Empty };
        if self.running == 0 && first <= self.next {
            self.running = first;
        }
        if first < self.running && bytes == line::head(file) {
            self.account.abandoned.push(file);
            return Ok(());
        }
        self.goes_on_at(first, &begin)?;
        let mut lines = line::lines(bytes).zip(1..);
        let Some(((_, head), _)) = lines.next() else {
            self.hole = Some(Hole { damage: begin, lines: 1 });
            return Ok(());
        };
        self.account.last = Some((first, head.len() as u64));
        if let Err(flaw) = line::check_head(file, head) {
            let damage = Damage { flaw, ..begin };
            if damage.flaw.is_foreign_version() {
                return Err(damage);
            }
            self.hole = Some(Hole { damage, lines: 1 });
        }
        for ((offset, line), number) in lines {
            let at = |flaw| Damage { file, line: number, offset, flaw };
            match record(line) {
                Ok((position, entries)) => {
                    self.goes_on_at(position, &at(Flaw::Empty))?;
                    self.take(position, entries);
                    self.account.last = Some((first, offset + line.len() as u64));
                }
                Err(flaw) if flaw.is_foreign_version() => return Err(self.hole_or(at(flaw))),
                Err(flaw) => match &mut self.hole {
                    Some(hole) => hole.lines += 1,
                    None => self.hole = Some(Hole { damage: at(flaw), lines: 1 }),
                },
            }
        }
        Ok(())
    }

    /// The files continue at this position: the unreadable lines before it are either covered by a checkpoint, or a loss.
    fn goes_on_at(&mut self, position: u64, here: &Damage) -> Result<(), Damage> {
        if position < self.running {
            let flaw = Flaw::Repeated { found: position, expected: self.running };
            return Err(self.hole_or(Damage { flaw, ..here.clone() }));
        }
        let mut remark = self.hole.take().map(|hole| hole.damage);
        if position > self.running.max(1) {
            let from = if self.running == 0 { self.next } else { self.running };
            let missing = Flaw::Missing { from, to: position - 1 };
            // The missing beginning may be due to a damaged checkpoint, which is then the cause to report.
            let checkpoint = if self.running == 0 { self.account.remarks.pop() } else { None };
            let damage = remark.take().or(checkpoint).unwrap_or_else(|| Damage { flaw: missing, ..here.clone() });
            if position > self.next {
                return Err(damage);
            }
            remark = Some(damage);
        }
        self.account.remarks.extend(remark);
        self.running = position;
        Ok(())
    }

    fn hole_or(&mut self, damage: Damage) -> Damage {
        self.hole.take().map_or(damage, |hole| hole.damage)
    }

    fn take(&mut self, position: u64, entries: Vec<Entry>) {
        self.running = position + entries.len() as u64;
        let known = usize::try_from(self.next - position).unwrap_or(usize::MAX);
        self.account.entries.extend(entries.into_iter().skip(known));
        self.next = self.next.max(self.running);
    }

    fn stopped(mut self, damage: Damage) -> Account {
        self.account.damage = Some(damage);
        self.account
    }

    /// Checks whether this can be the end: a segment is begun before a checkpoint is written, so one must follow each
    /// checkpoint.
    fn end(&mut self, checkpoint: Option<u64>, segment: Option<u64>) -> Option<Damage> {
        let last = segment.map(Name::Entries);
        match self.hole.take() {
            Some(Hole { damage, lines: 1 })
                if Some(damage.file) == last && damage.line > 1 && damage.flaw.is_torn() =>
            {
                self.account.torn = Some(damage);
            }
            Some(hole) => return Some(hole.damage),
            None => {}
        }
        let checkpoint = checkpoint.filter(|checkpoint| segment.is_none_or(|first| first <= *checkpoint))?;
        let file = Name::Checkpoint(checkpoint);
        let damaged = self.account.remarks.iter().position(|remark| remark.file == file);
        Some(match damaged {
            Some(at) => self.account.remarks.swap_remove(at),
            None => Damage { file, line: 0, offset: 0, flaw: Flaw::NoEnd },
        })
    }
}

/// The records of a segment, each checked on its own: the position of its first entry, and its entries.
pub(super) fn records(first: u64, bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Vec<Entry>), Damage>> {
    records_of(first, bytes, true)
}

/// The records of a part of a segment, with or without its head.
pub(super) fn records_of(
    first: u64,
    bytes: &[u8],
    head: bool,
) -> impl Iterator<Item = Result<(u64, Vec<Entry>), Damage>> {
    let file = Name::Entries(first);
    line::lines(bytes).zip(1..).filter_map(move |((offset, line), number)| {
        let damage = |flaw| Damage { file, line: number, offset, flaw };
        match number {
            1 if head => line::check_head(file, line).err().map(|flaw| Err(damage(flaw))),
            _ => Some(record(line).map_err(damage)),
        }
    })
}

fn record(line: &[u8]) -> Result<(u64, Vec<Entry>), Flaw> {
    let (position, json) = line::opened(line)?;
    let entries: Vec<Entry> = serde_json::from_slice(json).map_err(|e| Flaw::Unreadable(e.to_string()))?;
    if entries.is_empty() || position == 0 || position.checked_add(entries.len() as u64).is_none() {
        return Err(Flaw::Unreadable("an empty batch, or one at an invalid position".to_owned()));
    }
    Ok((position, entries))
}
