//! The one integration test binary of this crate: a module for each part.
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is a failure")]

mod config;
mod driver;
mod fixed;
mod http2;
mod journal;
mod keda;
mod kubernetes;
mod memory_dispatcher;
mod memory_net;
mod processes;
mod redis;
mod rooms;
mod tls;

/// A size that this position of the first timeline decided.
pub(crate) fn size(start: u32, replicas: u32, decided: u64) -> slotkeeper::cluster::Size {
    let decided = slotkeeper_core::Decision { position: decided, ..slotkeeper_core::Decision::default() };
    slotkeeper::cluster::Size { start, replicas, decided, over: slotkeeper_core::Timeline::FIRST }
}
