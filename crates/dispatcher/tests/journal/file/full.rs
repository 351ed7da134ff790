//! A disk that refuses writes: entries wait, in order, and none is lost or left half written.

use super::{clock, draft, drafts, names, read, segment};
use slotkeeper::journal::file;
use slotkeeper::journal::file::disk::{Disk, DiskStep};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// The steps that fail from now on, and the number of failures.
#[derive(Clone, Default)]
struct Troubles {
    steps: Arc<Mutex<Vec<(DiskStep, io::ErrorKind)>>>,
    failed: Arc<AtomicU32>,
}

impl Troubles {
    fn disk(&self) -> Disk {
        let troubles = self.clone();
        Disk::with(Arc::new(move |step, path: &Path| {
            let kind = troubles.steps.lock().unwrap().iter().find(|(s, _)| *s == step).map(|(_, kind)| *kind);
            let Some(kind) = kind else { return Ok(()) };
            troubles.failed.fetch_add(1, Ordering::Relaxed);
            if step == DiskStep::Append {
                // As on a disk that becomes full during a write: a part of the record is written.
                std::fs::OpenOptions::new().append(true).open(path)?.write_all(b"0123 half a rec")?;
            }
            Err(kind.into())
        }))
    }

    fn are(&self, steps: &[(DiskStep, io::ErrorKind)]) {
        *self.steps.lock().unwrap() = steps.to_vec();
    }

