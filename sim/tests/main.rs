//! The test bed's own tests: one binary.

mod models;
mod report;
mod tabletop;
mod vectors;
