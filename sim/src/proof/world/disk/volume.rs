//! Names and contents as processes see them, and as they would be after a power loss. POSIX guarantees little: before
//! an `fsync` any sector of a write may be durable or not, and so may a name before an `fsync` of its folder.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use slotkeeper_core::Entry;
use std::collections::BTreeMap;
use std::io;

/// Number of bytes that a disk writes atomically.
const SECTOR: usize = 512;

#[derive(Default)]
pub(super) struct Volume {
    /// As processes see them.
    names: BTreeMap<String, u64>,
    /// As they are on the disk.
    safe: BTreeMap<String, u64>,
    /// The changes from `safe` to `names`, in order.
    changes: Vec<Change>,
    files: BTreeMap<u64, File>,
    next: u64,
}

#[derive(Clone)]
enum Change {
    Made(String, u64),
    Moved(String, String, u64),
    Removed(String),
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// Writes since the last sync, in order.
    dirty: Vec<Write>,
}

enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

/// How much non-durable data survives a power loss.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Survives {
    Nothing,
    /// A prefix, as on a file system that writes in order.
    First,
    Any,
    All,
}

impl Survives {
    fn draw(dice: &mut ChaCha8Rng) -> Survives {
        [Survives::Nothing, Survives::First, Survives::First, Survives::Any, Survives::Any, Survives::All]
            [dice.random_range(0..6)]
    }

    /// Decides for each of `count` changes whether it survives.
    fn of(self, count: usize, dice: &mut ChaCha8Rng) -> Vec<bool> {
        let first = dice.random_range(0..=count);
        (0..count)
            .map(|n| match self {
                Survives::Nothing => false,
                Survives::First => n < first,
                Survives::Any => dice.random_ratio(1, 2),
                Survives::All => true,
            })
            .collect()
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Splits a write into pieces that are written atomically.
fn sectors(at: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    let (mut at, mut rest) = (at, bytes);
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
        pieces.push((at, piece));
        (at, rest) = (at + piece.len(), more);
    }
    pieces
}

impl File {
    fn lose_power(&mut self, dice: &mut ChaCha8Rng) -> bool {
        let before = self.now.len();
        let survives = Survives::draw(dice);
        // The length may become durable before the content, which is then zeros.
        let hollow = survives == Survives::Any && dice.random_ratio(1, 3);
        for write_ in std::mem::take(&mut self.dirty) {
            match write_ {
                Write::Length(length) => {
                    if survives.of(1, dice)[0] {
                        self.safe.resize(length, 0);
                    }
                }
                Write::Bytes(at, bytes) => {
                    if hollow && self.safe.len() < at + bytes.len() {
                        self.safe.resize(at + bytes.len(), 0);
                    }
                    let pieces = sectors(at, &bytes);
                    let kept = survives.of(pieces.len(), dice);
                    for ((at, piece), _) in pieces.into_iter().zip(kept).filter(|(_, kept)| *kept) {
                        write(&mut self.safe, at, piece);
                    }
                }
            }
        }
        let lost = self.safe != self.now;
        self.now.clone_from(&self.safe);
        lost || before != self.now.len()
    }
}

impl Volume {
    fn find(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the number of bytes in use.
    pub(super) fn size(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|file| file.now.len() as u64).sum()
    }

    pub(super) fn size_without(&self, file: u64) -> u64 {
        self.size() - self.files.get(&file).map_or(0, |file| file.now.len() as u64).min(self.size())
    }

    pub(super) fn list(&self) -> Vec<(String, u64)> {
        let size = |file: &u64| self.files.get(file).map_or(0, |file| file.now.len() as u64);
        self.names.iter().map(|(name, file)| (name.clone(), size(file))).collect()
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.find(name)?;
        Ok(self.files.get(&file).map(|file| file.now.clone()).unwrap_or_default())
    }

    /// Creates a file, or truncates an existing one.
    pub(super) fn create(&mut self, name: &str) -> u64 {
        if let Ok(file) = self.find(name) {
            self.set_len(file, 0);
            return file;
        }
        self.next += 1;
        self.files.insert(self.next, File::default());
        self.names.insert(name.to_owned(), self.next);
        self.changes.push(Change::Made(name.to_owned(), self.next));
        self.next
    }

