//! The kinds of damage of a journal, and where it is.

use super::name::Name;
use std::fmt;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file that contains it.
    pub file: Name,
    /// The line, from 1. 0: the file as a whole.
    pub line: usize,
    /// The byte at which the line starts.
    pub offset: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// Everything that can be wrong with a file of the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not even a head: the file was created and not written.
    #[error("the file is empty")]
    Empty,
    /// Its first line is not a journal's head.
    #[error("this is not a journal's file: it begins with something else")]
    Foreign,
    /// The head and the file name differ; the position of the head.
    #[error("its head names another position: {0}")]
    Misnamed(u64),
    /// Written in this format, by a newer version.
    #[error("it is of format {0}, and this version of slotkeeper reads up to {version}", version = super::line::VERSION)]
    Newer(u32),
    /// The last bytes of the file: a crash interrupted the write.
    #[error("the line does not end")]
    Incomplete,
    /// Some bytes of the line have changed.
    #[error("the checksum is wrong")]
    Checksum,
    /// Two writes on one line.
    #[error("a complete record, followed by something else where the line should end")]
    Merged,
    /// The checksum is right; why the content cannot be parsed.
    #[error("intact, but with something that this version of slotkeeper does not know: {0}")]
    Unreadable(String),
    /// A checkpoint without its state.
    #[error("it ends after its head")]
    Hollow,
    /// A gap between two records; both positions included.
    #[error("entries {from} to {to} are missing before it")]
    Missing {
        /// The first missing position.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A record that does not continue the one before.
    #[error("it begins with entry {found} again: {expected} would be the next")]
    Repeated {
        /// The position of the record.
        found: u64,
        /// The position after the record before.
        expected: u64,
    },
    /// The segment that a checkpoint begins does not exist.
    #[error("no segment begins after this checkpoint: the end of the journal is missing")]
    NoEnd,
}

impl Flaw {
    /// Most likely written by another version: nothing is broken, and nothing must be thrown away.
    #[must_use]
    pub fn is_foreign_version(&self) -> bool {
        matches!(self, Flaw::Newer(_) | Flaw::Unreadable(_))
    }

    /// True for what a crash leaves of a record that was being written.
    pub(super) fn is_torn(&self) -> bool {
        matches!(self, Flaw::Incomplete | Flaw::Checksum)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.flaw),
            line => write!(f, "{}, line {line} (byte {}): {}", self.file, self.offset, self.flaw),
        }
    }
}
