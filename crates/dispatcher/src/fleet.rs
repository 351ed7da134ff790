//! The fleet of the core, and what follows from its state: `engine` is its only writer, everything else reads it through
//! `view`; `actuator` executes its effects, `occupancy` reports to clusters which pods are in use, `load` measures what pods
//! bear, `fencing` closes the streams of a replica that is cut off from its journal.

pub mod actuator;
pub mod fencing;
pub(crate) mod load;
pub mod occupancy;
pub(crate) mod rules;
pub(crate) mod tasks;
