//! The file journal on the simulated disk, without a dispatcher: random histories of processes that append, write
//! checkpoints, are killed or lose power at any system call, on a disk that is full or fails. In every case, the
//! journal can be opened again, and contains everything that was acknowledged.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use slotkeeper::io::Clock;
use slotkeeper::journal::file::OpenError;
use slotkeeper::journal::{Draft, Journal, ReadResult};
use slotkeeper_core::{Command, Fleet, ReplicaId, Time};
use slotkeeper_sim::chance::Chance;
use slotkeeper_sim::proof::world::disk::{Disk, Doom};
use slotkeeper_sim::proof::world::journal::{self, Traps};
use slotkeeper_sim::proof::world::oracle::Oracle;
use slotkeeper_sim::proof::world::stall::Gate;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The environment variable `HISTORIES` replaces it.
const HISTORIES: u64 = 1_200;
const LIVES: u32 = 8;
/// Far longer than any successful append.
const PATIENCE: Duration = Duration::from_secs(100);

struct History {
    seed: u64,
    dice: ChaCha8Rng,
    disk: Disk,
    oracle: Oracle,
    /// Numbers of the acknowledged drafts, and their positions.
    acknowledged: BTreeMap<u64, u64>,
    number: u64,
    seen: BTreeMap<&'static str, u32>,
}

/// One process's view of the journal.
struct Life {
    journal: Journal,
    fleet: Fleet,
}

