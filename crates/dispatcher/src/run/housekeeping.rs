//! Runs once a second: writes the sessions' heartbeats in one batch, detaches sessions whose linger is over, and applies
//! the weekly schedules.

use crate::front::visit::Visits;
use crate::front::{Dispatcher, Pool};
use crate::io::now;
use slotkeeper_core::{Command, Spare, planted};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Runs until the process ends.
pub(super) async fn run(dispatcher: Arc<Dispatcher>) {
    let mut scheduled = BTreeMap::new();
    let mut lost = dispatcher.again.subscribe();
    let mut reloaded = dispatcher.reloaded.subscribe();
    let mut next = now();
    loop {
        next += Duration::from_secs(1);
        tokio::time::sleep_until(next).await;
        for changes in [&mut lost, &mut reloaded] {
            if changes.has_changed().unwrap_or_default() {
                changes.borrow_and_update();
                scheduled.clear();
            }
        }
        dispatcher.ages.look(&dispatcher.clock);
        for pool in dispatcher.pools.iter() {
            Visits::sweep(pool, &dispatcher);
            pool.upstreams.sweep();
            if let Some(spare) = spare_now(&dispatcher, pool)
                && scheduled.get(&pool.config.id) != Some(&spare)
            {
                scheduled.insert(pool.config.id.clone(), spare);
                dispatcher.driver.post(&pool.config.id, Command::Schedule(spare));
            }
        }
    }
}

/// The spare slots of the weekly schedule now.
fn spare_now(dispatcher: &Dispatcher, pool: &Pool) -> Option<Spare> {
    planted!(ScheduleNotPosted => None);
    pool.config.schedule.as_ref().filter(|_| !pool.is_being_removed()).map(|s| s.now(dispatcher.clock.wall()))
}
