//! The test bed's own tests: one binary.

mod report;
mod vectors;
