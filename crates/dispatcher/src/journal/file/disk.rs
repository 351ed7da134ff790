//! What the journal asks of the disk, step by step: each of them can fail, and a test can make it.

use super::name::NEW;
use slotkeeper_core::planted;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file is made: of a new segment, or a checkpoint.
    Create,
    Append,
    Sync,
    Cut,
    Remove,
    /// Of a new file: that its name lasts.
    Name,
}

/// Asked before each step; what it answers stands for the disk's answer.
pub type Trouble = Arc<dyn Fn(Step, &Path) -> io::Result<()> + Send + Sync>;

/// The operating system's files.
#[derive(Clone, Default)]
pub struct Disk {
    trouble: Option<Trouble>,
}

impl Disk {
    /// One with troubles of a test's making.
    #[must_use]
    pub fn with(trouble: Trouble) -> Disk {
        Disk { trouble: Some(trouble) }
    }

    fn ask(&self, step: Step, path: &Path) -> io::Result<()> {
        self.trouble.as_ref().map_or(Ok(()), |trouble| trouble(step, path))
    }

    /// Makes the folder, for nobody but us: what the journal says of sessions is as good as their cookies.
    pub(super) fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.sync_folder(parent.unwrap_or(Path::new(".")))
    }

    /// A file with this content, whole or not at all: written under another name first.
    pub(super) fn create(&self, folder: &Path, name: &str, content: &[u8]) -> io::Result<File> {
        let (path, new) = (folder.join(name), folder.join(unfinished(name)));
        let made = self.ask(Step::Create, &path).and_then(|()| {
            let mut options = OpenOptions::new();
            let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            // What may fail for want of a descriptor comes before the name is there.
            let shelf = File::open(folder)?;
            fs::rename(&new, &path)?;
            let named = self.ask(Step::Name, &path).and_then(|()| shelf.sync_all());
            if named.is_err() {
                // Whoever is told that it is not there must not find it later.
                let _ = fs::remove_file(&path);
            }
            named.map(|()| file)
        });
        if made.is_err() {
            // It may be half of what fills the disk. If it cannot be removed, the next start does it.
            let _ = fs::remove_file(&new);
        }
        made
    }

    pub(super) fn append(&self, path: &Path, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.ask(Step::Append, path)?;
        file.write_all_at(bytes, offset)
    }

    pub(super) fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        planted!(SyncSkipped => self.ask(Step::Sync, path));
        self.ask(Step::Sync, path)?;
        file.sync_data()
    }

    /// Cuts off what comes after so many bytes.
    pub(super) fn cut(&self, path: &Path, file: &File, length: u64) -> io::Result<()> {
        planted!(RaggedTailKept => self.ask(Step::Cut, path));
        self.ask(Step::Cut, path)?;
        file.set_len(length)
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Step::Remove, path)?;
        fs::remove_file(path)
    }

    /// Gives a file another name.
    pub(super) fn rename(&self, folder: &Path, from: &str, to: &str) -> io::Result<()> {
        fs::rename(folder.join(from), folder.join(to))?;
        self.sync_folder(folder)
    }

    /// What has been renamed or removed is so after a power cut, too.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// What a file is called while it is being written.
fn unfinished(name: &str) -> String {
    planted!(CheckpointInPlace => name.to_owned());
    format!("{NEW}{name}")
}
