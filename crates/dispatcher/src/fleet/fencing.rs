//! Law 5: a replica that is cut off from a shared journal closes its streams before the fleet reassigns their slots. The driver
//! computes the moment (`View::trusted`); this module closes the streams. New streams are refused in `visit`.

use crate::front::Dispatcher;
use crate::io::latest;
use slotkeeper_core::planted;
use std::sync::Arc;
use std::time::Duration;

/// Runs until the process ends.
pub async fn run(dispatcher: Arc<Dispatcher>) {
    let mut view = dispatcher.view.clone();
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
                cut_off(&dispatcher);
                if !crate::engine::view::until(&mut view, |v| !v.is_cut_off()).await {
                    return;
                }
                tracing::info!("journal available again");
                dispatcher.metrics.cut_off.set(0);
            }
        }
    }
}

fn cut_off(dispatcher: &Dispatcher) {
    tracing::warn!("cut off from the journal: closing all streams before the fleet reassigns their slots");
    dispatcher.metrics.cut_off.set(1);
    close_streams(dispatcher);
}

fn close_streams(dispatcher: &Dispatcher) {
    planted!(SilenceKeepsStreams => ());
    for pool in dispatcher.pools.iter() {
        pool.visits.cut_off(pool, &dispatcher.driver);
    }
}
