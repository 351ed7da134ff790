//! What happens at the dispatcher's fault points in one world: drawn from the seed, with a separate stream for each
//! point, so that removing one does not affect the others. Without the feature `faultpoints` there are none.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::str::FromStr;

/// How often something happens at one point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub point: String,
    /// Per 1000 times that the point is passed.
    pub per_mille: u32,
    /// Maximum delay, in milliseconds.
    pub longest: u64,
}

/// A list of points as the command accepts it: comma-separated words, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub BTreeSet<String>);

impl FromStr for Names {
    type Err = String;
    fn from_str(text: &str) -> Result<Names, String> {
        if text == super::limits::NONE {
            return Ok(Names(BTreeSet::new()));
        }
        let known = words();
        if known.is_empty() {
            return Err("this program was built without fault points; build it with the feature `faultpoints`".into());
        }
        let find = |word: &str| {
            let found = known.contains(&word).then(|| word.to_owned());
            found.ok_or_else(|| format!("{word:?} is no fault point; allowed: none, {}", known.join(", ")))
        };
        text.split(',').map(find).collect::<Result<_, _>>().map(Names)
    }
}

#[cfg(feature = "faultpoints")]
pub use built::{draw, install, words};

#[cfg(feature = "faultpoints")]
mod built {
    use super::Rate;
    use crate::chance::Chance;
    use crate::proof::world::oracle::Oracle;
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;
    use slotkeeper::faultpoints::{self, Act, Installed, Point};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Returns all points.
    #[must_use]
    pub fn words() -> Vec<&'static str> {
        Point::ALL.iter().map(|p| p.word()).collect()
    }

    /// The points that every entry or batch of entries passes.
    const FREQUENT: [Point; 6] = [
        Point::DriverBeforeAppend,
        Point::DriverAfterAppend,
        Point::DriverBeforeApply,
        Point::RedisAfterSend,
        Point::FileBeforeSync,
        Point::FileAfterSync,
    ];

    /// Draws the points of this seed's world: none in six of ten worlds, otherwise a random subset.
    #[must_use]
    pub fn draw(seed: u64) -> Vec<Rate> {
        let chance = Chance::new(seed);
        let mut dice = chance.stream("points");
        let some = dice.random_ratio(4, 10);
        let share = dice.random_range(15..=80);
        let rate = |point: &Point| {
            let mut own = chance.stream(&format!("point {}", point.word()));
            let chosen = own.random_ratio(share, 100);
            let usual = if FREQUENT.contains(point) { [10, 50, 200] } else { [100, 300, 700] };
            let per_mille = usual[own.random_range(0..3)];
            let longest = point.longest().min([20, 200, u64::MAX][own.random_range(0..3)]);
            (some && chosen).then(|| Rate { point: point.word().to_owned(), per_mille, longest })
        };
        Point::ALL.iter().filter_map(rate).collect()
    }

    /// Activates these points until the guard is dropped or the world is calm.
    pub fn install(seed: u64, rates: &[Rate], oracle: Oracle, calm: Arc<AtomicBool>) -> Installed {
        let chance = Chance::new(seed);
        let mut sources: BTreeMap<Point, (Rate, ChaCha8Rng)> = BTreeMap::new();
        for rate in rates {
            if let Some(point) = Point::ALL.iter().find(|p| p.word() == rate.point) {
                sources.insert(*point, (rate.clone(), chance.stream(&format!("passing {}", rate.point))));
            }
        }
        faultpoints::install(move |point| {
            let Some((rate, dice)) = sources.get_mut(&point) else { return Act::Pass };
            let acts = dice.random_ratio(rate.per_mille.min(1_000), 1_000);
            let (kind, time) = (dice.random_range(0..4), dice.random_range(1..=rate.longest.max(1)));
            if !acts || calm.load(Ordering::Relaxed) {
                return Act::Pass;
            }
            oracle.count(format!("point {}", rate.point));
            let act = match (kind, point.extra()) {
                (0, Some(extra)) => extra,
                (1, _) => Act::Yield,
                _ => Act::Delay(Duration::from_millis(time)),
            };
            match act {
                Act::Drop => oracle.log(format!("POINT {}: dropped", rate.point)),
                Act::Swap => oracle.log(format!("POINT {}: swapped with the next one", rate.point)),
                Act::Delay(_) if time >= 100 => oracle.log(format!("POINT {}: delayed by {time} ms", rate.point)),
                Act::Delay(_) | Act::Yield | Act::Pass => {}
            }
            act
        })
    }
}

/// Returns all points: none are compiled in.
#[cfg(not(feature = "faultpoints"))]
#[must_use]
pub fn words() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(not(feature = "faultpoints"))]
#[must_use]
pub fn draw(_seed: u64) -> Vec<Rate> {
    Vec::new()
}
