//! One replica's access to the journal, without the dispatcher around it: what it writes, and all that it reads.

use super::server::Way;
use prometheus::core::Collector;
use slotkeeper::journal::redis::{self, RedisJournal};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, Keep, ReadResult};
use slotkeeper_core::{Command, Entry, Fleet, Millis, ReplicaId, SessionId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time limit of every wait: nothing takes this long, however busy the machine is.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// How long no session is placed after a lapse.
pub(super) const PATIENCE: Millis = Millis(40_000);

pub(super) fn address() -> RedisJournal {
    "redis://127.0.0.1".parse().unwrap()
}

pub(super) fn open(config: &RedisJournal, way: &Way) -> Journal {
    let journal = redis::open(config, Arc::new(way.clone())).unwrap();
    journal.patience.at_least(PATIENCE);
    journal
}

pub(super) struct Replica {
    pub(super) me: ReplicaId,
    pub(super) number: u64,
    append: Box<dyn Append>,
    pub(super) keep: Box<dyn Keep>,
    pub(super) troubles: Troubles,
    reading: watch::Receiver<Reading>,
    task: tokio::task::JoinHandle<()>,
}

/// The state and the entries that a replica has read.
#[derive(Clone, Default)]
pub(super) struct Reading {
    pub(super) fleet: Fleet,
    /// The entries since the last state.
    pub(super) entries: Vec<Entry>,
    /// The number of states read.
    pub(super) states: u32,
    pub(super) error: Option<Arc<JournalError>>,
}

impl Reading {
    pub(super) fn take(&mut self, read: ReadResult) {
        match read {
            ReadResult::State(fleet) => {
                (self.fleet, self.entries) = (*fleet, Vec::new());
                self.states += 1;
            }
            ReadResult::Entries(entries) => {
                for entry in entries {
                    let _ = self.fleet.apply(&entry);
                    self.entries.push(entry);
                }
            }
        }
    }

    pub(super) fn has(&self, what: u128) -> bool {
        self.find(what).is_some()
    }

    /// The index of this mark among the entries.
    pub(super) fn find(&self, what: u128) -> Option<usize> {
        self.entries.iter().position(|entry| entry.command == mark(what))
    }

    pub(super) fn lapses(&self) -> usize {
        self.entries.iter().filter(|entry| is_lapse(entry)).count()
    }

    /// True if there is a lapse between the two marks.
    pub(super) fn lapsed_between(&self, before: Option<u128>, after: u128) -> bool {
        let from = before.map_or(0, |before| self.find(before).unwrap());
        self.entries[from..self.find(after).unwrap()].iter().any(is_lapse)
    }
}

fn is_lapse(entry: &Entry) -> bool {
    matches!(entry.command, Command::Lapse { patience: PATIENCE, .. })
}

/// A command by which a test recognises its entry.
pub(super) fn mark(what: u128) -> Command {
    Command::Leave { session: SessionId(what) }
}

impl Replica {
    pub(super) fn new(id: u64, way: &Way) -> Replica {
        Replica::with(id, &address(), way)
    }

    pub(super) fn with(id: u64, config: &RedisJournal, way: &Way) -> Replica {
        let Journal { append, mut follow, keep, collectors, .. } = open(config, way);
        let (sender, reading) = watch::channel(Reading::default());
        let task = tokio::spawn(async move {
            loop {
                match follow.next().await {
                    Ok(read) => sender.send_modify(|reading| reading.take(read)),
                    Err(error) => {
                        sender.send_modify(|reading| reading.error = Some(Arc::new(error)));
                        return;
                    }
                }
            }
        });
        Replica {
            me: ReplicaId(id),
            number: 0,
            append,
            keep: keep.unwrap(),
            troubles: Troubles(collectors.into()),
            reading,
            task,
        }
    }

    /// Writes these marks, one after the other in one batch.
    pub(super) async fn say(&mut self, marks: impl IntoIterator<Item = u128>) {
        let from = self.me;
        let drafts = marks.into_iter().map(|what| {
            self.number += 1;
            Draft { from, number: self.number, pool: "pool".into(), command: mark(what) }
        });
        let drafts = drafts.collect();
        self.write(drafts).await;
    }

    pub(super) async fn write(&mut self, drafts: Vec<Draft>) {
        tokio::time::timeout(LONG, self.append.append(drafts)).await.expect("the journal does not answer").unwrap();
    }

    /// Writes the marks as a new life, as the driver does when entries are lost.
    pub(super) async fn say_anew(&mut self, marks: impl IntoIterator<Item = u128>) {
        (self.me, self.number) = (ReplicaId(self.me.0 + 1000), 0);
        self.say(marks).await;
    }

    pub(super) async fn until(&mut self, what: &str, is_so: impl FnMut(&Reading) -> bool) -> Reading {
        let wait = tokio::time::timeout(LONG, self.reading.wait_for(is_so)).await;
        wait.unwrap_or_else(|_| panic!("{what}: not read")).unwrap().clone()
    }

    pub(super) async fn reads(&mut self, what: u128) -> Reading {
        self.until(&format!("mark {what}"), |reading| reading.has(what)).await
    }

    /// Writes this mark; meanwhile waits for a failure of the kind `step` and then repairs it with `mend`.
    pub(super) async fn say_through(&mut self, what: u128, step: &str, mend: impl Future<Output = ()>) {
        let troubles = self.troubles.clone();
        let met = async {
            troubles.until(step).await;
            mend.await;
        };
        tokio::join!(self.say([what]), met);
        self.reads(what).await;
    }

    pub(super) fn now(&self) -> Reading {
        self.reading.borrow().clone()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Checks that all replicas have the same state from the same entries, as far back as each has them.
pub(super) async fn agree(replicas: &mut [&mut Replica], last: u128) {
    let mut readings = Vec::new();
    for replica in replicas {
        readings.push(replica.reads(last).await);
    }
    let states: Vec<_> = readings.iter().map(|r| serde_json::to_value(&r.fleet).unwrap()).collect();
    for (reading, state) in readings.iter().zip(&states) {
        assert_eq!(state, &states[0]);
        let both = reading.entries.iter().rev().zip(readings[0].entries.iter().rev());
        both.for_each(|(one, other)| assert_eq!(one, other));
    }
}

/// The failures that a replica has met, from its metrics.
#[derive(Clone)]
pub(super) struct Troubles(Arc<[Box<dyn Collector>]>);

impl Troubles {
    pub(super) fn count(&self, step: &str) -> u64 {
        let families = self.0.iter().flat_map(|collector| collector.collect());
        let errors = families.filter(|family| family.name() == "slotkeeper_journal_errors_total");
        let metrics = errors.flat_map(|family| family.get_metric().to_vec());
        let ours = metrics.filter(|metric| metric.get_label().iter().any(|label| label.value() == step));
        ours.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    pub(super) async fn until(&self, step: &str) {
        let met = async {
            while self.count(step) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, met).await.unwrap_or_else(|_| panic!("no trouble of the kind {step}"));
    }
}

/// A reader that reads only when a test calls it.
pub(super) struct ByHand {
    follow: Box<dyn Follow>,
    pub(super) reading: Reading,
}

impl ByHand {
    pub(super) fn new(way: &Way) -> ByHand {
        ByHand { follow: open(&address(), way).follow, reading: Reading::default() }
    }

    pub(super) async fn read(&mut self) -> Result<(), JournalError> {
        let read = tokio::time::timeout(LONG, self.follow.next()).await.expect("nothing to read")?;
        self.reading.take(read);
        Ok(())
    }

    /// Polls the reader once, and cancels the read if there is nothing yet.
    pub(super) async fn glance(&mut self) -> Result<(), JournalError> {
        let read = tokio::select! {
            biased;
            read = self.follow.next() => read?,
            () = tokio::task::yield_now() => return Ok(()),
        };
        self.reading.take(read);
        Ok(())
    }
}
