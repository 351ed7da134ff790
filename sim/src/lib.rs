//! Simulates the world of a session dispatcher from one seed. Three products, which depend on each other in this order
//! only (`tests/rooms.rs` reads the imports):
//!
//! - `models`: how Kubernetes, KEDA and Prometheus behave, pure and deterministic, checked against vectors
//!   (`vectors`).
//! - `planner`: visitors, pods and scalers as events on one clock, without a network and without the dispatcher's
//!   processes: fast. It answers an operator's "what would my pool do?", and puts designs side by side.
//! - `proof`: the dispatcher itself (`slotkeeper::run`) on a simulated network, with faults, until a promise breaks.
//!
//! A run writes a `record`; `planner::report` draws it. `configured` reads an operator's configuration for the planner. All randomness comes from a seed (`chance`).

pub mod chance;
pub mod configured;
pub mod models;
pub mod planner;
pub mod proof;
pub mod record;
pub mod vectors;
