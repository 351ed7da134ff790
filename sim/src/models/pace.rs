//! How fast a controller's calls leave: the token bucket of its API client. It is why a hundred pods are not created in one
//! moment. The default is fitted to a measured 1.36 controller (Parallel, 0 to 100 pods: the 30th after 0.96 s, the 50th
//! after 2.2 s, the 100th after 4.9 s; one pod: 18 ms), whose flags say 20 requests a second, 30 at once.

/// A token bucket, shared by all sets of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Calls that leave at once.
    pub burst: u64,
    /// Milliseconds between calls after that.
    pub spacing: u64,
    /// When the bucket is (or was) full again.
    full_at: u64,
}

impl Pace {
    #[must_use]
    pub fn new(burst: u64, spacing: u64) -> Pace {
        Pace { burst, spacing, full_at: 0 }
    }

    /// When a call that is wanted now leaves; takes its token.
    pub fn take(&mut self, now: u64) -> u64 {
        let full_at = self.full_at.max(now).saturating_add(self.spacing);
        self.full_at = full_at;
        full_at.saturating_sub(self.burst.saturating_mul(self.spacing)).max(now)
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::new(10, 54)
    }
}
