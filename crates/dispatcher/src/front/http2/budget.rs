//! How many events without use a connection may cause: a budget that useful ones and time refill.

use tokio::time::Instant;

pub(super) struct Budget {
    left: u32,
    most: u32,
    per_second: u32,
    /// When time last refilled it.
    since: Instant,
}

impl Budget {
    pub(super) fn new(most: u32, per_second: u32, now: Instant) -> Budget {
        Budget { left: most, most, per_second, since: now }
    }

    pub(super) fn earn(&mut self, events: u32) {
        self.left = self.left.saturating_add(events).min(self.most);
    }

    /// Spends one event. False if there is none left. (The clock is only read then.)
    pub(super) fn spend(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let seconds = now.saturating_duration_since(self.since).as_secs();
            self.since = now;
            let earned = u64::from(self.per_second).saturating_mul(seconds);
            self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_budget_is_spent_and_refilled_by_use_and_by_time_up_to_its_limit() {
        let begin = crate::io::now();
        let mut budget = Budget::new(3, 2, begin);
        let spent = |budget: &mut Budget, at: u64| {
            let now = begin + Duration::from_secs(at);
            (0..100).take_while(|_| budget.spend(|| now)).count()
        };
        assert_eq!(spent(&mut budget, 0), 3);
        assert_eq!(spent(&mut budget, 0), 0);
        assert_eq!(spent(&mut budget, 1), 2);
        budget.earn(1);
        assert_eq!(spent(&mut budget, 1), 1);
        budget.earn(50);
        assert_eq!(spent(&mut budget, 1), 3, "never more than the limit");
        assert_eq!(spent(&mut budget, 1000), 3);
        assert_eq!(spent(&mut budget, 1000), 0, "the same time does not count twice");
    }
}
