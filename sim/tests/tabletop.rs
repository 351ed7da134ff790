//! The tabletop: the same seed gives the same day, no visitor is lost, every known failure harms the least-effort
//! design and not ours, and plans are correct.

use slotkeeper_core::{AfterSession, Millis, Rules, Spare, Window};
use slotkeeper_sim::chance::{Arrivals, Chance, Draw};
use slotkeeper_sim::models::pace::Pace;
use slotkeeper_sim::planner::compare::{self, Harm, Scenario, scenario, scenarios};
use slotkeeper_sim::planner::plan::{self, PlanError};
use slotkeeper_sim::planner::tabletop::{
    self, Believes, Crowd, Design, Detail, Fault, Guard, Habits, Phases, Setting, Visitor,
};
use slotkeeper_sim::record::{MarkKind, Record};
use std::path::Path;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A short busy day in a small pool.
fn options(seed: u64) -> compare::Options {
    let mut options = compare::Options::new(seed);
    options.length = 3 * HOUR;
    options.rules.max = 15;
    options.habits.arrivals = "40/h".parse().expect("these are arrivals");
    options.habits.length = Draw::LogNormal { median: 8 * MINUTE, p95: 30 * MINUTE };
    options
}

fn json(records: &[Record]) -> String {
    serde_json::to_string(records).expect("records can be written")
}

#[test]
fn the_same_seed_gives_the_same_day_and_other_seeds_other_days() {
    let day = json(&compare::run(&options(1)));
    assert_eq!(day, json(&compare::run(&options(1))));
    assert_ne!(day, json(&compare::run(&options(2))));
}

#[test]
fn every_design_meets_the_same_visitors() {
    let records = compare::run(&options(3));
    let arrivals = |r: &Record| r.sessions.iter().map(|s| s.joined).collect::<Vec<_>>();
    assert!(arrivals(&records[0]).len() > 80);
    for record in &records[1..] {
        assert_eq!(arrivals(record), arrivals(&records[0]), "{}", record.title);
    }
}

/// A pool with faults, from a seed.
fn bad_day(seed: u64) -> (Setting, Habits) {
    let options = options(seed);
    let chance = Chance::new(seed);
    let moments: Arrivals = "6/h".parse().expect("these are arrivals");
    let faults = [
        Fault::Restart { down: 20 * SECOND },
        Fault::PrometheusDown { lasts: 7 * MINUTE, keeps: false },
        Fault::Evicted { ordinal: 1 },
        Fault::CrashLoop { ordinal: 2 },
        Fault::TriggerHangs { lasts: 6 * MINUTE },
        Fault::RollOut,
        Fault::Evicted { ordinal: 0 },
        Fault::Restart { down: 0 },
        Fault::ScalerUnreachable { lasts: 5 * MINUTE },
        Fault::NodeDrained { ordinal: 3 },
    ];
    let rules = Rules {
        after_session: if seed.is_multiple_of(2) { AfterSession::Keep } else { AfterSession::Recycle },
        spare: Spare::Slots((seed % 3) as u32),
        idle: seed.is_multiple_of(3).then_some(Millis::secs(900)),
        max_session: seed.is_multiple_of(5).then_some(Millis::secs(1200)),
        ..options.rules
    };
    let setting = Setting {
        chance,
        rules,
        phases: Phases::drawn(chance),
        cold_start: options.cold_start,
        stop: options.stop,
        faults: moments.moments(chance).zip(faults).collect(),
        ..Setting::new(options.rules.max, options.length)
    };
    (setting, options.habits)
}

#[test]
fn on_bad_days_no_visitor_is_lost_and_we_kill_no_session() {
    let mut visitors = 0;
    let mut naive_kills = 0;
    for seed in 1..=4 {
        let (setting, habits) = bad_day(seed);
        for design in compare::designs(&setting.rules) {
            let title = format!("seed {seed}, {}", design.title);
            let outcome = tabletop::run(&setting, &design, Crowd::new(habits.clone(), setting.chance));
            let figures = &outcome.record.figures;
            assert_eq!(figures.visitors, outcome.waiting + outcome.there + outcome.gone, "{title}");
            assert_eq!(figures.never_served, outcome.gave_up + outcome.waiting, "{title}");
            assert!(outcome.seat_hours <= figures.pod_hours, "{title}");
            visitors += figures.visitors;
            if design.title == "naive" {
                naive_kills += figures.killed;
                continue;
            }
            assert_eq!(figures.killed, 0, "{title}: {:?}", outcome.record.marks);
            let broken = outcome.record.marks.iter().find(|m| m.kind == MarkKind::Violation);
            assert_eq!(broken, None, "{title}");
        }
    }
    assert!(visitors > 1500 && naive_kills > 10, "{visitors} visitors, {naive_kills} killed");
}

