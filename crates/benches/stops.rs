//! Measures how long requests are stopped: the longest time that one read of the state takes while the engine applies an
//! entry, with 1 000 000 sessions on 10 000 pods. `cargo bench -p slotkeeper-benches --bench stops`; a few minutes, and 2 GB
//! of memory. With `-- --test` everything runs once, on a small fleet. Target: 5 ms, whatever the entry.
//!
//! Every line has the worst of the reads during one case, and how long the entries of the case took until they could be read.
//! The first line is what this machine does to a thread that reads while nothing else happens.
#![expect(clippy::print_stdout, reason = "a benchmark prints its measurements")]

use slotkeeper::engine::{self, EffectSink, view::View};
use slotkeeper::io::{BoxFuture, Ids};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, Keep, ReadResult};
use slotkeeper_core::{
    Command, Effect, Entry, Fleet, Millis, Ordinal, Phase, PoolId, ReplicaId, Rules, Scaling, SessionId, Sighting,
    Time, Timeline, Uid, Window,
};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

const REPLICAS: u64 = 3;

struct Nowhere;
struct Reads(mpsc::UnboundedReceiver<ReadResult>);
/// Counts the checkpoints, after writing them as JSON.
struct Keeps(Arc<AtomicU64>);

impl Append for Nowhere {
    fn append(&mut self, _: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
}

impl EffectSink for Nowhere {
    fn effect(&self, _: &PoolId, _: &Effect, _: ReplicaId) {}
    fn new_life(&self, _: bool) -> Vec<(PoolId, Command)> {
        Vec::new()
    }
}

impl Follow for Reads {
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>> {
        Box::pin(async { self.0.recv().await.ok_or(JournalError::Closed) })
    }
}

impl Keep for Keeps {
    fn keep(&mut self, fleet: Arc<Fleet>) -> BoxFuture<'_, Result<(), JournalError>> {
        let kept = self.0.clone();
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&*fleet).map(|json| json.len()));
            black_box(written.await.map_err(|_| JournalError::Closed)?.ok());
            kept.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }
}

/// Writes the entries of three replicas.
struct Writer {
    pool: PoolId,
    clock: Time,
    numbers: [u64; REPLICAS as usize],
    pods: u32,
    sessions: u64,
}

impl Writer {
    fn rules(&self) -> Rules {
        Rules {
            slots_per_pod: (self.sessions / u64::from(self.pods)) as u32,
            min: self.pods,
            max: self.pods,
            scaling: Scaling::Direct { window: Window::Fixed },
            idle: Some(Millis::secs(3600)),
            max_session: Some(Millis::secs(36_000)),
            ..Rules::default()
        }
    }

    fn entry(&mut self, replica: u64, command: Command) -> Entry {
        let replica = replica % REPLICAS;
        let number = &mut self.numbers[replica as usize];
        *number += 1;
        Entry { at: self.clock, from: ReplicaId(replica), number: *number, pool: self.pool.clone(), command }
    }

    fn list(&self, version: u64) -> Command {
        let pods = (0..self.pods).map(|o| Sighting {
            pod: Ordinal(o),
            uid: Uid::from(format!("6f1c7a52-0000-4000-8000-{o:012}").as_str()),
            phase: Phase::Ready { address: ([10, (o >> 16) as u8, (o >> 8) as u8, o as u8], 8080).into() },
        });
        Command::PodsListed { pods: pods.collect(), version }
    }

    /// A fleet whose slots are all in use, `before` entries before its position is a multiple of every power of two that is
    /// not larger than itself.
    fn fleet(&mut self, before: u64) -> Fleet {
        let mut fleet = Fleet::new();
        let rules = Command::Rules(self.rules());
        let seen =
            Command::ScaleSeen { start: 0, replicas: self.pods, decided: 0, timeline: Timeline::FIRST, version: 1 };
        let mut commands = vec![(0, rules), (0, seen), (0, self.list(2))];
        for n in 0..self.sessions {
            commands.push((n, Command::Visit { session: id(n), hint: None, class: 0 }));
            commands.push((n, Command::Attach { session: id(n) }));
        }
        for (replica, command) in commands {
            let _ = fleet.apply(&self.entry(replica, command));
        }
        let end = fleet.applied().next_power_of_two() - before;
        while fleet.applied() < end {
            self.clock += Millis(1);
            let _ = fleet.apply(&self.entry(fleet.applied(), Command::Tick));
        }
        fleet
    }

    /// Ticks of all replicas, one second after the other.
    fn ticks(&mut self, seconds: u64) -> Vec<Entry> {
        let mut ticks = Vec::new();
        for _ in 0..seconds {
            self.clock += Millis::secs(1);
            ticks.extend((0..REPLICAS).map(|replica| self.entry(replica, Command::Tick)));
        }
        ticks
    }
}

/// Session ids are random in production, so sessions that arrive one after the other are not adjacent in memory.
fn id(n: u64) -> SessionId {
    let mix = |n: u64| (n ^ (n >> 31)).wrapping_mul(0x7FB5_D329_728E_A185).rotate_left(27) ^ n;
    SessionId(u128::from(mix(n)) << 64 | u128::from(mix(n ^ 0xABCD_EF01)))
}

/// The engine under test, and a thread that reads its state without a pause.
struct Bench {
    results: mpsc::UnboundedSender<ReadResult>,
    view: watch::Receiver<View>,
    longest: Arc<AtomicU64>,
    kept: Arc<AtomicU64>,
}

