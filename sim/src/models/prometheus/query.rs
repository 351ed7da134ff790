//! The queries that our designs need, as a tree, and their evaluation. `Display` formats them as PromQL.

use super::{LOOKBACK, Moment, Point, Prometheus, Series};
use std::fmt;

/// An expression that yields an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// The latest value of each series, at most [`LOOKBACK`] old and not ended.
    Latest(Selector),
    /// `max_over_time(x[window])`: the highest value of each series, ended or not.
    MaxOverTime(Selector, u64),
    Sum(Box<Expr>),
    Max(Box<Expr>),
    /// 1 if the vector is empty, otherwise an empty vector.
    Absent(Box<Expr>),
    /// The left side, and the elements of the right side without a counterpart on the left.
    Or(Box<Expr>, Box<Expr>),
    /// `vector(x)`: a number without labels.
    Number(f64),
}

/// Selects series; `None` matches any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    pub pool: Option<String>,
    pub target: Option<String>,
}

/// The labels that identify an element of a vector; an aggregate has none.
type Name<'a> = Option<(&'a str, &'a str)>;

impl Expr {
    /// All series of a metric in a pool.
    #[must_use]
    pub fn latest(metric: &str, pool: &str) -> Expr {
        Expr::Latest(Selector { metric: metric.to_owned(), pool: Some(pool.to_owned()), target: None })
    }

    #[must_use]
    pub fn max_over_time(metric: &str, pool: &str, window: u64) -> Expr {
        Expr::MaxOverTime(Selector { metric: metric.to_owned(), pool: Some(pool.to_owned()), target: None }, window)
    }

    #[must_use]
    pub fn sum(self) -> Expr {
        Expr::Sum(Box::new(self))
    }

    #[must_use]
    pub fn max(self) -> Expr {
        Expr::Max(Box::new(self))
    }

    #[must_use]
    pub fn absent(self) -> Expr {
        Expr::Absent(Box::new(self))
    }

    #[must_use]
    pub fn or(self, other: Expr) -> Expr {
        Expr::Or(Box::new(self), Box::new(other))
    }
}

impl Prometheus {
    pub(super) fn evaluate<'a>(&'a self, expr: &Expr, moment: Moment) -> Vec<(Name<'a>, f64)> {
        match expr {
            Expr::Latest(selector) => self.each(selector, |points| latest(points, moment)),
            Expr::MaxOverTime(selector, window) => self.each(selector, |points| highest(points, *window, moment)),
            Expr::Sum(inner) => fold(self.evaluate(inner, moment), |a, b| a + b),
            Expr::Max(inner) => fold(self.evaluate(inner, moment), f64::max),
            Expr::Absent(inner) if self.evaluate(inner, moment).is_empty() => vec![(None, 1.0)],
            Expr::Absent(_) => Vec::new(),
            Expr::Or(left, right) => {
                let mut result = self.evaluate(left, moment);
                let mut rest = self.evaluate(right, moment);
                rest.retain(|(name, _)| result.iter().all(|(other, _)| other != name));
                result.append(&mut rest);
                result
            }
            Expr::Number(x) => vec![(None, *x)],
        }
    }

    fn each(&self, selector: &Selector, value: impl Fn(&[Point]) -> Option<f64>) -> Vec<(Name<'_>, f64)> {
        let chosen = self.series.iter().filter(|(series, _)| selector.matches(series));
        chosen
            .filter_map(|(series, points)| Some((Some((series.pool.as_str(), series.target.as_str())), value(points)?)))
            .collect()
    }
}

/// Returns the points written by now and not later than the query's time, latest first.
fn visible(points: &[Point], moment: Moment) -> impl Iterator<Item = &Point> {
    points.iter().rev().filter(move |p| p.at <= moment.time && p.written <= moment.now)
}

fn latest(points: &[Point], moment: Moment) -> Option<f64> {
    visible(points, moment).next().filter(|p| p.at.saturating_add(LOOKBACK) >= moment.time)?.value
}

fn highest(points: &[Point], window: u64, moment: Moment) -> Option<f64> {
    let inside = visible(points, moment).take_while(|p| p.at.saturating_add(window) >= moment.time);
    inside.filter_map(|p| p.value).reduce(f64::max)
}

fn fold<'a>(vector: Vec<(Name<'a>, f64)>, with: impl Fn(f64, f64) -> f64) -> Vec<(Name<'a>, f64)> {
    let result = vector.into_iter().map(|(_, value)| value).reduce(with);
    result.map(|value| (None, value)).into_iter().collect()
}

impl Selector {
    fn matches(&self, series: &Series) -> bool {
        self.metric == series.metric
            && self.pool.as_ref().is_none_or(|p| *p == series.pool)
            && self.target.as_ref().is_none_or(|t| *t == series.target)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.pool.as_ref().map(|p| format!("pool={p:?}"));
        let target = self.target.as_ref().map(|t| format!("instance={t:?}"));
        let labels: Vec<String> = pool.into_iter().chain(target).collect();
        match labels.is_empty() {
            true => write!(f, "{}", self.metric),
            false => write!(f, "{}{{{}}}", self.metric, labels.join(",")),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Latest(selector) => write!(f, "{selector}"),
            Expr::MaxOverTime(selector, window) => write!(f, "max_over_time({selector}[{}s])", window / 1000),
            Expr::Sum(inner) => write!(f, "sum({inner})"),
            Expr::Max(inner) => write!(f, "max({inner})"),
            Expr::Absent(inner) => write!(f, "absent({inner})"),
            Expr::Or(left, right) => write!(f, "{left} or {right}"),
            Expr::Number(x) => write!(f, "vector({x})"),
        }
    }
}
