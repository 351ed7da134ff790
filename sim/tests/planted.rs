//! The test bed finds what it is made for: each of these bugs, planted into the dispatcher or its core, breaks a
//! promise within 200 seeds, and the program reports which, when, and how to replay it. They are a sample of the list
//! in `crates/core/src/planted.rs`; `tests/mutants` runs all of them, with every other check too.

use slotkeeper_core::planted::Bug;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn no_program_has_planted_bugs_by_default() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifests = ["Cargo.toml", "crates/core/Cargo.toml", "crates/dispatcher/Cargo.toml", "sim/Cargo.toml"];
    let mut features = 0;
    for manifest in manifests {
        let text = std::fs::read_to_string(root.join(manifest)).expect("a manifest");
        // The feature's own line may name the same feature of a dependency; nothing else enables it.
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains("planted")) {
            assert!(line.starts_with("planted = ["), "{manifest}: {line}");
            features += 1;
        }
    }
    assert_eq!(features, 3, "the crates that have the feature");
}

/// Returns all sources of the core and the dispatcher.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut sources = Vec::new();
    let mut folders = vec![root.join("core/src"), root.join("dispatcher/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                sources.push((path, text));
            }
        }
    }
    sources
}

#[test]
fn every_planted_bug_has_its_own_word_and_at_least_one_hook() {
    let words: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.word()).collect();
    assert_eq!(words.len(), Bug::ALL.len());
    let sources: String = sources().into_iter().map(|(_, text)| text).collect();
    for bug in Bug::ALL {
        assert!(sources.contains(&format!("planted!({bug:?} =>")), "{bug:?} is planted nowhere");
    }
}

/// Returns the numbers of the lines with a hook that does not replace a whole function: before it, there may only be other hooks
/// and names that the wrong version needs, each on one line.
fn misplaced(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_hook = |line: &str| line.trim_start().starts_with("planted!(");
    let mut wrong = Vec::new();
    for (number, hook) in lines.iter().enumerate().filter(|(_, line)| is_hook(line)) {
        let mut above = lines[..number].iter().rev().filter(|line| !line.trim_start().starts_with("//"));
        // What is further to the right belongs to a hook of several lines.
        let first = above.find(|line| {
            let line = line.trim_end();
            let is_name = line.trim_start().starts_with("let ") && line.ends_with(';');
            indent(line) < indent(hook)
                || indent(line) == indent(hook) && !(is_name || is_hook(line) || line.trim() == "});")
        });
        // The signature's only line, or the last one of several.
        let opens = |line: &str| {
            let text = line.trim_start();
            let begins = text.split('(').next().is_some_and(|words| words.contains("fn "));
            let is_public = text.starts_with("pub(") && text.contains(" fn ");
            line.ends_with('{') && (text.starts_with(')') || begins || is_public)
        };
        if !first.is_some_and(|line| opens(line) && indent(line) + 4 == indent(hook)) {
            wrong.push(number + 1);
        }
    }
    wrong
}

#[test]
fn a_planted_bug_replaces_a_whole_function() {
    let mut hooks = 0;
    for (path, text) in sources() {
        if path.ends_with("planted.rs") {
            continue;
        }
        assert_eq!(misplaced(&text), Vec::<usize>::new(), "{}", path.display());
        hooks += text.matches("    planted!(").count();
    }
    assert!(hooks >= Bug::ALL.len(), "{hooks} hooks: the sources are not read as they are written");
}

#[test]
fn a_hook_inside_of_a_function_is_noticed() {
    let good = "fn a(\n    b: u32,\n) -> u32 {\n    let c = b;\n    planted!(A => {\n        c\n    });\n    planted!(B => 2);\n    3\n}\n";
    assert_eq!(misplaced(good), Vec::<usize>::new());
    for (before, after) in [("match b {", "}"), ("if b {", "}"), ("for b in c {", "}"), ("A => {", "}")] {
        let bad = format!("fn a() {{\n    {before}\n        planted!(A => 1);\n    {after}\n}}\n");
        assert_eq!(misplaced(&bad), [3], "{bad}");
    }
    assert_eq!(misplaced("fn a() {\n    b();\n    planted!(A => 1);\n}\n"), [3]);
}

fn found(bug: Bug) {
    let hunt = &["hunt", "--from", "1", "--seeds", "200", "--jobs", "1", "--as-it-is", "--plant", bug.word()];
    let output = crate::world::program(hunt);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{bug:?} was not found: {text}");
    for part in ["BROKEN after", "Rule: ", "Documented in ", "What happened before", "slotkeeper-sim run --seed"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(text.lines().count() < 50, "more than a screen:\n{text}");
}

#[test]
fn forwarding_before_the_attach_is_read_back_is_found() {
    found(Bug::ForwardBeforeAttach);
}

#[test]
fn a_new_session_for_an_unknown_cookie_is_found() {
    found(Bug::MintForUnknown);
}

#[test]
fn placing_on_a_terminating_pod_is_found() {
    found(Bug::PlaceOnTerminating);
}

#[test]
fn binding_to_a_pods_name_is_found() {
    found(Bug::BindToName);
}

#[test]
fn lowering_desired_without_retiring_is_found() {
    found(Bug::LowerWithoutRetiring);
}

#[test]
fn counting_sessions_instead_of_the_highest_ordinal_is_found() {
    found(Bug::CountSessions);
}

#[test]
fn a_dropped_last_detach_is_found() {
    found(Bug::DropLastDetach);
}

#[test]
fn serving_0_to_a_scaler_before_the_journal_is_read_is_found() {
    found(Bug::ServeZero);
}

#[test]
fn executing_an_entry_twice_is_found() {
    found(Bug::ActTwice);
}

#[test]
fn trusting_the_local_clock_for_a_deadline_is_found() {
    found(Bug::LocalDeadline);
}

#[test]
fn a_checkpoint_with_the_wrong_position_is_found() {
    found(Bug::WrongPosition);
}
