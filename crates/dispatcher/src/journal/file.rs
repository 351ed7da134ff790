//! A journal in a folder on this machine's disk: for one dispatcher, which finds its state there after a restart.
//!
//! ```text
//! lock                              held by the process that writes; contains its process id
//! entries-00000000000000004097      a segment: entries from this position on, one batch per line (`line.rs`)
//! checkpoint-00000000000000004096   the state after this number of entries
//! ```
//!
//! A batch counts when it is on the disk: only then is it acknowledged and read back. One batch is written at a time, so a
//! crash can only tear the last record, which was never acknowledged. Any other inconsistency is not guessed at: the journal
//! is refused and left as it is, and a person decides whether to run `repair`. See `account.rs` for what can be read,
//! OPERATING.md for what each kind of damage means.

pub mod account;
mod appending;
mod checkpoint;
pub mod damage;
pub mod disk;
mod folder;
mod keeping;
pub mod line;
mod lock;
pub mod name;
mod tail;
pub mod tool;

use self::account::Account;
use self::appending::Writer;
use self::damage::Damage;
use self::disk::Disk;
use self::keeping::Keeper;
use self::name::{DAMAGED, Name, torn_name};
use self::tail::Tail;
use super::metrics::JournalMetrics;
use super::{Follow, Journal, JournalError, ReadResult};
use crate::io::{BoxFuture, Clock};
use slotkeeper_core::{Entry, Fleet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Why a journal in a folder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system reports an error.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The operation, such as "read".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// Something else has this path.
    #[error("{} is not a folder: name a folder for the journal (it is created if missing)", .0.display())]
    NotAFolder(PathBuf),
    /// For commands that create none.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// Another process holds its lock.
    #[error("{} is in use by process {process}; choose another folder or stop it", folder.display())]
    InUse {
        /// The folder of the journal.
        folder: PathBuf,
        /// Its process id, or "(unknown)".
        process: String,
    },
    /// Entries are missing or wrong.
    #[error("the journal in {} is refused, and left as it is: {damage}; {}", folder.display(), remedy(folder, damage, *entries))]
    Damaged {
        /// The folder of the journal.
        folder: PathBuf,
        /// The first damage.
        damage: Damage,
        /// Intact entries before it.
        entries: u64,
    },
    /// A metric of the journal exists already.
    #[error("duplicate metric name of the journal")]
    Metrics(#[from] prometheus::Error),
}

fn remedy(folder: &Path, damage: &Damage, entries: u64) -> String {
    let folder = folder.display();
    let version = match damage.flaw.is_foreign_version() {
        true => "run the version of slotkeeper that wrote it; if that is impossible, ",
        false => "restore it from a backup, or ",
    };
    format!("{version}`slotkeeper journal repair {folder}` keeps it up to entry {entries} and moves the rest aside")
}

/// Opens the journal in this folder, which is created if it does not exist.
///
/// # Errors
/// When the folder cannot be used, or its files cannot be read to the end. In that case nothing has been changed.
pub fn open(folder: &Path, clock: Clock) -> Result<Journal, OpenError> {
    open_on(Disk::default(), folder, clock)
}

/// As [`open`], on a disk that a test can make fail.
///
/// # Errors
/// As [`open`].
pub fn open_on(disk: Disk, folder: &Path, clock: Clock) -> Result<Journal, OpenError> {
    if disk.is_folder(folder) == Some(false) {
        return Err(OpenError::NotAFolder(folder.to_owned()));
    }
    disk.make_folder(folder).map_err(failed("make the folder", folder))?;
    let lock = disk.lock(folder)?;
    let (listing, mut account) = folder::read(&disk, folder, u64::MAX)?;
    if let Some(damage) = account.damage.take() {
        return Err(OpenError::Damaged { folder: folder.to_owned(), damage, entries: account.position() });
    }
    let abandoned = account.abandoned.iter().map(|name| folder.join(name.to_string()));
    for unfinished in listing.unfinished.iter().cloned().chain(abandoned) {
        disk.remove(&unfinished).map_err(failed("remove", &unfinished))?;
    }
    set_aside(&disk, folder, &account)?;
    let tail = tail(&disk, folder, &account)?;
    let metrics = JournalMetrics::new()?;
    metrics.size.set(listing.bytes as i64);
    metrics.kept.set(account.checkpoint() as i64);
    let (tail, (sender, receiver)) = (Arc::new(Mutex::new(tail)), mpsc::unbounded_channel());
    let append = Box::new(Writer {
        disk: disk.clone(),
        tail: tail.clone(),
        written: sender,
        clock,
        ahead: account.time().since(clock.now()),
        metrics: metrics.clone(),
        lock: lock.clone(),
    });
    let keep = Keeper {
        disk,
        folder: folder.to_owned(),
        tail,
        newest: account.checkpoint(),
        metrics: metrics.clone(),
        _lock: lock,
    };
    let follow = Reader { state: account.state, early: account.entries.into_iter(), receiver };
    let mut journal = Journal::new(append, Box::new(follow), false);
    journal.keep = Some(Box::new(keep));
    journal.folder = Some(folder.to_owned());
    journal.collectors = metrics.of_folder();
    Ok(journal)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
}

/// Logs damage by which nothing is lost, and renames damaged checkpoints, so that they do not count as checkpoints later.
fn set_aside(disk: &Disk, folder: &Path, account: &Account) -> Result<(), OpenError> {
    for damage in &account.remarks {
        let name = damage.file.to_string();
        match damage.file {
            Name::Checkpoint(_) => {
                let aside = format!("{DAMAGED}{name}");
                tracing::warn!(folder = %folder.display(), "{damage}; continuing from an older state, nothing is lost; the file is now {aside}");
                disk.rename(folder, &name, &aside).map_err(failed("rename", &folder.join(&name)))?;
            }
            Name::Entries(_) => {
                tracing::warn!(folder = %folder.display(), "{damage}; a checkpoint covers it, nothing is lost");
            }
        }
    }
    Ok(())
}

/// Opens the end of the journal, and cuts off a record that a crash has torn.
fn tail(disk: &Disk, folder: &Path, account: &Account) -> Result<Tail, OpenError> {
    let next = account.position() + 1;
    let Some((first, length)) = account.last else {
        return Tail::begin(disk, folder, next).map_err(failed("begin a journal in", folder));
    };
    let path = folder.join(Name::Entries(first).to_string());
    if let Some(torn) = &account.torn {
        let content = disk.read(&path).map_err(failed("read", &path))?;
        let bytes = content.get(torn.offset as usize..).unwrap_or_default();
        let saved = torn_name(next);
        disk.create(folder, &saved, bytes).map_err(failed("save torn bytes as", &folder.join(&saved)))?;
        tracing::warn!(
            file = %path.display(),
            offset = torn.offset,
            bytes = bytes.len(),
            "the last record is incomplete ({}), as after a crash: it is cut off, and saved as {saved}", torn.flaw
        );
        let file = disk.open(&path).map_err(failed("open", &path))?;
        let cut = disk.cut(&path, &*file, torn.offset).and_then(|()| disk.sync(&path, &*file));
        cut.map_err(failed("cut the end of", &path))?;
    }
    let tail = Tail::open(disk, folder, first, next, length).map_err(failed("open", &path))?;
    let content = disk.read(&path).map_err(failed("read", &path))?;
    let whole = content.get(..length as usize).unwrap_or_default();
    // The file names, too, may only be in the cache.
    tail.settle(whole).and_then(|()| disk.sync_folder(folder)).map_err(failed("sync", &path))?;
    Ok(tail)
}

fn locked(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader {
    state: Option<Box<Fleet>>,
    /// The entries that were in the folder when it was opened.
    early: std::vec::IntoIter<Entry>,
    receiver: mpsc::UnboundedReceiver<Vec<Entry>>,
}

/// Entries applied at a time.
const BATCH: usize = 256;

impl Follow for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>> {
        Box::pin(async move {
            if let Some(fleet) = self.state.take() {
                return Ok(ReadResult::State(fleet));
            }
            let early: Vec<Entry> = self.early.by_ref().take(BATCH).collect();
            if !early.is_empty() {
                return Ok(ReadResult::Entries(early));
            }
            self.receiver.recv().await.map(ReadResult::Entries).ok_or(JournalError::Closed)
        })
    }
}
