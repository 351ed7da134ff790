//! The planner: what a pool would do, and what other designs would do, calculated without a network and without the
//! dispatcher's processes.
//!
//! - `tabletop`: visitors, pods and scalers as events on one clock. `plan` answers an operator's "what would my pool
//!   do?", `compare` puts designs side by side.
//! - `gateway`: tens of thousands of sockets, also as events on one clock: what the end of a pod costs connected
//!   clients.
//! - `report`: tables and pages.

pub mod compare;
pub mod gateway;
pub mod plan;
pub mod report;
pub mod tabletop;
