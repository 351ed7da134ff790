//! Configuration: the meaning of valid files, and the error messages for invalid ones.

mod described;
mod doubts;
mod examples;
mod mutated;
mod presets;
mod read;
mod schedule;
mod secrets;
mod settings;
mod tls;
mod wrong;

use slotkeeper::config::{Config, parse};
use std::path::Path;

/// A small pool of processes; each test adds the settings that it checks.
const PROCESSES: &str = "[pools.a.processes]\ncommand = ['run']\ndata_folder = 'data'\n";

/// Every setting.
const FULL: &str = include_str!("config/full.toml");

fn config(text: &str) -> Config {
    match parse(text, "file", Path::new("/etc/slotkeeper")) {
        Ok(config) => config,
        Err(error) => panic!("{error}\n---\n{text}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    match parse(text, "file", Path::new("/etc/slotkeeper")) {
        Ok(_) => panic!("nothing is wrong with:\n{text}"),
        Err(error) => error.problems,
    }
}
