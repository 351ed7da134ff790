//! The end of a pod that hurts nobody: sockets are told and closed one after the other, evenly over the time there is, so
//! that they do not all come back to the others at once.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::server::House;

const STEP: Duration = Duration::from_millis(20);
/// Of the time, in percent, sockets are closed; the rest is for those that take long over it.
const CLOSING: u32 = 90;
/// Even without any time, and after a second signal: as long as closed sockets may take to be gone.
const LEAST: Duration = Duration::from_secs(1);

/// Until nobody is left, or the time is over, or `hurry` and a moment. Returns how many sockets are left.
pub(super) async fn drain(house: &House, hurry: impl Future<Output = ()>) -> usize {
    let time = house.config.drain;
    let began = Instant::now();
    let mut closed_by = began + time * CLOSING / 100;
    let mut over = began + time.max(LEAST);
    let mut hurry = std::pin::pin!(hurry);
    let mut hurrying = false;
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = &mut hurry, if !hurrying => {
                hurrying = true;
                closed_by = Instant::now();
                over = closed_by + LEAST;
                tracing::info!(pod = house.config.name, "second signal: all sockets are closed now");
            }
            _ = steps.tick() => {}
        }
        // Of those that are left, as many as the step is of the time that is left; whoever came in last counts too.
        let left = closed_by.saturating_duration_since(Instant::now());
        house.hall.send_away(|here| share(here, left));
        let taken = house.capacity.taken();
        if taken == 0 || Instant::now() >= over {
            return taken;
        }
    }
}

/// Sockets to close in this step, of those that are here.
fn share(here: usize, left: Duration) -> usize {
    if left < STEP {
        return here;
    }
    // Rounded by chance, so that few sockets do not all go at the beginning.
    let exact = here as f64 * STEP.as_secs_f64() / left.as_secs_f64();
    let chance = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    (exact + chance) as usize
}
