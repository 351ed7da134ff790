//! Measures what journals cost: entries per second and the latency added for a visitor, through the driver, with a given
//! number of concurrent writers; and how long a start takes with many sessions in the journal.
//!
//! `cargo run --release -p slotkeeper --example journal -- FOLDER` (on the disk in question; it must not exist yet)
#![expect(clippy::print_stdout, reason = "it prints its measurements")]

use anyhow::Context as _;
use slotkeeper::engine::view::View;
use slotkeeper::engine::{self, Driver, EffectSink};
use slotkeeper::io::{Clock, Ids, now};
use slotkeeper::journal::{Journal, file, memory};
use slotkeeper_core::{Command, Effect, Ordinal, Phase, PoolId, ReplicaId, Rules, SessionId, Sighting, Timeline};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

struct Nothing;

impl EffectSink for Nothing {
    fn effect(&self, _: &PoolId, _: &Effect, _: ReplicaId) {}
    fn new_life(&self, _: bool) -> Vec<(PoolId, slotkeeper_core::Command)> {
        Vec::new()
    }
}

/// Entries in each measurement.
const ENTRIES: usize = 8192;
const SESSIONS: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("name a folder that does not exist yet")?;
    let folder = Path::new(&folder);
    anyhow::ensure!(!folder.exists(), "{} exists already", folder.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("journal  writers   entries/s   p50 ms   p99 ms");
        for writers in [1, 16, 256] {
            measure("memory", memory::open(Clock::real()), writers).await?;
        }
        for writers in [1, 16, 256] {
            measure("file", file::open(&folder.join(writers.to_string()), Clock::real())?, writers).await?;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    drop(runtime);
    start(&folder.join("start"))
}

fn begin(journal: Journal) -> anyhow::Result<(Driver, watch::Receiver<View>, tokio::task::JoinHandle<()>)> {
    let (driver, engine, view) = engine::new(journal, &Ids::Os)?;
    let task = tokio::spawn(async move {
        let _ = engine.run(Nothing).await;
    });
    Ok((driver, view, task))
}

fn pool() -> PoolId {
    "games".into()
}

async fn with_pods(driver: &Driver, pods: u32) -> anyhow::Result<()> {
    let rules = Rules { min: pods, max: pods, ..Rules::default() };
    driver.write(&pool(), Command::Rules(rules)).await?;
    let size = Command::ScaleSeen { start: 0, replicas: pods, decided: 0, timeline: Timeline::FIRST, version: 1 };
    let pods = (0..pods).map(|n| {
        let phase = Phase::Ready { address: ([127, 0, 0, 1], 8080).into() };
        Sighting { pod: Ordinal(n), uid: format!("uid-{n}").as_str().into(), phase }
    });
    driver.write(&pool(), Command::PodsListed { pods: pods.collect(), version: 1 }).await?;
    driver.write(&pool(), size).await?;
    Ok(())
}

fn visit(number: usize) -> Command {
    Command::Visit { session: SessionId(number as u128 + 1), hint: None, class: 0 }
}

async fn measure(name: &str, journal: Journal, writers: usize) -> anyhow::Result<()> {
    let (driver, _view, task) = begin(journal)?;
    with_pods(&driver, 64).await?;
    let begun = now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let driver = driver.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for number in 0..ENTRIES / writers {
                    let session = SessionId((writer * ENTRIES + number % 8) as u128 + 1);
                    // Eight sessions visit, then the same eight leave.
                    let command = if number / 8 % 2 == 0 {
                        Command::Visit { session, hint: None, class: 0 }
                    } else {
                        Command::Leave { session }
                    };
                    let begun = now();
                    let written = driver.write(&pool(), command).await;
                    took.push(now().duration_since(begun));
                    if written.is_err() {
                        break;
                    }
                }
                took
            })
        })
        .collect();
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        took.extend(task.await?);
    }
    let seconds = now().duration_since(begun).as_secs_f64();
    took.sort();
    let millis = |part: f64| took[(took.len() as f64 * part) as usize].as_secs_f64() * 1000.0;
    let rate = took.len() as f64 / seconds;
    println!("{name:<8} {writers:>7} {rate:>11.0} {:>8.3} {:>8.3}", millis(0.5), millis(0.99));
    task.abort();
    // The task is the only user of the journal: after its end the journal is closed.
    let _ = task.await;
    Ok(())
}

/// Measures from opening the journal until everything is read, with the sessions in a checkpoint and in the entries after it.
fn start(folder: &Path) -> anyhow::Result<()> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let position = runtime()?.block_on(async {
        let (driver, view, task) = begin(file::open(folder, Clock::real())?)?;
        with_pods(&driver, SESSIONS as u32).await?;
        for number in 0..SESSIONS {
            driver.post(&pool(), visit(number));
        }
        // Every session attaches.
        for number in 0..SESSIONS {
            driver.post(&pool(), Command::Attach { session: SessionId(number as u128 + 1) });
        }
        driver.write(&pool(), Command::Tick).await?;
        let position = view.borrow().fleet.applied();
        // A checkpoint may still be being written.
        tokio::time::sleep(Duration::from_secs(1)).await;
        task.abort();
        let _ = task.await;
        Ok::<u64, anyhow::Error>(position)
    })?;
    for _ in 0..5 {
        runtime()?.block_on(async {
            let begun = now();
            let journal = file::open(folder, Clock::real())?;
            let opened = now().duration_since(begun);
            let (driver, mut view, task) = begin(journal)?;
            view.wait_for(|view| view.fleet.applied() >= position).await?;
            let read = now().duration_since(begun);
            driver.write(&pool(), Command::Tick).await?;
            let written = now().duration_since(begun);
            let sessions = view.borrow().fleet.population();
            println!(
                "start with {sessions} sessions, {position} entries: opened after {opened:.0?}, all read after {read:.0?}, first own entry after {written:.0?}"
            );
            task.abort();
            let _ = task.await;
            Ok::<(), anyhow::Error>(())
        })?;
    }
    Ok(())
}
