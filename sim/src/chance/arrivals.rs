//! Parses when visitors arrive: `10000/day` (also `/h`, `/min`, `/s`), with a daily curve after a colon
//! (`10000/day:evening`, `:office`, or 24 comma-separated weights, one per hour), and daily bursts:
//! `10000/day:evening+200@18:00`, spread over one minute or over the time after a slash, `+200@18:00/10m`.

use super::{Chance, Unreadable, milliseconds};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;
const MOST_PER_DAY: f64 = 1e8;
const ALLOWED: &str = "NUMBER/day (or /h, /min, /s; up to 100 million a day), then perhaps :office, :evening or 24 hourly weights, \
                       then perhaps +NUMBER@HH:MM, such as 10000/day:evening+200@18:00";

/// Weekday visitors of office tools: one peak before noon, one after.
const OFFICE: [f64; 24] = [
    0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 1.0, 3.0, 7.0, 10.0, 10.5, 9.5, 7.0, 8.5, 10.0, 9.5, 8.0, 6.0, 3.5, 2.0, 1.5, 1.0,
    0.7, 0.4,
];
/// Visitors of games: most of them between 19:00 and 23:00.
const EVENING: [f64; 24] = [
    3.0, 1.5, 0.8, 0.4, 0.3, 0.3, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 2.8, 3.0, 3.8, 5.0, 6.5, 8.5, 11.0, 13.0, 13.0,
    10.5, 6.5,
];

/// How many visitors arrive in a day, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// Without the bursts.
    pub per_day: f64,
    /// The share of the day's visitors in each hour; they add up to 1.
    pub hours: [f64; 24],
    pub bursts: Vec<Burst>,
    text: String,
}

/// This many visitors within a short time, every day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    pub visitors: u32,
    /// Milliseconds since midnight, and from the first to the last.
    pub at: u64,
    pub over: u64,
}

impl Arrivals {
    /// Visitors with the daily curve `:evening`.
    #[must_use]
    pub fn evening(per_day: u32) -> Arrivals {
        let all: f64 = EVENING.iter().sum();
        let text = format!("{per_day}/day:evening");
        Arrivals { per_day: f64::from(per_day), hours: EVENING.map(|w| w / all), bursts: Vec::new(), text }
    }

    /// Returns the arrivals in order, without end, in milliseconds since the first midnight.
    #[must_use]
    pub fn moments(&self, chance: Chance) -> Moments {
        Moments { arrivals: self.clone(), chance: chance.stream("arrivals"), hour: 0, drawn: VecDeque::new() }
    }

    /// Returns the average number of visitors per day, bursts included.
    #[must_use]
    pub fn a_day(&self) -> f64 {
        self.per_day + self.bursts.iter().map(|b| f64::from(b.visitors)).sum::<f64>()
    }
}

/// See [`Arrivals::moments`].
#[derive(Clone, Debug)]
pub struct Moments {
    arrivals: Arrivals,
    chance: ChaCha8Rng,
    /// The next hour to draw; everything before it is in `drawn`, which is sorted.
    hour: u64,
    drawn: VecDeque<u64>,
}

impl Moments {
    /// Within an hour the rate is constant: the number of arrivals is Poisson distributed and their times are
    /// uniform.
    fn draw_hour(&mut self) {
        let (start, of_day) = (self.hour * HOUR, self.hour % 24);
        let mean = self.arrivals.per_day * self.arrivals.hours[of_day as usize];
        let count = Poisson::new(mean).map_or(0.0, |p| p.sample(&mut self.chance)) as u64;
        let chance = &mut self.chance;
        self.drawn.extend((0..count).map(|_| start + chance.random_range(0..HOUR)));
        for burst in self.arrivals.bursts.iter().filter(|b| b.at / HOUR == of_day) {
            let from = start + burst.at % HOUR;
            self.drawn.extend((0..burst.visitors).map(|_| from + chance.random_range(0..=burst.over)));
        }
        self.drawn.make_contiguous().sort_unstable();
        self.hour += 1;
    }
}

impl Iterator for Moments {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.arrivals.a_day() <= 0.0 {
            return None;
        }
        // A burst may reach into the next hour, so an arrival is returned only once every hour up to it is drawn.
        while self.drawn.front().is_none_or(|first| *first >= self.hour * HOUR) {
            self.draw_hour();
        }
        self.drawn.pop_front()
    }
}

