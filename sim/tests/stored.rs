//! Worlds as data: a stored world is played unchanged, a file may contain only the differences, and unknown or
//! invalid settings are refused. Every world in `sim/scenarios` keeps its promises.

use slotkeeper_sim::proof::narrate;
use slotkeeper_sim::proof::world::setting::Setting;
use slotkeeper_sim::proof::world::{play, stored};
use std::path::Path;

fn parse(text: &str) -> Result<Setting, String> {
    stored::parse(text, Path::new("world.json"), None).map_err(|error| error.to_string())
}

#[test]
fn a_stored_world_is_read_back_unchanged() {
    for seed in 0..40 {
        let setting = Setting::draw(seed);
        let text = serde_json::to_string(&setting).expect("JSON");
        let again = parse(&text).expect("a world");
        assert_eq!(serde_json::to_string(&again).expect("JSON"), text);
        assert_eq!(again.faults, setting.faults, "the numbers of faults too");
    }
}

#[test]
fn a_file_may_contain_only_the_differences() {
    let text = r#"{"seed": 5, "rules": {"max": 4, "targets": {"slack": 7}},
                   "faults": [{"kind": "pod-crash", "at": 9000, "until": 9500, "target": 0}]}"#;
    let (setting, plain) = (parse(text).expect("a world"), Setting::plain(5));
    assert_eq!((setting.seed, setting.rules.max, setting.rules.targets.slack), (5, 4, 7));
    assert_eq!((setting.rules.grace, setting.latency), (plain.rules.grace, plain.latency));
    assert_eq!(setting.faults.len(), 1);
}

#[test]
fn a_file_that_is_not_a_world_is_refused() {
    for (text, part) in [
        ("[]", "not a JSON object"),
        ("{", "EOF"),
        (r#"{"dispatcher": 2}"#, "unknown setting \"dispatcher\"; allowed: "),
        (r#"{"rules": {"maximum": 2}}"#, "unknown setting \"maximum\""),
        (r#"{"dispatchers": 0}"#, "allowed: 1 or more"),
        (r#"{"dispatchers": 3, "shared_journal": false}"#, "shared journal"),
        (r#"{"latency": [9, 1]}"#, "ends before it begins"),
        (r#"{"faults": [{"kind": "bad-luck", "at": 1, "until": 2, "target": 0}]}"#, "unknown variant `bad-luck`"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_failing_world_is_stored_and_played_again() {
    let folder = std::env::temp_dir().join(format!("slotkeeper-sim-stored-{}", std::process::id()));
    let file = folder.join("small-pool.json");
    let mut setting = Setting::plain(3);
    setting.rules.max = 1;
    stored::write(&setting, &file).expect("a file");
    let folder_text = folder.to_str().expect("text");
    let output = crate::world::program(&["run", "--scenario", "small-pool", "--scenarios", folder_text]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let _ = std::fs::remove_dir_all(&folder);
    assert!(output.status.success() && text.contains("0 to 1 pods"), "{text}");
}

#[test]
fn every_stored_world_keeps_its_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map_while(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let setting = stored::read(&file, None).expect("a world");
        let outcome = play(&setting, false);
        if !outcome.violations.is_empty() {
            let mut text = Vec::new();
            narrate::write(&outcome, file.to_str(), &[], &mut text).expect("memory takes everything");
            panic!("{}", String::from_utf8_lossy(&text));
        }
    }
}
