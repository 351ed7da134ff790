//! Counts the events of a run. Numbers over time have a resolution of a tenth of a second.

use super::outcome::{Chart, Figures, Line, Look, SocketFigures};
use crate::record::Quantiles;
use std::collections::BTreeMap;

/// Milliseconds.
const STEP: u64 = 100;

pub(super) struct Tally {
    /// Figures count only events from here on.
    from: u64,
    figures: SocketFigures,
    /// Durations without a connection, in milliseconds.
    spells: Vec<u64>,
    connects: Rate,
    refused: Rate,
    away: Series,
    pods: BTreeMap<u32, Series>,
}

impl Tally {
    pub(super) fn new(from: u64) -> Tally {
        Tally {
            from,
            figures: SocketFigures::default(),
            spells: Vec::new(),
            connects: Rate::default(),
            refused: Rate::default(),
            away: Series::default(),
            pods: BTreeMap::new(),
        }
    }

    fn counts(&self, now: u64) -> u64 {
        u64::from(now >= self.from)
    }

    pub(super) fn connect(&mut self, now: u64) {
        self.figures.connects += self.counts(now);
        self.connects.count(now);
    }

    pub(super) fn refused(&mut self, now: u64) {
        self.figures.refused += self.counts(now);
        self.refused.count(now);
    }

    pub(super) fn ended(&mut self, now: u64, notice: bool) {
        let which = if notice { &mut self.figures.closed } else { &mut self.figures.lost };
        *which += u64::from(now >= self.from);
    }

    /// A client that has been without a connection since then has one again.
    pub(super) fn back(&mut self, since: u64, now: u64) {
        if since >= self.from {
            self.spells.push(now - since);
        }
    }

    pub(super) fn away(&mut self, now: u64, clients: u32) {
        self.away.note(now, clients);
    }

    pub(super) fn sockets(&mut self, now: u64, ordinal: u32, sockets: usize) {
        self.pods.entry(ordinal).or_default().note(now, u32::try_from(sockets).unwrap_or(u32::MAX));
    }

    /// `pods`: the number of connections of each ready pod.
    pub(super) fn finish(mut self, clients: u32, missing: u64, pods: &[usize], length: u64) -> (Figures, Vec<Chart>) {
        let figures = SocketFigures {
            clients: u64::from(clients),
            back: Quantiles::of(&mut self.spells),
            missing,
            peak: self.connects.most(self.from),
            imbalance: imbalance(pods),
            pods: u32::try_from(pods.len()).unwrap_or(u32::MAX),
            ..self.figures
        };
        let line = |look, name: &str, points| Line { look, name: name.to_owned(), points };
        let rates = vec![
            line(Look::Good, "attempts", self.connects.points(length)),
            line(Look::Bad, "refused", self.refused.points(length)),
        ];
        let pods = self.pods.into_iter().map(|(o, series)| line(Look::Good, &format!("pod {o}"), series.points));
        let chart = |heading: &str, lines, rows| Chart { heading: heading.to_owned(), lines, rows };
        let charts = vec![
            chart("Connects per second", rates, false),
            chart("Clients without a connection", vec![line(Look::Waiting, "away", self.away.points)], false),
            chart("Connections of each pod", pods.collect(), true),
        ];
        (Figures::Sockets(figures), charts)
    }
}

/// Standard deviation over mean, in percent, to a hundredth of a percent.
fn imbalance(pods: &[usize]) -> f64 {
    let number = pods.len() as f64;
    let mean = pods.iter().sum::<usize>() as f64 / number;
    let variance = pods.iter().map(|n| (*n as f64 - mean).powi(2)).sum::<f64>() / number;
    let percent = variance.sqrt() / mean * 100.0;
    if percent.is_finite() { (percent * 100.0).round() / 100.0 } else { 0.0 }
}

/// Counts events per step.
#[derive(Default)]
struct Rate {
    steps: BTreeMap<u64, u32>,
}

impl Rate {
    fn count(&mut self, now: u64) {
        *self.steps.entry(now / STEP).or_default() += 1;
    }

    /// Returns the highest rate, per second.
    fn most(&self, from: u64) -> u64 {
        let most = self.steps.range(from / STEP..).map(|(_, n)| *n).max().unwrap_or_default();
        u64::from(most) * (1000 / STEP)
    }

    fn points(&self, length: u64) -> Vec<(u64, u32)> {
        let mut series = Series::default();
        for step in 0..=length / STEP {
            series.note(step * STEP, self.steps.get(&step).map_or(0, |n| n * (1000 / STEP) as u32));
        }
        series.points
    }
}

/// The last number of each step, where it differs from the previous one.
#[derive(Default)]
struct Series {
    points: Vec<(u64, u32)>,
}

impl Series {
    fn note(&mut self, now: u64, value: u32) {
        let step = now / STEP * STEP;
        if self.points.last().is_some_and(|(at, _)| *at == step) {
            self.points.pop();
        }
        if self.points.last().is_none_or(|(_, last)| *last != value) {
            self.points.push((step, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, Series, imbalance};

    #[test]
    fn imbalance_is_standard_deviation_over_mean() {
        assert_eq!(imbalance(&[5000; 10]), 0.0);
        assert_eq!(imbalance(&[4, 6]), 20.0);
        assert_eq!(imbalance(&[]), 0.0);
        assert_eq!(imbalance(&[0, 0]), 0.0);
    }

    #[test]
    fn a_series_keeps_changes_and_a_rate_is_per_second() {
        let mut series = Series::default();
        for (at, value) in [(0, 1), (10, 2), (250, 2), (310, 3), (320, 2), (500, 4)] {
            series.note(at, value);
        }
        assert_eq!(series.points, [(0, 2), (500, 4)]);
        let mut rate = Rate::default();
        [5, 130, 140, 150, 320].into_iter().for_each(|at| rate.count(at));
        assert_eq!(rate.most(0), 30);
        assert_eq!(rate.most(300), 10);
        assert_eq!(rate.points(400), [(0, 10), (100, 30), (200, 0), (300, 10), (400, 0)]);
    }
}
