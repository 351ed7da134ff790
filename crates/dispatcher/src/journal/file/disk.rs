//! The journal's disk operations, step by step: each step can fail, and a test can make it fail. The files below are the
//! operating system's, or those of a simulated disk.

use super::OpenError;
use super::lock;
use super::name::NEW;
use crate::io::BoxFuture;
use crate::io::private::private_folder;
use crate::journal::JournalError;
use slotkeeper_core::planted;
use std::any::Any;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The steps of writing at which a disk can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskStep {
    /// Creating the file of a new segment or a checkpoint.
    Create,
    /// Writing records to the end of a segment.
    Append,
    /// Making them durable.
    Sync,
    /// Removing what a failed append has left.
    Cut,
    /// Deleting a file that is no longer needed.
    Remove,
    /// Making the name of a new file durable.
    Name,
}

/// Called before each step; an error that it returns counts as the disk's.
pub type Trouble = Arc<dyn Fn(DiskStep, &Path) -> io::Result<()> + Send + Sync>;

/// The system calls on which the journal is built, one method each. All of them block, except `run`.
pub trait Files: Send + Sync {
    /// Whether the path is a folder. `None`: there is nothing at this path.
    fn is_folder(&self, path: &Path) -> Option<bool>;
    /// Makes a folder and its parents, readable by this user only.
    ///
    /// # Errors
    /// Those of `mkdir`; so below.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names in a folder and their sizes in bytes, in any order.
    ///
    /// # Errors
    /// Those of `readdir`.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>>;
    /// # Errors
    /// Those of `read`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Opens an empty file for writing, readable by this user only.
    ///
    /// # Errors
    /// Those of `open`.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Opens an existing file for writing, or a folder for [`Handle::sync_all`].
    ///
    /// # Errors
    /// Those of `open`.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// # Errors
    /// Those of `rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// # Errors
    /// Those of `unlink`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Takes the folder's lock, which is held until the returned value is dropped or the process ends.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while another process holds it.
    fn lock(&self, folder: &Path) -> Result<Box<dyn Any + Send + Sync>, OpenError>;
    /// Runs blocking work where that is allowed, and completes when the work has.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the work was not completed because the process is ending.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Result<(), JournalError>>;
}

/// An open file.
pub trait Handle: Send + Sync {
    /// Writes all bytes at this offset. After an error, any prefix of them may have been written.
    ///
    /// # Errors
    /// Those of `pwrite`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// # Errors
    /// Those of `ftruncate`.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Returns when the content is durable. After an error, what has been written since the last success may never be.
    ///
    /// # Errors
    /// Those of `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;
    /// As [`Handle::sync_data`], metadata included. Of a folder: the names in it.
    ///
    /// # Errors
    /// Those of `fsync`.
    fn sync_all(&self) -> io::Result<()>;
}

/// The operating system's files.
struct RealFiles;

