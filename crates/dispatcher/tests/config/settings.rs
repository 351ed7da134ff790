//! `CONFIG.md` lists exactly the keys that the parser knows, with their real defaults.

use slotkeeper::config::{describe, file};
use std::collections::{BTreeMap, BTreeSet};

/// Key and default of every row.
fn documented() -> BTreeMap<String, String> {
    let text = include_str!("../../CONFIG.md");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned());
        let (key, default) = (cells.next().unwrap(), cells.next().unwrap());
        let key = key.trim_matches('`').replace("NAME", "*");
        assert!(rows.insert(key.clone(), default).is_none(), "{key} is documented twice");
    }
    rows
}

#[test]
fn every_known_key_is_documented_and_every_documented_key_is_known() {
    let mut known = file::keys();
    // The tables themselves, and tables whose keys are chosen by the operator.
    let tables = [
        "admin",
        "journal",
        "keda",
        "kubernetes",
        "limits",
        "pools",
        "pools.*.activity",
        "pools.*.connections",
        "pools.*.fixed",
        "pools.*.kubernetes",
        "pools.*.passive",
        "pools.*.processes",
        "pools.*.targets",
        "tls",
        "tls.certificates",
    ];
    for table in tables {
        assert!(known.remove(table), "{table}");
    }
    known.insert("pools.*.processes.environment.*".to_owned());
    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(known.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not in CONFIG.md");
    assert_eq!(documented.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "only in CONFIG.md");
}

#[test]
fn documented_defaults_are_the_real_ones() {
    let text = describe(&super::config(super::PROCESSES));
    let mut compared = 0;
    for (key, default) in documented() {
        let short = key.trim_start_matches("pools.*.");
        let Some(line) = text.lines().find(|line| line.get(2..).and_then(|l| l.split(' ').next()) == Some(short))
        else {
            continue;
        };
        let real = line[2..].trim_start_matches(short).split_whitespace().next().unwrap();
        let plain = |text: &str| text.trim_matches(['"', '`']).to_owned();
        if default.split(' ').next().is_some_and(|first| first.parse::<f64>().is_ok()) || default.starts_with("`\"") {
            let documented = default.split([' ', ',', ';']).next().unwrap();
            assert_eq!(plain(documented), plain(real), "{key}");
            compared += 1;
        }
    }
    assert!(compared >= 35, "only {compared} settings were compared");
}
