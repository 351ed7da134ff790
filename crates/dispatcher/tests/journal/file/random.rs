//! Random damage: the reader never panics, and never returns an entry that was not written.

use super::START;
use proptest::collection::vec;
use proptest::prelude::*;
use slotkeeper::journal::file::account;
use slotkeeper::journal::file::line;
use slotkeeper::journal::file::name::Name;
use slotkeeper_core::{
    Command, Entry, Fleet, Millis, Ordinal, Phase, Rules, SessionId, Sighting, Spare, Timeline, Uid,
};
use std::collections::BTreeMap;
use std::path::Path;

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
    /// A line is repeated, or removed.
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
    // A failing case becomes its own test.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_yield_entries_that_were_not_written(harms in vec(harm(), 1..4)) {
        let mut files = files();
        for harm in &harms {
            harmed(&mut files, harm);
        }
        let account = account_of(&files);
        // Each entry equals the one that was written at its position.
        for (position, read) in (account.checkpoint() + 1..).zip(&account.entries) {
            prop_assert_eq!(read, &entry(position));
        }
        prop_assert!(account.position() <= 12);
    }

    /// A dispatcher starts only with the complete journal, or with all of it except a torn last record.
    #[test]
    fn one_flipped_bit_loses_the_last_record_at_most(file in 0..8usize, at in 0..4000usize, bit in 0..8u8) {
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

/// One of each kind.
fn commands() -> Vec<Command> {
    let (session, pod, uid) = (SessionId(7), Ordinal(3), Uid::from("uid"));
    let phases = [
        Phase::Pending { why: "no room".into() },
        Phase::Starting,
        Phase::Ready { address: ([127, 0, 0, 1], 80).into() },
        Phase::Unready,
        Phase::Terminating,
        Phase::Failed { why: "crash".into() },
    ];
    let pods = phases.clone().map(|phase| Sighting { pod, uid: uid.clone(), phase }).to_vec();
    let seen = phases.map(|phase| Command::PodSeen { pod, uid: uid.clone(), phase, version: 2 });
    let mut commands = vec![
        Command::Visit { session, hint: Some(pod), class: 1 },
        Command::Attach { session },
        Command::Detach { session },
        Command::Active { sessions: vec![session, SessionId(8)] },
        Command::Leave { session },
        Command::Kick { session },
        Command::Extend { session },
        Command::PodGone { pod, uid, version: 2 },
        Command::PodsListed { pods, version: 2 },
        Command::ScaleSeen { start: 0, replicas: 3, decided: 5, timeline: Timeline::FIRST, version: 2 },
        Command::Served { replicas: 3 },
        Command::Cordon { pod },
        Command::Uncordon { pod },
        Command::Rules(Rules::default()),
        Command::Schedule(Spare::Slots(2)),
        Command::Remove,
        Command::Hello { speaks: 1 },
        Command::Lapse { patience: Millis(5), timeline: Timeline(7) },
        Command::Farewell,
        Command::Tick,
    ];
    commands.extend(seen);
    commands
}

/// The fuzzer's input for these files, in the format that the fuzz target describes.
fn input(mode: u8, files: &BTreeMap<Name, Vec<u8>>) -> Vec<u8> {
    let mut input = vec![mode];
    for (name, content) in files {
        input.push(match name {
            Name::Checkpoint(position) => (*position as u8) << 1,
            Name::Entries(position) => (*position as u8 - 1) << 1 | 1,
        });
        input.extend((content.len() as u16).to_le_bytes());
        input.extend(content);
    }
    input
}

#[test]
#[ignore = "writes the seeds of the fuzzer: run it when the format changes"]
fn seeds_of_the_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/journal");
    std::fs::create_dir_all(&folder).unwrap();
    for (mode, name) in [(0, "whole"), (1, "sealed")] {
        std::fs::write(folder.join(name), input(mode, &files())).unwrap();
    }
    let first = Name::Entries(1);
    for (number, command) in commands().into_iter().enumerate() {
        let json = serde_json::to_vec(&[Entry { command, ..entry(1) }]).unwrap();
        let file = [line::head(first), line::sealed(1, &json)].concat();
        std::fs::write(folder.join(format!("command-{number}")), input(1, &BTreeMap::from([(first, file)]))).unwrap();
    }
}

/// Later versions must read everything that was ever written.
#[test]
fn every_command_is_read_as_it_was_written() {
    for command in commands() {
        let written = Entry { command, ..entry(1) };
        let json = serde_json::to_vec(&[&written]).unwrap();
        let first = Name::Entries(1);
        let account = account_of(&BTreeMap::from([(first, [line::head(first), line::sealed(1, &json)].concat())]));
        assert_eq!((account.damage, account.entries), (None, vec![written]));
    }
}

#[test]
fn undamaged_files_are_read_completely() {
    let account = account_of(&files());
    assert_eq!((account.checkpoint(), account.position()), (8, 12));
    assert!(account.damage.is_none() && account.torn.is_none() && account.remarks.is_empty());
}
