//! The output of `slotkeeper check`.

use super::{FULL, PROCESSES, compare, config};
use slotkeeper::config::describe;

#[test]
fn a_file_with_every_setting_is_described_in_full() {
    compare("tests/config/described.txt", &describe(&config(FULL)));
}

#[test]
fn default_settings_are_not_marked() {
    let told = describe(&config(PROCESSES));
    let marked: Vec<&str> = told.lines().filter(|line| line.starts_with('*')).collect();
    assert_eq!(marked, Vec::<&str>::new());
}

#[test]
fn a_shared_pool_is_described_with_the_defaults_of_shared_pools() {
    let told = describe(&config(&format!("[pools.a]\nslots_per_pod = 9\n{PROCESSES}")));
    let marked: Vec<&str> = told.lines().filter(|line| line.starts_with('*')).collect();
    let [line] = marked.as_slice() else { panic!("{marked:?}") };
    assert!(line.starts_with("* slots_per_pod") && line.ends_with("(default: 1)"), "{line}");
}
