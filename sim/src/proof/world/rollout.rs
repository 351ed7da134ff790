//! A rolling restart with other settings: from a moment on, every starting dispatcher has the new rules, and all
//! dispatchers are restarted one after the other. Meanwhile old and new settings are in use at the same time. Before
//! that moment, the dispatchers may also be of an older version that knows only the first semantics.

use super::faults::{Fault, FaultKind};
use super::setting::{Selection, Setting};
use super::shape::Shape;
use crate::chance::Chance;
use rand::Rng;
use serde::{Deserialize, Serialize};
use slotkeeper::io::BoxFuture;
use slotkeeper::journal::{Append, Draft, JournalError};
use slotkeeper_core::{Command, Millis, Rules};

/// The semantics that the older version knows.
const OLDER: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Dispatchers that start at this moment or later have the new rules, in milliseconds.
    pub at: u64,
    pub rules: Rules,
    /// The dispatchers before that moment are of an older version.
    pub from_older: bool,
}

impl Rollout {
    /// Draws a rollout, with its restarts, in one of four worlds or where it is requested.
    #[must_use]
    pub fn draw(setting: &Setting, selection: &Selection) -> Option<(Rollout, Vec<Fault>)> {
        let others = !selection.only.is_empty() && !selection.only.contains(&FaultKind::DispatcherRestart);
        let asked = selection.shapes.contains(&Shape::Rollout);
        if !asked && (selection.sparse || others) {
            return None;
        }
        let mut dice = Chance::new(setting.seed).stream("rollout");
        if !dice.random_ratio(1, 4) && !asked {
            return None;
        }
        let at = dice.random_range(8_000..setting.chaos / 2);
        let gap = dice.random_range(4_000..12_000);
        let rollout = Rollout {
            at,
            rules: changed(&setting.rules, &mut dice),
            // Only with a shared journal, where the version matters: older dispatchers know no targets.
            from_older: setting.shared_journal && dice.random_ratio(1, 2),
        };
        Some((rollout, restarts(setting.dispatchers, at, gap)))
    }
}

/// Restarts every dispatcher, one after the other.
#[must_use]
pub fn restarts(dispatchers: u32, at: u64, gap: u64) -> Vec<Fault> {
    let one = |host: u32| {
        let at = at + u64::from(host) * gap;
        Fault::new(FaultKind::DispatcherRestart, at, at + 2_500, host)
    };
    (0..dispatchers).map(one).collect()
}

/// Returns other settings of the same pool. The purpose of the pods (one session or several, one session for its
/// whole life) stays the same.
fn changed(rules: &Rules, dice: &mut rand_chacha::ChaCha8Rng) -> Rules {
    let mut rules = rules.clone();
    let seconds = |dice: &mut rand_chacha::ChaCha8Rng, from: u64, to: u64| Millis::secs(dice.random_range(from..=to));
    rules.idle = match rules.idle {
        None => dice.random_ratio(2, 3).then(|| seconds(dice, 13, 18)),
        some => some.filter(|_| dice.random_ratio(1, 2)),
    };
    if dice.random_ratio(1, 2) {
        rules.grace = seconds(dice, 3, 10);
    }
    if dice.random_ratio(1, 3) {
        rules.silence = seconds(dice, 6, 9);
    }
    if dice.random_ratio(1, 3) {
        rules.claim = seconds(dice, 5, 12);
    }
    if dice.random_ratio(1, 3) {
        rules.max_session = dice.random_ratio(1, 2).then(|| seconds(dice, 20, 40));
    }
    if dice.random_ratio(1, 3) {
        rules.max = (rules.max - 1).max(rules.min).max(1);
    }
    if rules.slots_per_pod > 1 && dice.random_ratio(1, 2) {
        rules.slots_per_pod = dice.random_range(2..=5);
    }
    rules
}

/// Writes to the journal like the older version.
pub struct Older(pub Box<dyn Append>);

impl Append for Older {
    fn append(&mut self, mut batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        for draft in &mut batch {
            if let Command::Hello { speaks } = &mut draft.command {
                *speaks = OLDER;
            }
        }
        self.0.append(batch)
    }
}
