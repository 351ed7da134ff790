//! Waits until a condition holds, with a time limit. No assertion depends on durations.

use std::future::Future;
use std::time::Duration;

/// Time limit of every wait, far longer than anything takes here.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the future's value.
///
/// # Panics
/// If it does not complete within [`PATIENCE`].
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting for {what}"),
    }
}

/// Checks the condition again and again until it holds.
///
/// # Panics
/// If it does not hold within [`PATIENCE`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    patiently(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
