//! Spare slots by day and hour: which number holds now.

/// A weekly schedule in one time zone.
#[derive(Clone, Debug)]
pub struct Schedule {}
