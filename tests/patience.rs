//! Waiting, without a clock in any assertion: until something is so, and never for ever.

use std::future::Future;
use std::time::Duration;

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The future's value.
///
/// # Panics
/// When it does not come.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting for {what}"),
    }
}

/// Asks again and again until the answer is yes.
///
/// # Panics
/// When it never is.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    patiently(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
