//! Lists and reads the files of a journal's folder.

use super::OpenError;
use super::account::{self, Account};
use super::disk::Disk;
use super::name::{NEW, Name, torn_position};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The journal's files in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) names: Vec<Name>,
    pub(super) bytes: u64,
    /// Files that were still being written when the process ended.
    pub(super) unfinished: Vec<PathBuf>,
    /// The positions of saved torn bytes.
    pub(super) torn: Vec<u64>,
}

pub(super) fn list(disk: &Disk, folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for (name, size) in disk.list(folder)? {
        if let Some(ours) = Name::parse(&name) {
            listing.names.push(ours);
            listing.bytes += size;
        } else if name.strip_prefix(NEW).and_then(Name::parse).is_some() {
            listing.unfinished.push(folder.join(name));
        } else if let Some(position) = torn_position(&name) {
            listing.torn.push(position);
        }
    }
    listing.names.sort();
    Ok(listing)
}

/// Reads the journal, from the newest checkpoint that is not newer than this position.
pub(super) fn read(disk: &Disk, folder: &Path, newest: u64) -> Result<(Listing, Account), OpenError> {
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { what: "read", path, source }
    };
    let listing = list(disk, folder).map_err(broken(folder))?;
    let mut failed = folder.to_owned();
    let account = account::read(&listing.names, newest, &mut |name| {
        failed = folder.join(name.to_string());
        disk.read(&failed)
    });
    match account {
        Ok(account) => Ok((listing, account)),
        Err(source) => Err(broken(&failed)(source)),
    }
}

/// Reads all files, without the lock. The process that uses the folder may remove a file after it was listed and before it
/// is read; then all of it is read again.
pub(super) fn load(folder: &Path) -> Result<BTreeMap<Name, Vec<u8>>, OpenError> {
    let (disk, mut attempts) = (Disk::default(), 1..);
    loop {
        let loaded = list(&disk, folder).and_then(|listing| {
            listing.names.into_iter().map(|name| Ok((name, disk.read(&folder.join(name.to_string()))?))).collect()
        });
        match loaded {
            Ok(files) => return Ok(files),
            Err(source) if source.kind() == io::ErrorKind::NotFound && attempts.next() < Some(ATTEMPTS) => {}
            Err(source) => return Err(OpenError::Io { what: "read", path: folder.to_owned(), source }),
        }
    }
}

const ATTEMPTS: u32 = 5;
