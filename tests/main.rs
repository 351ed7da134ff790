//! The built binaries, from outside. One test binary, a module for each theme.
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is a failure")]

mod access_log;
mod activity;
mod bodies;
mod browser;
mod client;
mod connections;
mod examples;
mod gateways;
mod http;
mod http2;
mod inherited;
mod kubernetes;
mod listeners;
mod manifests;
mod measures;
mod monitoring;
mod newcomers;
mod packaging;
mod pools;
mod processes;
mod reload;
mod requests;
mod responses;
mod security;
mod sessions;
mod shared;
mod signals;
mod socketio;
mod sockets;
mod survival;
mod timeouts;
