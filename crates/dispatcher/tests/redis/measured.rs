//! Measurements without assertions: `cargo test -p slotkeeper -- --ignored --nocapture redis::measured`.

use super::replica::{address, open};
use super::server::{Server, Way};
use slotkeeper::engine::{self, EffectSink};
use slotkeeper::io::{Ids, now};
use slotkeeper_core::{Command, Effect, PoolId, ReplicaId, SessionId};
use std::time::Duration;

struct Nothing;

impl EffectSink for Nothing {
    fn effect(&self, _: &PoolId, _: &Effect, _: ReplicaId) {}
    fn new_life(&self, _: bool) -> Vec<(PoolId, slotkeeper_core::Command)> {
        Vec::new()
    }
}

/// Measures until a command has been read back and applied, as a visitor waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints measurements, and asserts nothing"]
async fn throughput_and_latency_of_appends() {
    println!("fsync    | writers | entries/s |   p50 ms |   p99 ms");
    for policy in ["always", "everysec"] {
        for writers in [1_u32, 16, 256] {
            let server = Server::with(&["--appendonly", "yes", "--appendfsync", policy]).await;
            let journal = open(&address(), &Way::to(&server));
            let (driver, engine, _view) = engine::new(journal, &Ids::seeded(1)).unwrap();
            let engine = tokio::spawn(engine.run(Nothing));
            driver.write(&"".into(), Command::Tick).await.unwrap();
            let (start, time) = (now(), Duration::from_secs(5));
            let mut lines = tokio::task::JoinSet::new();
            for writer in 0..writers {
                let driver = driver.clone();
                lines.spawn(async move {
                    let mut taken = Vec::new();
                    while start.elapsed() < time {
                        let asked = now();
                        let command = Command::Leave { session: SessionId(writer.into()) };
                        driver.write(&"pool".into(), command).await.unwrap();
                        taken.push(asked.elapsed());
                    }
                    taken
                });
            }
            let mut taken: Vec<Duration> = lines.join_all().await.into_iter().flatten().collect();
            taken.sort();
            let rate = taken.len() as f64 / start.elapsed().as_secs_f64();
            let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
            println!("{policy:8} | {writers:7} | {rate:9.0} | {:8.2} | {:8.2}", at(0.5), at(0.99));
            engine.abort();
        }
    }
}
