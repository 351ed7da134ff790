//! Configuration: the meaning of valid files, and the error messages for invalid ones.

mod described;
mod doubts;
mod examples;
mod http2;
mod mutated;
mod presets;
mod read;
mod schedule;
mod secrets;
mod settings;
mod tls;
mod wrong;

use slotkeeper::config::{Config, parse};
use std::path::{Path, PathBuf};

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

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a file with what it should contain; with `SLOTKEEPER_WRITE=1` in the environment, writes it.
fn compare(name: &str, wanted: &str) {
    let path = here(name);
    if std::env::var_os("SLOTKEEPER_WRITE").is_some_and(|set| set == "1") {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let first = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
    let how = "SLOTKEEPER_WRITE=1 cargo test -p slotkeeper --test dispatcher config";
    assert!(
        found == wanted,
        "{name} is not what the settings say; to write it with\n  {how}\nfirst difference: {first:#?}"
    );
}