    pub(super) fn open(&self, name: &str) -> io::Result<u64> {
        self.find(name)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.find(from)?;
        let change = Change::Moved(from.to_owned(), to.to_owned(), file);
        change.apply(&mut self.names);
        self.changes.push(change);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name)?;
        let change = Change::Removed(name.to_owned());
        change.apply(&mut self.names);
        self.changes.push(change);
        Ok(())
    }

    pub(super) fn write(&mut self, file: u64, at: u64, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(&file) else { return };
        write(&mut file.now, at as usize, bytes);
        file.dirty.push(Write::Bytes(at as usize, bytes.to_vec()));
    }

    pub(super) fn set_len(&mut self, file: u64, length: u64) {
        let Some(file) = self.files.get_mut(&file) else { return };
        file.now.resize(length as usize, 0);
        file.dirty.push(Write::Length(length as usize));
    }

    pub(super) fn sync(&mut self, file: u64) {
        let Some(file) = self.files.get_mut(&file) else { return };
        // Not `safe = now`: data that a failed sync has dropped is not written by a later one.
        for dirty in std::mem::take(&mut file.dirty) {
            match dirty {
                Write::Bytes(at, bytes) => write(&mut file.safe, at, &bytes),
                Write::Length(length) => file.safe.resize(length, 0),
            }
        }
    }

    /// A failed sync: part of the data becomes durable; all of it counts as clean.
    pub(super) fn sync_badly(&mut self, file: u64, dice: &mut ChaCha8Rng) {
        let Some(file) = self.files.get_mut(&file) else { return };
        let now = file.now.clone();
        file.lose_power(dice);
        file.now = now;
    }

    pub(super) fn sync_folder(&mut self) {
        self.changes.clear();
        self.safe.clone_from(&self.names);
        self.sweep();
    }

    /// Discards everything that is not durable. Returns true if that was not all.
    pub(super) fn lose_power(&mut self, dice: &mut ChaCha8Rng) -> bool {
        let changes = std::mem::take(&mut self.changes);
        let kept = Survives::draw(dice).of(changes.len(), dice);
        for (change, _) in changes.iter().zip(kept).filter(|(_, kept)| *kept) {
            change.apply(&mut self.safe);
        }
        let mut lost = self.safe != self.names;
        self.names.clone_from(&self.safe);
        for file in self.files.values_mut() {
            lost |= file.lose_power(dice);
        }
        self.sweep();
        lost
    }

    /// Removes files without a name.
    fn sweep(&mut self) {
        let Volume { names, safe, changes, files, .. } = self;
        let pending =
            |file: &u64| changes.iter().any(|c| matches!(c, Change::Made(_, f) | Change::Moved(_, _, f) if f == file));
        let named = |file: &u64| names.values().chain(safe.values()).any(|f| f == file);
        files.retain(|file, _| named(file) || pending(file));
    }

    // ---- the journal's data ----

    /// Returns all complete records, in order.
    pub(super) fn entries(&self) -> Vec<(u64, Entry)> {
        let segments = self.names.iter().filter(|(name, _)| name.starts_with("entries-"));
        segments.flat_map(|(_, file)| self.entries_of(*file)).collect()
    }

    pub(super) fn entries_of(&self, file: u64) -> Vec<(u64, Entry)> {
        let Some(content) = self.files.get(&file).map(|file| &file.now) else { return Vec::new() };
        if !content.starts_with(b"slotkeeper-entries") {
            return Vec::new();
        }
        let lines = content.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        lines.skip(1).filter_map(record).flat_map(|(first, entries)| (first..).zip(entries)).collect()
    }

    /// Returns the position of the newest checkpoint.
    pub(super) fn newest_checkpoint(&self) -> u64 {
        let positions = self.names.keys().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok());
        positions.max().unwrap_or_default()
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Made(name, file) => {
                names.insert(name.clone(), *file);
            }
            Change::Moved(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Change::Removed(name) => {
                names.remove(name);
            }
        }
    }
}

/// Parses `sum position json` without verifying the sum: a torn record lacks bytes or has zeros, and is not valid
/// JSON.
fn record(line: &[u8]) -> Option<(u64, Vec<Entry>)> {
    let position = line.split(|byte| *byte == b' ').nth(1)?;
    let position = std::str::from_utf8(position).ok()?.parse().ok()?;
    Some((position, serde_json::from_slice(json(line)?).ok()?))
}

/// Returns the JSON of a line.
pub(super) fn json(line: &[u8]) -> Option<&[u8]> {
    Some(line.splitn(3, |byte| *byte == b' ').nth(2)?.trim_ascii_end())
}
