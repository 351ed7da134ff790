//! Law 5: a replica that is cut off from a shared journal closes its streams before the fleet reassigns their slots. The driver
//! computes the moment (`View::trusted`); this module closes the streams. New streams are refused in `visit`.

use crate::io::latest;
use crate::shell::Shell;
use std::sync::Arc;
use std::time::Duration;

/// Closes all streams by `close` whenever this replica is cut off. Runs until the process ends.
pub async fn run(shell: Arc<Shell>, close: impl Fn() + Send) {
    let mut view = shell.view.clone();
    loop {
        let trusted = view.borrow_and_update().trusted;
        let Some(until) = trusted else { return std::future::pending().await };
        // Timers stand still while the machine is suspended, so the clock is checked at least once a second.
        let pause = until.saturating_duration_since(latest()).min(Duration::from_secs(1));
        tokio::select! {
            biased;
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {
                if !view.borrow().is_cut_off() {
                    continue;
                }
                tracing::warn!("cut off from the journal: closing all streams before the fleet reassigns their slots");
                shell.metrics.replica.cut_off.set(1);
                close();
                if !crate::engine::view::until(&mut view, |v| !v.is_cut_off()).await {
                    return;
                }
                tracing::info!("journal available again");
                shell.metrics.replica.cut_off.set(0);
            }
        }
    }
}
