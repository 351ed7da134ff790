//! Journals that outlive the process.

mod file;
