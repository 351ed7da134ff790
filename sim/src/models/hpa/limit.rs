//! The rate limit and the clamp between min and max (`horizontal.go`: convertDesiredReplicasWithRules,
//! convertDesiredReplicasWithBehaviorRate).

use super::behavior::{Behavior, Policy, PolicyKind, Select};

/// One write of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: u64,
    /// The number of pods added or removed.
    pub change: u32,
}

/// The writes in one direction, kept only if there is a `behavior`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(pub Vec<Event>);

/// Why the result is not the desired number (condition ScalingLimited).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    ScaleUpLimit,
    TooManyReplicas,
    ScaleDownLimit,
    TooFewReplicas,
    DesiredWithinRange,
}

impl Events {
    /// Stores an event, and drops events older than every policy's period.
    pub(super) fn store(&mut self, event: Event, policies: &[Policy]) {
        let longest = policies.iter().map(|p| p.period).max().unwrap_or(0);
        self.0.retain(|e| event.at.saturating_sub(e.at) <= longest);
        self.0.push(event);
    }

    /// Returns the sum of changes strictly less than `period` ago.
    fn within(&self, period: u64, now: u64) -> i64 {
        self.0.iter().filter(|e| now.saturating_sub(e.at) < period).map(|e| i64::from(e.change)).sum()
    }
}

/// Both directions' events, for one call.
#[derive(Clone, Copy, Debug)]
pub struct Recent<'a> {
    pub ups: &'a Events,
    pub downs: &'a Events,
    pub now: u64,
}

impl Recent<'_> {
    /// The number of pods at the start of the period: events of both directions count for both directions.
    fn start(self, current: i64, period: u64) -> i64 {
        current - self.ups.within(period, self.now) + self.downs.within(period, self.now)
    }
}

/// Clamps a stabilized value to the rate limit and the bounds.
#[must_use]
pub fn limit(
    behavior: Option<&Behavior>,
    current: u32,
    desired: u32,
    (min, max): (u32, u32),
    recent: Recent<'_>,
) -> (u32, Limited) {
    let (current, desired, min, max) = (i64::from(current), i64::from(desired), i64::from(min), i64::from(max));
    let (result, why) = match behavior {
        None => plain(current, desired, min, max),
        Some(behavior) if desired > current => {
            let rate = rate_up(behavior, current, recent).max(current);
            if desired <= rate.min(max) {
                (desired, Limited::DesiredWithinRange)
            } else if max > rate {
                (rate, Limited::ScaleUpLimit)
            } else {
                (max, Limited::TooManyReplicas)
            }
        }
        Some(behavior) if desired < current => {
            let rate = rate_down(behavior, current, recent).min(current);
            if desired >= rate.max(min) {
                (desired, Limited::DesiredWithinRange)
            } else if min < rate {
                (rate, Limited::ScaleDownLimit)
            } else {
                (min, Limited::TooFewReplicas)
            }
        }
        Some(_) => (desired, Limited::DesiredWithinRange),
    };
    (u32::try_from(result.max(0)).unwrap_or(u32::MAX), why)
}

/// Without behavior: scales up to at most twice the number (or 4) at a time; scaling down is not limited.
fn plain(current: i64, desired: i64, min: i64, max: i64) -> (i64, Limited) {
    let rate = (2 * current).max(4);
    if desired < min {
        (min, Limited::TooFewReplicas)
    } else if desired <= rate.min(max) {
        (desired, Limited::DesiredWithinRange)
    } else if max > rate {
        (rate, Limited::ScaleUpLimit)
    } else {
        (max, Limited::TooManyReplicas)
    }
}

fn rate_up(behavior: &Behavior, current: i64, recent: Recent<'_>) -> i64 {
    let limits = behavior.policies_up().iter().map(|policy| {
        let start = recent.start(current, policy.period);
        match policy.kind {
            PolicyKind::Pods => start + i64::from(policy.value),
            PolicyKind::Percent => (start as f64 * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i64,
        }
    });
    let limit = match behavior.scale_up.select {
        Select::Max => limits.max(),
        Select::Min => limits.min(),
        Select::Disabled => None,
    };
    limit.unwrap_or(current)
}

fn rate_down(behavior: &Behavior, current: i64, recent: Recent<'_>) -> i64 {
    let limits = behavior.policies_down().iter().map(|policy| {
        let start = recent.start(current, policy.period);
        match policy.kind {
            PolicyKind::Pods => start - i64::from(policy.value),
            PolicyKind::Percent => (start as f64 * (1.0 - f64::from(policy.value) / 100.0)) as i64,
        }
    });
    let limit = match behavior.scale_down.select {
        Select::Max => limits.min(),
        Select::Min => limits.max(),
        Select::Disabled => None,
    };
    limit.unwrap_or(current)
}
