//! What everybody may read: the state as of the last entry applied here. Waiting is level-triggered: until the view *is* so.

use slotkeeper_core::{Fleet, Millis};
use tokio::sync::watch;

pub struct View {
    pub fleet: Fleet,
    /// When (on the local clock) its last entry was applied.
    pub heard: tokio::time::Instant,
}

impl View {
    /// How long ago, on the local clock, the state was current.
    #[must_use]
    pub fn age(&self) -> Millis {
        Millis(crate::outside::now().duration_since(self.heard).as_millis() as u64)
    }
}

/// Waits until the condition holds (also if it holds already). False if the dispatcher ends first.
pub async fn until(view: &mut watch::Receiver<View>, mut holds: impl FnMut(&View) -> bool) -> bool {
    view.wait_for(|v| holds(v)).await.is_ok()
}

/// Waits until the dispatcher is ending.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that it has ended altogether.
    let _ = stopping.wait_for(|s| *s).await;
}
