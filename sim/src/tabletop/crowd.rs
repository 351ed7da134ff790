//! Who comes, when, for how long, and how patient they are. What a visitor will do is drawn when it arrives and does not
//! depend on what happens to it: every design meets the same visitors.

use crate::chance::{Arrivals, Chance, Draw, Moments};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One visitor. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    pub arrives: u64,
    /// Waits so long for a slot, then goes.
    pub patience: u64,
    /// Sits so long, in all.
    pub stays: u64,
    /// After sitting this long, loses its connection (a reload, a tunnel, a closed lid) and is back after this long.
    pub away: Option<(u64, u64)>,
}

impl Visitor {
    /// Comes at this second, stays for so many seconds, and waits for ever.
    #[must_use]
    pub fn at(second: u64, stays: u64) -> Visitor {
        Visitor { arrives: second * 1000, patience: u64::MAX, stays: stays * 1000, away: None }
    }
}

/// What visitors have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Habits {
    pub arrivals: Arrivals,
    pub length: Draw,
    pub patience: Draw,
    /// Of a thousand visitors, so many are away for a while once.
    pub away_per_mille: u32,
    pub away: Draw,
}

/// Visitors in order of their arrival, without end (unless nobody ever comes).
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
