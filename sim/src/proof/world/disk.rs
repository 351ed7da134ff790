//! The disk of a dispatcher's host, for the file journal: a volume with one folder, in memory. It separates what
//! processes see from what is durable, like an operating system with a page cache. A killed process loses nothing
//! that it has written; a power loss keeps an arbitrary part of what was not synced, sector by sector and name by
//! name. The disk can also be slow, full or failing, and end a process at any system call. `disk/volume.rs` is the
//! volume itself.
//!
//! Blocking work runs inline, so a world stays deterministic; two jobs of one process (an append and a checkpoint)
//! never interleave within a job.

mod volume;

use super::journal::Traps;
use super::oracle::Oracle;
use super::stall::Gate;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use slotkeeper::io::BoxFuture;
use slotkeeper::journal::JournalError;
use slotkeeper::journal::file::OpenError;
use slotkeeper::journal::file::disk::{Files, Handle};
use slotkeeper_core::Entry;
use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use volume::Volume;

/// The journal's folder on the volume.
pub const FOLDER: &str = "/journal";

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// How the process on this host ends during a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doom {
    /// The process is killed: the page cache survives.
    Killed,
    /// The host loses power: only what is durable survives.
    Powerless,
}

/// The disk. Its content outlives the host's processes.
#[derive(Clone)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
    host: usize,
    oracle: Oracle,
    traps: Traps,
    gate: Gate,
}

struct Inner {
    volume: Volume,
    dice: ChaCha8Rng,
    /// Counts the processes that have used this disk. Handles of earlier processes have no effect.
    life: u64,
    locked: bool,
    /// The current process ends at the system call after this many.
    fuse: Option<(u32, Doom)>,
    /// The current process is about to end: its calls have no effect.
    dead: bool,
    /// The journal is being opened: synced entries belong to an earlier process.
    opening: bool,
    /// Capacity of the volume, in bytes.
    room: Option<u64>,
    /// Maximum duration of a job, in milliseconds.
    slow: u64,
    /// Percentage of failing calls.
    failing: u32,
    no_descriptors: bool,
}

impl Disk {
    #[must_use]
    pub fn new(host: usize, oracle: Oracle, traps: Traps, gate: Gate, dice: ChaCha8Rng) -> Disk {
        let inner = Inner {
            volume: Volume::default(),
            dice,
            life: 0,
            locked: false,
            fuse: None,
            dead: false,
            opening: false,
            room: None,
            slow: 0,
            failing: 0,
            no_descriptors: false,
        };
        Disk { inner: Arc::new(Mutex::new(inner)), host, oracle, traps, gate }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- faults ----

    /// Ends the process that uses the disk in the system call after this many.
    pub fn arm(&self, calls: u32, doom: Doom) {
        self.locked().fuse = Some((calls, doom));
    }

    /// Disarms what [`Disk::arm`] has set. Returns true if it had not been triggered yet.
    pub fn disarm(&self) -> bool {
        self.locked().fuse.take().is_some()
    }

    /// The host loses power between two system calls.
    pub fn lose_power(&self) {
        let mut inner = self.locked();
        inner.lose_power(&self.oracle);
    }

    /// Limits the disk to this many more bytes; `None`: unlimited.
    pub fn fill(&self, left: Option<u64>) {
        let mut inner = self.locked();
        inner.room = left.map(|left| inner.volume.size() + left);
    }

    /// From now on, each job takes up to this many milliseconds.
    pub fn slow_down(&self, most: u64) {
        self.locked().slow = most;
    }

    /// From now on, this percentage of system calls fails.
    pub fn fail(&self, percent: u32) {
        self.locked().failing = percent;
    }

    /// The process can open no more files.
    pub fn exhaust(&self, exhausted: bool) {
        self.locked().no_descriptors = exhausted;
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut inner = self.locked();
        (inner.fuse, inner.room, inner.slow, inner.failing, inner.no_descriptors) = (None, None, 0, 0, false);
    }

    // ---- users ----

    /// Returns the files of a new process.
    #[must_use]
    pub fn mount(&self) -> Arc<dyn Files> {
        let mut inner = self.locked();
        inner.life += 1;
        (inner.locked, inner.dead, inner.opening) = (false, false, true);
        Arc::new(Mounted { disk: self.clone(), life: inner.life })
    }

    /// The journal has been opened: its readable content counts from now on, and no acknowledged entry may be
    /// missing.
    pub fn opened(&self) {
        let mut inner = self.locked();
        inner.opening = false;
        let entries = inner.volume.entries();
        drop(inner);
        let (last, known) = (entries.last().map_or(0, |(position, _)| *position), self.oracle.position());
        let kept = self.locked().volume.newest_checkpoint();
        if last.max(kept) < known {
            let what = format!("{known} entries were acknowledged, and {last} are left on the disk of d{}", self.host);
            self.oracle.violate("what was acknowledged is not lost", what);
        }
        self.reveal(entries, false);
    }

    /// Reports whether the process is about to end and must not continue.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.locked().dead
    }

