//! Prometheus: what it scrapes when, and what a query finds (2.42). Series end with stale markers: at once if a scrape
//! fails or lacks them, two intervals and a bit late if the target was removed; without a marker a value is found for five
//! minutes. Not here: PromQL as text, rates, rules, remote writes.

mod query;

pub use query::{Expr, Selector};

use std::collections::{BTreeMap, BTreeSet};

/// An instant query finds values up to this old (`--query.lookback-delta`).
pub const LOOKBACK: u64 = 300_000;
/// Samples are kept this long: more than any window in use.
const RETENTION: u64 = 3_600_000;

#[derive(Clone, Debug)]
pub struct Prometheus {
    /// `scrape_interval`.
    interval: u64,
    targets: BTreeMap<String, Target>,
    series: BTreeMap<Series, Vec<Point>>,
    running: bool,
}

/// What tells one line of samples from another: the labels this model knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub metric: String,
    pub pool: String,
    /// Set by the scrape (`instance`).
    pub target: String,
}

/// One value a target exposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub metric: String,
    pub pool: String,
    pub value: f64,
    /// An explicit timestamp: such series get no stale markers.
    pub at: Option<u64>,
}

/// The target did not answer, or not in time, or not with a page of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeFailed;

/// Prometheus does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down;

#[derive(Clone, Debug)]
struct Target {
    /// The next scrape.
    next: u64,
    /// What the last one found, but for series with explicit timestamps.
    found: BTreeSet<Series>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: u64,
    /// When it got into the storage: stale markers of removed targets are stamped earlier than they are written.
    written: u64,
    /// `None`: a stale marker.
    value: Option<f64>,
}

impl Prometheus {
    #[must_use]
    pub fn new(interval: u64) -> Prometheus {
        Prometheus { interval: interval.max(1), targets: BTreeMap::new(), series: BTreeMap::new(), running: true }
    }

    /// Discovered: scraped at `first` and every interval after it.
    pub fn add_target(&mut self, name: &str, first: u64) {
        self.targets.insert(name.to_owned(), Target { next: first, found: BTreeSet::new() });
    }

    /// No longer discovered. Its series end at the first scrape it misses, but that is written down only when it could
    /// not have come back: after one more interval and a tenth (`scrape.go`: endOfRunStaleness). Until then its last values are found.
    pub fn remove_target(&mut self, name: &str) {
        let Some(target) = self.targets.remove(name) else { return };
        if !self.running {
            return;
        }
        let written = target.next.saturating_add(self.interval).saturating_add(self.interval / 10);
        for series in target.found {
            self.write(series, Point { at: target.next, written, value: None });
        }
    }

    /// The next scrape, and of whom.
    #[must_use]
    pub fn next_scrape(&self) -> Option<(u64, &str)> {
        let due = self.targets.iter().map(|(name, target)| (target.next, name.as_str()));
        due.min().filter(|_| self.running)
    }

    /// The result of the scrape that was due, known at `now`: it carries the time at which it was due.
    pub fn scrape(&mut self, name: &str, outcome: Result<Vec<Sample>, ScrapeFailed>, now: u64) {
        let Some(target) = self.targets.get_mut(name).filter(|_| self.running) else { return };
        let at = target.next;
        let before = std::mem::take(&mut target.found);
        // A failed scrape counts as one that found nothing.
        let samples = outcome.unwrap_or_default();
        let mut points = Vec::with_capacity(samples.len());
        for Sample { metric, pool, value, at: explicit } in samples {
            let series = Series { metric, pool, target: name.to_owned() };
            if explicit.is_none() {
                target.found.insert(series.clone());
            }
            points.push((series, Point { at: explicit.unwrap_or(at), written: now, value: Some(value) }));
        }
        let ended: Vec<Series> = before.difference(&target.found).cloned().collect();
        target.next = next_on_grid(at, self.interval, now);
        points.extend(ended.into_iter().map(|series| (series, Point { at, written: now, value: None })));
        for (series, point) in points {
            self.write(series, point);
        }
    }

    /// The process ends: nothing is scraped, nothing marked as stale, no query answered.
    pub fn stop(&mut self) {
        self.running = false;
    }

    /// It comes back, with its storage or without.
    pub fn start(&mut self, now: u64, keep: bool) {
        self.running = true;
        if !keep {
            self.series.clear();
        }
        for target in self.targets.values_mut() {
            target.found.clear();
            if target.next <= now {
                target.next = next_on_grid(target.next, self.interval, now);
            }
        }
    }

    /// The values an instant query finds at `now`, one per resulting series. The time is cut to whole seconds, as KEDA
    /// asks (RFC 3339 without fractions): a sample of the current second is not found yet.
    ///
    /// # Errors
    /// It is not running.
    pub fn query(&self, expr: &Expr, now: u64) -> Result<Vec<f64>, Down> {
        if !self.running {
            return Err(Down);
        }
        Ok(self.evaluate(expr, Moment { time: now - now % 1000, now }).into_iter().map(|(_, value)| value).collect())
    }

    fn write(&mut self, series: Series, point: Point) {
        let points = self.series.entry(series).or_default();
        let place = points.partition_point(|p| p.at <= point.at);
        // Two samples of one time: the first stays (out of order is refused).
        if place.checked_sub(1).and_then(|i| points.get(i)).is_some_and(|p| p.at == point.at) {
            return;
        }
        points.insert(place, point);
        let old = points.partition_point(|p| p.at.saturating_add(RETENTION) < point.written);
        points.drain(..old);
    }
}

/// When is "now", for one query.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// What the query asks for.
    time: u64,
    /// What is written by then counts.
    now: u64,
}

/// The first time after `now` (and after `last`) that a target is scraped.
fn next_on_grid(last: u64, interval: u64, now: u64) -> u64 {
    let behind = now.saturating_sub(last) / interval;
    last.saturating_add((behind + 1).saturating_mul(interval))
}
