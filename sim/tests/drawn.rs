//! Which worlds a hunt draws, how they can be reduced, and the documentation of promises.

use slotkeeper_core::{AfterSession, Scaling, Window};
use slotkeeper_sim::proof::world::conduct::Conduct;
use slotkeeper_sim::proof::world::faults::{Fault, FaultKind};
use slotkeeper_sim::proof::world::limits::{Limits, Selection};
use slotkeeper_sim::proof::world::pools::Kind;
use slotkeeper_sim::proof::world::reset::Part;
use slotkeeper_sim::proof::world::setting::Setting;
use slotkeeper_sim::proof::world::shape::Shape;
use slotkeeper_sim::proof::world::{points, promises};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn selected(selection: Selection) -> impl Iterator<Item = Setting> {
    let limits = Limits { selection, ..Limits::default() };
    (0..100).map(move |seed| Setting::limited(seed, &limits))
}

#[test]
fn removing_a_fault_does_not_change_the_others() {
    let seed = (0..).find(|seed| Setting::draw(*seed).faults.len() > 5).expect("many worlds have as many");
    let all = Setting::draw(seed);
    let kind = all.faults[0].kind;
    let less = Setting::draw(seed).within(&Limits { without: [kind].into(), ..Limits::default() });
    let others: Vec<Fault> = all.faults.iter().copied().filter(|f| f.kind != kind).collect();
    assert_eq!(less.faults, others);
    assert!(others.len() < all.faults.len());
    let one = Setting::draw(seed).within(&Limits { faults: Some([3].into()), ..Limits::default() });
    assert_eq!(one.faults, [all.faults[3]]);
    let same: Vec<u64> = [&all, &less, &one].iter().map(|s| s.chaos).collect();
    assert_eq!(same, [all.chaos; 3]);
}

#[test]
fn every_kind_of_fault_is_drawn() {
    let mut missing: Vec<FaultKind> = FaultKind::ALL.to_vec();
    for seed in 0..600 {
        let drawn = Setting::draw(seed).faults;
        missing.retain(|kind| drawn.iter().all(|f| f.kind != *kind));
    }
    assert_eq!(missing, []);
}

#[test]
fn worlds_differ_in_the_number_of_faults() {
    let counts: Vec<usize> = (0..500).map(|seed| Setting::draw(seed).faults.len()).collect();
    let share = |is: &dyn Fn(usize) -> bool| counts.iter().filter(|n| is(**n)).count() * 100 / counts.len();
    assert!(share(&|n| n <= 2) >= 10, "{counts:?}");
    assert!(share(&|n| n >= 15) >= 5, "{counts:?}");
    let kinds = |s: &Setting| s.faults.iter().map(|f| f.kind).collect::<BTreeSet<_>>().len();
    assert!((0..500).any(|seed| kinds(&Setting::draw(seed)) == 1), "no world has one kind of fault only");
}

#[test]
fn sparse_worlds_have_one_or_two_faults() {
    for setting in selected(Selection { sparse: true, ..Selection::default() }) {
        assert!((1..=2).contains(&setting.faults.len()), "{:?}", setting.faults);
    }
}

#[test]
fn a_hunt_for_one_kind_of_fault_draws_it_in_every_world_and_nothing_else() {
    for kind in [FaultKind::PodCrash, FaultKind::PoolRemoval] {
        for setting in selected(Selection { only: [kind].into(), ..Selection::default() }) {
            assert!(
                !setting.faults.is_empty() && setting.faults.iter().all(|f| f.kind == kind),
                "{:?}",
                setting.faults
            );
        }
    }
}

