//! What is made from the rows of the settings: the tables of CONFIG.md, the JSON Schema, and the comparison at a reload.

use super::{FULL, PROCESSES, compare, config, here};
use serde_json::Value;
use slotkeeper::config::reference::{Section, sections};
use slotkeeper::config::{file, schema};
use slotkeeper::ops::reload::merge;
use std::collections::BTreeSet;

fn section<'s>(all: &'s [Section], path: &str) -> &'s Section {
    let path = if path == "top" { "" } else { path };
    all.iter().find(|section| section.path == path).unwrap_or_else(|| panic!("there is no table {path}"))
}

const MARK: &str = "<!-- settings: ";

#[test]
fn the_tables_of_the_manual_are_those_of_the_rows() {
    let all = sections();
    let mut text = String::new();
    let mut shown = Vec::new();
    let manual = std::fs::read_to_string(here("CONFIG.md")).unwrap();
    let mut lines = manual.lines().peekable();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        let Some(paths) = line.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        while lines.next_if(|line| line.is_empty() || line.starts_with('|')).is_some() {}
        text.push('\n');
        for (n, path) in paths.split(' ').enumerate() {
            let table = section(&all, path).markdown();
            // One table for several: the head only once.
            text.extend(table.split_inclusive('\n').skip(if n == 0 { 0 } else { 2 }));
            shown.push(section(&all, path).path);
        }
        if lines.peek().is_some() {
            text.push('\n');
        }
    }
    let wanted: Vec<&str> = all.iter().map(|section| section.path).collect();
    let sorted = |mut paths: Vec<&'static str>| {
        paths.sort_unstable();
        paths
    };
    assert_eq!(sorted(shown), sorted(wanted), "the tables that CONFIG.md marks by {MARK}");
    compare("CONFIG.md", &text);
}

#[test]
fn the_schema_is_that_of_the_rows() {
    compare("config.schema.json", &(serde_json::to_string_pretty(&schema::schema()).unwrap() + "\n"));
}

#[test]
fn the_reader_takes_every_row_and_nothing_else() {
    let mut read = file::keys();
    // Tables without an explanation of their own.
    let tables = [
        "access_log",
        "admin",
        "http2",
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
    ];
    for table in tables {
        assert!(read.remove(table), "{table}");
    }
    let all = sections();
    let rows = all.iter().flat_map(|section| section.settings.iter().map(|it| section.key(it.setting.key)));
    let rows: BTreeSet<String> = rows.map(|key| key.replace("NAME", "*")).collect();
    assert_eq!(read.difference(&rows).collect::<Vec<_>>(), Vec::<&String>::new(), "read, without a row");
    assert_eq!(rows.difference(&read).collect::<Vec<_>>(), Vec::<&String>::new(), "rows that are not read");
}

#[test]
fn every_row_is_explained() {
    for section in sections() {
        for documented in &section.settings {
            let (key, setting) = (section.key(documented.setting.key), &documented.setting);
            assert!(!setting.help.is_empty() && !setting.allowed().is_empty(), "{key}");
            assert!(!documented.default().is_empty(), "{key}");
        }
    }
}

/// What is wrong with a value by a schema, as far as ours use the language.
fn wrong(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        if any.iter().all(|one| !wrong(one, value, at).is_empty()) {
            found.push(format!("{at}: none of {any:?} is {value}"));
        }
        return found;
    }
    if schema.get("const").is_some_and(|only| only != value && only.as_f64() != value.as_f64().or(Some(f64::NAN))) {
        found.push(format!("{at}: {value} is not {schema}"));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        found.push(format!("{at}: {value} is not in {schema}"));
    }
    let fits = match schema.get("type").and_then(Value::as_str) {
        None => true,
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => panic!("the schema has the type {other}"),
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let number = value.as_f64().unwrap_or(0.0);
    if !fits
        || bound("minimum").is_some_and(|least| number < least)
        || bound("maximum").is_some_and(|most| number > most)
    {
        found.push(format!("{at}: {value} is not {schema}"));
        return found;
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(schema.get("items").map(|items| wrong(items, item, at)).unwrap_or_default());
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let (own, others) = (schema.get("properties").and_then(|all| all.get(key)), schema.get("additionalProperties"));
        match own.or(others) {
            Some(Value::Bool(false)) => found.push(format!("{at}: unknown key {key}")),
            Some(schema) => found.extend(wrong(schema, inner, &format!("{at}.{key}"))),
            None => {}
        }
    }
    for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            found.push(format!("{at}: {key} is missing"));
        }
    }
    found
}

