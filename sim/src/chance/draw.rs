//! Parses a duration given as a distribution: `40s` (constant), `20s-60s` (uniform), `exp:20m` (exponential with this
//! mean), `lognormal:30m,p95=2h` (median, and 95th percentile).

use super::{Unreadable, milliseconds, spoken};
use rand::Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use std::fmt;
use std::str::FromStr;

/// A distribution of durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    Always(u64),
    Between(u64, u64),
    /// Exponential, with this mean.
    Exponential(u64),
    LogNormal {
        median: u64,
        p95: u64,
    },
}

const ALLOWED: &str =
    "a time (40s), a range (20s-60s), exp:MEAN (exp:20m) or lognormal:MEDIAN,p95=TIME (lognormal:30m,p95=2h)";
/// The 95th percentile of a normal distribution, in standard deviations above the mean.
const P95: f64 = 1.644_853_626_951_472_2;

impl Draw {
    /// Returns one value, in milliseconds.
    #[must_use]
    pub fn sample(&self, chance: &mut impl Rng) -> u64 {
        match *self {
            Draw::Always(value) => value,
            Draw::Between(low, high) => chance.random_range(low..=high),
            Draw::Exponential(mean) => {
                let one: f64 = Exp1.sample(chance);
                (one * mean as f64).round() as u64
            }
            Draw::LogNormal { median, p95 } => {
                let deviations: f64 = StandardNormal.sample(chance);
                let spread = (p95 as f64 / median as f64).ln() / P95;
                (median as f64 * (spread * deviations).exp()).round() as u64
            }
        }
    }
}

impl FromStr for Draw {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Draw, Unreadable> {
        let wrong = |problem| Unreadable { text: text.to_owned(), problem, allowed: ALLOWED };
        if let Some(mean) = text.strip_prefix("exp:") {
            return match milliseconds(mean)? {
                0 => Err(wrong("has the mean 0")),
                mean => Ok(Draw::Exponential(mean)),
            };
        }
        if let Some(parameters) = text.strip_prefix("lognormal:") {
            let (median, p95) = parameters.split_once(",p95=").ok_or_else(|| wrong("has no `,p95=`"))?;
            let (median, p95) = (milliseconds(median)?, milliseconds(p95)?);
            if median == 0 || p95 < median {
                return Err(wrong("has a p95 below its median, or the median 0"));
            }
            return Ok(Draw::LogNormal { median, p95 });
        }
        if text.contains(':') || text.is_empty() {
            return Err(wrong("is not a distribution"));
        }
        match text.split_once('-') {
            None => Ok(Draw::Always(milliseconds(text)?)),
            Some((low, high)) => {
                let (low, high) = (milliseconds(low)?, milliseconds(high)?);
                if low > high {
                    return Err(wrong("ends before it begins"));
                }
                Ok(Draw::Between(low, high))
            }
        }
    }
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Draw::Always(value) => f.write_str(&spoken(value)),
            Draw::Between(low, high) => write!(f, "{}-{}", spoken(low), spoken(high)),
            Draw::Exponential(mean) => write!(f, "exp:{}", spoken(mean)),
            Draw::LogNormal { median, p95 } => write!(f, "lognormal:{},p95={}", spoken(median), spoken(p95)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Draw;
    use crate::chance::Chance;

    fn samples(text: &str) -> Vec<u64> {
        let draw: Draw = text.parse().expect("it is a distribution");
        assert_eq!(draw.to_string(), text);
        let mut chance = Chance::new(1).stream("test");
        let mut samples: Vec<u64> = (0..20_000).map(|_| draw.sample(&mut chance)).collect();
        samples.sort_unstable();
        samples
    }

    fn is_about(value: u64, expected: u64) {
        assert!(value.abs_diff(expected) < expected / 20, "{value} is not about {expected}");
    }

    #[test]
    fn samples_match_their_distribution() {
        assert!(samples("40s").iter().all(|v| *v == 40_000));
        let between = samples("20s-50s");
        assert!(between[0] >= 20_000 && between[between.len() - 1] <= 50_000);
        is_about(between[10_000], 35_000);
        let exponential = samples("exp:20m");
        is_about(exponential.iter().sum::<u64>() / 20_000, 1_200_000);
        let log_normal = samples("lognormal:30m,p95=2h");
        is_about(log_normal[10_000], 1_800_000);
        is_about(log_normal[19_000], 7_200_000);
    }
}
