//! The results of one setting over all seeds.

use super::Variant;
use super::figure::{Change, Figure};
use crate::planner::tabletop::Outcome;
use crate::record::Quantiles;
use serde::Serialize;

/// The results of one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The difference from the configuration, or "as configured".
    pub name: String,
    pub visitors: Figure,
    /// In seconds; `None` if no visitor got a slot with any seed.
    pub time_to_slot: Option<Waits>,
    /// Percentage of visitors who found a free slot at once; `gave_up`: number of visitors who left because the wait
    /// was too long.
    pub at_once: Figure,
    pub gave_up: Figure,
    pub most_pods: Figure,
    pub pod_hours: Figure,
    /// The part of `pod_hours` without a session.
    pub wasted_pod_hours: Figure,
    /// Percentage of slot time, from each pod's creation to its end, with a session.
    pub used: Figure,
    /// Sessions that a scaler ended, with all seeds together; any number but 0 is a bug.
    pub killed: u64,
}

/// Waiting times of visitors: quantiles of each seed, over the seeds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Waits {
    pub p50: Figure,
    pub p95: Figure,
    pub max: Figure,
}

/// The results of one setting with one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    visitors: f64,
    waits: Option<Quantiles>,
    at_once: f64,
    gave_up: f64,
    most_pods: f64,
    pod_hours: f64,
    wasted: f64,
    used: f64,
    killed: u64,
}

impl Day {
    pub(super) fn of(variant: &Variant, outcome: &Outcome) -> Day {
        let figures = &outcome.record.figures;
        let slot_hours = figures.pod_hours * f64::from(variant.rules.slots_per_pod);
        let percent = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        Day {
            visitors: figures.visitors as f64,
            waits: figures.time_to_slot,
            at_once: percent(outcome.at_once as f64, figures.visitors as f64),
            gave_up: outcome.gave_up as f64,
            most_pods: f64::from(outcome.most_pods),
            pod_hours: figures.pod_hours,
            wasted: figures.wasted_pod_hours,
            used: percent(outcome.seat_hours, slot_hours),
            killed: figures.killed,
        }
    }
}

impl Row {
    /// `days`: one for each seed, at least one. `configured`: those of the configured settings with the same seeds;
    /// `None` if `days` are these.
    pub(super) fn of(name: String, days: &[Day], configured: Option<&[Day]>) -> Row {
        let maybe = |get: &dyn Fn(&Day) -> Option<f64>| {
            let figure = Figure::of(&days.iter().filter_map(get).collect::<Vec<_>>())?;
            let pairs = configured.map(|others| {
                let difference = |(day, other): (&Day, &Day)| Some(get(day)? - get(other)?);
                days.iter().zip(others).filter_map(difference).collect::<Vec<_>>()
            });
            Some(Figure { change: pairs.and_then(|pairs| Change::of(&pairs)), ..figure })
        };
        let nothing = Figure { median: 0.0, low: 0.0, high: 0.0, change: None };
        let always = |get: fn(&Day) -> f64| maybe(&|day| Some(get(day))).unwrap_or(nothing);
        let wait = |get: fn(&Quantiles) -> f64| maybe(&|day| day.waits.as_ref().map(get));
        let waits = || Some(Waits { p50: wait(|q| q.p50)?, p95: wait(|q| q.p95)?, max: wait(|q| q.max)? });
        Row {
            name,
            visitors: always(|d| d.visitors),
            time_to_slot: waits(),
            at_once: always(|d| d.at_once),
            gave_up: always(|d| d.gave_up),
            most_pods: always(|d| d.most_pods),
            pod_hours: always(|d| d.pod_hours),
            wasted_pod_hours: always(|d| d.wasted),
            used: always(|d| d.used),
            killed: days.iter().map(|d| d.killed).sum(),
        }
    }
}
