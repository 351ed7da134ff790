//! The tasks around the fleet of the core. (`engine` is its only writer, everything else reads it through `view`.) `tasks` starts
//! those of each pool and writes the cluster's observations to the journal, `rules` writes the pools' settings to it, `actuator`
//! executes effects, `occupancy` reports to clusters which pods are in use, `load` measures the pods' load, `fencing` closes the
//! streams of a replica that is cut off from its journal.

pub mod actuator;
pub mod fencing;
pub(crate) mod load;
pub mod occupancy;
pub(crate) mod rules;
pub(crate) mod tasks;
