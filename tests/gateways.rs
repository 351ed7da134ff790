//! A shared pool in its intended use: real gateways behind three dispatchers and a Redis, and clients with one socket each
//! that reconnect as `client.js` does.
//!
//! `SOCKETS` and `GATEWAYS` make it larger, and `--nocapture` prints measurements (with release binaries: a debug build
//! checks every invariant after every entry): see `crates/dispatcher/OPERATING.md`, "Gateways".

mod crowd;
mod site;

use crate::survival::dispatchers::Dispatchers;
use crate::survival::redis::Redis;
use crowd::{Crowd, Figures, speak};
use site::Gateway;
use slotkeeper_api::{Phase, PoolList, PoolStatus, SessionList};
use slotkeeper_tests::{Visitor, eventually};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

#[expect(clippy::print_stdout, reason = "prints measurements")]
fn say(text: &str) {
    println!("{text}");
}

/// Gateways, dispatchers in front of them, and the Redis that both use.
struct Site {
    _redis: Redis,
    gateways: Vec<Gateway>,
    dispatchers: Dispatchers,
}

impl Site {
    async fn open(gateways: usize) -> Site {
        let redis = Redis::start().await;
        let gateways = Gateway::start_all(gateways, &redis.address().replace("/0", "/1")).await;
        let pods: Vec<String> = gateways.iter().map(|g| format!("\"{}\"", g.address)).collect();
        // With a new Redis no session is placed before both are over; a busy machine needs longer ones.
        let (silence, grace) = if number("SOCKETS", 60) > 1000 { (20, 20) } else { (4, 6) };
        let tables = format!(
            "[limits]\nconnections = 19000\nnew_sessions_per_second = 100000\n[pools.gateway]\nslots_per_pod = 8000\n\
             shrink = \"move\"\nsilence_seconds = {silence}\ngrace_seconds = {grace}\n[pools.gateway.fixed]\npods = [{}]\n\
             [pools.gateway.fixed.probe]\npath = \"/readyz\"\nevery_seconds = 0.5\n",
            pods.join(", ")
        );
        let mut dispatchers = Dispatchers::new(3, "drain_seconds = 3", &tables, |_| redis.address());
        for index in 0..3 {
            dispatchers.start(index).await;
        }
        let site = Site { _redis: redis, gateways, dispatchers };
        let mut operator = site.operator().await;
        eventually("the new journal to be trusted", async || {
            !operator.get("/api/v1/pools").await.read::<PoolList>().lapse
        })
        .await;
        site
    }

    async fn operator(&self) -> Visitor {
        Visitor::at(self.dispatchers.admin(1).await)
    }

    /// The pods of the sessions: of all, or of the first thousand in the order of their ids.
    async fn places(&self) -> BTreeMap<String, u64> {
        let all: SessionList = self.operator().await.get("/api/v1/pools/gateway/sessions").await.read();
        all.sessions.into_iter().filter_map(|s| Some((s.session, u64::from(s.pod?)))).collect()
    }

    async fn sockets(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for gateway in &self.gateways {
            all.push(gateway.sockets().await);
        }
        all
    }

    /// Resident memory of these processes, in KiB.
    fn memory(&self) -> (u64, u64) {
        let of = |id: u32| {
            let text = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it lives");
            let line = text.lines().find(|l| l.starts_with("VmRSS:")).expect("a size");
            line.split_ascii_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("KiB")
        };
        ((0..3).map(|index| of(self.dispatchers.id(index))).sum(), self.gateways.iter().map(|g| of(g.id())).sum())
    }
}