#[test]
fn a_hunt_for_a_configuration_draws_no_other() {
    for shape in Shape::ALL {
        assert_eq!(shape.word().parse(), Ok(*shape));
        for setting in selected(Selection { shapes: vec![*shape], ..Selection::default() }) {
            let rules = &setting.rules;
            let fits = match shape {
                Shape::Direct => rules.scaling == (Scaling::Direct { window: Window::Fixed }),
                Shape::Sliding => rules.scaling == (Scaling::Direct { window: Window::Sliding }),
                Shape::KedaPrometheus => setting.is_keda() && !setting.is_pushed(),
                Shape::KedaPush => setting.is_pushed(),
                Shape::Exclusive => rules.slots_per_pod == 1 && rules.after_session == AfterSession::Keep,
                Shape::Recycle => rules.slots_per_pod == 1 && rules.after_session == AfterSession::Recycle,
                Shape::Shared | Shape::Gateway => rules.slots_per_pod > 1,
                Shape::Alone => setting.dispatchers == 1 && !setting.shared_journal,
                Shape::AloneShared => setting.dispatchers == 1 && setting.shared_journal,
                Shape::FixedBeside => setting.annex.as_ref().is_some_and(|a| a.kind == Kind::Fixed),
                Shape::ProcessesBeside => {
                    setting.dispatchers == 1 && setting.annex.as_ref().is_some_and(|a| a.kind == Kind::Processes)
                }
                Shape::Rollout => {
                    let restarts = setting.faults.iter().filter(|f| f.kind == FaultKind::DispatcherRestart).count();
                    setting.rollout.is_some() && restarts >= setting.dispatchers as usize
                }
                Shape::Impolite => setting.conduct == Conduct::IMPOLITE,
                Shape::Crowd => setting.visitors == 200 && rules.max == 50,
            };
            assert!(fits, "{shape}: {}", setting.describe());
        }
    }
    let wrong = "keda".parse::<Shape>().expect_err("it is two configurations");
    assert!(wrong.contains("keda-push") && wrong.contains("keda"), "{wrong}");
}

/// The command that replays a world includes every restriction.
#[test]
fn arguments_describe_the_limits_they_were_made_from() {
    let limits = Limits {
        selection: Selection { several: true, only: [FaultKind::Hold].into(), ..Selection::default() },
        dispatchers: Some(2),
        pods: Some(2),
        chaos: Some(20_000),
        faults: Some([0].into()),
        guests: Some([1, 3].into()),
        points: Some(BTreeSet::new()),
        reset: [Part::Idle, Part::Latency].into(),
        ..Limits::default()
    };
    let arguments = limits.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = crate::world::program(&[&["run", "--seed", "8"], &arguments[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&Setting::limited(8, &limits).describe()), "{arguments:?}: {text}");
}

#[test]
fn wrong_selections_are_refused() {
    for (arguments, part) in [
        (&["--several", "--config", "alone"][..], "either several dispatchers or one"),
        (&["--only", "hold", "--without", "hold"], "--only hold and --without hold"),
        (&["--faults", "1,x"], "\"x\" is not a number"),
        (&["--points", "nowhere"], "no"),
        (&["--reset", "everything"], "allowed: spare"),
        (&["--scenario", "plain", "--sparse"], "a scenario is one world"),
        (&["--scenario", "no-such-world"], "there is no \"no-such-world\""),
    ] {
        let output = crate::world::program(&[&["run"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(part), "{arguments:?}: {text}");
    }
}

#[test]
fn every_fault_point_is_drawn_and_can_be_removed() {
    let mut missing = points::words();
    for seed in 0..300 {
        let drawn = Setting::draw(seed).points;
        missing.retain(|word| drawn.iter().all(|rate| rate.point != *word));
    }
    assert_eq!(missing, Vec::<&str>::new());
    let Some(seed) = (0..300).find(|seed| Setting::draw(*seed).points.len() > 1) else { return };
    let all = Setting::draw(seed).points;
    let only = Limits { points: Some([all[1].point.clone()].into()), ..Limits::default() };
    assert_eq!(Setting::draw(seed).within(&only).points, [all[1].clone()]);
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_promise_is_documented_in_the_named_file() {
    for promise in promises::ALL {
        let (file, words) = promise.documented;
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(text.contains(words), "{}: {words:?} is not in {file}", promise.name);
    }
}

/// Reads the sources: every promise that a check may break must have a rule.
#[test]
fn every_promise_that_a_check_names_has_a_rule() {
    fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources").map_while(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, all);
            } else {
                all.push(path);
            }
        }
    }
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proof/world"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        for call in text.split("violate(").skip(1) {
            let call = call.trim_start().trim_start_matches("at,").trim_start();
            if let Some(name) = call.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                assert!(promises::find(name).is_some(), "{}: no rule for {name:?}", file.display());
                found.insert(name.to_owned());
            }
        }
    }
    assert!(found.len() > 20, "only {found:?}: the sources are not read as they are written");
}
