//! Capacity planning: what waiting time and what pod-hours an operator's own settings buy, and their neighbours. The pool
//! is read from the operator's configuration; who comes, how long they stay and how long a pod takes to start is said in
//! words (`crate::chance`). Played on the tabletop, without network detail, so that a large fleet takes minutes.

mod schedule;
mod table;
mod variants;

pub use table::table;
pub use variants::Variant;

use crate::chance::{Arrivals, Chance, Draw};
use crate::models::pace::Pace;
use crate::record::{Quantiles, Record};
use crate::tabletop::{self, Crowd, Design, Detail, Habits, Outcome, Setting};
use serde::Serialize;
use slotkeeper::config::{Config, PoolConfig};
use slotkeeper_core::{Rules, Scaling};

/// What the operator asks.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: Config,
    /// Which pool of it; may be left out if there is only one.
    pub pool: Option<String>,
    pub arrivals: Arrivals,
    pub session_length: Draw,
    /// From the creation of a pod until it is ready.
    pub cold_start: Draw,
    /// How long visitors wait for a slot before they go.
    pub patience: Draw,
    /// From the deletion of a pod until it is gone.
    pub stop: Draw,
    /// How fast the cluster's controller creates and deletes pods; of a large fleet that can be what everybody waits for.
    pub pace: Pace,
    pub days: u32,
    pub seed: u64,
    /// Most neighbouring settings to play; `None`: as many as keep the work bounded ([`Options::WORK`]).
    pub variants: Option<usize>,
}

impl Options {
    /// Visitors in all variants together, if nothing else is said: a matter of seconds.
    pub const WORK: u64 = 400_000;
    pub const DAYS: std::ops::RangeInclusive<u32> = 1..=31;

