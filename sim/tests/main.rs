//! The test bed's own tests: one binary.

mod gateway;
mod models;
#[cfg(feature = "planted")]
mod planted;
mod redis;
mod reference;
mod report;
mod tabletop;
mod vectors;
mod world;
