//! The kinds of damage of a journal, and where it is.

use super::name::Name;
use std::fmt;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: Name,
    /// The line, from 1 (0: the file as a whole), and the byte it starts at.
    pub line: usize,
    pub offset: u64,
    pub flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the file is empty")]
    Empty,
    #[error("this is not a journal's file: it begins with something else")]
    Foreign,
    #[error("its head names another position: {0}")]
    Misnamed(u64),
    #[error("it is of format {0}, and this version of slotkeeper reads up to {version}", version = super::line::VERSION)]
    Newer(u32),
    #[error("the line does not end")]
    Incomplete,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("a complete record, followed by something else where the line should end")]
    Merged,
    #[error("intact, but with something that this version of slotkeeper does not know: {0}")]
    Unreadable(String),
    #[error("it ends after its head")]
    Hollow,
    #[error("entries {from} to {to} are missing before it")]
    Missing { from: u64, to: u64 },
    #[error("it begins with entry {found} again: {expected} would be the next")]
    Repeated { found: u64, expected: u64 },
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
