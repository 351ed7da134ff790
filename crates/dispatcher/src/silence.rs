//! Law 5: a replica that is cut off from a shared journal closes its streams before the fleet gives their slots away.
//! When that is, the driver knows (`View::trusted`); here it is done. New streams are refused in `visit`.

use crate::dispatcher::Dispatcher;
use crate::outside::latest;
use slotkeeper_core::planted;
use std::sync::Arc;
use std::time::Duration;

/// Runs until the process ends.
pub async fn run(dispatcher: Arc<Dispatcher>) {
    let mut view = dispatcher.view.clone();
    loop {
        let trusted = view.borrow_and_update().trusted;
        let Some(until) = trusted else { return std::future::pending().await };
        // Timers stand still while the machine is suspended: the clock is looked at once a second at least.
        let pause = until.saturating_duration_since(latest()).min(Duration::from_secs(1));
        tokio::select! {
            biased;
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {
                if !view.borrow().is_cut_off() {
                    continue;
                }
                cut_off(&dispatcher);
                if !crate::view::until(&mut view, |v| !v.is_cut_off()).await {
                    return;
                }
                tracing::info!("the journal is back");
                dispatcher.metrics.cut_off.set(0);
            }
        }
    }
}

fn cut_off(dispatcher: &Dispatcher) {
    tracing::warn!("cut off from the journal: the streams here are closed before their slots are given away");
    dispatcher.metrics.cut_off.set(1);
    close_streams(dispatcher);
}

fn close_streams(dispatcher: &Dispatcher) {
    planted!(SilenceKeepsStreams => ());
    for pool in dispatcher.pools.iter() {
        pool.visits.cut_off(pool, &dispatcher.driver);
    }
}
