//! The test API server held to the truth (the transcripts of a real one), and its own promises: selectors, rights,
//! faults, controllers.

mod client;
mod compare;
mod controllers;
mod faults;
mod replay;
mod selectors;
mod transcripts;
mod writes;
