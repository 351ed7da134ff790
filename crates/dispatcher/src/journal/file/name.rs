//! The file names in a journal's folder. Files with other names (`lost+found`, for example) are not the journal's and are
//! ignored.

use std::fmt;

/// The name of one file of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The state after this number of entries.
    Checkpoint(u64),
    /// A segment: entries from this position on.
    Entries(u64),
}

/// The prefix of files that are still being written.
pub(super) const NEW: &str = "new-";
/// The prefix of a file with torn bytes that were cut off a segment; then comes the position that their entry would have had.
pub(super) const TORN: &str = "torn-";
/// The prefix of damaged files and parts of files that were moved aside.
pub(super) const DAMAGED: &str = "damaged-";

/// The number of digits of the greatest position, so that names sort as positions do.
const DIGITS: usize = 20;

impl Name {
    /// Returns `None` for all other names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Name> {
        let (kind, digits) = name.split_once('-')?;
        let position = position(digits)?;
        match kind {
            "checkpoint" => Some(Name::Checkpoint(position)),
            "entries" if position > 0 => Some(Name::Entries(position)),
            _ => None,
        }
    }

    /// The position in the name.
    #[must_use]
    pub fn position(self) -> u64 {
        match self {
            Name::Checkpoint(position) | Name::Entries(position) => position,
        }
    }

    #[must_use]
    pub(super) fn kind(self) -> &'static str {
        match self {
            Name::Checkpoint(_) => "checkpoint",
            Name::Entries(_) => "entries",
        }
    }
}

/// The position in the name of a file with torn bytes.
pub(super) fn torn_position(name: &str) -> Option<u64> {
    position(name.strip_prefix(TORN)?)
}

pub(super) fn torn_name(position: u64) -> String {
    format!("{TORN}{position:0DIGITS$}")
}

fn position(digits: &str) -> Option<u64> {
    let is_ours = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    // No journal gets that long, and adding to the position cannot overflow.
    is_ours.then(|| digits.parse().ok()).flatten().filter(|position| *position <= u64::MAX / 2)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0DIGITS$}", self.kind(), self.position())
    }
}
