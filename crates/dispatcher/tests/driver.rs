//! The driver with a journal whose order the test controls: which entries the driver writes, when they are reported as
//! applied, and what it does when the fleet has given up its replica (laws 1 and 5).

use slotkeeper::engine::view::View;
use slotkeeper::engine::{self, Driver, EffectSink};
use slotkeeper::io::{BoxFuture, Ids};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, Keep, ReadResult};
use slotkeeper_core::{
    Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, Rules, SessionId, Spare, Time, Timeline,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const OTHER: ReplicaId = ReplicaId(7);
const ANA: SessionId = SessionId(1);

struct Writes(mpsc::UnboundedSender<Draft>);
struct Reads(mpsc::UnboundedReceiver<ReadResult>);
/// A checkpoint is written as long as its state is held.
struct Keeps(mpsc::UnboundedSender<Arc<Fleet>>);

impl Append for Writes {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        batch.into_iter().for_each(|draft| self.0.send(draft).unwrap());
        Box::pin(async { Ok(()) })
    }
}

impl Follow for Reads {
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>> {
        Box::pin(async { self.0.recv().await.ok_or(JournalError::Closed) })
    }
}

impl Keep for Keeps {
    fn every(&self) -> u64 {
        8
    }
    fn keep(&mut self, fleet: Arc<Fleet>) -> BoxFuture<'_, Result<(), JournalError>> {
        self.0.send(fleet).unwrap();
        Box::pin(async { Ok(()) })
    }
}

/// Counts new lives, new lives because of lost entries, and effects.
#[derive(Clone, Default)]
struct Lives(Arc<[AtomicU32; 3]>);

impl Lives {
    fn all(&self) -> [u32; 3] {
        [0, 1, 2].map(|n| self.0[n].load(Ordering::Relaxed))
    }
}

impl EffectSink for Lives {
    fn effect(&self, _: &PoolId, _: &Effect, _: ReplicaId) {
        self.0[2].fetch_add(1, Ordering::Relaxed);
    }
    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)> {
        self.0[0].fetch_add(1, Ordering::Relaxed);
        self.0[1].fetch_add(lost.into(), Ordering::Relaxed);
        let first = ("pool".into(), Command::Schedule(Spare::Slots(3)));
        Vec::from_iter(lost.then_some(first))
    }
}

/// One replica, and the other end of its journal.
struct Outbox {
    driver: Driver,
    view: watch::Receiver<View>,
    lives: Lives,
    written: mpsc::UnboundedReceiver<Draft>,
    sent: mpsc::UnboundedSender<ReadResult>,
    kept: mpsc::UnboundedReceiver<Arc<Fleet>>,
    engine: tokio::task::JoinHandle<JournalError>,
    /// The number of the other replica's entries so far, and the journal's clock.
    others: u64,
    now: Time,
}

impl Outbox {
    fn new() -> Outbox {
        let (writes, written) = mpsc::unbounded_channel();
        let (sent, reads) = mpsc::unbounded_channel();
        let (keeps, kept) = mpsc::unbounded_channel();
        let mut journal = Journal::new(Box::new(Writes(writes)), Box::new(Reads(reads)), true);
        journal.keep = Some(Box::new(Keeps(keeps)));
        let (driver, engine, view) = engine::new(journal, &Ids::seeded(1)).unwrap();
        let lives = Lives::default();
        let engine = tokio::spawn(engine.run(lives.clone()));
        Outbox { driver, view, lives, written, sent, kept, engine, others: 0, now: Time(1_000_000) }
    }

    /// The next draft other than a tick or a hello.
    async fn draft(&mut self) -> Draft {
        loop {
            let draft = self.written.recv().await.unwrap();
            if !matches!(draft.command, Command::Tick | Command::Hello { .. }) {
                return draft;
            }
            let entry = self.entry(draft);
            self.read(vec![entry]).await;
        }
    }

    fn entry(&self, Draft { from, number, pool, command }: Draft) -> Entry {
        Entry { at: self.now, from, number, pool, command }
    }