impl Bench {
    fn read(view: &watch::Receiver<View>, pool: &PoolId, longest: &AtomicU64, ends: &AtomicBool) {
        let mut n = 0;
        while !ends.load(Ordering::Relaxed) {
            n += 1;
            let started = Instant::now();
            black_box(view.borrow().fleet.place(pool, id(n)));
            longest.fetch_max(started.elapsed().as_micros() as u64, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Prints what happened to reads while the engine took this.
    async fn measure(&self, case: &str, results: ReadResult, applied: u64) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let kept = self.kept.load(Ordering::Relaxed);
        self.longest.store(0, Ordering::Relaxed);
        let started = Instant::now();
        let _ = self.results.send(results);
        while self.view.borrow().fleet.applied() < applied {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        let readable = started.elapsed();
        // Work that follows after the entries can be read counts as well.
        tokio::time::sleep(Duration::from_secs(2).max(readable * 2)).await;
        let longest = self.longest.load(Ordering::Relaxed) as f64 / 1000.0;
        let kept = self.kept.load(Ordering::Relaxed) - kept;
        println!("{case:<52} {longest:>9.2} {:>12.2} {kept:>12}", readable.as_secs_f64() * 1000.0);
    }

    async fn apply(&self, case: &str, entries: Vec<Entry>) {
        let applied = self.view.borrow().fleet.applied() + entries.len() as u64;
        self.measure(case, ReadResult::Entries(entries), applied).await;
    }
}

#[tokio::main]
async fn main() {
    let (pods, sessions) = if std::env::args().any(|a| a == "--test") { (100, 1000) } else { (10_000, 1_000_000) };
    let clock = Time(1_700_000_000_000);
    let mut writer = Writer { pool: "pool".into(), clock, numbers: [0; REPLICAS as usize], pods, sessions };
    let fleet = writer.fleet(100);
    read_only(&fleet, &writer.pool);

    let (results, reads) = mpsc::unbounded_channel();
    let kept = Arc::new(AtomicU64::new(0));
    let mut journal = Journal::new(Box::new(Nowhere), Box::new(Reads(reads)), false);
    journal.keep = Some(Box::new(Keeps(kept.clone())));
    let Ok((_driver, engine, view)) = engine::new(journal, &Ids::seeded(1)) else { return };
    tokio::spawn(engine.run(Nowhere));
    let (longest, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let bench = Bench { results, view: view.clone(), longest: longest.clone(), kept };
    let reader = {
        let (pool, ends) = (writer.pool.clone(), ends.clone());
        std::thread::spawn(move || Bench::read(&view, &pool, &longest, &ends))
    };

    println!("{:<52} {:>9} {:>12} {:>12}", "case", "stop, ms", "applied, ms", "checkpoints");
    bench.apply("nothing", Vec::new()).await;
    let at = fleet.applied();
    let again = fleet.clone();
    bench.measure("a checkpoint is read (at the start)", ReadResult::State(Box::new(fleet)), at).await;
    bench.apply("one entry", vec![writer.entry(0, Command::Tick)]).await;
    let busy = (0..64).map(|n| writer.entry(n, Command::Active { sessions: vec![id(n)] })).collect();
    bench.apply("a batch of 64 entries", busy).await;
    let up_to_due = (0..35).map(|n| writer.entry(n, Command::Tick)).collect();
    bench.apply("a checkpoint becomes due", up_to_due).await;
    let list = writer.list(3);
    bench.apply("all pods are listed", vec![writer.entry(0, list)]).await;
    let rules = Rules { grace: Millis::secs(20), ..writer.rules() };
    bench.apply("the rules change", vec![writer.entry(0, Command::Rules(rules.clone()))]).await;
    bench.apply("a replica leaves: a third of the sessions detached", vec![writer.entry(2, Command::Farewell)]).await;
    writer.numbers[2] = 0;
    let mut ticks = writer.ticks(25);
    let last = ticks.pop();
    bench.apply("a third of the sessions expires, in one entry", ticks).await;
    bench.apply("one more tick", last.into_iter().collect()).await;
    let lapse = Command::Lapse { patience: Millis::secs(60), timeline: Timeline(7) };
    let lapse = Entry { from: ReplicaId(9), ..writer.entry(0, lapse) };
    writer.numbers[0] -= 1;
    bench.apply("a lapse begins", vec![Entry { number: 0, ..lapse }]).await;
    let (pool, clock) = (writer.pool.clone(), writer.clock);
    let end = writer.ticks(61);
    bench.apply("a lapse ends", end).await;
    let idle = Rules { idle: Some(Millis::secs(1)), ..rules };
    let idle = writer.entry(0, Command::Rules(idle));
    bench.apply("the rules end all other sessions", vec![idle]).await;
    black_box((pool, clock));
    // A state that is behind what was read: entries are lost.
    bench.measure("a checkpoint is read (entries were lost)", ReadResult::State(Box::new(again)), at).await;
    ends.store(true, Ordering::Relaxed);
    let _ = reader.join();
}

/// Measures the work of readers under the read lock: while one of them holds it, the engine waits, and then all others.
fn read_only(fleet: &Fleet, pool: &PoolId) {
    let measure = |what: &str, read: &dyn Fn()| {
        let started = Instant::now();
        read();
        println!("{what:<52} {:>9.2}", started.elapsed().as_secs_f64() * 1000.0);
    };
    measure("reads: the counts for a scrape", &|| {
        black_box(fleet.census(pool));
    });
    measure("reads: the effects that are owed", &|| {
        black_box(fleet.owed().count());
    });
    measure("reads: all sessions, sorted", &|| {
        black_box(fleet.sessions(pool).len());
    });
    measure("(a clone of the fleet)", &|| {
        black_box(fleet.clone());
    });
    measure("(the fleet as JSON)", &|| {
        black_box(serde_json::to_vec(fleet).map(|json| json.len()).ok());
    });
}
