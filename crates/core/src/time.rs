//! Moments and durations on the journal's clock. Nothing here can read a clock: time enters with an entry.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use serde::{Deserialize, Serialize};

/// A moment: milliseconds on the journal's clock (Unix time, if the journal's clock is right).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

/// A duration in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Time {
    /// Later than every moment: stands for "no deadline" where an `Option` would cost 8 bytes per session.
    pub const NEVER: Time = Time(u64::MAX);

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Time) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// `None` for [`Time::NEVER`].
    #[must_use]
    pub fn known(self) -> Option<Time> {
        (self != Time::NEVER).then_some(self)
    }
}

impl Millis {
    /// No time.
    pub const ZERO: Millis = Millis(0);

    /// Returns this number of seconds as milliseconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Millis {
        Millis(seconds.saturating_mul(1000))
    }
}

impl Add<Millis> for Time {
    type Output = Time;
    fn add(self, by: Millis) -> Time {
        Time(self.0.saturating_add(by.0))
    }
}

impl Sub<Millis> for Time {
    type Output = Time;
    fn sub(self, by: Millis) -> Time {
        Time(self.0.saturating_sub(by.0))
    }
}

impl Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}

impl AddAssign<Millis> for Time {
    fn add_assign(&mut self, by: Millis) {
        *self = *self + by;
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(Time(ms)) => write!(f, "@{}.{:03}s", ms / 1000, ms % 1000),
            None => f.write_str("@never"),
        }
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}