#[test]
fn with_enough_pods_no_visitor_waits_longer_than_a_pod_takes_to_start() {
    let mut options = options(4);
    options.rules.max = 60;
    options.habits.away_per_mille = 0;
    for record in compare::run_with(&options, &[Design::direct(Window::Fixed), Design::direct(Window::Sliding)]) {
        let waited = record.figures.time_to_slot.expect("visitors arrived");
        assert!((30.0..51.0).contains(&waited.max), "{}: {waited:?}", record.title);
    }
}

// ---- known failures ----

/// The failures that the test bed must show.
const PROMISED: [&str; 12] = ["f1", "f2", "f3", "f4", "f5", "f9", "f11", "f12", "f16", "f21", "f28", "f31"];

#[test]
fn every_known_failure_hurts_the_naive_design_and_not_ours() {
    let all = scenarios();
    for promised in PROMISED {
        assert!(all.iter().any(|s| s.name.split('-').next() == Some(promised)), "{promised} is missing");
    }
    for scenario in all {
        let records = scenario.play();
        let (naive, ours) = records.split_first().expect("there are records");
        let (name, harm) = (scenario.name, scenario.harm);
        assert!(harm.is_done(naive), "{name}: {} instead of {harm:?}", harm.in_record(naive));
        assert!(!ours.is_empty(), "{name}");
        for record in ours {
            let marks = &record.marks;
            assert!(harm.is_spared(record), "{name}, {}: {:?} {marks:?}", record.title, record.figures);
        }
    }
}

/// Returns a scenario's harm, and the record of the least-effort design after a change to the scenario.
fn innocent(name: &str, change: impl FnOnce(&mut Scenario)) -> (Harm, Record) {
    let mut scenario = scenario(name).expect("there is such a scenario");
    change(&mut scenario);
    let naive = scenario.play().swap_remove(0);
    (scenario.harm, naive)
}

#[test]
fn without_the_cause_that_a_story_names_there_is_no_harm() {
    let without_faults = |s: &mut Scenario| s.setting.faults.clear();
    for name in [
        "f4", "f5", "f6", "f7", "f8", "f10", "f11", "f12", "f16", "f19", "f20", "f21", "f22", "f23", "f27", "f29",
        "f31",
    ] {
        let full =
            scenarios().into_iter().find(|s| s.name.split('-').next() == Some(name)).expect("the scenario exists").name;
        let (harm, record) = innocent(full, without_faults);
        assert!(!harm.is_done(&record), "{full}: {harm:?} without a fault");
    }
    let (harm, record) = innocent("f2-eleventh-visitor", |s| s.visitors.truncate(10));
    assert!(!harm.is_done(&record));
    // A minute earlier the new visitor would have been counted.
    let (harm, record) = innocent("f3-placed-after-the-scrape", |s| s.visitors[5].arrives -= MINUTE);
    assert!(!harm.is_done(&record));
}

#[test]
fn a_scenario_is_found_by_its_name_only() {
    assert_eq!(scenario("f1-count-not-ordinal").map(|s| s.name), Some("f1-count-not-ordinal"));
    assert!(scenario("f1").is_none());
    let names: Vec<&str> = scenarios().iter().map(|s| s.name).collect();
    let mut unique = names.clone();
    unique.dedup();
    assert_eq!(unique, names);
}

#[test]
fn behind_keda_the_guard_protects_from_a_slow_failure() {
    let scenario = scenario("f31-a-slow-failure").expect("there is such a scenario");
    let killed = |guard| {
        let mut design = scenario.ours[0].clone();
        design.wiring.as_mut().expect("this one is scaled by KEDA").guard = guard;
        tabletop::run(&scenario.setting, &design, scenario.visitors.clone()).record.figures.killed
    };
    assert_eq!(killed(Guard::Nothing), 4);
    assert_eq!(killed(Guard::PausedScaleIn), 0);
    assert_eq!(killed(Guard::MinOne), 0);
}

