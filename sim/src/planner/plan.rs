//! Capacity planning: the waiting time and pod-hours of an operator's own settings, and of neighbouring settings. The
//! pool is one of the operator's configuration (`crate::configured`); arrivals, session lengths and start-up times of pods are given as
//! text (`crate::chance`). Played on the tabletop, without network detail, so that a large fleet takes minutes. Each
//! setting is played with several seeds, the same for all: a difference counts only if it exceeds the variation
//! between seeds.

mod cells;
mod figure;
mod row;
mod table;
mod variants;

pub(crate) use cells::{COLUMNS, Cell, cells, legend};
pub use figure::{Change, Figure};
pub use row::{Row, Waits};
pub use table::table;
pub use variants::Variant;

use crate::chance::{Arrivals, Chance, Draw, spoken};
use crate::models::pace::Pace;
use crate::planner::tabletop::{self, Crowd, Design, Detail, Habits, Outcome, Phases, Setting};
use crate::record::Record;
use row::Day;
use serde::Serialize;
use slotkeeper_core::{Rules, Scaling, Spare};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A pool of an operator's configuration.
#[derive(Clone, Debug)]
pub struct Pool {
    pub name: String,
    pub rules: Rules,
    /// KEDA, if it scales the pool, queries the dispatcher itself.
    pub is_pushed: bool,
    /// Its pods are started by Kubernetes.
    pub is_kubernetes: bool,
    /// When the number of spare slots changes by a schedule, and the new number; for as long as a plan can be.
    pub spare: Vec<(u64, Spare)>,
}

/// The options of a plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pools of the configuration.
    pub pools: Vec<Pool>,
    /// The pool to plan; optional if the configuration has only one.
    pub pool: Option<String>,
    pub arrivals: Arrivals,
    pub session_length: Draw,
    /// From the start of a pod's program until it can answer.
    pub cold_start: Draw,
    /// From the creation of a pod until its program starts: scheduling, volumes, the kubelet, the container. `None`:
    /// [`Options::POD_START`] on Kubernetes, else nothing.
    pub pod_start: Option<Draw>,
    /// The startup (or readiness) probe's period in milliseconds: a pod is ready at the first probe after its program
    /// is. `None`: [`Options::PROBE_PERIOD`] on Kubernetes, else nothing.
    pub probe_period: Option<u64>,
    /// How long visitors wait for a slot before they give up.
    pub patience: Draw,
    /// From the deletion of a pod until it is removed.
    pub stop: Draw,
    /// How fast the cluster's controller creates and deletes pods; in a large fleet this can dominate the waiting
    /// time.
    pub pace: Pace,
    pub days: u32,
    /// The first seed.
    pub seed: u64,
    /// Number of seeds; `None`: [`Options::SEEDS`], or fewer if there are very many visitors.
    pub seeds: Option<u32>,
    /// Maximum number of neighbouring settings; `None`: as many as keep the work bounded ([`Options::WORK`]).
    pub variants: Option<usize>,
}

impl Options {
    /// Default limit of visitors in all variants and seeds together, which takes seconds.
    pub const WORK: u64 = 1_000_000;
    pub const SEEDS: u32 = 10;
    pub const MOST_SEEDS: u32 = 1000;
    pub const DAYS: std::ops::RangeInclusive<u32> = 1..=31;
    /// With the next constant, a program that needs 3.0 s is ready after 3.5 to 6.2 s; 4.5 to 5.2 s were measured on Kubernetes
    /// 1.36, with a local image and volume.
    pub const POD_START: Draw = Draw::Between(500, 1200);
    /// The period of the startup probe in the manifests of `k8s/`.
    pub const PROBE_PERIOD: u64 = 2000;

    /// Returns options with usual values for everything else: patience of 20 minutes on average, pods that stop in 1
    /// to 5 s, one day.
    #[must_use]
    pub fn new(pools: Vec<Pool>, arrivals: Arrivals, session_length: Draw, cold_start: Draw) -> Options {
        Options {
            pools,
            pool: None,
            arrivals,
            session_length,
            cold_start,
            pod_start: None,
            probe_period: None,
            patience: Draw::Exponential(20 * 60_000),
            stop: Draw::Between(1000, 5000),
            pace: Pace::default(),
            days: 1,
            seed: 1,
            seeds: None,
            variants: None,
        }
    }

    /// The parts of a cold start before and after the program's own.
    fn around(&self, pool: &Pool) -> (Draw, u64) {
        let usual = if pool.is_kubernetes { (Options::POD_START, Options::PROBE_PERIOD) } else { (Draw::Always(0), 0) };
        (self.pod_start.unwrap_or(usual.0), self.probe_period.unwrap_or(usual.1))
    }
}