fn by_schema(text: &str) -> Vec<String> {
    let value: toml::Value = toml::from_str(text).unwrap();
    wrong(&schema::schema(), &serde_json::to_value(value).unwrap(), "file")
}

#[test]
fn valid_files_are_valid_by_the_schema() {
    assert_eq!(by_schema(FULL), Vec::<String>::new());
    let examples = std::fs::read_dir(here("../../examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut read = 0;
    for path in examples.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        assert_eq!(by_schema(&std::fs::read_to_string(&path).unwrap()), Vec::<String>::new(), "{}", path.display());
        read += 1;
    }
    assert!(read > 0);
}

#[test]
fn wrong_files_are_wrong_by_the_schema() {
    for text in [
        "threads = 4",
        "treads = 4\n[pools.a.fixed]\npods = ['a:1']",
        "threads = 1025\n[pools.a.fixed]\npods = ['a:1']",
        "threads = '4'\n[pools.a.fixed]\npods = ['a:1']",
        "[pools.a]\nplacement = 'random'",
        "[pools.a]\nidle_seconds = -1",
        "[pools.a]\nidle_seconds = true",
        "[pools.a]\nhosts = [1]",
        "[pools.a.fixed]\nresolve_seconds = 1",
        "[pools.a.targets.gauge]\nname = 'x'",
        "[[pools.a.schedule]]\ndays = 'mon'",
        "[pools.a.processes]\ncommand = ['x']\ndata_folder = 'd'\nlimits = { files = 1 }",
    ] {
        assert_ne!(by_schema(text), Vec::<String>::new(), "{text}");
    }
}

/// Settings with the same value in both files of the next test, settings that are compared as a part of another one (`scaling`,
/// `schedule`, `passive`), and secrets.
const SAME_OR_WITH_ANOTHER: [&str; 9] = [
    "slots_per_pod",
    "shrink",
    "rejoin",
    "window",
    "settle_seconds",
    "time_zone",
    "passive_defaults",
    "cookie_keys_file",
    "cookie_keys_env",
];

#[test]
fn a_reload_reports_each_change_by_its_row() {
    let (old, new) = (config(FULL), config(&format!("[pools.consoles]\n{}", PROCESSES.replace(".a.", ".consoles."))));
    let (merged, changes) = merge(&old, new.clone());
    assert_eq!(merged.pools.len(), 1);
    let all = sections();
    for path in ["", "limits", "pools.NAME"] {
        for documented in &section(&all, path).settings {
            let setting = &documented.setting;
            if SAME_OR_WITH_ANOTHER.contains(&setting.key) {
                continue;
            }
            let name = section(&all, path).key(setting.key).replace("NAME", "consoles");
            let (at_once, restart) = (changes.applied.contains(&name), changes.needs_restart.contains(&name));
            assert_eq!((at_once, restart), (setting.live, !setting.live), "{name}: {changes:?}");
        }
    }
    // Settings that need a restart are as before, all others as in the new file.
    assert_eq!((merged.listen, merged.threads), (old.listen, old.threads));
    assert_eq!(merged.limits.header_fields, old.limits.header_fields);
    assert_eq!(merged.limits.header_bytes, new.limits.header_bytes);
    assert_eq!(merged.pools[0].cookie_name, old.pools[0].cookie_name);
    assert_eq!(merged.pools[0].title, new.pools[0].title);
}