fn told(what: &str, figures: &Figures) {
    let at = |percent: usize| figures.away.get((figures.away.len() * percent / 100).min(figures.away.len().max(1) - 1));
    say(&format!(
        "{what}: {} connects, at most {} in a second; away: median {:?}, 95 % {:?}, all {:?}; closed {:?}, refused {:?}",
        figures.connects,
        figures.peak,
        at(50),
        at(95),
        figures.away.last(),
        figures.codes,
        figures.refused,
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_spread_and_killing_a_dispatcher_moves_no_session() {
    let (sockets, gateways) = (number("SOCKETS", 60), number("GATEWAYS", 3));
    let mut site = Site::open(gateways).await;
    let empty = site.memory();
    let begun = Instant::now();
    let crowd = Crowd::gather(&site.dispatchers.addresses(), sockets, 0, 256).await;
    let took = begun.elapsed();
    told("gathering", &crowd.ledger.take());
    let full = site.memory();
    let each = |before: u64, after: u64| (after.saturating_sub(before)) as f64 / sockets as f64;
    say(&format!(
        "{sockets} sockets in {took:?}: {:.0}/s; KiB a socket: dispatchers {:.1}, gateways {:.1}",
        sockets as f64 / took.as_secs_f64(),
        each(empty.0, full.0),
        each(empty.1, full.1)
    ));
    let counts = site.sockets().await;
    let (least, most) = (counts.iter().min().expect("gateways"), counts.iter().max().expect("gateways"));
    let mean = sockets as f64 / gateways as f64;
    let variance = counts.iter().map(|n| (*n as f64 - mean).powi(2)).sum::<f64>() / gateways as f64;
    say(&format!("sockets of each gateway: {counts:?}; stddev over mean {:.2} %", variance.sqrt() / mean * 100.0));
    assert!(most - least <= 1, "the gateway with the fewest sessions is used next: {counts:?}");

    let before = site.places().await;
    assert_eq!(before.len(), sockets.min(1000));
    site.dispatchers.kill(0).await;
    // Wait until clients have noticed.
    eventually("some clients to be disconnected", async || site.sockets().await != counts).await;
    crowd.is_complete().await;
    eventually("as many sockets as before on each gateway", async || site.sockets().await == counts).await;
    told("a dispatcher was killed", &crowd.ledger.take());
    let after = site.places().await;
    let moved = before.iter().filter(|(session, pod)| after.get(*session) != Some(*pod)).count();
    assert_eq!(moved, 0, "every session is where it was");
    site.dispatchers.start(0).await;
    crowd.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_message_and_no_client_for_long() {
    let (sockets, gateways) = (number("SOCKETS", 60), number("GATEWAYS", 3));
    let chatters = (sockets / 10).clamp(5, 200);
    let mut site = Site::open(gateways).await;
    let crowd = Crowd::gather(&site.dispatchers.addresses(), sockets - chatters, chatters, 256).await;
    let stops = Arc::new(AtomicBool::new(false));
    let speaker = tokio::spawn(speak(site.dispatchers.addresses()[1], Duration::from_millis(50), stops.clone()));
    told("gathering", &crowd.ledger.take());
    let begun = Instant::now();
    for pod in 0..gateways {
        let mut operator = site.operator().await;
        let path = |act: &str| format!("/api/v1/pools/gateway/pods/{pod}/{act}");
        assert_eq!(operator.post(&path("drain")).await.status(), 200);
        eventually("the pod to be empty", async || {
            let pool: PoolStatus = operator.get("/api/v1/pools/gateway").await.read();
            pool.pods.iter().find(|p| p.ordinal as usize == pod).is_some_and(|p| p.sessions == 0)
        })
        .await;
        site.gateways[pod].stop().await;
        site.gateways[pod].start().await;
        eventually("the pod to be ready", async || {
            let pool: PoolStatus = operator.get("/api/v1/pools/gateway").await.read();
            pool.pods[pod].phase == Phase::Ready
        })
        .await;
        assert_eq!(operator.post(&path("uncordon")).await.status(), 200);
    }
    crowd.is_complete().await;
    let figures = crowd.ledger.take();
    told(&format!("{gateways} restarts in {:?}", begun.elapsed()), &figures);
    assert!(figures.connects >= sockets, "every client was moved at least once: {figures:?}");
    assert!(figures.codes.keys().all(|code| *code == 1001), "and got the close code of a drain: {figures:?}");

    stops.store(true, Ordering::Relaxed);
    let said = speaker.await.expect("no panic");
    assert!(said > 0);
    let everything: Vec<u64> = (1..=said).collect();
    eventually("every chatter to have received all messages", async || {
        let heard = crowd.ledger.heard();
        heard.len() == chatters && heard.values().all(|h| h.len() >= everything.len())
    })
    .await;
    for (client, heard) in crowd.ledger.heard() {
        assert_eq!(heard, everything, "client {client}: each message once, in order");
    }
    say(&format!("{said} messages, each received once by each of {chatters} chatters"));
    let pool: PoolStatus = site.operator().await.get("/api/v1/pools/gateway").await.read();
    assert_eq!(pool.sessions.queued, 0, "{pool:?}");
    crowd.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_gateway_that_ends_unannounced_reconnect_elsewhere() {
    let mut site = Site::open(2).await;
    let crowd = Crowd::gather(&site.dispatchers.addresses(), 20, 0, 64).await;
    crowd.ledger.take();
    site.gateways[0].stop().await;
    eventually("all clients to be at the other gateway", async || site.gateways[1].sockets().await == 20).await;
    crowd.is_complete().await;
    let figures = crowd.ledger.take();
    told("a gateway has ended", &figures);
    assert!(figures.codes.keys().all(|code| *code == 1001), "{figures:?}");
    let places = site.places().await;
    assert!(places.values().all(|pod| *pod == 1), "all sessions are on the other gateway: {places:?}");
    site.gateways[0].start().await;
    crowd.leave().await;
}
