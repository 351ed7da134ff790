//! The names in a journal's folder. Whatever is called otherwise is not ours (`lost+found`, say), and is left alone.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The state after so many entries.
    Checkpoint(u64),
    /// A segment: entries from this position on.
    Entries(u64),
}

/// Before the name of what is not finished yet.
pub(super) const NEW: &str = "new-";
/// Before the name of a segment that the bytes in it were cut from, with the position of the entry they were to be.
pub(super) const TORN: &str = "torn-";
/// Before the name of what a repair has moved out of the way.
pub(super) const DAMAGED: &str = "damaged-";

/// As many as the greatest position has, so that names sort as positions do.
const DIGITS: usize = 20;

impl Name {
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

/// The position that ends the name of torn bytes.
pub(super) fn torn_position(name: &str) -> Option<u64> {
    position(name.strip_prefix(TORN)?)
}

pub(super) fn torn_name(position: u64) -> String {
    format!("{TORN}{position:0DIGITS$}")
}

fn position(digits: &str) -> Option<u64> {
    let is_ours = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0DIGITS$}", self.kind(), self.position())
    }
}
