//! The test bed's own tests: one binary.

mod disk;
mod gateway;
mod models;
#[cfg(feature = "planted")]
mod planted;
mod redis;
mod report;
mod tabletop;
mod vectors;
mod world;
