//! Damaged journals: error message and outcome for each kind of damage.

use super::{START, checkpoint, clock, draft, names, read, refusal, segment, written};
use slotkeeper::io::Clock;
use slotkeeper::journal::file::{self, line};
use std::fs;
use std::path::Path;

/// The advice at the end of the message.
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
async fn a_last_record_truncated_at_any_byte_is_cut_off_and_saved() {
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
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, &bytes).unwrap();
        let flaw = match at + 1 == starts[3] {
            true => "a complete record, followed by something else where the line should end",
            false => "the checksum is wrong",
        };
        let what = format!("entries-00000000000000000001, line 3 (byte {}): {flaw}", starts[2]);
        refused(dir.path(), &what, 1);
    }
}

#[tokio::test]
async fn a_bit_flipped_in_the_last_record_loses_that_record_at_most() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3).await;
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    let last = starts(&whole)[3];
    for at in last..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        // A bit flip that makes a line break cannot result from a crash, so it may be refused.
        match file::open(dir.path(), clock()) {
            Ok(mut journal) => assert_eq!(read(&mut journal, 2).await.numbers(), [1, 2]),
            Err(error) => assert!(error.to_string().contains("line 4"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_lost_line_break_does_not_drop_an_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 4).await;
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    let starts = starts(&whole);
    let mut bytes = whole.clone();
    bytes[starts[4] - 1] = b' ';
    let merged = format!(
        "entries-00000000000000000001, line 4 (byte {}): a complete record, followed by something else where the line should end",
        starts[3]
    );
    // For any remaining length of the record behind it.
    for length in [starts[4] + 1, starts[4] + 30, whole.len()] {
        fs::write(&file, &bytes[..length]).unwrap();
        refused(dir.path(), &merged, 2);
    }
    // But the line break of the last record may be in a block that did not reach the disk.
    fs::write(&file, &bytes[..starts[4]]).unwrap();
    assert_eq!(read(&mut file::open(dir.path(), clock()).unwrap(), 2).await.numbers(), [1, 2]);
}

#[tokio::test]
async fn a_damaged_head_is_accepted_if_the_rest_is_intact() {
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
        "entries-00000000000000000001, line 4 (byte {offset}): intact, but with something that this version of slotkeeper does not know: \
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
        let slotkeeper::journal::ReadResult::Entries(entries) = journal.follow.next().await.unwrap() else { panic!() };
        let _ = fleet.apply(&entries[0]);
        if number % 10 == 5 {
            journal.keep.as_mut().unwrap().keep(fleet.clone().into()).await.unwrap();
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn if_the_newest_checkpoint_is_damaged_the_one_before_is_used() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    flip(&checkpoint(dir.path(), 15), 100);
    let mut journal = file::open(dir.path(), clock()).unwrap();
    let again = read(&mut journal, 20).await;
    assert_eq!((again.state, again.numbers()), (Some(5), (6..=20).collect()));
    assert!(names(dir.path()).contains(&"damaged-checkpoint-00000000000000000015".to_owned()));
}

#[tokio::test]
async fn a_damaged_checkpoint_without_an_older_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    fs::remove_file(checkpoint(dir.path(), 5)).unwrap();
    flip(&checkpoint(dir.path(), 15), 100);
    refused(dir.path(), "checkpoint-00000000000000000015, line 2 (byte 27): the checksum is wrong", 0);
}

#[tokio::test]
async fn missing_files_are_named_in_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    kept(folder).await;
    let whole = super::contents(folder);
    let (old, new) = ("checkpoint-00000000000000000005", "checkpoint-00000000000000000015");
    let (early, late) = ("entries-00000000000000000006", "entries-00000000000000000016");
    let no_end = format!("{new}: no segment begins after this checkpoint: the end of the journal is missing");
    let beginning = |from| format!("{late}, line 1 (byte 0): entries {from} to 15 are missing before it");
    // Removed files; the refusal; the last entry that can be read, or that a repair would keep.
    let table: &[(&[&str], Option<&str>, u64)] = &[
        (&[old], None, 20),
        (&[new], None, 20),
        (&[early], None, 20),
        (&[old, early], None, 20),
        (&[late], Some(&no_end), 15),
        (&[early, late], Some(&no_end), 15),
        (&[old, new], Some(&format!("{early}, line 1 (byte 0): entries 1 to 5 are missing before it")), 0),
        (&[new, early], Some(&beginning(6)), 5),
        (&[old, new, early], Some(&beginning(1)), 0),
        (&[old, new, early, late], None, 0),
    ];
    for (missing, refusal, position) in table {
        for (name, content) in &whole {
            fs::write(folder.join(name), content).unwrap();
        }
        for name in *missing {
            fs::remove_file(folder.join(name)).unwrap();
        }
        match refusal {
            Some(what) => refused(folder, what, *position),
            None => {
                let mut journal = file::open(folder, clock()).unwrap();
                assert_eq!(read(&mut journal, *position).await.fleet.applied(), *position, "{missing:?}");
            }
        }
        for name in names(folder) {
            fs::remove_file(folder.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn damage_before_the_checkpoint_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    // In the segment that only the older checkpoint needs.
    flip(&segment(dir.path(), 6), 200);
    assert_eq!(read(&mut file::open(dir.path(), clock()).unwrap(), 20).await.state, Some(15));
    // And in the one that both need, before the checkpoint.
    let dir = tempfile::tempdir().unwrap();
    let mut journal = file::open(dir.path(), clock()).unwrap();
    for number in 1..=5 {
        journal.append.append(vec![draft(number)]).await.unwrap();
    }
    let fleet = read(&mut journal, 5).await.fleet;
    journal.append.append(vec![draft(6)]).await.unwrap();
    journal.keep.as_mut().unwrap().keep(fleet.into()).await.unwrap();
    journal.append.append(vec![draft(7)]).await.unwrap();
    drop(journal);
    flip(&segment(dir.path(), 1), 200);
    let again = read(&mut file::open(dir.path(), clock()).unwrap(), 7).await;
    assert_eq!((again.state, again.numbers()), (Some(5), vec![6, 7]));
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    fs::write(&path, "").unwrap();
    let at = path.display();
    let error = |path: &Path| {
        let error = anyhow::Error::new(file::open(path, Clock::starting_at(START)).err().unwrap());
        format!("{error:#}")
    };
    assert_eq!(error(&path), format!("{at} is not a folder: name a folder for the journal (it is created if missing)"));
    let below = path.join("deeper");
    assert_eq!(error(&below), format!("cannot make the folder {}: Not a directory (os error 20)", below.display()));
}

#[tokio::test]
async fn an_empty_folder_is_a_new_journal() {
    let dir = tempfile::tempdir().unwrap();
    drop(file::open(dir.path(), clock()).unwrap());
    // Opened, and never written to.
    let mut journal = file::open(dir.path(), clock()).unwrap();
    journal.append.append(vec![draft(1)]).await.unwrap();
    assert_eq!(read(&mut journal, 1).await.numbers(), [1]);
}

/// A power loss can restore a segment whose creation had failed, after which the older segment was used.
#[tokio::test]
async fn an_abandoned_segment_without_entries_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 4).await;
    let abandoned = segment(dir.path(), 3);
    let head = line::head(file::name::Name::Entries(3));
    fs::write(&abandoned, &head).unwrap();
    let mut journal = file::open(dir.path(), clock()).unwrap();
    assert_eq!(read(&mut journal, 4).await.numbers(), [1, 2, 3, 4]);
    assert!(!abandoned.exists());
    journal.append.append(vec![draft(5)]).await.unwrap();
    drop(journal);
    let mut journal = file::open(dir.path(), clock()).unwrap();
    assert_eq!(read(&mut journal, 5).await.numbers(), [1, 2, 3, 4, 5]);
    drop(journal);
    // A segment with anything behind its head is not removed.
    fs::write(&abandoned, [&head[..], b"x"].concat()).unwrap();
    refused(
        dir.path(),
        "entries-00000000000000000003, line 1 (byte 0): it begins with entry 3 again: 6 would be the next",
        5,
    );
}
