//! Tests of the test API server: against the transcripts of a real one, and of its own features: selectors, rights, faults,
//! controllers.
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is a failure")]

mod adoption;
mod client;
mod compare;
mod controllers;
mod discovery;
mod faults;
mod kube_client;
mod managers;
mod replay;
mod selectors;
mod transcripts;
mod writes;
