//! The files of a folder: which there are, and what they say.

use super::OpenError;
use super::account::{self, Account};
use super::name::{NEW, Name, torn_position};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) names: Vec<Name>,
    pub(super) bytes: u64,
    /// Not finished when the process ended.
    pub(super) unfinished: Vec<PathBuf>,
    /// What was cut off, by position.
    pub(super) torn: Vec<u64>,
}

pub(super) fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(ours) = Name::parse(name) {
            listing.names.push(ours);
            listing.bytes += size(&file)?;
        } else if name.strip_prefix(NEW).and_then(Name::parse).is_some() {
            listing.unfinished.push(file.path());
        } else if let Some(position) = torn_position(name) {
            listing.torn.push(position);
        }
    }
    listing.names.sort();
    Ok(listing)
}

/// Whoever uses the folder may have removed it just now.
fn size(file: &fs::DirEntry) -> io::Result<u64> {
    match file.metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Reads the journal, from the newest checkpoint that is not newer than this position.
pub(super) fn read(folder: &Path, newest: u64) -> Result<(Listing, Account), OpenError> {
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { what: "read", path, source }
    };
    let listing = list(folder).map_err(broken(folder))?;
    let mut failed = folder.to_owned();
    let account = account::read(&listing.names, newest, &mut |name| {
        failed = folder.join(name.to_string());
        fs::read(&failed)
    });
    match account {
        Ok(account) => Ok((listing, account)),
        Err(source) => Err(broken(&failed)(source)),
    }
}
