//! Clients without cookies.

use super::Scene;
use super::requests::request;
use http::Method;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs a crawler or health check without cookies. It wakes nothing where the cookie must be returned first; where
/// that is not required, it does, and stops when everything is to come to rest.
pub async fn bot(scene: Scene, mut dice: ChaCha8Rng) {
    while !(scene.bots_are_placed && scene.calm.load(Ordering::Relaxed)) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(200..3_000))).await;
        let at = scene.dispatchers[dice.random_range(0..scene.dispatchers.len())];
        let path = ["/", "/robots.txt", "/.slotkeeper/health", "/.slotkeeper/status"][dice.random_range(0..4)];
        if let Ok(response) =
            request(&scene.windows, scene.way, at, Method::GET, path, dice.random_ratio(1, 2), None).await
        {
            scene.oracle.count(format!("bot {}", response.status().as_u16()));
        }
    }
}
