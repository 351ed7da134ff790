//! The simulation's three products depend on each other in one direction only: models, planner, proof. The models need
//! nothing else; the planner needs neither the simulated network nor the dispatcher's crate.

use std::path::{Path, PathBuf};

/// Words that no source file of a product may contain, outside of comments.
const FORBIDDEN: [(&str, &[&str]); 2] = [
    ("models", &["turmoil", "slotkeeper::", "tokio", "crate::planner", "crate::proof", "crate::configured"]),
    ("planner", &["turmoil", "slotkeeper::", "tokio", "crate::proof", "crate::configured"]),
];

fn sources(at: &Path, all: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in std::fs::read_dir(at).expect("a folder of sources").map_while(Result::ok) {
            sources(&entry.path(), all);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        all.push(at.to_owned());
    }
}

/// Returns the forbidden words of a text, by line.
fn found<'a>(text: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let code = text.lines().zip(1..).filter(|(line, _)| !line.trim_start().starts_with("//"));
    code.flat_map(|(line, number)| words.iter().filter(|word| line.contains(*word)).map(move |word| (number, *word)))
        .collect()
}

#[test]
fn models_and_planner_import_nothing_from_above() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (product, words) in FORBIDDEN {
        let mut files = Vec::new();
        sources(&source.join(product), &mut files);
        sources(&source.join(format!("{product}.rs")), &mut files);
        assert!(files.len() > 20, "{product}: only {} files", files.len());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let found = found(&text, words);
            assert!(found.is_empty(), "{}: {found:?}", file.display());
        }
    }
}

#[test]
fn an_import_from_above_is_noticed() {
    let text = "//! Not `slotkeeper::run`.\nuse slotkeeper_core::Rules;\nuse slotkeeper::run;\nuse turmoil::Sim;\n";
    assert_eq!(found(text, FORBIDDEN[1].1), [(3, "slotkeeper::"), (4, "turmoil")]);
}

/// A file or function that is too long to be read at once belongs into two.
#[test]
fn no_source_file_is_longer_than_500_lines() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        let lines = std::fs::read_to_string(&file).expect("a source file").lines().count();
        assert!(lines <= 500, "{}: {lines} lines", file.display());
    }
}