impl History {
    fn new(seed: u64) -> History {
        let (oracle, chance) = (Oracle::new(), Chance::new(seed));
        let disk = Disk::new(0, oracle.clone(), Traps::default(), Gate::default(), chance.stream("disk"));
        let dice = chance.stream("history");
        History { seed, dice, disk, oracle, acknowledged: BTreeMap::new(), number: 0, seen: BTreeMap::new() }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn one_in(&mut self, of: u32) -> bool {
        self.dice.random_ratio(1, of)
    }

    /// A random fault, which occurs later or lasts until it is healed.
    fn trouble(&mut self) {
        match self.dice.random_range(0..7) {
            0..=1 => self.disk.arm(self.dice.random_range(0..30), Doom::Powerless),
            2..=3 => self.disk.arm(self.dice.random_range(0..30), Doom::Killed),
            4 => self.disk.fail(self.dice.random_range(5..80)),
            5 => self.disk.fill(Some(self.dice.random_range(0..800))),
            _ => {}
        }
    }

    /// Opens the journal, in a process that is restarted until that succeeds. `None`: it was killed meanwhile.
    async fn open(&mut self) -> Option<Life> {
        for attempt in 0.. {
            let clock = Clock::starting_at(Time(1_700_000_000_000));
            let opened = journal::own(&self.disk, clock);
            if self.disk.is_dead() {
                self.count("killed while it was opened");
                return None;
            }
            match opened {
                Ok(journal) => return Some(self.read(journal).await),
                Err(OpenError::Io { .. }) if attempt < 10 => self.count("could not be opened"),
                // Enough failed attempts.
                Err(OpenError::Io { .. }) => self.disk.heal(),
                Err(error) => panic!("history {}: {error}", self.seed),
            }
        }
        None
    }

    /// Reads the journal to its end, which the simulated disk knows.
    async fn read(&mut self, mut journal: Journal) -> Life {
        let (mut fleet, mut found) = (Fleet::new(), BTreeMap::new());
        let mut from = 0;
        while fleet.applied() < self.oracle.position() {
            let news = tokio::time::timeout(PATIENCE, journal.follow.next()).await;
            match news.expect("there is more").expect("it can be read") {
                ReadResult::State(state) => {
                    from = state.applied();
                    fleet = *state;
                    self.count("a state was read");
                }
                ReadResult::Entries(entries) => {
                    for entry in entries {
                        let _ = fleet.apply(&entry);
                        found.insert(fleet.applied(), entry.number);
                    }
                }
            }
        }
        for (number, position) in self.acknowledged.iter().filter(|(_, position)| **position > from) {
            assert_eq!(found.get(position), Some(number), "history {}: at {position}", self.seed);
        }
        assert_eq!(self.oracle.violations(), [], "history {}", self.seed);
        Life { journal, fleet }
    }

    /// Appends some entries. Returns false if the process has been killed.
    async fn append(&mut self, life: &mut Life) -> bool {
        let numbers: Vec<u64> = (0..self.dice.random_range(1..5)).map(|n| self.number + 1 + n).collect();
        self.number += numbers.len() as u64;
        let draft = |number: &u64| {
            let (from, pool) = (ReplicaId(7), "arcade".into());
            Draft { from, number: *number, pool, command: Command::Tick }
        };
        let batch: Vec<Draft> = numbers.iter().map(draft).collect();
        let appended = tokio::time::timeout(PATIENCE, life.journal.append.append(batch.clone())).await;
        if self.disk.is_dead() {
            self.count("killed while it appended");
            return false;
        }
        if appended.is_err() {
            // The disk was full or failing all the time. The process is killed, and the entries may exist or not.
            self.count("append not acknowledged");
            self.disk.heal();
            return false;
        }
        appended.expect("it is acknowledged").expect("no permanent error");
        let next = life.fleet.applied() + 1;
        self.acknowledged.extend(numbers.into_iter().zip(next..));
        while life.fleet.applied() < next - 1 + batch.len() as u64 {
            let Ok(Ok(ReadResult::Entries(entries))) = tokio::time::timeout(PATIENCE, life.journal.follow.next()).await
            else {
                panic!("history {}: what was acknowledged is not read back", self.seed);
            };
            for entry in entries {
                let _ = life.fleet.apply(&entry);
            }
        }
        true
    }

    async fn keep(&mut self, life: &mut Life) -> bool {
        let Some(keep) = life.journal.keep.as_mut() else { return true };
        let kept = tokio::time::timeout(PATIENCE, keep.keep(Arc::new(life.fleet.clone()))).await;
        if self.disk.is_dead() {
            self.count("killed while it kept a state");
            return false;
        }
        match kept {
            Ok(Ok(())) => self.count("state kept"),
            Ok(Err(_)) => self.count("state not kept"),
            Err(_) => panic!("history {}: keeping a state takes for ever", self.seed),
        }
        true
    }

    async fn run(&mut self) {
        for _ in 0..LIVES {
            if self.one_in(3) {
                self.trouble();
            }
            let Some(mut life) = self.open().await else { continue };
            for _ in 0..self.dice.random_range(1..25) {
                if self.one_in(6) {
                    self.trouble();
                }
                if self.one_in(8) {
                    self.disk.heal();
                }
                let lives = if self.one_in(4) { self.keep(&mut life).await } else { self.append(&mut life).await };
                if !lives {
                    break;
                }
            }
            drop(life);
            if self.one_in(4) {
                self.disk.lose_power();
            }
        }
        self.disk.heal();
        self.open().await.expect("it is not killed");
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledged_entries_are_never_lost() {
    let mut seen = BTreeMap::new();
    let histories = std::env::var("HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(HISTORIES);
    for seed in 0..histories {
        let mut history = History::new(seed);
        history.run().await;
        for (what, times) in history.seen {
            *seen.entry(what).or_default() += times;
        }
        for (what, times) in history.oracle.coverage() {
            if let Some(what) = NEEDED.iter().find(|needed| **needed == what) {
                *seen.entry(*what).or_default() += times as u32;
            }
        }
    }
    for what in NEEDED {
        assert!(seen.get(what).copied().unwrap_or(0) > 20, "{what} hardly ever occurs: {seen:?}");
    }
}

const NEEDED: &[&str] = &[
    "killed while it was opened",
    "killed while it appended",
    "killed while it kept a state",
    "could not be opened",
    "append not acknowledged",
    "a state was read",
    "state kept",
    "state not kept",
    "disk returns EIO",
    "disk returns ENOSPC",
    "entry found after a crash",
    "unsynced bytes lost",
];