    /// Reports the entries that the world does not know yet.
    fn reveal(&self, entries: Vec<(u64, Entry)>, written_now: bool) {
        for (position, entry) in entries {
            if position <= self.oracle.position() {
                continue;
            }
            if written_now && entry.number > 0 {
                self.oracle.lives_as(self.host, entry.from);
            }
            if !written_now {
                self.oracle.count("entry found after a crash");
            }
            self.oracle.journalled(position, &entry);
        }
    }
}

/// How much of a system call is executed.
enum Permit {
    /// All of it.
    Whole,
    /// The process ends during the call. This part of it (in thousandths) is executed.
    Last(u32),
}

impl Inner {
    fn lose_power(&mut self, oracle: &Oracle) {
        oracle.count("power lost");
        let lost = self.volume.lose_power(&mut self.dice);
        if lost {
            oracle.count("unsynced bytes lost");
        }
    }

    fn fails(&mut self) -> bool {
        let percent = self.failing;
        percent > 0 && self.dice.random_range(0..100) < percent
    }
}

/// The files as one process sees them.
struct Mounted {
    disk: Disk,
    life: u64,
}

impl Mounted {
    /// Fails if the process has ended.
    fn alive(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.disk.locked();
        if inner.life != self.life || inner.dead {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(inner)
    }

    /// Called before each modifying system call: decides whether it fails, and whether it is the last one.
    fn call(&self) -> io::Result<(MutexGuard<'_, Inner>, Permit)> {
        let mut inner = self.alive()?;
        match &mut inner.fuse {
            Some((0, _)) => {
                let part = inner.dice.random_range(0..=1000);
                return Ok((inner, Permit::Last(part)));
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        if inner.fails() {
            self.disk.oracle.count("disk returns EIO");
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok((inner, Permit::Whole))
    }

    /// Called after the last system call of this process.
    fn end(&self, mut inner: MutexGuard<'_, Inner>) -> io::Error {
        let doom = inner.fuse.take().map(|(_, doom)| doom);
        inner.dead = true;
        if doom == Some(Doom::Powerless) {
            inner.lose_power(&self.disk.oracle);
        }
        drop(inner);
        self.disk.oracle.count("process ended in a system call");
        self.disk.traps.catch(self.disk.host);
        io::Error::from_raw_os_error(EIO)
    }

    /// A call that is executed completely or not at all.
    fn atomic<T>(&self, effect: impl FnOnce(&mut Volume) -> io::Result<T>) -> io::Result<T> {
        let (mut inner, permit) = self.call()?;
        match permit {
            Permit::Whole => effect(&mut inner.volume),
            Permit::Last(part) => {
                if part >= 500 {
                    // The process does not learn the result.
                    let _ = effect(&mut inner.volume);
                }
                Err(self.end(inner))
            }
        }
    }

    /// A read fails as often as any call on a failing disk.
    fn reading(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.alive()?;
        if inner.no_descriptors {
            self.disk.oracle.count("disk returns EMFILE");
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        if inner.fails() {
            self.disk.oracle.count("disk returns EIO");
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(inner)
    }

    fn handle(&self, what: What) -> Box<dyn Handle> {
        Box::new(Open { mounted: Mounted { disk: self.disk.clone(), life: self.life }, what })
    }
}

/// The name of a file in the journal's folder.
fn name(path: &Path) -> io::Result<String> {
    let inside = path.parent() == Some(Path::new(FOLDER));
    let name = path.file_name().filter(|_| inside).and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Files for Mounted {
    fn is_folder(&self, path: &Path) -> Option<bool> {
        (path == Path::new(FOLDER)).then_some(true)
    }

    fn make_folder(&self, _: &Path) -> io::Result<()> {
        // The volume has exactly one folder from the beginning.
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(String, u64)>> {
        Ok(self.reading()?.volume.list())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let name = name(path)?;
        let inner = self.reading()?;
        if name.starts_with("checkpoint-") && inner.opening {
            self.disk.oracle.count("checkpoint restored");
        }
        inner.volume.read(&name)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let name = name(path)?;
        drop(self.reading()?);
        let file = self.atomic(|volume| Ok(volume.create(&name)))?;
        Ok(self.handle(What::File(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        if path == Path::new(FOLDER) {
            drop(self.reading()?);
            return Ok(self.handle(What::Folder));
        }
        let file = self.reading()?.volume.open(&name(path)?)?;
        Ok(self.handle(What::File(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (name(from)?, name(to)?);
        self.atomic(|volume| volume.rename(&from, &to))?;
        if let Some(position) = to.strip_prefix("checkpoint-") {
            let content = self.disk.locked().volume.read(&to)?;
            let state = content.splitn(2, |b| *b == b'\n').nth(1).and_then(volume::json).unwrap_or_default();
            self.disk.oracle.kept(position.parse().unwrap_or_default(), state);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = name(path)?;
        self.atomic(|volume| volume.remove(&name))
    }

    fn lock(&self, folder: &Path) -> Result<Box<dyn Any + Send + Sync>, OpenError> {
        let mut inner = self.disk.locked();
        if inner.locked && inner.life == self.life {
            return Err(OpenError::InUse { folder: folder.to_owned(), process: "1".into() });
        }
        inner.locked = true;
        Ok(Box::new(Held { disk: self.disk.clone(), life: self.life }))
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Result<(), JournalError>> {
        let disk = self.disk.clone();
        Box::pin(async move {
            let pause = {
                let mut inner = disk.locked();
                let most = inner.slow.max(USUAL);
                inner.dice.random_range(0..most)
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            disk.gate.open().await;
            #[cfg(feature = "faultpoints")]
            slotkeeper::faultpoints::pass(slotkeeper::faultpoints::Point::FileBeforeSync).await;
            work();
            if disk.is_dead() {
                // The process has ended, so the result is never delivered.
                return std::future::pending().await;
            }
            #[cfg(feature = "faultpoints")]
            slotkeeper::faultpoints::pass(slotkeeper::faultpoints::Point::FileAfterSync).await;
            Ok(())
        })
    }
}

/// Maximum duration of a job without faults, in milliseconds.
const USUAL: u64 = 8;

struct Held {
    disk: Disk,
    life: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.disk.locked();
        if inner.life == self.life {
            inner.locked = false;
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    File(u64),
    Folder,
}

/// An open file, or the folder.
struct Open {
    mounted: Mounted,
    what: What,
}

impl Open {
    fn file(&self) -> io::Result<u64> {
        match self.what {
            What::File(file) => Ok(file),
            What::Folder => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

impl Handle for Open {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file = self.file()?;
        let (mut inner, permit) = self.mounted.call()?;
        if let Permit::Last(part) = permit {
            let written = bytes.len() * part as usize / 1000;
            inner.volume.write(file, offset, &bytes[..written]);
            return Err(self.mounted.end(inner));
        }
        let room = inner.room.map_or(u64::MAX, |room| room.saturating_sub(inner.volume.size_without(file)));
        let fits = (room.saturating_sub(offset)).min(bytes.len() as u64) as usize;
        inner.volume.write(file, offset, &bytes[..fits]);
        if fits < bytes.len() {
            self.mounted.disk.oracle.count("disk returns ENOSPC");
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let file = self.file()?;
        self.mounted.atomic(|volume| {
            volume.set_len(file, length);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let file = self.file()?;
        let (mut inner, permit) = match self.mounted.call() {
            Ok(call) => call,
            Err(error) => {
                // As on Linux: the data that could not be written counts as clean from now on, and is still in the
                // cache.
                let mut inner = self.mounted.alive()?;
                let Inner { volume, dice, .. } = &mut *inner;
                volume.sync_badly(file, dice);
                return Err(error);
            }
        };
        if let Permit::Last(part) = permit {
            if part >= 500 {
                inner.volume.sync(file);
            }
            return Err(self.mounted.end(inner));
        }
        inner.volume.sync(file);
        let (entries, opening) = (inner.volume.entries_of(file), inner.opening);
        drop(inner);
        self.mounted.disk.reveal(entries, !opening);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        match self.what {
            What::File(_) => self.sync_data(),
            What::Folder => self.mounted.atomic(|volume| {
                volume.sync_folder();
                Ok(())
            }),
        }
    }
}

/// The journal's folder, for [`slotkeeper::journal::file::open_on`].
#[must_use]
pub fn folder() -> PathBuf {
    FOLDER.into()
}
