//! Simulates the world of a session dispatcher from one seed, at several levels of detail:
//!
//! - `models`: how Kubernetes, KEDA and Prometheus behave, pure and deterministic, checked against vectors
//!   (`vectors`).
//! - `tabletop`: visitors, pods and scalers as events on one clock, without a network: fast. `plan` answers an
//!   operator's "what would my pool do?", `compare` puts designs side by side.
//! - `gateway`: tens of thousands of sockets, also as events on one clock: what the end of a pod costs connected
//!   clients.
//! - `world`: the dispatcher itself (`slotkeeper::run`) on a simulated network, with faults, until a promise breaks.
//!
//! A run writes a `record`; `report` draws it. All randomness comes from a seed (`chance`).

pub mod chance;
pub mod compare;
pub mod gateway;
pub mod hunt;
pub mod models;
pub mod plan;
pub mod record;
pub mod report;
pub mod tabletop;
pub mod tale;
pub mod vectors;
pub mod world;
