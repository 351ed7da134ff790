//! The core's tests, in one binary: stories (does the rule hold?) and the swarm (does any order of events break it?).

mod stories;
mod story;
mod swarm;