/// Forty leave together; while their pods are being deleted, which takes a busy controller eight seconds, others
/// arrive.
#[test]
fn a_raised_number_in_the_spec_is_not_certain_before_the_controller_has_observed_it() {
    let mut visitors: Vec<Visitor> = (0..40).map(|_| Visitor::at(1, 600)).collect();
    visitors.extend((960..1010).map(|second| Visitor::at(second, 600)));
    let setting = Setting { pace: Pace::new(2, 200), ..Setting::new(50, 30 * MINUTE) };
    let killed = |believes| {
        let design = Design { believes, ..Design::direct(Window::Fixed) };
        tabletop::run(&setting, &design, visitors.clone()).record.figures.killed
    };
    assert!(killed(Believes::Spec) > 0);
    assert_eq!(killed(Believes::Observed), 0);
}

// ---- plans ----

const POOL: &str = "[pools.desktops]\nmax_pods = 30\n[pools.desktops.processes]\ncommand = ['x']\ndata_folder = 'y'\n";

fn pools(text: &str) -> Vec<plan::Pool> {
    let config = slotkeeper::config::parse(text, "test.toml", Path::new("/")).expect("this is a configuration");
    slotkeeper_sim::configured::pools(&config)
}

fn plan_options(text: &str, arrivals: &str) -> plan::Options {
    let arrivals = arrivals.parse().expect("these are arrivals");
    plan::Options::new(pools(text), arrivals, Draw::Exponential(10 * MINUTE), Draw::Between(20 * SECOND, 40 * SECOND))
}

#[test]
fn more_spare_slots_shorten_waits_and_cost_pod_hours() {
    let options = plan::Options { variants: Some(4), seeds: Some(4), ..plan_options(POOL, "300/day:office") };
    let plan = plan::run(&options).expect("there is a plan");
    let names: Vec<&str> = plan.rows.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["as configured", "spare 1", "spare 2", "spare 5", "max_pods 22"]);
    assert!(plan.left_out > 0);
    for pair in plan.rows[..4].windows(2) {
        let [less, more] = pair else { panic!("pairs are pairs") };
        let waits = |row: &plan::Row| row.time_to_slot.expect("visitors arrived");
        let (fewer, longer) = (waits(more), waits(less));
        assert!(fewer.p50.median <= longer.p50.median, "{less:?} {more:?}");
        assert!(fewer.p95.median <= longer.p95.median, "{less:?} {more:?}");
        assert!(more.at_once.median > less.at_once.median, "{less:?} {more:?}");
        assert!(more.pod_hours.median > less.pod_hours.median, "{less:?} {more:?}");
        assert_eq!((more.visitors.median, more.killed), (less.visitors.median, 0));
    }
    let mut text = Vec::new();
    plan::table(&mut text, &plan).expect("a buffer can be written");
    let text = String::from_utf8(text).expect("it is text");
    assert!(text.contains("spare 5") && text.contains("left out: --variants"), "{text}");
    assert!(text.contains("median over 4 seeds (1 to 4) with the 10th to 90th percentile"), "{text}");
}

#[test]
fn a_plan_marks_differences_within_the_noise_of_its_seeds() {
    // A pool that never needs more than a few pods: a higher limit changes nothing at all, spare slots change a lot.
    let options = plan::Options { seeds: Some(5), variants: Some(6), ..plan_options(POOL, "80/day:office") };
    let plan = plan::run(&options).expect("there is a plan");
    let row = |name: &str| plan.rows.iter().find(|r| r.name == name).expect("there is such a neighbour");
    let configured = row("as configured");
    assert!(configured.pod_hours.change.is_none() && !configured.pod_hours.is_noise());
    assert!(configured.pod_hours.low < configured.pod_hours.high, "the seeds differ: {configured:?}");
    let higher = row("max_pods 45");
    assert!(higher.pod_hours.is_noise() && higher.at_once.is_noise(), "{higher:?}");
    let spare = row("spare 5");
    assert!(!spare.pod_hours.is_noise() && !spare.at_once.is_noise(), "{spare:?}");
    let change = spare.pod_hours.change.expect("five pairs");
    assert!(change.low > 0.0 && change.low < change.mean && change.mean < change.high, "{change:?}");
    let mut text = Vec::new();
    plan::table(&mut text, &plan).expect("a buffer can be written");
    let text = String::from_utf8(text).expect("it is text");
    let line = |name: &str| text.lines().find(|l| l.starts_with(name)).expect("a line");
    assert!(!line("as configured").contains('~') && line("max_pods 45").matches('~').count() == 9, "{text}");
    assert!(text.contains("99 % confidence interval"), "{text}");
}

