//! Writing entries, reading them after a restart, and checkpoints.

use super::{START, checkpoint, clock, draft, drafts, names, read, refusal, segment, written};
use slotkeeper::io::Clock;
use slotkeeper::journal::file::{self, OpenError};
use slotkeeper_core::Time;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn entries_are_read_back_in_order_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deep/journal");
    let mut journal = file::open(&folder, clock()).unwrap();
    journal.append.append(drafts(1..=3)).await.unwrap();
    journal.append.append(drafts(4..=300)).await.unwrap();
    let live = read(&mut journal, 300).await;
    assert_eq!(live.numbers(), (1..=300).collect::<Vec<_>>());
    drop(journal);

    let mut journal = file::open(&folder, clock()).unwrap();
    let again = read(&mut journal, 300).await;
    assert_eq!((again.state, &again.entries), (None, &live.entries));
    assert_eq!(serde_json::to_string(&again.fleet).unwrap(), serde_json::to_string(&live.fleet).unwrap());
    journal.append.append(vec![draft(301)]).await.unwrap();
    assert_eq!(read(&mut journal, 1).await.numbers(), [301]);
}

#[tokio::test]
async fn journal_files_contain_session_secrets_and_are_readable_by_the_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("journal");
    written(&folder, 2).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in names(&folder) {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn journal_time_never_goes_back_even_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = file::open(dir.path(), clock()).unwrap();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    journal.append.append(vec![draft(1)]).await.unwrap();
    drop(journal);
    // The wall clock has been set back.
    let mut journal = file::open(dir.path(), Clock::starting_at(Time(START.0 - 60_000))).unwrap();
    journal.append.append(vec![draft(2)]).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
    journal.append.append(vec![draft(3)]).await.unwrap();
    let read = read(&mut journal, 3).await;
    let times: Vec<u64> = read.entries.iter().map(|e| e.at.0 - START.0).collect();
    assert!(times[0] >= 5000 && times[1] >= times[0], "{times:?}");
    // The journal's time continues without waiting for the clock to catch up.
    assert!((7000..8000).contains(&(times[2] - times[1])), "{times:?}");
}

#[tokio::test]
async fn a_start_begins_at_the_newest_checkpoint_and_only_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut journal = file::open(folder, clock()).unwrap();
    let mut fleet = slotkeeper_core::Fleet::new();
    for number in 1..=50 {
        journal.append.append(vec![draft(number)]).await.unwrap();
        let slotkeeper::journal::ReadResult::Entries(entries) = journal.follow.next().await.unwrap() else { panic!() };
        let _ = fleet.apply(&entries[0]);
        if number % 10 == 5 {
            journal.keep.as_mut().unwrap().keep(fleet.clone().into()).await.unwrap();
        }
    }
    let path = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let expected = [
        path(checkpoint(folder, 35)),
        path(checkpoint(folder, 45)),
        path(segment(folder, 36)),
        path(segment(folder, 46)),
        "lock".to_owned(),
    ];
    assert_eq!(names(folder), expected);
    drop(journal);

    let mut journal = file::open(folder, clock()).unwrap();
    let again = read(&mut journal, 50).await;
    assert_eq!((again.state, again.numbers()), (Some(45), (46..=50).collect()));
    assert_eq!(serde_json::to_string(&again.fleet).unwrap(), serde_json::to_string(&fleet).unwrap());
}

#[tokio::test]
async fn a_late_checkpoint_does_not_lose_the_entries_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = file::open(dir.path(), clock()).unwrap();
    journal.append.append(drafts(1..=10)).await.unwrap();
    let early = read(&mut journal, 10).await.fleet;
    journal.append.append(drafts(11..=20)).await.unwrap();
    let keep = journal.keep.as_mut().unwrap();
    keep.keep(early.clone().into()).await.unwrap();
    // The same state again, and an older one: neither changes anything.
    keep.keep(early.into()).await.unwrap();
    keep.keep(slotkeeper_core::Fleet::new().into()).await.unwrap();
    journal.append.append(drafts(21..=22)).await.unwrap();
    drop(journal);
    let mut journal = file::open(dir.path(), clock()).unwrap();
    let again = read(&mut journal, 22).await;
    assert_eq!((again.state, again.numbers()), (Some(10), (11..=22).collect()));
}

#[tokio::test]
async fn two_processes_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let journal = file::open(dir.path(), clock()).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::InUse { .. }));
    let me = std::process::id();
    let expected = format!("{} is in use by process {me}; choose another folder or stop it", dir.path().display());
    assert_eq!(error.to_string(), expected);
    drop(journal);
    assert!(file::open(dir.path(), clock()).is_ok());
}

#[tokio::test]
async fn unfinished_files_are_removed_and_foreign_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3).await;
    for name in ["new-checkpoint-00000000000000000003", "lost+found", "entries-4", "new-notes"] {
        std::fs::write(dir.path().join(name), "?").unwrap();
    }
    let mut journal = file::open(dir.path(), clock()).unwrap();
    assert_eq!(read(&mut journal, 3).await.numbers(), [1, 2, 3]);
    let expected = ["entries-00000000000000000001", "entries-4", "lock", "lost+found", "new-notes"];
    assert_eq!(names(dir.path()), expected);
}
