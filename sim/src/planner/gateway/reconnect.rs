//! How a client reconnects after its socket has ended or a connect was refused.

use rand::Rng;

/// Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// `onclose = connect`.
    AtOnce,
    /// 1 s, 2 s, 4 s ... without jitter.
    Backoff { first: u64, longest: u64 },
    /// A random time up to the backoff ("full jitter"): `client.js`.
    FullJitter { first: u64, longest: u64 },
}

impl Reconnect {
    pub const BACKOFF: Reconnect = Reconnect::Backoff { first: 1000, longest: 30_000 };
    /// The settings of Slotkeeper's `client.js`.
    pub const CLIENT_JS: Reconnect = Reconnect::FullJitter { first: 1000, longest: 30_000 };

    /// Returns the delay after `failed` failed connects since the last successful one.
    #[must_use]
    pub fn delay(self, failed: u32, chance: &mut impl Rng) -> u64 {
        let doubled =
            |first: u64, longest: u64| first.saturating_mul(1_u64.checked_shl(failed).unwrap_or(u64::MAX)).min(longest);
        match self {
            Reconnect::AtOnce => 0,
            Reconnect::Backoff { first, longest } => doubled(first, longest),
            Reconnect::FullJitter { first, longest } => chance.random_range(0..=doubled(first, longest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reconnect;
    use crate::chance::Chance;

    #[test]
    fn backoff_doubles_up_to_the_longest_and_jitter_is_at_most_the_backoff() {
        let mut chance = Chance::new(1).stream("test");
        let delays: Vec<u64> = (0..7).map(|n| Reconnect::BACKOFF.delay(n, &mut chance)).collect();
        assert_eq!(delays, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(Reconnect::BACKOFF.delay(200, &mut chance), 30_000);
        assert_eq!(Reconnect::AtOnce.delay(9, &mut chance), 0);
        let jitter: Vec<u64> = (0..2000).map(|_| Reconnect::CLIENT_JS.delay(2, &mut chance)).collect();
        assert!(jitter.iter().all(|d| *d <= 4000));
        assert!(jitter.iter().any(|d| *d < 100) && jitter.iter().any(|d| *d > 3900));
    }
}
