//! The world of a session dispatcher in one seed. Its depths:
//!
//! - `models`: how Kubernetes, KEDA and Prometheus behave, pure and deterministic, checked against vectors (`vectors`).
//! - `tabletop`: visitors, pods and scalers as events on one clock, without a network: fast. `plan` answers an operator's
//!   "what would my pool do?", `compare` puts designs side by side.
//! - `gateway`: tens of thousands of sockets on the same kind of table: what a pod's end costs those who are connected.
//! - `world`: the dispatcher itself (`slotkeeper::run`) on a simulated network, with faults, until a promise breaks.
//!
//! What happened is a `record`; `report` draws it. All chance comes from a seed (`chance`).

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