    /// With what is usual for everything else: patience of 20 minutes on average, pods that stop in 1 to 5 s, one day.
    #[must_use]
    pub fn new(config: Config, arrivals: Arrivals, session_length: Draw, cold_start: Draw) -> Options {
        Options {
            config,
            pool: None,
            arrivals,
            session_length,
            cold_start,
            patience: Draw::Exponential(20 * 60_000),
            stop: Draw::Between(1000, 5000),
            pace: Pace::default(),
            days: 1,
            seed: 1,
            variants: None,
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    #[error("pool: {name:?} is not in the configuration; allowed: {allowed}")]
    UnknownPool { name: String, allowed: String },
    #[error("pool: the configuration has several; allowed: one of {allowed}")]
    WhichPool { allowed: String },
    #[error("days: {days} is out of range; allowed: {} to {}", Options::DAYS.start(), Options::DAYS.end())]
    Days { days: u32 },
    #[error("arrivals: {visitors:.0} visitors in {days} days are too many; allowed: up to 1000 million in all")]
    TooMany { visitors: f64, days: u32 },
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub pool: String,
    /// What was assumed, in one line.
    pub story: String,
    /// The configured settings first.
    pub rows: Vec<Row>,
    /// Neighbouring settings that were not played, to bound the work.
    pub left_out: usize,
    /// The configured settings over time, for the report.
    pub record: Record,
}

/// What one setting buys.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is different from the configuration; "as configured".
    pub name: String,
    pub visitors: u64,
    /// Visitors who found a free slot at once; who went because it took too long.
    pub at_once: u64,
    pub gave_up: u64,
    pub time_to_slot: Option<Quantiles>,
    pub most_pods: u32,
    pub pod_hours: f64,
    /// The part of them in which nobody sat there.
    pub wasted_pod_hours: f64,
    /// The part of all slots, from each pod's creation to its end, in which somebody sat there.
    pub used: f64,
    /// Sessions that a scaler ended: none, or it is a bug.
    pub killed: u64,
}

/// Plays the configured settings and their neighbours, each with the same visitors.
///
/// # Errors
/// When it is not clear which pool is meant, or what is asked would never end.
pub fn run(options: &Options) -> Result<Plan, PlanError> {
    let pool = pool(&options.config, options.pool.as_deref())?;
    if !Options::DAYS.contains(&options.days) {
        return Err(PlanError::Days { days: options.days });
    }
    let expected = options.arrivals.a_day() * f64::from(options.days);
    if expected > 1e9 {
        return Err(PlanError::TooMany { visitors: expected, days: options.days });
    }
    let all = variants::around(&pool.rules);
    let affordable = (Options::WORK as f64 / expected.max(1.0)) as usize;
    let most = options.variants.unwrap_or(affordable).min(all.len());
    let story = story(options, &pool.rules);
    let configured = Variant { name: "as configured".to_owned(), rules: pool.rules.clone() };
    // What the picture shows is every life, or none of them.
    let lives = if expected <= 2000.0 { 10_000 } else { 0 };
    let first = play(options, pool, &configured.rules, Detail { lives, ..Detail::default() }, &story);
    let mut rows = vec![row(configured, &first)];
    for variant in all.iter().take(most) {
        let outcome = play(options, pool, &variant.rules, Detail { samples: 16, lives: 0 }, "");
        rows.push(row(variant.clone(), &outcome));
    }
    let mut record = first.record;
    if first.sessions_left_out > 0 {
        let (sessions, pods) = (first.sessions_left_out, first.pods_left_out);
        record.story += &format!(" The lives of {sessions} sessions and {pods} pods are counted, not listed.");
    }
    Ok(Plan { pool: pool.id.to_string(), story, rows, left_out: all.len() - most, record })
}

fn pool<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a PoolConfig, PlanError> {
    let names = || config.pools.iter().map(|p| p.id.to_string()).collect::<Vec<_>>().join(", ");
    match (name, config.pools.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(PlanError::WhichPool { allowed: names() }),
        (Some(name), pools) => pools
            .iter()
            .find(|p| *p.id.0 == *name)
            .ok_or_else(|| PlanError::UnknownPool { name: name.to_owned(), allowed: names() }),
    }
}

fn story(options: &Options, rules: &Rules) -> String {
    format!(
        "{} visitors arrive, stay {}, wait at most {}; a pod holds {} of them and starts in {}; {} pods; {} {}.",
        options.arrivals,
        options.session_length,
        options.patience,
        rules.slots_per_pod,
        options.cold_start,
        if rules.min == rules.max { rules.max.to_string() } else { format!("{} to {}", rules.min, rules.max) },
        options.days,
        if options.days == 1 { "day" } else { "days" },
    )
}

fn play(options: &Options, pool: &PoolConfig, rules: &Rules, detail: Detail, story: &str) -> Outcome {
    let chance = Chance::new(options.seed);
    let length = u64::from(options.days) * 86_400_000;
    let design = design(rules);
    let fixed = rules.scaling == Scaling::None;
    let setting = Setting {
        story: story.to_owned(),
        chance,
        rules: rules.clone(),
        // A schedule says how many slots are spare; a variant that says something else means it.
        spare: if rules.spare == pool.rules.spare { schedule::changes(pool, length) } else { Vec::new() },
        pods: if fixed { rules.max } else { rules.min },
        // Pods of a fixed list have been running for long.
        cold_start: if fixed { Draw::Always(1) } else { options.cold_start },
        pace: if fixed { Pace::new(1, 0) } else { options.pace },
        stop: options.stop,
        detail,
        ..Setting::new(rules.max, length)
    };
    let habits = Habits {
        arrivals: options.arrivals.clone(),
        length: options.session_length,
        patience: options.patience,
        away_per_mille: 0,
        away: Draw::Always(0),
    };
    tabletop::run(&setting, &design, Crowd::new(habits, chance))
}

fn design(rules: &Rules) -> Design {
    match rules.scaling {
        Scaling::Direct { window } => Design::direct(window),
        Scaling::Keda { .. } => Design { mind: tabletop::Mind::Slotkeeper(rules.scaling), ..Design::keda_push(rules) },
        Scaling::None => Design::slotkeeper("fixed pods", Scaling::None, None),
    }
}

fn row(variant: Variant, outcome: &Outcome) -> Row {
    let figures = &outcome.record.figures;
    let slot_hours = figures.pod_hours * f64::from(variant.rules.slots_per_pod);
    Row {
        name: variant.name,
        visitors: figures.visitors,
        at_once: outcome.at_once,
        gave_up: outcome.gave_up,
        time_to_slot: figures.time_to_slot,
        most_pods: outcome.most_pods,
        pod_hours: figures.pod_hours,
        wasted_pod_hours: figures.wasted_pod_hours,
        used: if slot_hours > 0.0 { outcome.seat_hours / slot_hours } else { 0.0 },
        killed: figures.killed,
    }
}
