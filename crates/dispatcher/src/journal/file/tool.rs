//! `slotkeeper journal`: inspects the folder of a journal, and repairs it. Only a repair takes the lock and changes anything.

mod check;
mod repair;
mod replay;
mod show;

use super::account::{self, Account};
use super::name::Name;
use super::{OpenError, folder, lock};
use crate::io::Clock;
use slotkeeper_core::{Entry, Time};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The commands of `slotkeeper journal`.
#[derive(clap::Subcommand)]
pub enum Job {
    /// List the files, and report whether the journal is sound.
    Check {
        /// The folder of the journal.
        folder: PathBuf,
    },
    /// Print the entries, one per line. Sessions appear as in the log, never by their cookies.
    Show {
        /// The folder of the journal.
        folder: PathBuf,
        /// The first position.
        #[arg(long, value_name = "POSITION", default_value_t = 1)]
        from: u64,
        /// The last position.
        #[arg(long, value_name = "POSITION", default_value_t = u64::MAX, hide_default_value = true)]
        to: u64,
    },
    /// Apply the entries from the newest checkpoint on, and print the effects of each.
    Replay {
        /// The folder of the journal.
        folder: PathBuf,
        /// Start from the newest checkpoint up to this position; 0 = from the first entry, if it still exists.
        #[arg(long, value_name = "POSITION")]
        checkpoint: Option<u64>,
        /// Print only the state of every pool after this entry.
        #[arg(long, value_name = "POSITION")]
        at: Option<u64>,
    },
    /// Keep everything up to the first damage, and move the rest aside.
    Repair {
        /// The folder of the journal.
        folder: PathBuf,
    },
}

/// Runs the command. Returns false if something is wrong with the journal, which has been printed then.
///
/// # Errors
/// When the folder cannot be read or repaired, or is to be repaired while another process uses it.
pub fn run(job: &Job, out: &mut dyn Write) -> Result<bool, ToolError> {
    match job {
        Job::Check { folder } => check::check(&opened(folder, out)?, out),
        Job::Show { folder, from, to } => show::show(&opened(folder, out)?, *from..=*to, out),
        Job::Replay { folder, checkpoint, at } => replay::replay(&opened(folder, out)?, *checkpoint, *at, out),
        Job::Repair { folder } => repair::repair(folder, Clock::real().now(), out),
    }
}

/// Why a command of `slotkeeper journal` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The folder cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The output may be a closed pipe.
    #[error("cannot print")]
    Print(#[from] io::Error),
    /// The folder does not contain what was asked for; which part.
    #[error("{0}")]
    NotThere(String),
}

/// The content of a folder at one moment.
struct Files(BTreeMap<Name, Vec<u8>>);

fn opened(folder: &Path, out: &mut dyn Write) -> Result<Files, ToolError> {
    if !folder.is_dir() {
        return Err(no_folder(folder).into());
    }
    let files = Files(folder::load(folder)?);
    if let Some(process) = lock::holder(folder) {
        writeln!(out, "in use by process {process}: a record that it is writing may appear incomplete")?;
    }
    Ok(files)
}

fn no_folder(folder: &Path) -> OpenError {
    match folder.exists() {
        true => OpenError::NotAFolder(folder.to_owned()),
        false => OpenError::NoFolder(folder.to_owned()),
    }
}

impl Files {
    fn account(&self, newest: u64) -> io::Result<Account> {
        let names: Vec<Name> = self.0.keys().copied().collect();
        account::read(&names, newest, &mut |name| Ok(self.0.get(&name).cloned().unwrap_or_default()))
    }

    /// The segments in order.
    fn segments(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.0.iter().filter_map(|(name, bytes)| match name {
            Name::Entries(first) => Some((*first, &bytes[..])),
            Name::Checkpoint(_) => None,
        })
    }
}

/// An entry as it is printed.
struct Shown<'a>(u64, &'a Entry);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(position, Entry { at, from, number, pool, command }) = self;
        let pool = if pool.0.is_empty() { "-" } else { &*pool.0 };
        write!(f, "{position:>8}  {}  {from:?} {number:<6} {pool}  {command:?}", Moment(*at))
    }
}

/// A time of the journal, formatted for people.
struct Moment(Time);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(moment) => write!(f, "{moment:.3}"),
            None => write!(f, "{:?}", self.0),
        }
    }
}
