//! The driver and a journal whose order is in the test's hands: what it writes, when it is told, and what it does when the
//! fleet has given it up (laws 1 and 5).

use slotkeeper::driver::{self, Aftermath, Driver};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, News};
use slotkeeper::outside::{BoxFuture, Ids};
use slotkeeper::view::View;
use slotkeeper_core::{Command, Effect, Entry, Millis, PoolId, ReplicaId, Rules, SessionId, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const OTHER: ReplicaId = ReplicaId(7);
const ANA: SessionId = SessionId(1);

struct Writes(mpsc::UnboundedSender<Draft>);
struct Reads(mpsc::UnboundedReceiver<Vec<Entry>>);

impl Append for Writes {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        batch.into_iter().for_each(|draft| self.0.send(draft).unwrap());
        Box::pin(async { Ok(()) })
    }
}

impl Follow for Reads {
    fn next(&mut self) -> BoxFuture<'_, Result<News, JournalError>> {
        Box::pin(async { self.0.recv().await.map(News::Entries).ok_or(JournalError::Closed) })
    }
}

#[derive(Clone, Default)]
struct Lives(Arc<AtomicU32>);

impl Aftermath for Lives {
    fn effect(&self, _: &PoolId, _: &Effect, _: ReplicaId) {}
    fn new_life(&self, _: bool) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One replica, and the other end of its journal.
struct Desk {
    driver: Driver,
    view: watch::Receiver<View>,
    lives: Lives,
    written: mpsc::UnboundedReceiver<Draft>,
    told: mpsc::UnboundedSender<Vec<Entry>>,
    /// The other replica's entries so far, and the journal's clock.
    others: u64,
    now: Time,
}

impl Desk {
    fn new() -> Desk {
        let (writes, written) = mpsc::unbounded_channel();
        let (told, reads) = mpsc::unbounded_channel();
        let journal = Journal::new(Box::new(Writes(writes)), Box::new(Reads(reads)), true);
        let (driver, engine, view) = driver::new(journal, &Ids::seeded(1)).unwrap();
        let lives = Lives::default();
        tokio::spawn(engine.run(lives.clone()));
        Desk { driver, view, lives, written, told, others: 0, now: Time(1_000_000) }
    }

    /// The next thing it writes that is no tick.
    async fn draft(&mut self) -> Draft {
        loop {
            let draft = self.written.recv().await.unwrap();
            if !matches!(draft.command, Command::Tick | Command::Hello { .. }) {
                return draft;
            }
            self.tell(vec![self.entry(draft)]).await;
        }
    }

    fn entry(&self, Draft { from, number, pool, command }: Draft) -> Entry {
        Entry { at: self.now, from, number, pool, command }
    }

    fn other(&mut self) -> Entry {
        self.others += 1;
        Entry { at: self.now, from: OTHER, number: self.others, pool: "".into(), command: Command::Tick }
    }

    async fn tell(&self, entries: Vec<Entry>) {
        self.told.send(entries).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// A pool with a silence of 6 s and a grace of 3 s.
    async fn with_pool() -> Desk {
        let mut desk = Desk::new();
        let rules = Rules { silence: Millis::secs(6), grace: Millis::secs(3), ..Rules::default() };
        desk.driver.post(&"pool".into(), Command::Rules(rules));
        // The second entry is the first one that is written by these rules.
        desk.driver.post(&"pool".into(), Command::Leave { session: ANA });
        for _ in 0..2 {
            let draft = desk.draft().await;
            desk.tell(vec![desk.entry(draft)]).await;
        }
        desk
    }

    /// The other replica's ticks until everybody else has been given up.
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
async fn what_a_life_that_is_over_could_not_say_is_said_by_the_next() {
    let mut desk = Desk::with_pool().await;
    let first = desk.driver.me();
    let driver = desk.driver.clone();
    let visit = Command::Visit { session: ANA, hint: None, class: 0 };
    let asked = visit.clone();
    let mut asks = tokio::spawn(async move { driver.tell(&"pool".into(), asked).await });
    let late = desk.draft().await;
    assert_eq!((late.from, &late.command), (first, &visit));

    // It is delayed until the fleet has given this replica up, and comes in the same batch.
    let mut entries = desk.long_silence();
    entries.push(desk.entry(late));
    desk.tell(entries).await;
    assert_eq!(desk.lives.0.load(Ordering::Relaxed), 1);
    assert_ne!(desk.driver.me(), first);
    assert!(!asks.is_finished(), "nobody is told that it was taken");

    let again = desk.draft().await;
    assert_eq!((again.from, again.number, &again.command), (desk.driver.me(), 1, &visit));
    desk.tell(vec![desk.entry(again)]).await;
    assert_eq!((&mut asks).await.unwrap(), Ok(()));
    assert!(desk.view.borrow().fleet.session(&"pool".into(), ANA).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_reads_nothing_of_its_own_distrusts_itself_in_time() {
    let mut desk = Desk::with_pool().await;
    assert!(!desk.view.borrow().is_stale() && !desk.view.borrow().is_cut_off());
    // What others write proves nothing about this one.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let entry = desk.other();
        desk.tell(vec![entry]).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // Others count 6 s of silence and 3 s of grace, of which half a silence may be a step of the journal's clock.
    assert!(desk.view.borrow().is_cut_off());
    assert!(desk.view.borrow().is_stale());
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_a_shared_journal_shows_that_it_lives() {
    let mut desk = Desk::with_pool().await;
    let mut signs = 0;
    while let Ok(Some(draft)) = tokio::time::timeout(Duration::from_secs(3), desk.written.recv()).await {
        assert_eq!(draft.command, Command::Tick);
        desk.now += Millis::secs(2);
        desk.tell(vec![desk.entry(draft)]).await;
        signs += 1;
        if signs == 10 {
            assert!(!desk.view.borrow().is_stale());
            return;
        }
    }
    panic!("after {signs} signs of life it says nothing more");
}

#[tokio::test(start_paused = true)]
async fn a_visit_whose_visitor_has_gone_is_not_written() {
    let mut desk = Desk::with_pool().await;
    let driver = desk.driver.clone();
    let visit = Command::Visit { session: ANA, hint: None, class: 0 };
    let gone = tokio::time::timeout(Duration::ZERO, async { driver.tell(&"pool".into(), visit).await }).await;
    assert!(gone.is_err());
    desk.driver.post(&"pool".into(), Command::Kick { session: ANA });
    assert_eq!(desk.draft().await.command, Command::Kick { session: ANA });
}

#[tokio::test(start_paused = true)]
async fn a_journal_clock_that_stands_is_not_flooded_with_ticks() {
    let mut desk = Desk::with_pool().await;
    let visit = Command::Visit { session: ANA, hint: None, class: 0 };
    desk.driver.post(&"pool".into(), visit);
    let draft = desk.draft().await;
    // Its lease runs out in 30 s; the journal's clock is a moment before that, and stays there.
    desk.tell(vec![desk.entry(draft)]).await;
    for _ in 0..14 {
        desk.now += Millis::secs(2);
        let entry = desk.other();
        desk.tell(vec![entry]).await;
    }
    desk.now += Millis(1_999);
    let entry = desk.other();
    desk.tell(vec![entry]).await;
    let mut ticks = 0;
    let end = slotkeeper::outside::now() + Duration::from_secs(60);
    while let Ok(Some(draft)) = tokio::time::timeout_at(end, desk.written.recv()).await {
        ticks += 1;
        desk.tell(vec![desk.entry(draft)]).await;
    }
    assert!((20..80).contains(&ticks), "{ticks} ticks in a minute");
}