/// Why a plan is impossible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    #[error("pool: {name:?} is not in the configuration; allowed: {allowed}")]
    UnknownPool { name: String, allowed: String },
    #[error("pool: the configuration has several; allowed: one of {allowed}")]
    WhichPool { allowed: String },
    #[error("days: {days} is out of range; allowed: {} to {}", Options::DAYS.start(), Options::DAYS.end())]
    Days { days: u32 },
    #[error("seeds: {seeds} is out of range; allowed: 1 to {}", Options::MOST_SEEDS)]
    Seeds { seeds: u32 },
    #[error("arrivals: {visitors:.0} visitors in {days} days are too many; allowed: up to 1000 million in all")]
    TooMany { visitors: f64, days: u32 },
}

/// The result of planning.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub pool: String,
    /// The assumptions, in one line.
    pub story: String,
    /// The first seed, and the number of seeds.
    pub seed: u64,
    pub seeds: u32,
    /// The configured settings first.
    pub rows: Vec<Row>,
    /// Neighbouring settings that were not played, to bound the work.
    pub left_out: usize,
    /// The configured settings over time with the first seed, for the report.
    pub record: Record,
}

/// Plays the configured settings and their neighbours, each with the same visitors, seed by seed.
///
/// # Errors
/// If the pool is not uniquely selected, or an option is out of range.
pub fn run(options: &Options) -> Result<Plan, PlanError> {
    let pool = pool(&options.pools, options.pool.as_deref())?;
    if !Options::DAYS.contains(&options.days) {
        return Err(PlanError::Days { days: options.days });
    }
    if let Some(seeds) = options.seeds.filter(|n| !(1..=Options::MOST_SEEDS).contains(n)) {
        return Err(PlanError::Seeds { seeds });
    }
    let expected = options.arrivals.a_day() * f64::from(options.days);
    if expected > 1e9 {
        return Err(PlanError::TooMany { visitors: expected, days: options.days });
    }
    let all = variants::around(&pool.rules);
    let seeds = options.seeds.unwrap_or(usual_seeds(expected));
    let affordable = (Options::WORK as f64 / expected.max(1.0) / f64::from(seeds)) as usize;
    let most = options.variants.unwrap_or(affordable.saturating_sub(1)).min(all.len());
    let story = story(options, pool);
    let configured = Variant { name: "as configured".to_owned(), rules: pool.rules.clone() };
    // The picture shows all pods and sessions, or none.
    let lives = if expected <= 2000.0 { 10_000 } else { 0 };
    let first = play(options, pool, &configured.rules, options.seed, Detail { lives, ..Detail::default() }, &story);
    let settings: Vec<Variant> = std::iter::once(configured).chain(all.iter().take(most).cloned()).collect();
    let rows = rows(&days(options, pool, &settings, seeds, &first), &settings, seeds);
    let mut record = first.record;
    record.title = format!("as configured, seed {}", options.seed);
    if first.sessions_left_out > 0 {
        let (sessions, pods) = (first.sessions_left_out, first.pods_left_out);
        record.story += &format!(" The lives of {sessions} sessions and {pods} pods are counted, not listed.");
    }
    let left_out = all.len() - most;
    Ok(Plan { pool: pool.name.clone(), story, seed: options.seed, seeds, rows, left_out, record })
}

/// Returns the number of seeds for this many visitors per seed: half of the work is for the neighbours.
fn usual_seeds(visitors: f64) -> u32 {
    ((Options::WORK as f64 / visitors.max(1.0) / 2.0) as u32).clamp(1, Options::SEEDS)
}

