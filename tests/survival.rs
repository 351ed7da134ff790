//! Dispatchers that are killed at any time, alone on a folder or several on one Redis that is killed, too: no session loses
//! its pod, and no pod gets a second session.
//!
//! `KILLS` and `SESSIONS` make it longer: `KILLS=200 SESSIONS=200 cargo test -p slotkeeper-tests survival -- --nocapture`
//! prints measurements.

mod arcade;
pub(crate) mod dispatchers;
pub(crate) mod redis;
mod stopped;

use arcade::{Arcade, Player};
use dispatchers::Dispatchers;
use redis::Redis;
use rustix::process::Signal;
use slotkeeper_api::PoolList;
use slotkeeper_tests::{Visitor, eventually};
use std::time::{Duration, Instant};

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Short durations: lost replicas and sessions are given up soon.
const CLOCKS: &str = "silence_seconds = 4\ngrace_seconds = 6\nclaim_seconds = 30\nqueue_lease_seconds = 30\n";

/// Waits for a pseudo-random time.
async fn a_moment(dice: &mut u64, most: u64) {
    // Numerical Recipes' linear congruential generator: every run has the same sequence.
    *dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & 0xffff_ffff;
    tokio::time::sleep(Duration::from_millis(20 + *dice % most)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_their_pods_when_their_dispatcher_is_killed() {
    let (kills, sessions) = (number("KILLS", 6), number("SESSIONS", 24));
    let arcade = Arcade::open(sessions).await;
    let mut dispatchers = Dispatchers::on_folder(&arcade, CLOCKS);
    dispatchers.start(0).await;
    let players = Player::all(&arcade, &dispatchers.addresses(), sessions).await;
    let (mut dice, mut starts) = (42, Vec::new());
    for _ in 0..kills {
        a_moment(&mut dice, 900).await;
        dispatchers.kill(0).await;
        let begun = Instant::now();
        dispatchers.start(0).await;
        starts.push(begun.elapsed());
        arcade.is_full_again(sessions).await;
    }
    arcade.close(players, "file", kills, &starts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_their_pods_when_three_dispatchers_and_their_redis_are_killed() {
    let (kills, sessions) = (number("KILLS", 6), number("SESSIONS", 24));
    let arcade = Arcade::open(sessions).await;
    let mut redis = Redis::start().await;
    let mut dispatchers = Dispatchers::on_redis(&arcade, CLOCKS, &redis.address());
    for index in 0..3 {
        dispatchers.start(index).await;
    }
    let players = Player::all(&arcade, &dispatchers.addresses(), sessions).await;
    let (mut dice, mut starts) = (7, Vec::new());
    for round in 0..kills {
        a_moment(&mut dice, 900).await;
        if round % 4 == 3 {
            redis.kill().await;
            a_moment(&mut dice, 300).await;
            redis.restart().await;
        } else {
            let index = round % 4;
            dispatchers.kill(index).await;
            let begun = Instant::now();
            dispatchers.start(index).await;
            starts.push(begun.elapsed());
        }
        arcade.is_full_again(sessions).await;
    }
    arcade.close(players, "redis", kills, &starts).await;
}

#[tokio::test]
async fn sessions_keep_their_pods_when_a_dispatcher_is_stopped_and_replaced() {
    let arcade = Arcade::open(3).await;
    let mut dispatchers = Dispatchers::on_folder(&arcade, "");
    dispatchers.start(0).await;
    let players = Player::all(&arcade, &dispatchers.addresses(), 3).await;
    dispatchers.stop(0).await;
    dispatchers.start(0).await;
    arcade.is_full_again(3).await;
    let codes = arcade.close(players, "stop", 1, &[]).await;
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == 1012), "service restart (RFC 6455, IANA): {codes:?}");
}

#[tokio::test]
async fn a_second_dispatcher_on_the_same_folder_refuses_to_start() {
    let arcade = Arcade::open(1).await;
    let mut dispatchers = Dispatchers::on_folder(&arcade, "");
    dispatchers.start(0).await;
    let second = dispatchers.command(0).env("NO_COLOR", "1").output().await.unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use by process") && said.contains("choose another folder"), "{said}");
    dispatchers.kill(0).await;
    dispatchers.start(0).await;
}

#[tokio::test]
async fn a_dispatcher_waits_for_its_redis_and_reports_that_it_is_not_ready() {
    let arcade = Arcade::open(1).await;
    let mut redis = Redis::start().await;
    redis.kill().await;
    let mut dispatchers = Dispatchers::on_redis(&arcade, CLOCKS, &redis.address());
    dispatchers.begin(0);
    let mut operator = Visitor::at(dispatchers.admin(0).await);
    assert_eq!(operator.get("/healthz").await.status(), 200, "the process is alive");
    let ready = operator.get("/readyz").await;
    assert_eq!((ready.status(), ready.text().contains("journal")), (503, true), "{}", ready.text());
    let metrics = operator.get("/metrics").await.text();
    assert!(!metrics.contains("slotkeeper_sessions{"), "unknown gauges are absent, not 0");
    assert_eq!(operator.get("/api/v1/pools").await.status(), 503);
    redis.restart().await;
    eventually("it to be ready", async || Visitor::at(dispatchers.admin(0).await).get("/readyz").await.status() == 200)
        .await;
}

#[tokio::test]
async fn a_dispatcher_that_waits_for_its_redis_can_be_stopped() {
    let arcade = Arcade::open(1).await;
    let mut redis = Redis::start().await;
    redis.kill().await;
    let mut dispatchers = Dispatchers::on_redis(&arcade, CLOCKS, &redis.address());
    dispatchers.begin(0);
    dispatchers.admin(0).await;
    assert!(dispatchers.end(0, Signal::TERM).await.success());
}

#[tokio::test]
async fn a_dispatcher_refuses_a_journal_that_cannot_be_read_and_names_it() {
    let arcade = Arcade::open(1).await;
    let redis = Redis::start().await;
    redis.say("HSET {slotkeeper}:checkpoint position 5 at 1 state nonsense").await;
    let dispatchers = Dispatchers::on_redis(&arcade, CLOCKS, &redis.address());
    let refused = dispatchers.command(0).env("NO_COLOR", "1").output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("{slotkeeper}:checkpoint"), "{said}");
}

#[tokio::test]
async fn requests_of_a_known_session_do_not_touch_the_journal() {
    let arcade = Arcade::open(1).await;
    let mut dispatchers = Dispatchers::on_folder(&arcade, "");
    dispatchers.start(0).await;
    let mut ana = Visitor::at(dispatchers.addresses()[0]);
    ana.wait_for_slot().await;
    let socket = ana.socket("/").await;
    let mut operator = Visitor::at(dispatchers.admin(0).await);
    let mut written = async || {
        let text = operator.get("/metrics").await.text();
        let line = text.lines().find(|l| l.starts_with("slotkeeper_journal_entries_total ")).expect("it is counted");
        line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number")
    };
    let before = written().await;
    for _ in 0..100 {
        assert_eq!(ana.get("/save").await.status(), 200);
    }
    let ticks = written().await - before;
    assert!(ticks < 50.0, "100 requests and {ticks} entries");
    drop(socket);
}

#[tokio::test]
async fn a_damaged_journal_is_refused_and_its_repair_restores_the_sound_part() {
    let arcade = Arcade::open(2).await;
    let mut dispatchers = Dispatchers::on_folder(&arcade, "");
    dispatchers.start(0).await;
    let mut ana = Visitor::at(dispatchers.addresses()[0]);
    ana.wait_for_slot().await;
    dispatchers.kill(0).await;
    let file = dispatchers.segment();
    let mut bytes = std::fs::read(&file).unwrap();
    // In the last record but one: a crash can tear only the last one.
    let lines: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
    let damaged = lines[lines.len() - 3] + 40;
    bytes[damaged] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let refused = dispatchers.command(0).env("NO_COLOR", "1").output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("slotkeeper journal repair"), "{said}");
    let check = dispatchers.journal(&["check"]).await;
    assert_eq!(check.status.code(), Some(1), "{}", String::from_utf8_lossy(&check.stdout));
    let repair = dispatchers.journal(&["repair"]).await;
    assert!(repair.status.success(), "{}", String::from_utf8_lossy(&repair.stderr));
    dispatchers.start(0).await;
    // Entries may be lost, so no session is placed before all replicas must have closed their streams; the status shows that.
    eventually("the status to show it", async || {
        let told = ana.status().await;
        told["state"] == "queued" && told["steps"][0]["name"] == "checking"
    })
    .await;
    let pools: PoolList = Visitor::at(dispatchers.admin(0).await).get("/api/v1/pools").await.read();
    assert!(pools.lapse);
}

#[tokio::test]
async fn every_signal_leaves_a_sound_journal() {
    for signal in [Signal::TERM, Signal::INT, Signal::KILL, Signal::QUIT] {
        let arcade = Arcade::open(1).await;
        let mut dispatchers = Dispatchers::on_folder(&arcade, "");
        dispatchers.start(0).await;
        let mut ana = Visitor::at(dispatchers.addresses()[0]);
        ana.wait_for_slot().await;
        dispatchers.end(0, signal).await;
        let check = dispatchers.journal(&["check"]).await;
        assert!(check.status.success(), "{signal:?}: {}", String::from_utf8_lossy(&check.stdout));
        let show = dispatchers.journal(&["show"]).await;
        let text = String::from_utf8_lossy(&show.stdout).into_owned();
        assert!(text.contains("Visit") || text.contains("visit"), "{signal:?}: {text}");
        assert!(!text.contains(&ana.jar["slotkeeper"][..20]), "no cookie is in it");
    }
}
