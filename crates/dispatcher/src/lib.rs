//! The process: everything that touches a socket, a file, a cluster or a clock.

pub mod cluster;
pub mod config;
pub mod journal;
pub mod outside;
pub mod waiting;
