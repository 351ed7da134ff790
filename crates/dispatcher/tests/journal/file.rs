//! The journal in a folder: written entries are read back, and the content of damaged ones is never guessed.

mod damage;
mod folder;
mod full;
mod random;
mod tool;

use slotkeeper::io::Clock;
use slotkeeper::journal::file::{self, OpenError};
use slotkeeper::journal::{Draft, Journal, ReadResult};
use slotkeeper_core::{Command, Entry, Fleet, ReplicaId, Rules, SessionId, Time};
use std::path::{Path, PathBuf};

const START: Time = Time(1_700_000_000_000);

fn clock() -> Clock {
    Clock::starting_at(START)
}

/// The entries of replica 7: its hello, a pool, then visits.
fn draft(number: u64) -> Draft {
    let command = match number {
        1 => Command::Hello { speaks: Entry::SEMANTICS },
        2 => Command::Rules(Rules::default()),
        n => Command::Visit { session: SessionId(u128::from(n) << 100 | 5), hint: None, class: 0 },
    };
    Draft { from: ReplicaId(7), number, pool: "games".into(), command }
}

fn drafts(numbers: std::ops::RangeInclusive<u64>) -> Vec<Draft> {
    numbers.map(draft).collect()
}

/// The state and the entries read so far.
#[derive(Debug, Default)]
struct Read {
    state: Option<u64>,
    fleet: Fleet,
    entries: Vec<Entry>,
}

impl Read {
    fn numbers(&self) -> Vec<u64> {
        self.entries.iter().map(|e| e.number).collect()
    }
}

/// Reads up to this position.
async fn read(journal: &mut Journal, position: u64) -> Read {
    let mut read = Read::default();
    while read.fleet.applied() < position {
        match journal.follow.next().await.unwrap() {
            ReadResult::State(fleet) => {
                read.state = Some(fleet.applied());
                read.fleet = *fleet;
            }
            ReadResult::Entries(entries) => {
                for entry in entries {
                    let _ = read.fleet.apply(&entry);
                    read.entries.push(entry);
                }
            }
        }
    }
    read
}

/// Fills a folder with this many entries, each in its own record.
async fn written(folder: &Path, entries: u64) {
    let mut journal = file::open(folder, clock()).unwrap();
    for number in 1..=entries {
        journal.append.append(vec![draft(number)]).await.unwrap();
    }
}

fn segment(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("entries-{first:020}"))
}

fn checkpoint(folder: &Path, position: u64) -> PathBuf {
    folder.join(format!("checkpoint-{position:020}"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The content of all files, to check that nothing has changed.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let contents = names(folder).into_iter().filter(|n| n != "lock");
    contents.map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

/// Opens a journal that must be refused and left unchanged, and returns the error.
fn refusal(folder: &Path) -> OpenError {
    let before = contents(folder);
    let Err(error) = file::open(folder, clock()) else { panic!("opened") };
    assert_eq!(contents(folder), before, "{error}");
    error
}
