//! The age of cookies. A system's clock may be wrong when a cookie is issued, and corrected afterwards (a machine without a
//! battery starts in 1970): cookies that this process has issued do not expire because of that.

use crate::io::{Clock, suspended};
use slotkeeper_core::{Millis, Time};
use std::sync::{Mutex, PoisonError};

/// Smaller steps are ignored, in milliseconds.
const STEP: i64 = 1000;
/// The maximum number of steps that are remembered.
const MOST: usize = 64;

pub struct Ages(Mutex<ClockSteps>);

struct ClockSteps {
    /// How far wall time was ahead of the journal's time and suspends at the last check, in milliseconds.
    ahead: i64,
    /// This process has issued cookies between these moments, in terms of the current clock.
    from: Time,
    to: Time,
    forward: Vec<ClockStep>,
}

/// Cookies issued between these moments were issued by a clock that was behind by `by` milliseconds.
struct ClockStep {
    from: Time,
    to: Time,
    by: u64,
}

fn ahead(clock: &Clock) -> i64 {
    clock.wall().0 as i64 - clock.now().0 as i64 - suspended().as_millis() as i64
}

impl Ages {
    #[must_use]
    pub fn new(clock: &Clock) -> Ages {
        Ages(Mutex::new(ClockSteps { ahead: ahead(clock), from: clock.wall(), to: clock.wall(), forward: Vec::new() }))
    }

    /// Checks for a step of the system's clock, and remembers it.
    pub fn look(&self, clock: &Clock) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, ahead) = (clock.wall(), ahead(clock));
        let by = ahead - steps.ahead;
        if by.abs() < STEP {
            return;
        }
        tracing::warn!(seconds = by / 1000, "system clock set");
        let shifted = |time: Time| Time(time.0.saturating_add_signed(by));
        steps.to = steps.to.max(Time(wall.0.saturating_add_signed(-by)));
        if let Ok(by) = u64::try_from(by)
            && steps.forward.len() < MOST
        {
            let (from, to) = (steps.from, steps.to);
            steps.forward.push(ClockStep { from, to, by });
            steps.to = shifted(steps.to);
        }
        steps.ahead = ahead;
        steps.from = shifted(steps.from);
    }

    /// The age of a cookie. Steps of the clock are only considered if it would be older than `limit` otherwise.
    #[must_use]
    pub fn age(&self, clock: &Clock, issued: Time, limit: Millis) -> Millis {
        let age = clock.wall().since(issued);
        if age < limit {
            return age;
        }
        self.look(clock);
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let put_right = |issued: Time, step: &ClockStep| {
            if (step.from..=step.to).contains(&issued) { issued + Millis(step.by) } else { issued }
        };
        clock.wall().since(steps.forward.iter().fold(issued, put_right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    const DAY: i64 = 24 * 3600 * 1000;
    const MONTH: Millis = Millis(30 * DAY as u64);

    #[tokio::test(start_paused = true)]
    async fn a_cookie_does_not_expire_because_the_clock_is_set_right() {
        let ahead: &'static AtomicI64 = Box::leak(Box::default());
        // A machine that thinks it is 1970, at noon.
        let clock = Clock::stepping(Time(DAY as u64 / 2), ahead);
        let ages = Ages::new(&clock);
        let of_yesterday = Time(0);
        tokio::time::advance(Duration::from_secs(10)).await;
        let first = clock.wall();
        tokio::time::advance(Duration::from_secs(5)).await;
        ahead.fetch_add(20_000 * DAY, Ordering::Relaxed);
        assert_eq!(ages.age(&clock, first, MONTH), Millis::secs(5), "the step has not been checked before");
        assert_eq!(ages.age(&clock, clock.wall(), MONTH), Millis::ZERO);
        assert!(ages.age(&clock, of_yesterday, MONTH) > MONTH, "it was not issued by this process");
        let second = clock.wall();
        // Back by an hour, and then forward by two months without a suspend.
        ahead.fetch_sub(3_600_000, Ordering::Relaxed);
        ages.look(&clock);
        assert_eq!(ages.age(&clock, second, MONTH), Millis::ZERO, "of the future");
        let third = clock.wall();
        ahead.fetch_add(60 * DAY, Ordering::Relaxed);
        ages.look(&clock);
        assert_eq!(ages.age(&clock, third, MONTH), Millis::ZERO);
        assert_eq!(ages.age(&clock, first, MONTH), Millis::ZERO, "younger by the hour that the clock was set back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cookie_does_expire_while_the_machine_is_suspended() {
        use crate::io::SUSPENDED;
        let ahead: &'static AtomicI64 = Box::leak(Box::default());
        let clock = Clock::stepping(Time(DAY as u64), ahead);
        SUSPENDED.set(Some(Duration::ZERO));
        let ages = Ages::new(&clock);
        let issued = clock.wall();
        // Both the system's clock and the boot clock keep running.
        ahead.fetch_add(31 * DAY, Ordering::Relaxed);
        SUSPENDED.set(Some(Duration::from_millis(31 * DAY as u64)));
        assert_eq!(ages.age(&clock, issued, MONTH), Millis(31 * DAY as u64));
        SUSPENDED.set(None);
    }
}
