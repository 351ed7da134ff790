//! The rooms of the dispatcher import each other in one direction: from the order that `src/lib.rs` states, a room uses only
//! later ones.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order of the table in `src/lib.rs`.
fn order(map: &str) -> Vec<&str> {
    let rows = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.trim_start_matches('[').strip_prefix('`')?.split('`').next());
    rows.collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn name(text: &str) -> &str {
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    &text[..end]
}

/// The first names of a path after `crate::`, of which there are several in braces: `{a::b, c::{d, e}}`.
fn first_names(text: &str) -> Vec<&str> {
    let Some(group) = text.strip_prefix('{') else { return vec![name(text)] };
    let (mut names, mut depth, mut expects) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            c if expects && !c.is_whitespace() => {
                names.push(name(&group[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    names
}

/// The rooms that a file names, each with its line: by `crate::`, or by as many `super::` as lead out of its own room.
fn named(text: &str, depth: usize) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for (number, line) in text.lines().enumerate() {
        let code = if line.trim_start().starts_with("//") { "" } else { line };
        let crates = code.match_indices("crate::").map(|(i, path)| i + path.len());
        let supers = "super::".repeat(depth);
        let above = code.match_indices(&supers).map(|(i, path)| i + path.len());
        for i in crates.chain(above) {
            found.extend(first_names(&text[at + i..]).into_iter().map(|name| (number + 1, name)));
        }
        at += line.len() + 1;
    }
    found
}

#[test]
fn a_room_imports_only_rooms_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = fs::read_to_string(src.join("lib.rs")).unwrap();
    let rooms = order(&map);
    let declared = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<&str> = declared.filter(|room| !rooms.contains(room)).collect();
    assert!(missing.is_empty(), "the table in src/lib.rs has no row for {missing:?}");

    let (mut all, mut wrong, mut arrows) = (Vec::new(), Vec::new(), 0);
    files(&src, &mut all);
    for file in all {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(from) = rooms.iter().position(|r| *r == room) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        for (line, other) in named(&text, inside.iter().count()) {
            let Some(to) = rooms.iter().position(|r| *r == other).filter(|to| *to != from) else { continue };
            arrows += 1;
            if to < from {
                wrong.push(format!("src/{}:{line}: {room} must not use {other}, which is above it", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(arrows > 100, "only {arrows} imports were found");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::run;\n// crate::ops\nuse crate::{\n    front::visit::{self, ops},\n    fleet,\n};\nlet x = crate::io::now();\n\
                use super::journal::X;\nuse super::super::config::Y;\n";
    assert_eq!(
        named(text, 1),
        [(1, "run"), (3, "front"), (3, "fleet"), (7, "io"), (8, "journal"), (9, "super"), (9, "config")]
    );
    assert_eq!(named(text, 2), [(1, "run"), (3, "front"), (3, "fleet"), (7, "io"), (9, "config")]);
    assert_eq!(order("//! | room |\n//! | [`run`](mod@run) | x |\n//! | [`ops`] | y |\n"), ["run", "ops"]);
}
