//! What can be wrong with a journal, and where.

use super::name::Name;
use std::fmt;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: Name,
    /// From 1 (0: the file as a whole), and the byte it starts at.
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
    #[error("whole, but of something that this version of slotkeeper does not know: {0}")]
    Unreadable(String),
    #[error("it ends after its head")]
    Hollow,
    #[error("entries {from} to {to} are missing before it")]
    Missing { from: u64, to: u64 },
    #[error("it begins with entry {found}, which was there already: {expected} would be the next")]
    Repeated { found: u64, expected: u64 },
    #[error("the entries end with {last}, but the checkpoint is of entry {checkpoint}: the end is missing")]
    Short { last: u64, checkpoint: u64 },
    #[error("there are no entries after the checkpoint, not even an empty file for them")]
    Alone,
}

impl Flaw {
    /// Written by another version, in all likelihood: nothing is broken, and nothing must be thrown away.
    #[must_use]
    pub fn is_foreign_version(&self) -> bool {
        matches!(self, Flaw::Newer(_) | Flaw::Unreadable(_))
    }

    /// What a crash leaves of a record that was being written.
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
