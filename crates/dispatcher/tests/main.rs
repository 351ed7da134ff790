//! The one integration test binary of this crate: a module for each part.
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is a failure")]

mod config;
mod driver;
mod fixed;
mod journal;
mod keda;
mod kubernetes;
mod processes;
