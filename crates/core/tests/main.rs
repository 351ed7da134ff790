//! The core's tests, in one binary: stories (does the rule hold?).

mod stories;
mod story;
