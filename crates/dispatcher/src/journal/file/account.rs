//! What a journal's files say: the newest whole state, the entries after it, and the first thing that is wrong. Works on
//! bytes, writes nothing, and trusts none of them: it is what the fuzzer runs.
//!
//! Damage that costs nothing is only remarked: a damaged checkpoint while an older one leads to the same state, a damaged
//! record of entries that a checkpoint covers. Each record says its position, so nothing can go missing unseen.

use super::damage::{Damage, Flaw};
use super::name::Name;
use super::{checkpoint, line};
use slotkeeper_core::{Entry, Fleet, Time};
use std::io;

#[derive(Debug, Default)]
pub struct Account {
    /// As the newest usable checkpoint has it. `None`: the journal begins with the first entry.
    pub state: Option<Box<Fleet>>,
    /// What came after it.
    pub entries: Vec<Entry>,
    /// The last segment, and how many of its bytes are whole records.
    pub last: Option<(u64, u64)>,
    /// The last record is not whole, which is what a crash leaves: where it begins.
    pub torn: Option<Damage>,
    /// Damage that costs nothing.
    pub remarks: Vec<Damage>,
    /// What the account ends with, where the journal goes on.
    pub damage: Option<Damage>,
}

impl Account {
    /// The position of the last entry that is accounted for.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.checkpoint() + self.entries.len() as u64
    }

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

/// Reads the files of these names. Of checkpoints older than `newest` only.
///
/// # Errors
/// When a file cannot be read at all.
pub fn read(names: &[Name], newest: u64, bytes_of: &mut dyn FnMut(Name) -> io::Result<Vec<u8>>) -> io::Result<Account> {
    let mut account = Account::default();
    let mut checkpoints: Vec<u64> = names.iter().filter_map(|n| checkpoint_of(*n)).filter(|p| *p <= newest).collect();
    checkpoints.sort_unstable_by(|a, b| b.cmp(a));
    for position in checkpoints {
        match checkpoint::read(position, &bytes_of(Name::Checkpoint(position))?) {
            Ok(fleet) => {
                account.state = Some(fleet);
                break;
            }
            Err(damage) if damage.flaw.is_foreign_version() => {
                account.damage = Some(damage);
                return Ok(account);
            }
            Err(damage) => account.remarks.push(damage),
        }
    }
    let mut segments: Vec<u64> = names.iter().filter_map(|n| segment_of(*n)).collect();
    segments.sort_unstable();
    let next = account.position() + 1;
    // The last one that begins before what is needed.
    let start = segments.partition_point(|first| *first <= next).saturating_sub(1);
    let mut reading = Reading { running: 0, next, hole: None, account };
    for first in &segments[start..] {
        let bytes = bytes_of(Name::Entries(*first))?;
        if let Err(damage) = reading.segment(*first, &bytes) {
            return Ok(reading.stopped(damage));
        }
    }
    Ok(reading.ended(segments.last().copied()))
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
    /// The position that comes next in the files; 0 before the first one.
    running: u64,
    /// The position that comes next in the account.
    next: u64,
    /// Lines that make no sense. Whether anything is lost by them, what follows tells.
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

    /// The files go on at this position: whatever makes no sense before that is either covered, or a loss.
    fn goes_on_at(&mut self, position: u64, here: &Damage) -> Result<(), Damage> {
        if position < self.running {
            let flaw = Flaw::Repeated { found: position, expected: self.running };
            return Err(self.hole_or(Damage { flaw, ..here.clone() }));
        }
        let mut remark = self.hole.take().map(|hole| hole.damage);
        if position > self.running.max(1) {
            let from = if self.running == 0 { self.next } else { self.running };
            let missing = Flaw::Missing { from, to: position - 1 };
            // A checkpoint that is damaged would have made up for the beginning.
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

    fn ended(mut self, newest: Option<u64>) -> Account {
        let Some(newest) = newest else {
            // Nothing but checkpoints, if anything.
            let damage = match (&self.account.state, self.account.remarks.pop()) {
                (Some(fleet), _) => Some((Name::Checkpoint(fleet.applied()), Flaw::Alone)),
                (None, Some(damage)) => return self.stopped(damage),
                (None, None) => None,
            };
            return match damage {
                Some((file, flaw)) => self.stopped(Damage { file, line: 0, offset: 0, flaw }),
                None => self.account,
            };
        };
        let file = Name::Entries(newest);
        match self.hole.take() {
            Some(Hole { damage, lines: 1 }) if damage.file == file && damage.line > 1 && damage.flaw.is_torn() => {
                self.account.torn = Some(damage);
            }
            Some(hole) => return self.stopped(hole.damage),
            None => {}
        }
        if self.running < self.next {
            let flaw = Flaw::Short { last: self.running - 1, checkpoint: self.next - 1 };
            let (_, offset) = self.account.last.unwrap_or_default();
            return self.stopped(Damage { file, line: 0, offset, flaw });
        }
        self.account
    }
}

fn record(line: &[u8]) -> Result<(u64, Vec<Entry>), Flaw> {
    let (position, json) = line::opened(line)?;
    let entries: Vec<Entry> = serde_json::from_slice(json).map_err(|e| Flaw::Unreadable(e.to_string()))?;
    if entries.is_empty() || position == 0 || position.checked_add(entries.len() as u64).is_none() {
        return Err(Flaw::Unreadable("a batch of no entries, or at no position".to_owned()));
    }
    Ok((position, entries))
}
