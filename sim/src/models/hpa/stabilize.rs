//! The controller's memory of its own proposals, and how they delay a new one (`horizontal.go`:
//! stabilizeRecommendation, stabilizeRecommendationWithBehaviors).

/// One unstabilized, unclamped proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    pub at: u64,
    pub replicas: u32,
}

/// The proposals of successful syncs; a new one replaces an expired one, so the list stays short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(pub Vec<Recommendation>);

/// How long proposals count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Without `behavior`: one window, for scaling down; a proposal exactly as old as the window still counts.
    Plain { down: u64 },
    /// With `behavior`: one window per direction; a proposal must be strictly younger than its window.
    Behavior { up: u64, down: u64 },
}

impl History {
    /// Stabilizes the new proposal, and stores it.
    pub fn stabilize(&mut self, current: u32, proposed: u32, windows: Windows, now: u64) -> u32 {
        let age = |r: &Recommendation| now.saturating_sub(r.at);
        let (result, expired) = match windows {
            Windows::Plain { down } => {
                let held = self.0.iter().filter(|r| age(r) <= down).map(|r| r.replicas).max();
                (held.map_or(proposed, |h| h.max(proposed)), self.0.iter().rposition(|r| age(r) > down))
            }
            Windows::Behavior { up, down } => {
                let within = |window: u64| self.0.iter().filter(move |r| age(r) < window).map(|r| r.replicas);
                let floor = within(up).min().map_or(proposed, |h| h.min(proposed));
                let ceiling = within(down).max().map_or(proposed, |h| h.max(proposed));
                // In this order: the lower bound may be above the upper one.
                let result = current.max(floor).min(ceiling);
                (result, self.0.iter().rposition(|r| age(r) > up && age(r) > down))
            }
        };
        let new = Recommendation { at: now, replicas: proposed };
        match expired.and_then(|i| self.0.get_mut(i)) {
            Some(slot) => *slot = new,
            None => self.0.push(new),
        }
        result
    }
}
