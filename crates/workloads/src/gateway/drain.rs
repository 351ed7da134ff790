//! Drains the pod gently: notifies sockets and closes them one by one, evenly over the drain time, so that their clients do
//! not all reconnect to the other pods at once.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::server::Shared;

const STEP: Duration = Duration::from_millis(20);
/// The share of the drain time, in percent, in which sockets are closed; the rest is for slow closing handshakes.
const CLOSING: u32 = 90;
/// The time for closing handshakes if the drain time is shorter, and after a second signal.
const LEAST: Duration = Duration::from_secs(1);

/// Drains until no socket is left or the time is over; `hurry` shortens the time to [`LEAST`]. Returns how many sockets are
/// left.
pub(super) async fn drain(shared: &Shared, hurry: impl Future<Output = ()>) -> usize {
    let time = shared.config.drain;
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
                tracing::info!(pod = shared.config.name, "second signal: closing all sockets now");
            }
            _ = steps.tick() => {}
        }
        // Closes this step's share of the open sockets, including those that connected during the drain.
        let left = closed_by.saturating_duration_since(Instant::now());
        shared.hall.send_away(|here| share(here, left));
        let taken = shared.capacity.taken();
        if taken == 0 || Instant::now() >= over {
            return taken;
        }
    }
}

/// How many of the open sockets to close in this step.
fn share(here: usize, left: Duration) -> usize {
    if left < STEP {
        return here;
    }
    // Rounded randomly, so that a small number of sockets is not closed at the beginning.
    let exact = here as f64 * STEP.as_secs_f64() / left.as_secs_f64();
    let chance = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    (exact + chance) as usize
}
