//! The error messages for invalid files, word for word.

mod file;
mod listeners;
mod pods;
mod process;
mod scaling;
mod together;
mod visitors;

use super::{PROCESSES, problems};
use std::fmt::Write;

/// Name of the case, the file (`{PROCESSES}` stands for the three lines of a valid pool's pods), and all expected messages.
type Case = (&'static str, &'static str, &'static [&'static str]);

#[test]
fn every_problem_is_reported_with_its_line() {
    let mut different = String::new();
    let all =
        [file::CASES, listeners::CASES, process::CASES, visitors::CASES, scaling::CASES, pods::CASES, together::CASES];
    for (name, text, expected) in all.concat() {
        let said = problems(&text.replace("{PROCESSES}\n", PROCESSES));
        if said != expected {
            let _ = writeln!(different, "{name}:\n  expected {expected:#?}\n  but found {said:#?}");
        }
    }
    assert!(different.is_empty(), "{different}");
}
