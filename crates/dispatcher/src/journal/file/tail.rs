//! The end of the journal, where it grows. Blocks: it is called where that is allowed.

use super::disk::{Disk, Handle};
use super::line;
use super::name::Name;
use std::io;
use std::path::{Path, PathBuf};

pub(super) struct Tail {
    disk: Disk,
    folder: PathBuf,
    path: PathBuf,
    file: Box<dyn Handle>,
    /// The position that this segment begins with, and the one that comes next.
    first: u64,
    next: u64,
    /// So many bytes are whole records.
    length: u64,
    /// There may be more bytes than that, of what failed.
    ragged: bool,
    /// A segment that could not be begun. Its name may be there.
    abandoned: Option<PathBuf>,
}

impl Tail {
    /// The segment that begins with `first`, which is sound up to `length`.
    pub(super) fn open(disk: &Disk, folder: &Path, first: u64, next: u64, length: u64) -> io::Result<Tail> {
        let path = folder.join(Name::Entries(first).to_string());
        let file = disk.open(&path)?;
        let (disk, folder) = (disk.clone(), folder.to_owned());
        Ok(Tail { disk, folder, path, file, first, next, length, ragged: false, abandoned: None })
    }

    /// A new segment that begins with `next`.
    pub(super) fn begin(disk: &Disk, folder: &Path, next: u64) -> io::Result<Tail> {
        let name = Name::Entries(next);
        let (head, path) = (line::head(name), folder.join(name.to_string()));
        let file = disk.create(folder, &name.to_string(), &head)?;
        let (disk, folder, length) = (disk.clone(), folder.to_owned(), head.len() as u64);
        Ok(Tail { disk, folder, path, file, first: next, next, length, ragged: false, abandoned: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Writes a line of so many entries, and returns when it is on the disk. What fails leaves nothing that counts, and
    /// can be repeated: all of it is written again then, because after a failed sync nobody knows what has been.
    pub(super) fn append(&mut self, line: &[u8], entries: u64) -> io::Result<()> {
        self.trim()?;
        self.ragged = true;
        self.disk.append(&self.path, &*self.file, self.length, line)?;
        self.disk.sync(&self.path, &*self.file)?;
        self.ragged = false;
        self.length += line.len() as u64;
        self.next += entries;
        Ok(())
    }

    /// Goes on in a new segment, unless this one is new.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if self.first == self.next {
            return Ok(());
        }
        if self.ragged {
            // Nothing torn stays behind in the middle of a journal.
            self.trim()?;
            self.disk.sync(&self.path, &*self.file)?;
        }
        if let Some(abandoned) = &self.abandoned {
            // Between this segment and the next one, it would contradict both.
            match self.disk.remove(abandoned) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => self.abandoned = None,
            }
        }
        match Tail::begin(&self.disk, &self.folder, self.next) {
            Ok(tail) => *self = tail,
            Err(error) => {
                self.abandoned = Some(self.folder.join(Name::Entries(self.next).to_string()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes durable what has been read here. It may only be in the cache: a process that was killed before its sync leaves
    /// that; and after a failed sync Linux counts what was not written as clean, so that another sync alone writes nothing.
    pub(super) fn settle(&self, content: &[u8]) -> io::Result<()> {
        self.disk.append(&self.path, &*self.file, 0, content)?;
        self.disk.sync(&self.path, &*self.file)
    }

    fn trim(&mut self) -> io::Result<()> {
        if self.ragged {
            self.disk.cut(&self.path, &*self.file, self.length)?;
            self.ragged = false;
        }
        Ok(())
    }
}
