//! The dispatcher itself in worlds: the same seed twice before all else, then every world with a name, seeds that are
//! always the same, and some that nobody has tried (they are printed). `slotkeeper-sim hunt` looks longer.

use slotkeeper_sim::hunt::{Hunt, hunt};
use slotkeeper_sim::tale;
use slotkeeper_sim::world::faults::{Fault, FaultKind};
use slotkeeper_sim::world::setting::{Limits, Setting};
use slotkeeper_sim::world::{Outcome, play, scenarios};

/// Two runs of one world, line by line.
fn same_twice(setting: &Setting) {
    let (first, second) = (play(setting, true), play(setting, true));
    assert!(first.log.len() > 10_000, "only {} lines: that is no trace", first.log.len());
    let differs = first.log.iter().zip(&second.log).position(|(a, b)| a != b);
    if let Some(line) = differs {
        let from = line.saturating_sub(5);
        panic!(
            "{}: line {line} differs, after\n{}\nfirst   {}\nsecond  {}",
            setting.name,
            first.log[from..line].join("\n"),
            first.log[line],
            second.log[line]
        );
    }
    assert_eq!(first.log.len(), second.log.len(), "{}: one run goes on for longer", setting.name);
    assert_eq!(first.record.sessions, second.record.sessions);
}

// The name sorts before all others.
#[test]
fn a_seed_has_one_history() {
    // Several dispatchers and a node that is lost; KEDA; fresh pods, one dispatcher and its own journal.
    for name in ["flaky-network", "keda-prometheus", "fresh-desktops", "dispatcher-killed"] {
        same_twice(&scenarios::find(name).expect("it exists").setting(3));
    }
    same_twice(&Setting::draw(7));
}

fn must_keep_promises(outcome: &Outcome, scenario: Option<&str>) {
    if !outcome.violations.is_empty() {
        let mut text = Vec::new();
        tale::tell(outcome, scenario, &Limits::default(), &mut text).expect("memory takes everything");
        panic!("{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn every_world_with_a_name_keeps_its_promises() {
    let mut names: Vec<&str> = scenarios::ALL.iter().map(|s| s.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), scenarios::ALL.len(), "a name is there twice");
    for scenario in scenarios::ALL {
        must_keep_promises(&play(&scenario.setting(1), false), Some(scenario.name));
    }
}

/// What each world with a name is about really happens in it.
#[test]
fn worlds_with_a_name_are_what_they_say() {
    let happens = |name: &str, what: &str| {
        let outcome = play(&scenarios::find(name).expect("it exists").setting(1), false);
        let times = outcome.coverage.get(what).copied().unwrap_or_default();
        assert!(times > 0, "{name}: {what} never happens; there are {:?}", outcome.coverage);
    };
    happens("cut-off", "dispatcher cut off");
    happens("cut-off", "dispatcher starts a new life");
    happens("rolling-restart", "socket 1012");
    happens("node-lost", "effect Requeued");
    happens("half-open", "visitor half-open");
    happens("fresh-desktops", "effect Recycle");
    happens("keda-prometheus", "KEDA writes");
    happens("ordered-and-limited", "reason time_up");
    happens("pool-removed", "reason pool_removed");
    happens("slow-and-stuck", "pod stuck");
    happens("api-server-away", "watch broken");
}

fn must_survive(from: u64, seeds: u64) {
    let catch = hunt(&Hunt { from, seeds, jobs: 1, limits: Limits::default() }, |_| {});
    if let Some(failure) = catch.failure {
        must_keep_promises(&failure, None);
    }
    assert_eq!(catch.played, seeds);
}

#[test]
fn these_seeds_keep_every_promise() {
    must_survive(1, 40);
}

#[test]
fn seeds_nobody_has_tried_keep_every_promise() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let from = now.as_secs() % 1_000_000_000 * 1_000;
    eprintln!("seeds from {from}");
    must_survive(from, 20);
}

#[test]
fn taking_a_fault_away_leaves_the_others_where_they_are() {
    let all = Setting::draw(11);
    let kind = all.faults[0].kind;
    let less = Setting::draw(11).within(&Limits { without: [kind].into(), ..Limits::default() });
    let others: Vec<Fault> = all.faults.iter().copied().filter(|f| f.kind != kind).collect();
    assert_eq!(less.faults, others);
    assert!(others.len() < all.faults.len());
}

#[test]
fn every_kind_of_fault_is_drawn() {
    let mut missing: Vec<FaultKind> = FaultKind::ALL.to_vec();
    for seed in 0..300 {
        let drawn = Setting::draw(seed).faults;
        missing.retain(|kind| drawn.iter().all(|f| f.kind != *kind));
    }
    assert_eq!(missing, []);
}