    async fn until(&self, failures: u32) {
        while self.failed.load(Ordering::Relaxed) < failures {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

const FULL: io::ErrorKind = io::ErrorKind::StorageFull;

#[tokio::test(start_paused = true)]
async fn entries_wait_for_a_full_disk_and_arrive_in_order() {
    for step in [DiskStep::Append, DiskStep::Sync, DiskStep::Cut] {
        let dir = tempfile::tempdir().unwrap();
        let troubles = Troubles::default();
        let mut journal = file::open_on(troubles.disk(), dir.path(), clock()).unwrap();
        journal.append.append(drafts(1..=3)).await.unwrap();
        // A cut happens only after a failed write.
        troubles.are(&[(DiskStep::Append, FULL), (step, FULL)]);
        if step == DiskStep::Sync {
            troubles.are(&[(step, io::ErrorKind::Other)]);
        }
        let collectors = journal.collectors;
        let mut append = journal.append;
        let waiting = tokio::spawn(async move {
            append.append(drafts(4..=6)).await.unwrap();
            append.append(vec![draft(7)]).await.unwrap();
            append
        });
        troubles.until(4).await;
        assert!(!waiting.is_finished());
        if step == DiskStep::Cut {
            troubles.are(&[(step, FULL)]);
            troubles.until(6).await;
            assert!(!waiting.is_finished());
        }
        troubles.are(&[]);
        drop(waiting.await.unwrap());
        let registry = prometheus_text(collectors);
        assert!(registry.contains("slotkeeper_journal_entries_total 7"), "{registry}");
        assert!(registry.contains("slotkeeper_journal_errors_total{step="), "{registry}");
        drop((journal.follow, journal.keep));
        let mut journal = file::open(dir.path(), clock()).unwrap();
        assert_eq!(read(&mut journal, 7).await.numbers(), [1, 2, 3, 4, 5, 6, 7], "{step:?}");
        // No torn record had to be cut off.
        assert_eq!(names(dir.path()), ["entries-00000000000000000001", "lock"]);
    }
}

fn prometheus_text(collectors: Vec<Box<dyn prometheus::core::Collector>>) -> String {
    let registry = prometheus::Registry::new();
    for collectors in collectors {
        registry.register(collectors).unwrap();
    }
    prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn entries_are_read_back_only_after_they_are_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let troubles = Troubles::default();
    let mut journal = file::open_on(troubles.disk(), dir.path(), clock()).unwrap();
    troubles.are(&[(DiskStep::Sync, io::ErrorKind::Other)]);
    let (mut append, mut follow) = (journal.append, journal.follow);
    tokio::spawn(async move { append.append(drafts(1..=1)).await });
    troubles.until(2).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), follow.next()).await;
    assert!(early.is_err(), "{early:?}");
    troubles.are(&[]);
    assert!(follow.next().await.is_ok());
    journal.keep = None;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_written_leaves_the_journal_unchanged() {
    for step in [DiskStep::Create, DiskStep::Name] {
        let dir = tempfile::tempdir().unwrap();
        let troubles = Troubles::default();
        let mut journal = file::open_on(troubles.disk(), dir.path(), clock()).unwrap();
        journal.append.append(drafts(1..=5)).await.unwrap();
        let fleet = read(&mut journal, 5).await.fleet;
        troubles.are(&[(step, FULL)]);
        let error = anyhow::Error::new(journal.keep.as_mut().unwrap().keep(fleet.clone().into()).await.unwrap_err());
        let expected = format!("cannot begin a new segment in {}: no storage space", dir.path().display());
        assert_eq!(format!("{error:#}"), expected);
        journal.append.append(drafts(6..=7)).await.unwrap();
        troubles.are(&[]);
        // The name of the new segment must not remain: it would contradict the old segment, to which entries were added.
        let segments =
            std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        assert_eq!(segments.filter(|name| name.starts_with("entries-")).count(), 1);
        journal.keep.as_mut().unwrap().keep(fleet.into()).await.unwrap();
        drop(journal);
        let mut journal = file::open(dir.path(), clock()).unwrap();
        let again = read(&mut journal, 7).await;
        assert_eq!((again.state, again.numbers()), (Some(5), vec![6, 7]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_segment_does_not_leave_a_torn_one_behind() {
    let dir = tempfile::tempdir().unwrap();
    let troubles = Troubles::default();
    let mut journal = file::open_on(troubles.disk(), dir.path(), clock()).unwrap();
    journal.append.append(drafts(1..=3)).await.unwrap();
    let fleet = read(&mut journal, 3).await.fleet;
    troubles.are(&[(DiskStep::Append, FULL)]);
    let mut append = journal.append;
    let waiting = tokio::spawn(async move { append.append(drafts(4..=5)).await.unwrap() });
    troubles.until(2).await;
    // A checkpoint is written meanwhile, and then there is space again.
    journal.keep.as_mut().unwrap().keep(fleet.into()).await.unwrap();
    troubles.are(&[]);
    waiting.await.unwrap();
    assert!(std::fs::read(segment(dir.path(), 1)).unwrap().ends_with(b"]\n"));
    drop((journal.follow, journal.keep));
    let again = read(&mut file::open(dir.path(), clock()).unwrap(), 5).await;
    assert_eq!((again.state, again.numbers()), (Some(3), vec![4, 5]));
}

/// Runs in its own process with a file size limit of 16 KiB, to get the errors of a real file system.
#[test]
fn the_journal_waits_while_a_real_file_size_limit_holds() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact journal::file::full::under_a_real_limit --ignored";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SLOTKEEPER_TEST_FOLDER", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the_journal_waits_while_a_real_file_size_limit_holds, under a limit"]
async fn under_a_real_limit() {
    let folder = std::env::var("SLOTKEEPER_TEST_FOLDER").unwrap();
    let folder = Path::new(&folder);
    let mut journal = file::open(folder, clock()).unwrap();
    let mut last = 0;
    loop {
        let batch = drafts(last + 1..=last + 9);
        let attempt = tokio::time::timeout(std::time::Duration::from_secs(10), journal.append.append(batch)).await;
        if attempt.is_err() {
            break;
        }
        last += 9;
    }
    assert!(last > 18, "{last}");
    let fleet = read(&mut journal, last).await.fleet;
    // A new segment begins, and it is small: there is room again. (For the checkpoint there may be too little.)
    let _ = journal.keep.as_mut().unwrap().keep(fleet.into()).await;
    journal.append.append(drafts(last + 1..=last + 9)).await.unwrap();
    drop(journal);
    let again = read(&mut file::open(folder, clock()).unwrap(), last + 9).await;
    assert_eq!(again.fleet.applied(), last + 9);
    assert!(again.numbers().ends_with(&(last + 1..=last + 9).collect::<Vec<_>>()));
}
