//! The test bed's own tests, in one binary.

mod disk;
mod drawn;
mod gateway;
mod models;
#[cfg(feature = "planted")]
mod planted;
mod redis;
mod reference;
mod report;
mod rooms;
mod stored;
mod tabletop;
mod vectors;
mod world;
