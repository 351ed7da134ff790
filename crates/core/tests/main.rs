//! The core's tests in one binary: stories (does the rule hold?) and the swarm (does any order of events break it?).
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of effect and ignores all others")]
#![expect(clippy::print_stdout, reason = "the swarm prints a history that fails")]

mod stories;
mod story;
mod swarm;
