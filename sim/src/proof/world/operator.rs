//! An operator who occasionally uses the admin API: kicks, extends, cordons.

use super::oracle::Oracle;
use super::scaler::{ask, get};
use super::setting::POOL;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use slotkeeper_reference::Observation;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Instructions for the operator.
#[derive(Clone)]
pub struct Orders {
    pub calm: Arc<AtomicBool>,
    /// The pool is to be removed.
    pub removal: Arc<AtomicBool>,
}

/// Runs the operator's host. `max`: the pool's maximum number of pods.
pub async fn work(oracle: Oracle, dispatchers: Vec<IpAddr>, orders: Orders, max: u32, mut dice: ChaCha8Rng) {
    let mut tidied = false;
    loop {
        let at = dispatchers[dice.random_range(0..dispatchers.len())];
        if orders.removal.load(Ordering::Relaxed) {
            let path = format!("/api/v1/pools/{POOL}");
            let removed = tokio::select! {
                biased;
                // A dispatcher that starts a new life must not be asked to remove the pool that it has just created.
                () = taken_back(&orders.removal) => None,
                removed = within(ask(at, "DELETE", &path)) => removed,
            };
            if removed.is_some() {
                oracle.count("operator removes the pool");
                orders.removal.store(false, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            continue;
        }
        if orders.calm.load(Ordering::Relaxed) {
            if !tidied {
                tidied = uncordon_all(&oracle, at, max).await;
            }
        } else {
            act(&oracle, at, max, &mut dice).await;
        }
        let pause = tokio::time::Instant::now() + Duration::from_millis(dice.random_range(1_000..12_000));
        while tokio::time::Instant::now() < pause && !orders.removal.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn taken_back(order: &AtomicBool) {
    while order.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn uncordon_all(oracle: &Oracle, at: IpAddr, max: u32) -> bool {
    for pod in 0..max {
        if post(at, &format!("/pods/{pod}/uncordon")).await.is_none() {
            return false;
        }
        oracle.observed(oracle.now(), Observation::Uncordoned { ordinal: pod });
    }
    true
}

async fn act(oracle: &Oracle, at: IpAddr, max: u32, dice: &mut ChaCha8Rng) {
    let chosen: u32 = dice.random_range(0..100);
    if chosen < 20 {
        let act = if chosen < 12 { "cordon" } else { "uncordon" };
        let ordinal = dice.random_range(0..max);
        if act == "cordon" {
            oracle.observed(oracle.now(), Observation::Cordoned { ordinal });
        }
        if post(at, &format!("/pods/{ordinal}/{act}")).await.is_some() {
            oracle.count(format!("operator {act}s"));
            if act == "uncordon" {
                oracle.observed(oracle.now(), Observation::Uncordoned { ordinal });
            }
        }
        return;
    }
    let Some(list) = within(get(at, &format!("/api/v1/pools/{POOL}/sessions"))).await else { return };
    let list: Value = serde_json::from_str(&list).unwrap_or_default();
    let sessions: Vec<&str> =
        list["sessions"].as_array().into_iter().flatten().filter_map(|s| s["session"].as_str()).collect();
    if sessions.is_empty() {
        return;
    }
    let session = sessions[dice.random_range(0..sessions.len())];
    let act = if chosen < 40 { "kick" } else { "extend" };
    if act == "kick" {
        oracle.observed(oracle.now(), Observation::Kicked { visitor: session.into() });
    }
    if post(at, &format!("/sessions/{session}/{act}")).await.is_some() {
        oracle.count(format!("operator {act}s"));
    }
}

async fn post(at: IpAddr, path: &str) -> Option<String> {
    within(ask(at, "POST", &format!("/api/v1/pools/{POOL}{path}"))).await
}

async fn within<T, E>(answer: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(3), answer).await.ok()?.ok()
}
