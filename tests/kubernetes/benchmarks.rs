//! Benchmarks, not tests: `cargo test -p slotkeeper-tests benchmarks -- --ignored --nocapture`.

use super::cluster::{Cluster, GAMECUBE};
use super::{QUICK, gamecube, shipped};
use slotkeeper_apiserver::Resource;
use slotkeeper_tests::{Visitor, eventually};
use std::time::{Duration, Instant};

#[tokio::test]
#[ignore = "a benchmark"]
async fn how_fast_the_size_is_written_for_a_new_visitor() {
    let (cluster, dispatcher) = gamecube(&[]).await;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..60 {
        let mut ana = Visitor::of(&dispatcher);
        ana.page("/").await;
        let before = Instant::now();
        let (_, ()) = tokio::join!(ana.page("/"), cluster.wants(1));
        times.push(before.elapsed());
        ana.post("/.slotkeeper/leave").await;
        eventually("the pool to sleep", async || cluster.pods().is_empty() && cluster.replicas() == 0).await;
    }
    times.sort();
    println!("from the cookie to the patch: median {:?}, p95 {:?}, most {:?}", times[30], times[57], times[59]);
    let asked = cluster.server.store(|store, _| store.all(Resource::Pods).count());
    assert_eq!(asked, 0);
}

/// How long a visitor waits for a new slot after a node's death, with the shipped times. Kubernetes notices after the times
/// that were recorded on a real control plane, and a new pod is ready after 5 s.
#[tokio::test]
#[ignore = "a benchmark"]
async fn how_long_a_new_slot_takes_after_the_death_of_a_node() {
    let measure = async |noticed: u64, has_spare: bool| {
        let (cluster, dispatcher) = gamecube(&[("cooldown_seconds = 0.4", "cooldown_seconds = 20")]).await;
        let mut ana = Visitor::of(&dispatcher);
        ana.wait_for_slot().await;
        let _stream = ana.socket("/").await;
        let mut bob = Visitor::of(&dispatcher);
        let mut bobs = None;
        if has_spare {
            bob.wait_for_slot().await;
            bobs = Some(bob.socket("/").await);
        }
        cluster.starts_in(Duration::from_secs(5));
        let death = Instant::now();
        cluster.stop_node_of("gamecube-0");
        tokio::time::sleep(Duration::from_secs(noticed)).await;
        if bobs.take().is_some() {
            bob.post("/.slotkeeper/leave").await;
        }
        cluster.notice_loss_of("gamecube-0");
        let mut requests = 0;
        eventually("another slot", async || {
            requests += 1;
            let answer = ana.page("/").await;
            answer.status() == 200 && answer.text() == "gamecube-1"
        })
        .await;
        (noticed, has_spare, death.elapsed(), requests)
    };
    let all = [(47, true), (50, true), (53, true), (47, false), (50, false), (53, false)];
    for (noticed, has_spare, took, requests) in
        futures_util::future::join_all(all.map(|(noticed, has_spare)| measure(noticed, has_spare))).await
    {
        let pod = if has_spare { "a free slot" } else { "a pod that has to start (5 s)" };
        println!("noticed after {noticed} s, {pod}: a new slot {:.1} s after the death", took.as_secs_f64());
        assert!(requests > 1, "it waited");
    }
}

/// The memory for ten thousand pods, and the time until they are known.
#[tokio::test]
#[ignore = "a benchmark"]
async fn how_much_ten_thousand_pods_cost() {
    let quick: Vec<_> = QUICK.iter().copied().chain([("max_pods = 5", "max_pods = 10000")]).collect();
    let cluster = Cluster::of(shipped("gamecube-direct"), GAMECUBE, &quick).await;
    let _listener = cluster.load(10_000).await;
    let before = Instant::now();
    let dispatcher = cluster.dispatcher().await;
    let known = before.elapsed();
    let of = |key| dispatcher.memory_kib(key) / 1024;
    println!("10 000 pods are known after {known:?}; resident {} MiB, at most {} MiB", of("VmRSS"), of("VmHWM"));
    println!("asked: {:?}", cluster.server.counts());
}
