//! Prometheus: which targets it scrapes when, and what a query finds (2.42). Series end with stale markers:
//! immediately if a scrape fails or lacks them, slightly more than two intervals later if the target was removed;
//! without a marker a value is found for five minutes. Not modelled: PromQL as text, rates, rules, remote writes.

mod query;

pub use query::{Expr, Selector};

use std::collections::{BTreeMap, BTreeSet};

/// An instant query finds values up to this old (`--query.lookback-delta`).
pub const LOOKBACK: u64 = 300_000;
/// Samples are kept this long: longer than any window in use.
const RETENTION: u64 = 3_600_000;

#[derive(Clone, Debug)]
pub struct Prometheus {
    /// `scrape_interval`.
    interval: u64,
    targets: BTreeMap<String, Target>,
    series: BTreeMap<Series, Vec<Point>>,
    running: bool,
}

/// The labels that identify a series in this model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub metric: String,
    pub pool: String,
    /// Set by the scrape (`instance`).
    pub target: String,
}

/// One exposed value of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub metric: String,
    pub pool: String,
    pub value: f64,
    /// An explicit timestamp: such series get no stale markers.
    pub at: Option<u64>,
}

/// The target did not answer, was too slow, or did not return a page of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeFailed;

/// Prometheus does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down;

#[derive(Clone, Debug)]
struct Target {
    /// When the next scrape is due.
    next: u64,
    /// The series found by the last scrape, except those with explicit timestamps.
    found: BTreeSet<Series>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: u64,
    /// When it was written to the storage: the stale markers of removed targets have an earlier timestamp.
    written: u64,
    /// `None`: a stale marker.
    value: Option<f64>,
}

impl Prometheus {
    #[must_use]
    pub fn new(interval: u64) -> Prometheus {
        Prometheus { interval: interval.max(1), targets: BTreeMap::new(), series: BTreeMap::new(), running: true }
    }

    /// A target is discovered: scraped at `first` and every interval after that.
    pub fn add_target(&mut self, name: &str, first: u64) {
        self.targets.insert(name.to_owned(), Target { next: first, found: BTreeSet::new() });
    }

    /// A target is no longer discovered. Its series end at the first missed scrape, but the stale markers are written
    /// only when the target could not have returned: after one more interval and a tenth (`scrape.go`:
    /// endOfRunStaleness). Until then its last values are found.
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

    /// Returns when the next scrape is due, and its target.
    #[must_use]
    pub fn next_scrape(&self) -> Option<(u64, &str)> {
        let due = self.targets.iter().map(|(name, target)| (target.next, name.as_str()));
        due.min().filter(|_| self.running)
    }

    /// Records the result of the due scrape, known at `now`; its samples get the time at which it was due.
    pub fn scrape(&mut self, name: &str, outcome: Result<Vec<Sample>, ScrapeFailed>, now: u64) {
        let Some(target) = self.targets.get_mut(name).filter(|_| self.running) else { return };
        let at = target.next;
        let before = std::mem::take(&mut target.found);
        // A failed scrape counts as an empty one.
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

    /// The process ends: no scrapes, no stale markers, no answers to queries.
    pub fn stop(&mut self) {
        self.running = false;
    }

    /// The process starts again, with or without its storage.
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

    /// Returns the values that an instant query finds at `now`, one per resulting series. The time is truncated to
    /// whole seconds, because KEDA queries with RFC 3339 times without fractions: a sample of the current second is
    /// not found yet.
    ///
    /// # Errors
    /// If Prometheus is not running.
    pub fn query(&self, expr: &Expr, now: u64) -> Result<Vec<f64>, Down> {
        if !self.running {
            return Err(Down);
        }
        Ok(self.evaluate(expr, Moment { time: now - now % 1000, now }).into_iter().map(|(_, value)| value).collect())
    }

    fn write(&mut self, series: Series, point: Point) {
        let points = self.series.entry(series).or_default();
        let place = points.partition_point(|p| p.at <= point.at);
        // Of two samples with the same time the first is kept (the second is rejected as out of order).
        if place.checked_sub(1).and_then(|i| points.get(i)).is_some_and(|p| p.at == point.at) {
            return;
        }
        points.insert(place, point);
        let old = points.partition_point(|p| p.at.saturating_add(RETENTION) < point.written);
        points.drain(..old);
    }
}

/// The time of one query.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// The time that the query asks for.
    time: u64,
    /// Only points written by then are visible.
    now: u64,
}

/// Returns the first time after `now` (and after `last`) at which a target is scraped.
fn next_on_grid(last: u64, interval: u64, now: u64) -> u64 {
    let behind = now.saturating_sub(last) / interval;
    last.saturating_add((behind + 1).saturating_mul(interval))
}
