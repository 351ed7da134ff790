//! The end of the journal, where entries are appended. Its methods block, so they are called where that is allowed.

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
    /// The position that this segment begins with, and the next one to be written.
    first: u64,
    next: u64,
    /// The number of bytes that are complete records.
    length: u64,
    /// A failed append may have left more bytes than that.
    ragged: bool,
    /// A segment that could not be begun. Its file may exist.
    abandoned: Option<PathBuf>,
}

impl Tail {
    /// Opens the segment that begins with `first` and is sound up to `length`.
    pub(super) fn open(disk: &Disk, folder: &Path, first: u64, next: u64, length: u64) -> io::Result<Tail> {
        let path = folder.join(Name::Entries(first).to_string());
        let file = disk.open(&path)?;
        let (disk, folder) = (disk.clone(), folder.to_owned());
        Ok(Tail { disk, folder, path, file, first, next, length, ragged: false, abandoned: None })
    }

    /// Creates a new segment that begins with `next`.
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

    /// Writes a line with this many entries, and returns when it is on the disk. A failed append leaves nothing that
    /// counts, and can be repeated: then the whole line is written again, because after a failed sync it is unknown what
    /// is on the disk.
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

    /// Begins a new segment, unless this one is still empty.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if self.first == self.next {
            return Ok(());
        }
        if self.ragged {
            // No torn record must stay in the middle of a journal.
            self.trim()?;
            self.disk.sync(&self.path, &*self.file)?;
        }
        if let Some(abandoned) = &self.abandoned {
            // This file would overlap with both this segment and the next one.
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

    /// Makes the content that has been read durable. It may only be in the page cache: after a process was killed before
    /// its sync; and after a failed sync, Linux marks unwritten pages as clean, so that another sync alone writes nothing.
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