    fn other(&mut self) -> Entry {
        self.others += 1;
        Entry { at: self.now, from: OTHER, number: self.others, pool: "".into(), command: Command::Tick }
    }

    async fn read(&self, entries: Vec<Entry>) {
        self.sent.send(ReadResult::Entries(entries)).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// A pool with a silence of 6 s and a grace of 3 s.
    async fn with_pool() -> Outbox {
        let mut outbox = Outbox::new();
        let rules = Rules { silence: Millis::secs(6), grace: Millis::secs(3), ..Rules::default() };
        outbox.driver.post(&"pool".into(), Command::Rules(rules));
        // The second entry is the first one to which these rules apply.
        outbox.driver.post(&"pool".into(), Command::Leave { session: ANA });
        for _ in 0..2 {
            let draft = outbox.draft().await;
            outbox.read(vec![outbox.entry(draft)]).await;
        }
        outbox
    }

    /// New visitors, until the entry at this position is applied.
    async fn visits_until(&mut self, position: u64) {
        while self.view.borrow().fleet.applied() < position {
            let session = SessionId(self.view.borrow().fleet.applied().into());
            self.driver.post(&"pool".into(), Command::Visit { session, hint: None, class: 0 });
            let visit = self.draft().await;
            self.read(vec![self.entry(visit)]).await;
            assert!(self.view.borrow().fleet.session(&"pool".into(), session).is_some());
        }
    }

    /// Ticks of the other replica, until the fleet has given up every other one.
    fn long_silence(&mut self) -> Vec<Entry> {
        (0..6)
            .map(|_| {
                self.now += Millis::secs(2);
                self.other()
            })
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn commands_that_an_ended_life_could_not_apply_are_written_again_by_the_next() {
    let mut outbox = Outbox::with_pool().await;
    let first = outbox.driver.me();
    let driver = outbox.driver.clone();
    let visit = Command::Visit { session: ANA, hint: None, class: 0 };
    let asked = visit.clone();
    let mut asks = tokio::spawn(async move { driver.write(&"pool".into(), asked).await });
    let late = outbox.draft().await;
    assert_eq!((late.from, &late.command), (first, &visit));

    // The visit is delayed until the fleet has given up this replica, and is read in the same batch.
    let mut entries = outbox.long_silence();
    entries.push(outbox.entry(late));
    outbox.read(entries).await;
    assert_eq!(outbox.lives.all()[..2], [1, 0]);
    assert_ne!(outbox.driver.me(), first);
    assert!(!asks.is_finished(), "the visit is not reported as applied");

    let again = outbox.draft().await;
    assert_eq!((again.from, again.number, &again.command), (outbox.driver.me(), 2, &visit));
    outbox.read(vec![outbox.entry(again)]).await;
    assert_eq!((&mut asks).await.unwrap(), Ok(()));
    assert!(outbox.view.borrow().fleet.session(&"pool".into(), ANA).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_reads_none_of_its_own_entries_becomes_stale_and_cut_off() {
    let mut outbox = Outbox::with_pool().await;
    assert!(!outbox.view.borrow().is_stale() && !outbox.view.borrow().is_cut_off());
    // Entries of others do not prove that this replica's entries arrive.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let entry = outbox.other();
        outbox.read(vec![entry]).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // Others wait for 6 s of silence and 3 s of grace; half a silence of that may be a step of the journal's clock.
    assert!(outbox.view.borrow().is_cut_off());
    assert!(outbox.view.borrow().is_stale());
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_a_shared_journal_writes_heartbeats() {
    let mut outbox = Outbox::with_pool().await;
    let mut signs = 0;
    while let Ok(Some(draft)) = tokio::time::timeout(Duration::from_secs(3), outbox.written.recv()).await {
        assert_eq!(draft.command, Command::Tick);
        outbox.now += Millis::secs(2);
        outbox.read(vec![outbox.entry(draft)]).await;
        signs += 1;
        if signs == 10 {
            assert!(!outbox.view.borrow().is_stale());
            return;
        }
    }
    panic!("the replica writes nothing more after {signs} heartbeats");
}

#[tokio::test(start_paused = true)]
async fn a_visit_is_not_written_after_its_visitor_has_disconnected() {
    let mut outbox = Outbox::with_pool().await;
    let driver = outbox.driver.clone();
    let visit = Command::Visit { session: ANA, hint: None, class: 0 };
    let gone = tokio::time::timeout(Duration::ZERO, async { driver.write(&"pool".into(), visit).await }).await;
    assert!(gone.is_err());
    outbox.driver.post(&"pool".into(), Command::Kick { session: ANA });
    assert_eq!(outbox.draft().await.command, Command::Kick { session: ANA });
}

#[tokio::test(start_paused = true)]
async fn a_stopped_journal_clock_causes_no_flood_of_ticks() {
    let mut outbox = Outbox::with_pool().await;
    let visit = Command::Visit { session: ANA, hint: None, class: 0 };
    outbox.driver.post(&"pool".into(), visit);
    let draft = outbox.draft().await;
    // Ana's queue lease ends in 30 s; the journal's clock stops shortly before that.
    outbox.read(vec![outbox.entry(draft)]).await;
    for _ in 0..14 {
        outbox.now += Millis::secs(2);
        let entry = outbox.other();
        outbox.read(vec![entry]).await;
    }
    outbox.now += Millis(1_999);
    let entry = outbox.other();
    outbox.read(vec![entry]).await;
    let mut ticks = 0;
    let end = slotkeeper::io::now() + Duration::from_secs(60);
    while let Ok(Some(draft)) = tokio::time::timeout_at(end, outbox.written.recv()).await {
        ticks += 1;
        outbox.read(vec![outbox.entry(draft)]).await;
    }
    assert!((20..80).contains(&ticks), "{ticks} ticks in a minute");
}

#[tokio::test(start_paused = true)]
async fn the_first_entry_of_each_life_is_a_hello() {
    let mut outbox = Outbox::new();
    outbox.driver.post(&"pool".into(), Command::Rules(Rules::default()));
    let hello = outbox.written.recv().await.unwrap();
    assert_eq!((hello.number, hello.command), (1, Command::Hello { speaks: Entry::SEMANTICS }));
    let rules = outbox.written.recv().await.unwrap();
    assert_eq!((rules.number, rules.from), (2, hello.from));
}

/// A state in which Ana waits and the other replica is alive.
fn state_with_ana(outbox: &mut Outbox) -> Fleet {
    let mut fleet = Fleet::new();
    let commands = [Command::Rules(Rules::default()), Command::Visit { session: ANA, hint: None, class: 0 }];
    for command in commands {
        let entry = Entry { command, pool: "pool".into(), ..outbox.other() };
        let _ = fleet.apply(&entry);
    }
    fleet
}

#[tokio::test(start_paused = true)]
async fn entries_before_the_replicas_own_first_entry_have_no_effects() {
    let mut outbox = Outbox::new();
    let fleet = state_with_ana(&mut outbox);
    outbox.sent.send(ReadResult::State(Box::new(fleet))).unwrap();
    let kick = Entry { command: Command::Kick { session: ANA }, pool: "pool".into(), ..outbox.other() };
    outbox.read(vec![kick]).await;
    assert_eq!((outbox.view.borrow().fleet.applied(), outbox.lives.all()), (3, [0, 0, 0]));
    // From the replica's own first entry on, effects are executed.
    outbox.driver.post(&"pool".into(), Command::Visit { session: ANA, hint: None, class: 0 });
    outbox.driver.post(&"pool".into(), Command::Kick { session: ANA });
    for _ in 0..2 {
        let draft = outbox.draft().await;
        outbox.read(vec![outbox.entry(draft)]).await;
    }
    assert_eq!(outbox.lives.all(), [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_entries_are_lost_starts_a_new_life_and_writes_them_again() {
    let mut outbox = Outbox::with_pool().await;
    let first = outbox.driver.me();
    outbox.driver.post(&"pool".into(), Command::Leave { session: ANA });
    let _on_its_way = outbox.draft().await;
    let fleet = state_with_ana(&mut outbox);
    outbox.sent.send(ReadResult::State(Box::new(fleet))).unwrap();
    let sent = outbox.draft().await;
    assert_eq!(
        (sent.number, &sent.command),
        (2, &Command::Schedule(Spare::Slots(3))),
        "lasting settings are written first"
    );
    let again = outbox.draft().await;
    assert_eq!((again.number, &again.command), (3, &Command::Leave { session: ANA }));
    assert_ne!(again.from, first);
    assert_eq!(outbox.lives.all()[..2], [1, 1]);
    outbox.read(vec![outbox.entry(sent), outbox.entry(again)]).await;
    assert!(outbox.view.borrow().fleet.session(&"pool".into(), ANA).is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_lapse_a_replica_confirms_once_that_it_missed_no_entry() {
    let mut outbox = Outbox::with_pool().await;
    let lapse = Command::Lapse { patience: Millis::secs(90), timeline: Timeline(7) };
    let lapse = Entry { from: ReplicaId(0), number: 0, command: lapse, ..outbox.other() };
    outbox.others -= 1;
    outbox.read(vec![lapse]).await;
    let position = outbox.view.borrow().fleet.applied();
    assert_eq!(outbox.draft().await.command, Command::Whole { lapse: position });
    let next = outbox.other();
    outbox.read(vec![next]).await;
    outbox.driver.post(&"pool".into(), Command::Leave { session: ANA });
    assert_eq!(outbox.draft().await.command, Command::Leave { session: ANA }, "and not again");
}

#[tokio::test(start_paused = true)]
async fn the_replica_that_wrote_the_entry_writes_the_checkpoint() {
    let mut outbox = Outbox::with_pool().await;
    while outbox.view.borrow().fleet.applied() < 7 {
        let entry = outbox.other();
        outbox.read(vec![entry]).await;
    }
    outbox.driver.post(&"pool".into(), Command::Leave { session: ANA });
    let eighth = outbox.draft().await;
    outbox.read(vec![outbox.entry(eighth)]).await;
    assert_eq!(outbox.kept.try_recv().unwrap().applied(), 8);
    for _ in 0..8 {
        let entry = outbox.other();
        outbox.read(vec![entry]).await;
    }
    assert!(outbox.kept.try_recv().is_err(), "the sixteenth was the other's");
}

#[tokio::test(start_paused = true)]
async fn entries_are_applied_while_a_checkpoint_is_being_written() {
    let mut outbox = Outbox::with_pool().await;
    outbox.visits_until(9).await;
    let written = outbox.kept.try_recv().unwrap();
    let before = serde_json::to_string(&*written).unwrap();
    assert_eq!(written.applied(), 8);
    outbox.visits_until(20).await;
    assert!(outbox.kept.try_recv().is_err(), "one checkpoint at a time");
    assert_eq!(serde_json::to_string(&*written).unwrap(), before, "it does not change while it is being written");
    drop(written);
    // With this many sessions, a checkpoint is due less often.
    outbox.visits_until(33).await;
    let next = outbox.kept.try_recv().unwrap();
    assert_eq!(next.applied(), 32);
    let view = outbox.view.borrow();
    let queue: Vec<SessionId> = next.queue(&"pool".into()).collect();
    assert!(queue.len() > 10 && view.fleet.queue(&"pool".into()).take(queue.len()).eq(queue), "every entry, once");
}

#[tokio::test(start_paused = true)]
async fn a_version_stops_when_another_replica_has_newer_semantics() {
    let mut outbox = Outbox::with_pool().await;
    let farewell = Command::Hello { speaks: Entry::SEMANTICS + 1 };
    outbox.driver.post(&"".into(), Command::Farewell);
    let own = outbox.draft().await;
    let hello = Entry { command: farewell, ..outbox.other() };
    outbox.sent.send(ReadResult::Entries(vec![hello, outbox.entry(own)])).unwrap();
    let error = (&mut outbox.engine).await.unwrap().to_string();
    assert!(
        error.contains(&format!("semantics {}", Entry::SEMANTICS + 1)) && error.contains("run the version"),
        "{error}"
    );
}
