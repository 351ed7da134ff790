//! The parser answers any file with a configuration or with errors, never with a panic.

use super::FULL;
use slotkeeper::config::{describe, parse};
use std::path::Path;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

const PIECES: [&str; 36] = [
    "",
    "=",
    "\n",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "'",
    "\"",
    "#",
    ".",
    ",",
    "0",
    "-1",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "true",
    "99999999999999999999",
    "0x_",
    "1979-05-27",
    "08:00:00",
    "\u{0}",
    "ä€😀",
    "\r",
    "\\u0000",
    "'off'",
    "'%'",
    "[]",
    "{}",
    "[pools.b.fixed]\n",
    "[pools.consoles]\n",
    "pools = 3\n",
];

#[test]
fn randomly_changed_files_do_not_panic() {
    let mut dice = Dice(7);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..2000 {
        let mut text = FULL.to_owned();
        for _ in 0..=dice.below(3) {
            let edges: Vec<usize> = text.char_indices().map(|(n, _)| n).chain([text.len()]).collect();
            let from = edges[dice.below(edges.len())];
            let longest = [0, 1, 3, 40][dice.below(4)];
            let to = edges.iter().copied().find(|n| *n >= from + longest).unwrap_or(text.len());
            text.replace_range(from..to, PIECES[dice.below(PIECES.len())]);
        }
        match parse(&text, "file", Path::new("/nowhere")) {
            Ok(config) => {
                good += 1;
                assert!(!describe(&config).is_empty());
            }
            Err(error) => {
                bad += 1;
                assert!(error.problems.iter().all(|problem| problem.starts_with("file:")), "{error}");
                assert!(!error.problems.is_empty(), "no problem is reported for:\n{text}");
            }
        }
    }
    assert!(good > 20 && bad > 1000, "{good} good files and {bad} bad ones do not test much");
}

#[test]
fn unusual_values_of_every_key_do_not_panic() {
    for key in slotkeeper::config::file::keys() {
        let key = key.replace('*', "a");
        for value in
            ["-1", "0", "1", "1e300", "nan", "''", "'x'", "[]", "['']", "[[]]", "{}", "true", "1979-05-27", "'\\u0000'"]
        {
            let _ = parse(&format!("{key} = {value}\n"), "file", Path::new("/nowhere"));
        }
    }
}

#[test]
fn deeply_nested_and_long_files_do_not_panic() {
    let _ = parse(&"[".repeat(100_000), "file", Path::new(""));
    let _ = parse(&format!("a = {}", "[".repeat(100_000)), "file", Path::new(""));
    let _ = parse(&format!("[{}]", "a.".repeat(50_000)), "file", Path::new(""));
    let text: String = (0..2000).map(|n| format!("unknown_{n} = 1\n")).collect();
    assert_eq!(super::problems(&text).len(), 2001, "one for each key, and one for the missing pool");
}
