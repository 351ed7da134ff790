//! The rules of the house, one story each, in the order in which a visitor meets them.

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
