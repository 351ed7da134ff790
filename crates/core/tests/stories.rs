//! One story per rule of the core, in the order in which they concern a visitor.

mod clocks;
mod cluster;
mod journal;
mod limits;
mod line;
mod placing;
mod returning;
mod rules;
mod scale;
mod shared;
mod timelines;
mod visitor;
