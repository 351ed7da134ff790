//! Runs once a second: writes the sessions' heartbeats in one batch, detaches sessions whose linger is over, and applies
//! the weekly schedules.

use crate::dispatcher::{Dispatcher, Pool};
use crate::outside::now;
use crate::visit::Visits;
use slotkeeper_core::{Command, Spare, planted};
use std::sync::Arc;
use std::time::Duration;

/// Runs until the process ends.
pub async fn run(dispatcher: Arc<Dispatcher>) {
    let mut spare = vec![None; dispatcher.pools.len()];
    let mut lost = dispatcher.again.subscribe();
    let mut reloaded = dispatcher.reloaded.subscribe();
    let mut next = now();
    loop {
        next += Duration::from_secs(1);
        tokio::time::sleep_until(next).await;
        for changes in [&mut lost, &mut reloaded] {
            if changes.has_changed().unwrap_or_default() {
                changes.borrow_and_update();
                spare.fill(None);
            }
        }
        dispatcher.ages.look(&dispatcher.clock);
        for (pool, spare) in dispatcher.pools.iter().zip(&mut spare) {
            Visits::sweep(pool, &dispatcher);
            pool.pods.sweep();
            let scheduled = scheduled(&dispatcher, pool);
            if scheduled != *spare
                && let Some(now) = scheduled
            {
                *spare = scheduled;
                dispatcher.driver.post(&pool.config.id, Command::Schedule(now));
            }
        }
    }
}

/// The spare slots of the weekly schedule now.
fn scheduled(dispatcher: &Dispatcher, pool: &Pool) -> Option<Spare> {
    planted!(ScheduleNotPosted => None);
    pool.config.schedule.as_ref().map(|s| s.now(dispatcher.clock.wall()))
}
