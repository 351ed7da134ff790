//! Whatever the bytes are: nothing panics, and nothing is read that had not been written.

use super::START;
use proptest::collection::vec;
use proptest::prelude::*;
use slotkeeper::journal::file::account;
use slotkeeper::journal::file::line;
use slotkeeper::journal::file::name::Name;
use slotkeeper_core::{Entry, Fleet};
use std::collections::BTreeMap;

fn entry(number: u64) -> Entry {
    let super::Draft { from, number, pool, command } = super::draft(number);
    Entry { at: START, from, number, pool, command }
}

/// Checkpoints at 4 and 8, segments from 3, 6 and 9, batches of 1 to 2 entries, up to 12.
fn files() -> BTreeMap<Name, Vec<u8>> {
    let mut files = BTreeMap::new();
    let (mut fleet, mut segment) = (Fleet::new(), 1);
    for (first, last) in [(1, 2), (3, 3), (4, 5), (6, 6), (7, 8), (9, 10), (11, 11), (12, 12)] {
        if [3, 6, 9].contains(&first) {
            segment = first;
        }
        let entries: Vec<Entry> = (first..=last).map(entry).collect();
        let name = Name::Entries(segment);
        let file = files.entry(name).or_insert_with(|| line::head(name));
        file.extend(line::sealed(first, &serde_json::to_vec(&entries).unwrap()));
        for entry in &entries {
            let _ = fleet.apply(entry);
            if [4, 8].contains(&fleet.applied()) {
                let name = Name::Checkpoint(fleet.applied());
                let state = line::sealed(fleet.applied(), &serde_json::to_vec(&fleet).unwrap());
                files.insert(name, [line::head(name), state].concat());
            }
        }
    }
    files.remove(&Name::Entries(1));
    files
}

#[derive(Clone, Debug)]
enum Harm {
    Flip {
        file: usize,
        at: usize,
        bit: u8,
    },
    Cut {
        file: usize,
        at: usize,
    },
    Insert {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Remove {
        file: usize,
    },
    /// One file has the content of another.
    Swap {
        file: usize,
        other: usize,
    },
    /// A line is there twice, or is gone.
    Twice {
        file: usize,
        line: usize,
    },
    Without {
        file: usize,
        line: usize,
    },
}

fn harm() -> impl Strategy<Value = Harm> {
    let (file, at) = (0..8usize, 0..4000usize);
    prop_oneof![
        (file.clone(), at.clone(), 0..8u8).prop_map(|(file, at, bit)| Harm::Flip { file, at, bit }),
        (file.clone(), at.clone()).prop_map(|(file, at)| Harm::Cut { file, at }),
        (file.clone(), at, vec(any::<u8>(), 0..40)).prop_map(|(file, at, bytes)| Harm::Insert { file, at, bytes }),
        file.clone().prop_map(|file| Harm::Remove { file }),
        (file.clone(), file.clone()).prop_map(|(file, other)| Harm::Swap { file, other }),
        (file.clone(), 0..5usize).prop_map(|(file, line)| Harm::Twice { file, line }),
        (file, 0..5usize).prop_map(|(file, line)| Harm::Without { file, line }),
    ]
}

fn harmed(files: &mut BTreeMap<Name, Vec<u8>>, harm: &Harm) {
    let names: Vec<Name> = files.keys().copied().collect();
    let name = |file: &usize| names.get(file % names.len().max(1)).copied();
    let (Harm::Flip { file, .. }
    | Harm::Cut { file, .. }
    | Harm::Insert { file, .. }
    | Harm::Remove { file }
    | Harm::Swap { file, .. }
    | Harm::Twice { file, .. }
    | Harm::Without { file, .. }) = harm;
    let Some(name_of) = name(file) else { return };
    let mut bytes = files[&name_of].clone();
    let lines: Vec<Vec<u8>> = bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let within = |at: usize| at % (bytes.len() + 1);
    match harm {
        Harm::Flip { at, bit, .. } => {
            let at = within(*at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Harm::Cut { at, .. } => bytes.truncate(within(*at)),
        Harm::Insert { at, bytes: inserted, .. } => {
            let at = within(*at);
            bytes.splice(at..at, inserted.iter().copied());
        }
        Harm::Remove { .. } => {
            files.remove(&name_of);
            return;
        }
        Harm::Swap { other, .. } => bytes = name(other).map(|n| files[&n].clone()).unwrap_or_default(),
        Harm::Twice { line, .. } if !lines.is_empty() => {
            let mut lines = lines;
            let line = line % lines.len();
            lines.insert(line, lines[line].clone());
            bytes = lines.concat();
        }
        Harm::Without { line, .. } if !lines.is_empty() => {
            let mut lines = lines;
            lines.remove(line % lines.len());
            bytes = lines.concat();
        }
        Harm::Twice { .. } | Harm::Without { .. } => {}
    }
    files.insert(name_of, bytes);
}

fn account_of(files: &BTreeMap<Name, Vec<u8>>) -> account::Account {
    let names: Vec<Name> = files.keys().copied().collect();
    account::read(&names, u64::MAX, &mut |name| Ok(files[&name].clone())).unwrap()
}

proptest! {
    #[test]
    fn harmed_files_never_say_what_was_not_written(harms in vec(harm(), 1..4)) {
        let mut files = files();
        for harm in &harms {
            harmed(&mut files, harm);
        }
        let account = account_of(&files);
        // From where it begins, each entry is the one that was written there.
        for (position, read) in (account.checkpoint() + 1..).zip(&account.entries) {
            prop_assert_eq!(read, &entry(position));
        }
        prop_assert!(account.position() <= 12);
    }

    /// A dispatcher starts only with the whole of it, or without a torn last record.
    #[test]
    fn one_flip_loses_the_last_record_at_most(file in 0..8usize, at in 0..4000usize, bit in 0..8u8) {
        let mut files = files();
        harmed(&mut files, &Harm::Flip { file, at, bit });
        let account = account_of(&files);
        if account.damage.is_none() {
            prop_assert_eq!(account.position(), if account.torn.is_some() { 11 } else { 12 });
        }
    }

    #[test]
    fn any_bytes_can_be_read(contents in vec((any::<bool>(), 1..20u64, vec(any::<u8>(), 0..200)), 0..5)) {
        let files: BTreeMap<Name, Vec<u8>> = contents
            .into_iter()
            .map(|(checkpoint, p, bytes)| (if checkpoint { Name::Checkpoint(p) } else { Name::Entries(p) }, bytes))
            .collect();
        let account = account_of(&files);
        prop_assert!(account.entries.is_empty());
        prop_assert_eq!(account.damage.is_none(), files.is_empty());
    }
}

#[test]
fn unharmed_they_say_all() {
    let account = account_of(&files());
    assert_eq!((account.checkpoint(), account.position()), (8, 12));
    assert!(account.damage.is_none() && account.torn.is_none() && account.remarks.is_empty());
}
