//! Fuzzes the journal's reader with arbitrary folders: it always returns, and its account is consistent.
//!
//! The input is a folder: first a byte whose lowest bit selects whether checksums are corrected (so that the code behind
//! the checksums is reached), then files: a byte for kind and position, two for the length (low byte first), the content.
//!
//! `cargo fuzz run journal corpus/journal seeds/journal -- -max_len=16384`
#![no_main]
#![allow(dead_code, reason = "only the reader is compiled in, so parts of it are unused")]

// The source files themselves, so that no other part of the dispatcher is built with a sanitizer.
#[path = "../../src/journal/file/account.rs"]
mod account;
#[path = "../../src/journal/file/checkpoint.rs"]
mod checkpoint;
#[path = "../../src/journal/file/damage.rs"]
mod damage;
#[path = "../../src/journal/file/line.rs"]
mod line;
#[path = "../../src/journal/file/name.rs"]
mod name;

use libfuzzer_sys::fuzz_target;
use name::Name;
use std::collections::BTreeMap;

fuzz_target!(|input: &[u8]| {
    let Some((mode, input)) = input.split_first() else { return };
    let files = folder(input, mode & 1 == 1);
    let names: Vec<Name> = files.keys().copied().collect();
    for newest in [u64::MAX, 0] {
        let read = account::read(&names, newest, &mut |name| Ok(files[&name].clone()));
        let account = read.expect("memory can be read");
        let again = account::read(&names, newest, &mut |name| Ok(files[&name].clone())).expect("memory can be read");
        assert_eq!((account.position(), &account.damage), (again.position(), &again.damage));
        assert!(account.position() == account.checkpoint() + account.entries.len() as u64);
        if let Some((first, length)) = account.last {
            assert!(length <= files[&Name::Entries(first)].len() as u64);
        }
        if let Some(torn) = &account.torn {
            // A start would cut off exactly the last line of the last file.
            let (first, length) = account.last.expect("a torn record is in a segment");
            assert!(account.damage.is_none() || torn.offset == length);
            let Some((Name::Entries(newest), bytes)) = files.last_key_value() else { panic!("no segment") };
            assert_eq!((*newest, torn.offset), (first, length));
            let rest = &bytes[length as usize..];
            assert!(!rest[..rest.len() - 1].contains(&b'\n'));
        }
    }
});

fn folder(mut input: &[u8], sealed: bool) -> BTreeMap<Name, Vec<u8>> {
    let mut files = BTreeMap::new();
    while let [kind, low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, rest) = rest.split_at(length);
        let position = u64::from(kind >> 1);
        let name = if kind & 1 == 0 { Name::Checkpoint(position) } else { Name::Entries(position + 1) };
        files.insert(name, if sealed { resealed(content) } else { content.to_vec() });
        input = rest;
    }
    files
}

/// Replaces the checksum of every line after the head with the right one.
fn resealed(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines.flat_map(|(number, line)| if number == 0 { line.to_vec() } else { seal(line).unwrap_or(line.to_vec()) }).collect()
}

fn seal(line: &[u8]) -> Option<Vec<u8>> {
    let content = line.get(9..)?.strip_suffix(b"\n")?;
    let space = content.iter().position(|byte| *byte == b' ')?;
    let position = std::str::from_utf8(&content[..space]).ok()?.parse().ok()?;
    Some(line::sealed(position, &content[space + 1..]))
}