#[test]
fn one_seed_gives_figures_without_an_interval_and_a_note() {
    let options = plan::Options { seeds: Some(1), variants: Some(1), ..plan_options(POOL, "100/day") };
    let plan = plan::run(&options).expect("there is a plan");
    assert!(plan.rows.iter().all(|r| r.pod_hours.change.is_none() && r.pod_hours.low == r.pod_hours.high));
    let mut text = Vec::new();
    plan::table(&mut text, &plan).expect("a buffer can be written");
    let text = String::from_utf8(text).expect("it is text");
    assert!(text.contains("how much of a difference is noise is unknown") && !text.contains('~'), "{text}");
}

#[test]
fn a_plan_does_not_depend_on_the_number_of_cores() {
    let options = plan::Options { seeds: Some(3), variants: Some(3), ..plan_options(POOL, "60/day") };
    let json = || serde_json::to_string(&plan::run(&options).expect("there is a plan")).expect("plain data");
    assert_eq!(json(), json());
    // Each seed is a separate day: the second plan begins with the first one's second day.
    let from = |seed, seeds| {
        let options = plan::Options { seed, seeds: Some(seeds), variants: Some(0), ..options.clone() };
        plan::run(&options).expect("there is a plan").rows.remove(0).pod_hours
    };
    let (both, one, two) = (from(1, 2), from(1, 1), from(2, 1));
    assert!((both.median - (one.median + two.median) / 2.0).abs() < 1e-9, "{both:?} {one:?} {two:?}");
}

/// KEDA by Prometheus learns of a visitor with the next scrape and the next poll, KEDA by push at once.
#[test]
fn a_plan_includes_the_delays_of_scrape_poll_and_sync() {
    let waits = |scaling: &str, keda: &str| {
        let text = format!(
            "{keda}[pools.desktops]\nscaling = \"{scaling}\"\nmax_pods = 9\n[pools.desktops.kubernetes]\nstateful_set = \"x\"\nport = 80\n"
        );
        let options =
            plan::Options { variants: Some(0), cold_start: Draw::Always(10 * SECOND), ..plan_options(&text, "12/day") };
        let plan = plan::run(&options).expect("there is a plan");
        plan.rows[0].time_to_slot.expect("visitors arrived").p50.median
    };
    let (push, prometheus) = (waits("keda-push", "[keda]\nlisten = \"0.0.0.0:9091\"\n"), waits("prometheus", ""));
    // The program's 10 s, and 0.5 to 3.2 s around them.
    assert!((10.5..14.0).contains(&push), "{push}");
    // From 0 to 1: 0 to 45 s for the scrape and the poll.
    assert!((push + 10.0..push + 45.0).contains(&prometheus), "{push} {prometheus}");
}

#[test]
fn a_cold_start_has_a_part_before_the_program_and_a_part_after_it() {
    let kubernetes = "[pools.desktops]\nscaling = 'direct'\nmax_pods = 30\n[pools.desktops.kubernetes]\nstateful_set = 'x'\nport = 80\n";
    let longest = |pool, pod_start, probe_period| {
        let options = plan::Options {
            variants: Some(0),
            seeds: Some(3),
            cold_start: Draw::Always(3 * SECOND),
            pod_start,
            probe_period,
            ..plan_options(pool, "20/day")
        };
        let plan = plan::run(&options).expect("there is a plan");
        let waits = plan.rows[0].time_to_slot.expect("visitors arrived");
        (waits.max.median, plan.story)
    };
    for (pool, parts) in [(POOL, (None, None)), (kubernetes, (Some(Draw::Always(0)), Some(0)))] {
        let (program, story) = longest(pool, parts.0, parts.1);
        assert!((3.0..3.2).contains(&program) && story.contains("starts in 3s;"), "{program} {story}");
    }
    let (whole, story) = longest(POOL, Some(Draw::Between(1000, 1400)), Some(SECOND));
    assert!((4.0..5.6).contains(&whole), "{whole}");
    assert!(story.contains("starts in 1s-1.4s and 3s, probed every 1s;"), "{story}");
    // On Kubernetes these parts are there by default.
    let (whole, story) = longest(kubernetes, None, None);
    assert!((4.5..6.4).contains(&whole), "{whole}");
    assert!(story.contains("starts in 500ms-1.2s and 3s, probed every 2s;"), "{story}");
}