impl FromStr for Arrivals {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Arrivals, Unreadable> {
        let wrong = |problem| Unreadable { text: text.to_owned(), problem, allowed: ALLOWED };
        let mut parts = text.split('+');
        let usual = parts.next().unwrap_or_default();
        let (rate, curve) = usual.split_once(':').unwrap_or((usual, "even"));
        let (number, unit) =
            rate.split_once('/').ok_or_else(|| wrong("has no rate (a number, `/` and a unit of time)"))?;
        let times_a_day = match unit {
            "day" => 1.0,
            "h" => 24.0,
            "min" => 24.0 * 60.0,
            "s" => 86_400.0,
            _ => return Err(wrong("has an unknown unit of time")),
        };
        let per_day = number.parse::<f64>().map_err(|_| wrong("does not begin with a number"))? * times_a_day;
        if !(0.0..=MOST_PER_DAY).contains(&per_day) {
            return Err(wrong("is out of range"));
        }
        let hours = curve_of(curve).ok_or_else(|| wrong("has an unknown daily curve"))?;
        let bursts = parts.map(|burst| burst_of(burst).ok_or_else(|| wrong("has a burst that cannot be read")));
        let bursts = bursts.collect::<Result<Vec<Burst>, Unreadable>>()?;
        Ok(Arrivals { per_day, hours, bursts, text: text.to_owned() })
    }
}

fn curve_of(text: &str) -> Option<[f64; 24]> {
    let weights = match text {
        "even" => [1.0; 24],
        "office" => OFFICE,
        "evening" => EVENING,
        list => {
            let weights: Option<Vec<f64>> = list.split(',').map(|w| w.trim().parse().ok()).collect();
            weights?.try_into().ok()?
        }
    };
    let all: f64 = weights.iter().sum();
    let lawful = weights.iter().all(|w| *w >= 0.0) && all > 0.0 && all.is_finite();
    lawful.then(|| weights.map(|w| w / all))
}

/// `200@18:00` or `200@18:00/10m`.
fn burst_of(text: &str) -> Option<Burst> {
    let (visitors, when) = text.split_once('@')?;
    let (clock, over) = match when.split_once('/') {
        Some((clock, over)) => (clock, milliseconds(over).ok()?),
        None => (when, 60_000),
    };
    let (hours, minutes) = clock.split_once(':')?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let visitors = visitors.parse().ok().filter(|n: &u32| f64::from(*n) <= MOST_PER_DAY)?;
    (hours < 24 && minutes < 60 && over <= DAY).then(|| Burst { visitors, at: hours * HOUR + minutes * 60_000, over })
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, DAY, HOUR};
    use crate::chance::Chance;

    fn first_day(text: &str) -> Vec<u64> {
        let arrivals: Arrivals = text.parse().expect("these are arrivals");
        arrivals.moments(Chance::new(3)).take_while(|at| *at < DAY).collect()
    }

    #[test]
    fn the_number_of_arrivals_matches_the_rate_and_they_are_in_order() {
        for (text, expected) in [("10000/day", 10_000), ("30/h", 720), ("10000/day:evening+2000@18:00", 12_000)] {
            let day = first_day(text);
            assert!(day.is_sorted());
            assert!(day.len().abs_diff(expected) < expected / 10, "{text}: {}", day.len());
        }
    }

    #[test]
    fn a_curve_determines_the_hour_of_arrivals() {
        let only_at_six = format!("1000/day:{}1{}", "0,".repeat(6), ",0".repeat(17));
        assert!(first_day(&only_at_six).iter().all(|at| at / HOUR == 6));
        let share = |hours: std::ops::Range<u64>| {
            let day = first_day("10000/day:evening");
            day.iter().filter(|at| hours.contains(&(**at / HOUR))).count() * 100 / day.len()
        };
        assert!(share(19..23) > 40 && share(2..7) < 5);
    }

    #[test]
    fn a_burst_may_reach_into_the_next_hour() {
        let day = first_day("24/day+600@18:30/1h");
        assert!(day.is_sorted());
        let in_burst = |from: u64, to: u64| day.iter().filter(|at| (from..to).contains(*at)).count();
        assert!(in_burst(18 * HOUR + HOUR / 2, 19 * HOUR) > 250);
        assert!(in_burst(19 * HOUR, 20 * HOUR) > 250);
    }

    #[test]
    fn a_rate_of_zero_yields_no_arrivals() {
        assert_eq!(first_day("0/day"), Vec::<u64>::new());
    }
}
