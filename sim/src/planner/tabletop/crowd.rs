//! The visitors: when they arrive, how long they stay, and how long they are willing to wait. A visitor's behaviour
//! is drawn at its arrival and does not depend on what happens to it: every design meets the same visitors.

use crate::chance::{Arrivals, Chance, Draw, Moments};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One visitor. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    pub arrives: u64,
    /// Waits this long for a slot, then leaves.
    pub patience: u64,
    /// The total time with a slot.
    pub stays: u64,
    /// After this long with a slot, the visitor loses its connection (a reload, a tunnel, a closed lid), and
    /// reconnects after the second time.
    pub away: Option<(u64, u64)>,
}

impl Visitor {
    /// Returns a visitor that arrives at this second, stays for this many seconds, and waits without limit.
    #[must_use]
    pub fn at(second: u64, stays: u64) -> Visitor {
        Visitor { arrives: second * 1000, patience: u64::MAX, stays: stays * 1000, away: None }
    }
}

/// The distributions that all visitors share.
#[derive(Clone, Debug, PartialEq)]
pub struct Habits {
    pub arrivals: Arrivals,
    pub length: Draw,
    pub patience: Draw,
    /// This many of a thousand visitors are disconnected once.
    pub away_per_mille: u32,
    pub away: Draw,
}

/// Visitors in order of their arrival, without end (unless the rate is 0).
#[derive(Clone, Debug)]
pub struct Crowd {
    habits: Habits,
    moments: Moments,
    chance: ChaCha8Rng,
}

impl Crowd {
    #[must_use]
    pub fn new(habits: Habits, chance: Chance) -> Crowd {
        Crowd { moments: habits.arrivals.moments(chance), chance: chance.stream("visitors"), habits }
    }
}

impl Iterator for Crowd {
    type Item = Visitor;

    fn next(&mut self) -> Option<Visitor> {
        let arrives = self.moments.next()?;
        let (habits, chance) = (&self.habits, &mut self.chance);
        let patience = habits.patience.sample(chance);
        let stays = habits.length.sample(chance).max(1);
        let leaves_for_a_while = chance.random_range(0..1000) < habits.away_per_mille;
        let away = (chance.random_range(0..stays), habits.away.sample(chance));
        Some(Visitor { arrives, patience, stays, away: leaves_for_a_while.then_some(away) })
    }
}
