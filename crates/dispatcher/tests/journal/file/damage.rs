//! The table of bad journals: message and outcome.

use super::{checkpoint, clock, draft, names, read, refusal, segment, written};
use slotkeeper::journal::file::{self, line};
use slotkeeper_core::{Command, Entry};
use std::fs;
use std::path::Path;

/// What to do about it, as the message ends.
fn restore(folder: &Path, entries: u64) -> String {
    format!(
        "; restore it from a backup, or `slotkeeper journal repair {}` keeps it up to entry {entries} and moves the rest aside",
        folder.display()
    )
}

fn refused(folder: &Path, what: &str, entries: u64) {
    let expected = format!(
        "the journal in {} is refused, and left as it is: {what}{}",
        folder.display(),
        restore(folder, entries)
    );
    assert_eq!(refusal(folder).to_string(), expected);
}

/// Where each line begins, and where the last one ends.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let breaks = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(breaks).collect()
}

#[tokio::test]
async fn truncated_at_every_byte_of_the_last_record_it_is_cut_and_saved() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 4).await;
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    let last = starts(&whole)[4];
    for length in last..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let mut journal = file::open(dir.path(), clock()).unwrap();
        assert_eq!(read(&mut journal, 3).await.numbers(), [1, 2, 3], "{length}");
        assert_eq!(fs::read(&file).unwrap(), whole[..last]);
        let saved = dir.path().join("torn-00000000000000000004");
        assert_eq!(fs::read(&saved).unwrap_or_default(), whole[last..length]);
        journal.append.append(vec![draft(4)]).await.unwrap();
        drop(journal);
        let mut journal = file::open(dir.path(), clock()).unwrap();
        assert_eq!(read(&mut journal, 4).await.numbers(), [1, 2, 3, 4], "{length}");
    }
}

#[tokio::test]
async fn a_bit_flipped_anywhere_in_an_early_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 5).await;
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    let starts = starts(&whole);
    for at in starts[2]..starts[3] {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&file, &bytes).unwrap();
            let what = format!("entries-00000000000000000001, line 3 (byte {}): the checksum is wrong", starts[2]);
            refused(dir.path(), &what, 1);
        }
    }
}

#[tokio::test]
async fn a_bit_flipped_in_the_last_record_costs_that_record_at_most() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3).await;
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    let last = starts(&whole)[3];
    for at in last..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        // A flip that makes a line break is not what a crash leaves.
        match file::open(dir.path(), clock()) {
            Ok(mut journal) => assert_eq!(read(&mut journal, 2).await.numbers(), [1, 2]),
            Err(error) => assert!(error.to_string().contains("line 4"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_head_that_is_damaged_costs_nothing_while_what_follows_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3).await;
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    bytes[3] ^= 4;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(read(&mut file::open(dir.path(), clock()).unwrap(), 3).await.numbers(), [1, 2, 3]);
}

#[tokio::test]
async fn foreign_empty_and_newer_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 2).await;
    let file = segment(dir.path(), 1);
    let name = "entries-00000000000000000001";
    let foreign = "this is not a journal's file: it begins with something else";
    for content in [&b"PK\x03\x04\xff\xfe"[..], b"\n", b"one\ntwo\nthree\n", &[0; 4096]] {
        fs::write(&file, content).unwrap();
        refused(dir.path(), &format!("{name}, line 1 (byte 0): {foreign}"), 0);
    }
    fs::write(&file, "").unwrap();
    refused(dir.path(), &format!("{name}, line 1 (byte 0): the file is empty"), 0);

    fs::write(&file, "slotkeeper-entries 2 1\nwhatever\n").unwrap();
    let newer =
        "it is of format 2, and this version of slotkeeper reads up to 1; run the version of slotkeeper that wrote it";
    let message = refusal(dir.path()).to_string();
    assert!(message.contains(&format!("{name}, line 1 (byte 0): {newer}")), "{message}");
}

#[tokio::test]
async fn a_command_that_this_version_does_not_know_is_refused_even_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 2).await;
    let file = segment(dir.path(), 1);
    let mut bytes = fs::read(&file).unwrap();
    let offset = bytes.len();
    bytes.extend(line::sealed(3, br#"[{"at":1,"from":7,"number":3,"pool":"games","command":{"Levitate":{"pod":3}}}]"#));
    fs::write(&file, &bytes).unwrap();
    let message = refusal(dir.path()).to_string();
    let what = format!(
        "entries-00000000000000000001, line 4 (byte {offset}): whole, but of something that this version of slotkeeper does not know: \
         unknown variant `Levitate`"
    );
    assert!(message.contains(&what), "{message}");
    assert!(message.contains("run the version of slotkeeper that wrote it"), "{message}");
}

/// Checkpoints at 5 and 15, entries up to 20.
async fn kept(folder: &Path) {
    let mut journal = file::open(folder, clock()).unwrap();
    let mut fleet = slotkeeper_core::Fleet::new();
    for number in 1..=20 {
        journal.append.append(vec![draft(number)]).await.unwrap();
        let slotkeeper::journal::News::Entries(entries) = journal.follow.next().await.unwrap() else { panic!() };
        let _ = fleet.apply(&entries[0]);
        if number % 10 == 5 {
            journal.keep.as_mut().unwrap().keep(fleet.clone()).await.unwrap();
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_newest_checkpoint_is_made_up_for_by_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    flip(&checkpoint(dir.path(), 15), 100);
    let mut journal = file::open(dir.path(), clock()).unwrap();
    let again = read(&mut journal, 20).await;
    assert_eq!((again.state, again.numbers()), (Some(5), (6..=20).collect()));
    assert!(names(dir.path()).contains(&"damaged-checkpoint-00000000000000000015".to_owned()));
}

#[tokio::test]
async fn a_lone_damaged_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    fs::remove_file(checkpoint(dir.path(), 5)).unwrap();
    flip(&checkpoint(dir.path(), 15), 100);
    refused(dir.path(), "checkpoint-00000000000000000015, line 2 (byte 27): the checksum is wrong", 0);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    let aside = dir.path().join("aside");
    for (path, what, entries) in [
        (segment(dir.path(), 16), "entries-00000000000000000006: the entries end with 15, but", 0),
        (checkpoint(dir.path(), 15), "", 20),
        (segment(dir.path(), 6), "", 20),
    ] {
        fs::rename(&path, &aside).unwrap();
        let outcome = file::open(dir.path(), clock()).err().map(|e| e.to_string());
        println!("{} {what} {entries} {outcome:?}", path.display());
        fs::rename(&aside, &path).unwrap();
    }
}

#[tokio::test]
async fn damage_that_a_checkpoint_covers_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = file::open(dir.path(), clock()).unwrap();
    for number in 1..=10 {
        journal.append.append(vec![draft(number)]).await.unwrap();
    }
    let fleet = read(&mut journal, 5).await.fleet;
    assert!(fleet.applied() >= 5);
    drop(journal);
    let _ = (Command::Tick, Entry::SEMANTICS);
}