#[test]
fn a_plan_starts_with_the_minimum_of_pods() {
    let text = POOL.replace("max_pods = 30", "max_pods = 30\nspare = 10");
    let options = plan::Options { variants: Some(0), seeds: Some(2), ..plan_options(&text, "1/day") };
    let plan = plan::run(&options).expect("there is a plan");
    assert!(plan.rows[0].pod_hours.low > 235.0, "{:?}", plan.rows[0]);
}

#[test]
fn a_long_plan_is_thinned_out_with_a_note() {
    let options = plan::Options { variants: Some(0), seeds: Some(1), ..plan_options(POOL, "2010/day") };
    let plan = plan::run(&options).expect("there is a plan");
    assert!(plan.record.sessions.is_empty() && plan.record.samples.len() <= Detail::default().samples);
    let story = &plan.record.story;
    assert!(
        story.contains(&format!("{} sessions", plan.rows[0].visitors.median)) && story.contains("not listed"),
        "{story}"
    );
}

#[test]
fn an_impossible_plan_is_an_error_with_the_reason() {
    let two = format!("{POOL}[pools.seats]\npath = '/seats'\n[pools.seats.fixed]\npods = ['127.0.0.1:1']\n");
    let options = plan_options(&two, "10/day");
    let error = |options: plan::Options| plan::run(&options).expect_err("there is no plan").to_string();
    assert_eq!(error(options.clone()), "pool: the configuration has several; allowed: one of desktops, seats");
    assert_eq!(
        error(plan::Options { pool: Some("chairs".into()), ..options.clone() }),
        "pool: \"chairs\" is not in the configuration; allowed: desktops, seats"
    );
    let options = plan::Options { pool: Some("seats".into()), ..options };
    assert!(plan::run(&options).is_ok());
    assert_eq!(plan::run(&plan::Options { days: 32, ..options.clone() }).err(), Some(PlanError::Days { days: 32 }));
    assert_eq!(error(plan::Options { days: 0, ..options.clone() }), "days: 0 is out of range; allowed: 1 to 31");
    let many = plan::Options { days: 1, seeds: Some(1001), ..options };
    assert_eq!(error(many), "seeds: 1001 is out of range; allowed: 1 to 1000");
    let crowded = plan::Options { days: 31, ..plan_options(POOL, "100000000/day") };
    assert!(error(crowded).starts_with("arrivals: 3100000000 visitors in 31 days are too many; allowed:"));
}

// ---- words ----

#[test]
fn an_invalid_distribution_is_refused_with_the_allowed_forms() {
    let refusals = [
        ("fast", "\"fast\" is not a time"),
        ("40", "\"40\" is a time without a unit"),
        ("40 s", "\"40 s\" is not a time"),
        ("-5s", "\"\" is not a time"),
        ("400d", "\"400d\" is too long"),
        ("60s-20s", "\"60s-20s\" ends before it begins"),
        ("exp:0s", "\"exp:0s\" has the mean 0"),
        ("normal:3s", "\"normal:3s\" is not a distribution"),
        ("lognormal:30m", "\"lognormal:30m\" has no `,p95=`"),
        ("lognormal:2h,p95=30m", "\"lognormal:2h,p95=30m\" has a p95 below its median, or the median 0"),
    ];
    for (text, expected) in refusals {
        let error = text.parse::<Draw>().expect_err(text).to_string();
        assert!(error.starts_with(&format!("{expected}; allowed: ")), "{error}");
    }
    assert!(
        "20s-x"
            .parse::<Draw>()
            .expect_err("x")
            .to_string()
            .starts_with("\"x\" is not a time; allowed: a number and a unit")
    );
}

#[test]
fn invalid_arrivals_are_refused_with_the_allowed_forms() {
    let refusals = [
        ("10000", "has no rate (a number, `/` and a unit of time)"),
        ("many/day", "does not begin with a number"),
        ("-3/h", "is out of range"),
        ("NaN/h", "is out of range"),
        ("99999/s", "is out of range"),
        ("10/week", "has an unknown unit of time"),
        ("10/day:night", "has an unknown daily curve"),
        ("10/day:1,2,3", "has an unknown daily curve"),
        ("10/day:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", "has an unknown daily curve"),
        ("10/day+200", "has a burst that cannot be read"),
        ("10/day+200@25:00", "has a burst that cannot be read"),
        ("10/day+200@18:00/fast", "has a burst that cannot be read"),
    ];
    for (text, expected) in refusals {
        let error = text.parse::<Arrivals>().expect_err(text).to_string();
        assert!(error.starts_with(&format!("{text:?} {expected}; allowed: NUMBER/day")), "{error}");
    }
}
