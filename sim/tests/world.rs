//! The dispatcher itself in worlds: first the same seed twice, then every named world, a fixed set of seeds, and some
//! new seeds (they are printed). `slotkeeper-sim hunt` plays more.

use slotkeeper_sim::proof::narrate;
use slotkeeper_sim::proof::world::{Outcome, play, scenarios};
use std::process::{Command, Output};

/// Runs the program as a user would: one world in a separate process.
pub(crate) fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slotkeeper-sim")).args(arguments).output().expect("the program runs")
}

/// Compares two runs of one world, line by line.
fn same_twice(arguments: &[&str]) {
    let run = || {
        let output = program(&[&["run", "--trace"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).expect("text")
    };
    let (first, second) = (run(), run());
    let (first, second): (Vec<&str>, Vec<&str>) = (first.lines().collect(), second.lines().collect());
    assert!(first.len() > 10_000, "only {} lines: that is no trace", first.len());
    let differs = first.iter().zip(&second).position(|(a, b)| a != b);
    if let Some(line) = differs {
        let before = first[line.saturating_sub(5)..line].join("\n");
        panic!(
            "{arguments:?}: line {line} differs, after\n{before}\nfirst   {}\nsecond  {}",
            first[line], second[line]
        );
    }
    assert_eq!(first.len(), second.len(), "{arguments:?}: one run continues for longer");
}

#[test]
fn a_seed_has_one_history() {
    // Several dispatchers and a lost node; KEDA, twice; fresh pods and a crash; a journal that loses entries; one
    // dispatcher with its own journal.
    for name in [
        "flaky-network",
        "keda-prometheus",
        "keda-push",
        "fresh-desktops",
        "journal-loses",
        "dispatcher-killed",
        "power-lost",
        "disk-in-trouble",
        "api-overloaded",
        "node-silent",
    ] {
        same_twice(&["--scenario", name, "--seed", "3"]);
    }
    for seed in ["7", "12"] {
        same_twice(&["--seed", seed]);
    }
}

/// Independent of earlier worlds in the same process: a job of a hunt plays many.
#[test]
fn a_world_is_the_same_after_others() {
    let alone = |seed: &str| {
        let output = program(&["work", "--from", seed, "--seeds", "1", "--step", "1"]);
        String::from_utf8(output.stdout).expect("text")
    };
    let output = program(&["work", "--from", "20", "--seeds", "4", "--step", "1"]);
    let together = String::from_utf8(output.stdout).expect("text");
    assert_eq!(together, ["20", "21", "22", "23"].map(alone).concat());
}

fn must_keep_promises(outcome: &Outcome, scenario: Option<&str>) {
    if !outcome.violations.is_empty() {
        let mut text = Vec::new();
        narrate::write(outcome, scenario, &[], &mut text).expect("memory takes everything");
        panic!("{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn every_named_world_keeps_its_promises() {
    let mut names: Vec<&str> = scenarios::all().map(|s| s.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), scenarios::all().count(), "a name occurs twice");
    let mut missing = Vec::new();
    for scenario in scenarios::all() {
        let outcome = play(&scenario.setting(1), false);
        must_keep_promises(&outcome, Some(scenario.name));
        for what in is_about(scenario.name) {
            let times = outcome.coverage.get(*what).copied().unwrap_or_default();
            if times == 0 {
                missing.push(format!("{}: {what} never happens; there are {:?}", scenario.name, outcome.coverage));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Returns the events that must occur in a world of this name.
fn is_about(name: &str) -> &'static [&'static str] {
    match name {
        "rolling-restart" => &["socket 1012", "command Farewell"],
        "settings-change" => &["dispatcher of an older version", "dispatcher with new settings", "check activity"],
        "impolite-pods" => &[
            "ping of a pod answered",
            "pod's messages counted at a half-close",
            "pod ignores a close",
            "pod answers late",
            "visitor's messages counted",
        ],
        "impolite-visitors" => {
            &["upload received", "download complete", "five first requests at once", "visitor suspended"]
        }
        "idle-and-pushed" => &["push received", "reason idle"],
        "impolite-and-unlucky" => &["fault dispatcher-crash", "fault pod-crash"],
        "two-pools" => &["fault listed-address-away", "socket 1012"],
        "processes-beside" => &["process ended", "fault dispatcher-crash"],
        "crowd" => &["API delete pods", "effect Placed"],
        "cut-off" => &["dispatcher cut off", "dispatcher starts a new life"],
        "api-server-away" => &["watch broken"],
        "node-lost" => &["effect Requeued", "API delete pods"],
        "wrong-clocks" => &["fault journal-clock", "dispatcher with a wrong clock"],
        "journal-down" => &["fault journal-crash", "fault journal-clock"],
        "journal-loses" => &["journal entries lost", "command Lapse", "dispatcher forgets what is lost"],
        "journal-in-trouble" => {
            &["journal returns OOM", "fault journal-slow", "journal returns LAPSED", "command Lapse"]
        }
        "killed-while-writing" => &["dispatcher killed while writing"],
        "dispatcher-killed" => &["fault dispatcher-crash", "checkpoint kept", "checkpoint restored"],
        "disk-in-trouble" => &["disk returns ENOSPC", "disk returns EIO", "fault disk-slow"],
        "power-lost" => &["power lost", "process ended in a system call", "checkpoint restored"],
        "stalled" => &["dispatcher starts a new life"],
        "one-way" => &["fault one-way"],
        "no-descriptors" => &["no descriptor left"],
        "pods-crash" => &["fault pod-crash", "fault pod-failure"],
        "flaky-network" => &["fault hold", "fault pod-partition", "fault home-partition"],
        "slow-and-stuck" => &["pod stuck"],
        "half-open" => &["visitor half-open", "reason disconnected"],
        "fresh-desktops" => &["effect Recycle"],
        "keda-prometheus" => &["HPA writes", "command Served"],
        "keda-push" => &["KEDA is pushed", "KEDA receives Unavailable", "check told", "HPA writes", "command Served"],
        "ordered-and-limited" => &["reason time_up", "reason idle"],
        "pool-removed" => &["reason pool_removed"],
        "api-overloaded" => &["API answers 429", "API patch given up", "effect Placed"],
        "node-drained" => &["pod drained", "eviction refused", "effect Requeued"],
        "preempted" => &["pod preempted", "pod stuck", "effect Requeued"],
        "node-silent" => &["pod evicted", "pod removed with its node", "effect Requeued"],
        "set-recreated" => &["set created again", "message echoed"],
        "listed-again" => &["pods listed again"],
        _ => &["effect Placed"],
    }
}

/// A full disk stops placing, not playing; so does a slow or failing one.
#[test]
fn sessions_with_a_slot_do_not_notice_the_disk() {
    for seed in 1..=5 {
        let outcome = play(&scenarios::find("disk-in-trouble").expect("the scenario exists").setting(seed), false);
        must_keep_promises(&outcome, Some("disk-in-trouble"));
        let broken = ["socket broken", "socket silent", "socket stuck", "socket 1012"];
        let noticed: Vec<_> = broken.iter().filter(|what| outcome.coverage.contains_key(**what)).collect();
        assert!(noticed.is_empty(), "seed {seed}: {noticed:?}");
        assert!(outcome.coverage.contains_key("message echoed"), "seed {seed}");
    }
}

fn hunt(from: &[&str], seeds: u64) {
    let output = program(&[&["hunt", "--seeds", &seeds.to_string(), "--jobs", "1"], from].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("\n{seeds} worlds, ")) && text.contains("every promise was kept"), "{text}");
}

#[test]
fn fixed_seeds_keep_every_promise() {
    hunt(&["--from", "1"], 40);
}

#[test]
fn new_seeds_keep_every_promise() {
    hunt(&[], 20);
}
