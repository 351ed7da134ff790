//! Several designs side by side: the same pool, the same visitors, another dispatcher or another scaler each time. What
//! happens on a usual day is here; the known failures of the design of least effort, one by one, are in `compare/scenario.rs`.

mod scenario;
mod scenarios;
mod table;

pub use scenario::{Harm, Scenario, scenario, scenarios};
pub(crate) use table::seconds;
pub use table::table;

use crate::chance::{Arrivals, Chance, Draw};
use crate::record::Record;
use crate::tabletop::{self, Crowd, Design, Detail, Habits, Phases, Setting};
use slotkeeper_core::{Rules, Window};

/// The pool and the day on which designs are compared.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// Milliseconds.
    pub length: u64,
    /// The pool; who scales it is each design's own.
    pub rules: Rules,
    pub habits: Habits,
    pub cold_start: Draw,
    /// From the deletion of a pod until it is gone.
    pub stop: Draw,
    pub detail: Detail,
}

impl Options {
    /// A pool of game consoles on an evening and the night after it.
    ///
    /// # Errors
    /// Never: what it is made of can be read.
    pub fn new(seed: u64) -> Result<Options, crate::chance::Unreadable> {
        Ok(Options {
            seed,
            length: 24 * 3_600_000,
            rules: Rules { max: 60, ..Rules::default() },
            habits: Habits {
                arrivals: "500/day:evening".parse::<Arrivals>()?,
                length: "lognormal:25m,p95=90m".parse()?,
                patience: "exp:20m".parse()?,
                away_per_mille: 150,
                away: "2s-45s".parse()?,
            },
            cold_start: "30s-50s".parse()?,
            stop: "1s-5s".parse()?,
            detail: Detail::default(),
        })
    }
}

/// The designs that are compared, least effort first.
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

/// The same day with each design.
#[must_use]
pub fn run(options: &Options) -> Vec<Record> {
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
    let played = designs(&options.rules).into_iter().map(|design| {
        let visitors = Crowd::new(habits.clone(), chance);
        tabletop::run(&setting, &design, visitors).record
    });
    played.collect()
}
