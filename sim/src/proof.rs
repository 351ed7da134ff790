//! The proof: whole worlds with the real dispatcher, until a promise breaks.
//!
//! - `world`: one world, from one seed.
//! - `hunt`: many seeds, and the smallest world that fails.
//! - `narrate`: the outcome of a world on one screen.

pub mod hunt;
pub mod narrate;
pub mod world;
