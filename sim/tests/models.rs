//! Tests beyond the vectors: the models over time, and cases in which a real control plane was measured to behave
//! differently from what its source suggests.

mod hpa;
mod keda;
mod outage;
mod pods;
mod prometheus;
mod statefulset;
mod watch;
