//! The core's tests, in one binary: stories (does the rule hold?) and the swarm (does any order of events break it?).
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of effect and does not care which others there are"
)]
#![expect(clippy::print_stdout, reason = "a history of the swarm that fails is printed")]

mod stories;
mod story;
mod swarm;
