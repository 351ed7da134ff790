//! Measures the speed of the state machine and the memory per session. `cargo bench -p slotkeeper-benches`; with
//! `-- --test` everything runs once, on a smaller fleet. Targets: a million entries per second at 1 000 sessions; at
//! 10 000 pods and 1 000 000 sessions less than 5 µs per entry, 500 ns per place and 500 bytes per session.
#![expect(clippy::print_stdout, reason = "a benchmark prints its measurements")]

use criterion::{Criterion, Throughput};
use slotkeeper_core::{
    Command, Entry, Fleet, Millis, Ordinal, Phase, PoolId, ReplicaId, Rules, Scaling, SessionId, Sighting, Time,
    Timeline, Uid, Window,
};
use std::hint::black_box;

/// The system's allocator, counting what is in use.
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    pub(super) struct Counting(pub(super) AtomicUsize);

    #[expect(unsafe_code, reason = "an allocator cannot be written otherwise; it only counts and passes on")]
    // SAFETY: every call goes unchanged to the system's allocator.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.0.fetch_add(layout.size(), Relaxed);
            unsafe { System.alloc(layout) }
        }
        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            self.0.fetch_sub(layout.size(), Relaxed);
            unsafe { System.dealloc(at, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting(AtomicUsize::new(0));

    pub(super) fn in_use() -> usize {
        ALLOCATOR.0.load(Relaxed)
    }
}

const REPLICAS: u64 = 3;

/// A fleet of one pool, and the journal that feeds it.
struct Bench {
    fleet: Fleet,
    pool: PoolId,
    clock: Time,
    numbers: [u64; REPLICAS as usize],
    version: u64,
    pods: u32,
    slots: u32,
    random: u64,
}

impl Bench {
    /// A fleet in which every pod is ready and 99 % of the slots are taken.
    fn new(pods: u32, slots: u32) -> Bench {
        let rules = Rules {
            slots_per_pod: slots,
            min: pods,
            max: pods,
            scaling: Scaling::Direct { window: Window::Fixed },
            idle: Some(Millis::secs(3600)),
            max_session: Some(Millis::secs(36_000)),
            ..Rules::default()
        };
        let mut bench = Bench {
            fleet: Fleet::new(),
            pool: PoolId::from("pool"),
            clock: Time(1_700_000_000_000),
            numbers: [0; REPLICAS as usize],
            version: 2,
            pods,
            slots,
            random: 42,
        };
        bench.say(0, Command::Rules(rules));
        bench
            .say(0, Command::ScaleSeen { start: 0, replicas: pods, decided: 0, timeline: Timeline::FIRST, version: 1 });
        let all = (0..pods).map(|o| Sighting { pod: Ordinal(o), uid: uid(o), phase: ready(o) }).collect();
        bench.say(0, Command::PodsListed { pods: all, version: 2 });
        bench
    }

    fn fill(&mut self) {
        let seats = u64::from(self.pods) * u64::from(self.slots);
        for n in 0..seats - seats / 100 {
            let session = id(n);
            self.say(n, Command::Visit { session, hint: None, class: 0 });
            self.say(n, Command::Attach { session });
        }
    }

    fn sessions(&self) -> u64 {
        let seats = u64::from(self.pods) * u64::from(self.slots);
        seats - seats / 100
    }

    fn say(&mut self, replica: u64, command: Command) {
        let entry = self.entry(replica, command);
        black_box(self.fleet.apply(&entry));
    }

    fn entry(&mut self, replica: u64, command: Command) -> Entry {
        let replica = replica % REPLICAS;
        let number = &mut self.numbers[replica as usize];
        *number += 1;
        // A thousand entries a second.
        self.clock += Millis(1);
        Entry { at: self.clock, from: ReplicaId(replica), number: *number, pool: self.pool.clone(), command }
    }

    fn any(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    /// The mix of entries on a busy day: reconnects, batches of activity, an occasional new visitor, pod observations.
    fn day(&mut self, entries: usize) -> Vec<Entry> {
        let mut day = Vec::with_capacity(entries);
        while day.len() < entries {
            let n = self.any() % self.sessions();
            let session = id(n);
            match self.any() % 20 {
                0..8 => {
                    day.push(self.entry(n, Command::Detach { session }));
                    day.push(self.entry(n, Command::Attach { session }));
                }
                8..13 => day.push(self.entry(n, Command::Active { sessions: vec![session] })),
                13..16 => day.push(self.entry(n, Command::Visit { session, hint: None, class: 0 })),
                16 => {
                    day.push(self.entry(n, Command::Leave { session }));
                    day.push(self.entry(n, Command::Detach { session }));
                    day.push(self.entry(n, Command::Visit { session, hint: None, class: 0 }));
                    day.push(self.entry(n, Command::Attach { session }));
                }
                17 => {
                    let pod = Ordinal((self.any() % u64::from(self.pods)) as u32);
                    self.version += 1;
                    let news = Command::PodSeen { pod, uid: uid(pod.0), phase: ready(pod.0), version: self.version };
                    day.push(self.entry(n, news));
                }
                _ => day.push(self.entry(n, Command::Tick)),
            }
        }
        day
    }

    /// Many entries of one kind that together leave the fleet unchanged.
    fn kind(&mut self, kind: &str, entries: usize) -> Vec<Entry> {
        let commands: Vec<(u64, Command)> = (0..entries)
            .map(|_| {
                let n = self.any() % self.sessions();
                let session = id(n);
                let command = match kind {
                    "attach" => Command::Attach { session },
                    "detach" => Command::Detach { session },
                    "visit" => Command::Visit { session, hint: None, class: 0 },
                    "active" => Command::Active { sessions: vec![session] },
                    "pod seen" => {
                        let pod = Ordinal((n % u64::from(self.pods)) as u32);
                        self.version += 1;
                        Command::PodSeen { pod, uid: uid(pod.0), phase: ready(pod.0), version: self.version }
                    }
                    "attach and detach" | "come and go" => Command::Tick,
                    other => panic!("no such kind: {other}"),
                };
                (n, command)
            })
            .collect();
        let mut all = Vec::new();
        for (n, command) in commands {
            let session = id(n);
            match kind {
                "attach and detach" => {
                    all.push(self.entry(n, Command::Detach { session }));
                    all.push(self.entry(n, Command::Attach { session }));
                }
                "come and go" => {
                    let session = SessionId(u128::MAX - u128::from(n));
                    all.push(self.entry(n, Command::Visit { session, hint: None, class: 0 }));
                    all.push(self.entry(n, Command::Attach { session }));
                    all.push(self.entry(n, Command::Leave { session }));
                    all.push(self.entry(n, Command::Detach { session }));
                }
                _ => all.push(self.entry(n, command)),
            }
        }
        all
    }
}

/// Session ids are random in production, so sessions that arrive one after the other are not adjacent in memory.
fn id(n: u64) -> SessionId {
    let mix = |n: u64| (n ^ (n >> 31)).wrapping_mul(0x7FB5_D329_728E_A185).rotate_left(27) ^ n;
    SessionId(u128::from(mix(n)) << 64 | u128::from(mix(n ^ 0xABCD_EF01)))
}

fn uid(ordinal: u32) -> Uid {
    Uid::from(format!("6f1c7a52-0000-4000-8000-{ordinal:012}").as_str())
}

fn ready(ordinal: u32) -> Phase {
    Phase::Ready { address: ([10, (ordinal >> 16) as u8, (ordinal >> 8) as u8, ordinal as u8], 8080).into() }
}

/// Applies the entries in order, one sample at a time, and starts over with later times when they are used up.
fn apply(c: &mut Criterion, group: &str, bench: &mut Bench, kinds: &[&str]) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    for kind in kinds {
        group.bench_function(*kind, |b| {
            b.iter_custom(|iterations| {
                let entries = match *kind {
                    "day" => bench.day(iterations as usize),
                    kind => bench.kind(kind, iterations as usize),
                };
                let started = std::time::Instant::now();
                for entry in &entries {
                    black_box(bench.fleet.apply(entry));
                }
                let took = started.elapsed();
                // Some kinds need several entries to leave the fleet unchanged: the result is the time per entry.
                took.mul_f64(iterations as f64 / entries.len() as f64)
            });
        });
    }
    group.finish();
}

fn place(c: &mut Criterion, group: &str, bench: &mut Bench) {
    let ids: Vec<SessionId> = (0..4096).map(|_| id(bench.any() % bench.sessions())).collect();
    let mut group = c.benchmark_group(group);
    let mut at = 0;
    group.bench_function("place", |b| {
        b.iter(|| {
            at = (at + 1) % ids.len();
            black_box(bench.fleet.place(&bench.pool, ids[at]));
        });
    });
    group.bench_function("place of a stranger", |b| {
        b.iter(|| {
            at = (at + 1) % ids.len();
            black_box(bench.fleet.place(&bench.pool, SessionId(!ids[at].0)));
        });
    });
    group.bench_function("next deadline", |b| b.iter(|| black_box(bench.fleet.next_deadline())));
    group.finish();
}

fn main() {
    let test = std::env::args().any(|a| a == "--test");
    let mut c = Criterion::default().sample_size(20).configure_from_args();

    let mut small = Bench::new(1000, 1);
    small.fill();
    apply(&mut c, "1000 sessions", &mut small, &["day"]);
    place(&mut c, "1000 sessions", &mut small);

    let (pods, slots) = if test { (100, 10) } else { (10_000, 100) };
    let mut large = Bench::new(pods, slots);
    let before = counting::in_use();
    large.fill();
    let bytes = counting::in_use() - before;
    let group = format!("{} sessions", u64::from(pods) * u64::from(slots));
    println!("{group}: {} bytes each", bytes as u64 / large.sessions());
    let kinds = ["day", "attach", "attach and detach", "visit", "active", "pod seen", "come and go"];
    apply(&mut c, &group, &mut large, &kinds);
    place(&mut c, &group, &mut large);
    c.final_summary();
}
