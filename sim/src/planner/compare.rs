//! Plays several designs side by side: the same pool and visitors, with a different dispatcher or scaler each time.
//! This file has the usual day; `compare/scenario.rs` has the known failures of the least-effort design.

mod scenario;
mod scenarios;

pub use scenario::{Harm, Scenario, scenario, scenarios};

use crate::chance::{Arrivals, Chance, Draw};
use crate::planner::tabletop::{self, Crowd, Design, Detail, Habits, Phases, Setting};
use crate::record::Record;
use slotkeeper_core::{Rules, Window};

/// The pool and the day on which designs are compared.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// Milliseconds.
    pub length: u64,
    /// The pool, without its scaler: that is part of each design.
    pub rules: Rules,
    pub habits: Habits,
    pub cold_start: Draw,
    /// From the deletion of a pod until it is removed.
    pub stop: Draw,
    pub detail: Detail,
}

impl Options {
    /// A pool of game consoles on an evening.
    #[must_use]
    pub fn new(seed: u64) -> Options {
        const MINUTE: u64 = 60_000;
        Options {
            seed,
            length: 24 * 60 * MINUTE,
            rules: Rules { max: 60, ..Rules::default() },
            habits: Habits {
                arrivals: Arrivals::evening(500),
                length: Draw::LogNormal { median: 25 * MINUTE, p95: 90 * MINUTE },
                patience: Draw::Exponential(20 * MINUTE),
                away_per_mille: 150,
                away: Draw::Between(2000, 45_000),
            },
            cold_start: Draw::Between(30_000, 50_000),
            stop: Draw::Between(1000, 5000),
            detail: Detail::default(),
        }
    }
}

/// The designs to compare, least effort first.
#[must_use]
pub fn designs(rules: &Rules) -> Vec<Design> {
    vec![
        Design::naive(rules),
        Design::keda_prometheus(rules),
        Design::keda_push(rules),
        Design::direct(Window::Fixed),
        Design::direct(Window::Sliding),
    ]
}

/// Plays the same day with each of the usual designs.
#[must_use]
pub fn run(options: &Options) -> Vec<Record> {
    run_with(options, &designs(&options.rules))
}

/// Plays the same day with each of these designs.
#[must_use]
pub fn run_with(options: &Options, designs: &[Design]) -> Vec<Record> {
    let chance = Chance::new(options.seed);
    let habits = &options.habits;
    let story = format!(
        "One pool of at most {} pods, {} slot each; {} arrive and stay {}; a pod starts within {}. The same visitors \
         meet every design.",
        options.rules.max, options.rules.slots_per_pod, habits.arrivals, habits.length, options.cold_start
    );
    let setting = Setting {
        story,
        chance,
        cold_start: options.cold_start,
        stop: options.stop,
        phases: Phases::drawn(chance),
        detail: options.detail,
        rules: options.rules.clone(),
        ..Setting::new(options.rules.max, options.length)
    };
    let played = designs.iter().map(|design| {
        let visitors = Crowd::new(habits.clone(), chance);
        tabletop::run(&setting, design, visitors).record
    });
    played.collect()
}