impl Files for RealFiles {
    fn is_folder(&self, path: &Path) -> Option<bool> {
        fs::metadata(path).ok().map(|metadata| metadata.is_dir())
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        private_folder(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for file in fs::read_dir(folder)? {
            let file = file?;
            // A name that is not text is not the journal's.
            if let Ok(name) = file.file_name().into_string() {
                files.push((name, size(&file)?));
            }
        }
        Ok(files)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut options = OpenOptions::new();
        Ok(Box::new(options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        // A folder cannot be opened for writing.
        let file = match path.is_dir() {
            true => fs::File::open(path)?,
            false => OpenOptions::new().read(true).write(true).open(path)?,
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, folder: &Path) -> Result<Box<dyn Any + Send + Sync>, OpenError> {
        Ok(Box::new(lock::take(folder)?))
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Result<(), JournalError>> {
        // The task did not complete: the process is ending.
        Box::pin(async move { tokio::task::spawn_blocking(work).await.map_err(|_| JournalError::Closed) })
    }
}

/// The size of a file, or 0 if the process that uses the folder has just removed it.
fn size(file: &fs::DirEntry) -> io::Result<u64> {
    match file.metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl Handle for fs::File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        fs::File::set_len(self, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        fs::File::sync_all(self)
    }
}

/// The journal's file operations.
#[derive(Clone)]
pub struct Disk {
    files: Arc<dyn Files>,
    trouble: Option<Trouble>,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk::of(Arc::new(RealFiles))
    }
}

impl Disk {
    /// A disk with failures injected by a test.
    #[must_use]
    pub fn with(trouble: Trouble) -> Disk {
        Disk { trouble: Some(trouble), ..Disk::default() }
    }

    /// A disk with these files.
    #[must_use]
    pub fn of(files: Arc<dyn Files>) -> Disk {
        Disk { files, trouble: None }
    }

    fn ask(&self, step: DiskStep, path: &Path) -> io::Result<()> {
        self.trouble.as_ref().map_or(Ok(()), |trouble| trouble(step, path))
    }

    pub(super) fn is_folder(&self, path: &Path) -> Option<bool> {
        self.files.is_folder(path)
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        self.files.list(folder)
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.read(path)
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.files.open(path)
    }

    pub(super) fn lock(&self, folder: &Path) -> Result<Lock, OpenError> {
        Ok(Arc::from(self.files.lock(folder)?))
    }

    /// Runs blocking work where that is allowed.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JournalError> {
        let (sender, result) = oneshot::channel();
        // If the caller was cancelled, the result is dropped.
        let work = Box::new(move || drop(sender.send(work())));
        self.files.run(work).await?;
        result.await.map_err(|_| JournalError::Closed)
    }

    /// Creates the folder, readable by this user only: the journal's session ids must be as well protected as cookies.
    pub(super) fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if self.files.is_folder(folder) == Some(true) {
            return Ok(());
        }
        let is_missing = |path: &&Path| self.files.is_folder(path).is_none();
        let made: Vec<&Path> =
            folder.ancestors().filter(|path| !path.as_os_str().is_empty()).take_while(is_missing).collect();
        self.files.make_folder(folder)?;
        for folder in made {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_folder(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    /// Creates a file with this content, atomically: it is written under another name first.
    pub(super) fn create(&self, folder: &Path, name: &str, content: &[u8]) -> io::Result<Box<dyn Handle>> {
        let (path, new) = (folder.join(name), folder.join(unfinished(name)));
        let made = self.ask(DiskStep::Create, &path).and_then(|()| {
            let file = self.files.create(&new)?;
            file.write_all_at(content, 0)?;
            file.sync_all()?;
            // Before the rename: this may fail for lack of a file descriptor.
            let shelf = self.files.open(folder)?;
            self.files.rename(&new, &path)?;
            let named = self.ask(DiskStep::Name, &path).and_then(|()| shelf.sync_all());
            if named.is_err() {
                // The caller gets an error, so it must not find the file later.
                let _ = self.files.remove(&path);
            }
            named.map(|()| file)
        });
        if made.is_err() {
            // The file may be what fills the disk. If it cannot be removed here, the next start removes it.
            let _ = self.files.remove(&new);
        }
        made
    }

    pub(super) fn append(&self, path: &Path, file: &dyn Handle, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.ask(DiskStep::Append, path)?;
        file.write_all_at(bytes, offset)
    }

    pub(super) fn sync(&self, path: &Path, file: &dyn Handle) -> io::Result<()> {
        planted!(SyncSkipped => self.ask(DiskStep::Sync, path));
        self.ask(DiskStep::Sync, path)?;
        file.sync_data()
    }

    /// Truncates the file to this many bytes.
    pub(super) fn cut(&self, path: &Path, file: &dyn Handle, length: u64) -> io::Result<()> {
        planted!(RaggedTailKept => self.ask(DiskStep::Cut, path));
        self.ask(DiskStep::Cut, path)?;
        file.set_len(length)
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(DiskStep::Remove, path)?;
        self.files.remove(path)
    }

    /// Renames a file.
    pub(super) fn rename(&self, folder: &Path, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(&folder.join(from), &folder.join(to))?;
        self.sync_folder(folder)
    }

    /// Makes renames and removals durable.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.files.open(folder)?.sync_all()
    }
}

/// The folder's lock. Every part of the program that may still write holds it.
pub(super) type Lock = Arc<dyn Any + Send + Sync>;

/// The name of a file while it is being written.
fn unfinished(name: &str) -> String {
    planted!(CheckpointInPlace => name.to_owned());
    format!("{NEW}{name}")
}