/// Plays all settings with all seeds, setting by setting, on all cores: a day depends only on its setting and seed.
/// The first one has been played already.
fn days(options: &Options, pool: &Pool, settings: &[Variant], seeds: u32, first: &Outcome) -> Vec<Day> {
    let jobs: Vec<(&Variant, u64)> = settings
        .iter()
        .flat_map(|setting| (0..u64::from(seeds)).map(move |n| (setting, options.seed.wrapping_add(n))))
        .collect();
    let next = AtomicUsize::new(1);
    let played = Mutex::new(Vec::with_capacity(jobs.len()));
    let keep = |index, day| played.lock().unwrap_or_else(PoisonError::into_inner).push((index, day));
    if let Some((variant, _)) = jobs.first() {
        keep(0, Day::of(variant, first));
    }
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((variant, seed)) = jobs.get(index).copied() else { break };
            let outcome = play(options, pool, &variant.rules, seed, Detail { samples: 16, lives: 0 }, "");
            keep(index, Day::of(variant, &outcome));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(jobs.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by_key(|(index, _)| *index);
    played.into_iter().map(|(_, day)| day).collect()
}

fn rows(days: &[Day], settings: &[Variant], seeds: u32) -> Vec<Row> {
    let of = |days: &[Day], setting: &Variant, configured| Row::of(setting.name.clone(), days, configured);
    let mut chunks = days.chunks(seeds as usize).zip(settings);
    let Some((configured, setting)) = chunks.next() else { return Vec::new() };
    std::iter::once(of(configured, setting, None))
        .chain(chunks.map(|(days, setting)| of(days, setting, Some(configured))))
        .collect()
}

fn pool<'a>(pools: &'a [Pool], name: Option<&str>) -> Result<&'a Pool, PlanError> {
    let names = || pools.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(", ");
    match (name, pools) {
        (None, [only]) => Ok(only),
        (None, _) => Err(PlanError::WhichPool { allowed: names() }),
        (Some(name), pools) => pools
            .iter()
            .find(|p| p.name == name)
            .ok_or_else(|| PlanError::UnknownPool { name: name.to_owned(), allowed: names() }),
    }
}

fn story(options: &Options, pool: &Pool) -> String {
    let (rules, (before, period)) = (&pool.rules, options.around(pool));
    let mut start = options.cold_start.to_string();
    if before != Draw::Always(0) {
        start = format!("{before} and {start}");
    }
    if period > 0 {
        start += &format!(", probed every {}", spoken(period));
    }
    format!(
        "{} visitors arrive, stay {}, wait at most {}; a pod holds {} of them and starts in {start}; {} pods; {} {}.",
        options.arrivals,
        options.session_length,
        options.patience,
        rules.slots_per_pod,
        if rules.min == rules.max { rules.max.to_string() } else { format!("{} to {}", rules.min, rules.max) },
        options.days,
        if options.days == 1 { "day" } else { "days" },
    )
}

fn play(options: &Options, pool: &Pool, rules: &Rules, seed: u64, detail: Detail, story: &str) -> Outcome {
    let chance = Chance::new(seed);
    let length = u64::from(options.days) * 86_400_000;
    let design = design(rules, pool.is_pushed);
    let fixed = rules.scaling == Scaling::None;
    let (pod_start, probe_period) = if fixed { (Draw::Always(0), 0) } else { options.around(pool) };
    let setting = Setting {
        story: story.to_owned(),
        chance,
        rules: rules.clone(),
        // A schedule sets the number of spare slots, unless a variant changes it.
        spare: if rules.spare == pool.rules.spare { spare(pool, length) } else { Vec::new() },
        pods: if fixed { rules.max } else { rules.min },
        // Pods of a fixed list have been running for a long time.
        cold_start: if fixed { Draw::Always(1) } else { options.cold_start },
        pod_start,
        probe_period,
        pace: if fixed { Pace::new(1, 0) } else { options.pace },
        stop: options.stop,
        phases: Phases::drawn(chance),
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

/// Returns the changes of the number of spare slots within this length.
fn spare(pool: &Pool, length: u64) -> Vec<(u64, Spare)> {
    pool.spare.iter().copied().filter(|(at, _)| *at < length).collect()
}

/// Behind KEDA, the number is scraped by Prometheus every 15 s and polled by KEDA every 30 s, or answered by the
/// dispatcher itself; in either case KEDA's HPA scales the pool.
fn design(rules: &Rules, is_pushed: bool) -> Design {
    let mind = tabletop::Mind::Slotkeeper(rules.scaling);
    match (rules.scaling, is_pushed) {
        (Scaling::Direct { window }, _) => Design::direct(window),
        (Scaling::Keda { .. }, true) => Design { mind, ..Design::keda_push(rules) },
        (Scaling::Keda { .. }, false) => Design { mind, ..Design::keda_prometheus(rules) },
        (Scaling::None, _) => Design::slotkeeper("fixed pods", Scaling::None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, usual_seeds};

    #[test]
    fn very_many_visitors_are_played_with_fewer_seeds() {
        assert_eq!(usual_seeds(0.0), Options::SEEDS);
        assert_eq!(usual_seeds(50_000.0), Options::SEEDS);
        assert_eq!(usual_seeds(200_000.0), 2);
        assert_eq!(usual_seeds(1e9), 1);
    }
}
