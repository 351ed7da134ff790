//! How Kubernetes, KEDA and Prometheus behave, as far as the number of pods and who lives depends on it: small state
//! machines, pure and deterministic. Time is an argument, in milliseconds since the run began; what a model wants written
//! is returned, never made; delays and losses come from whoever drives it. The rules carry the name of their source
//! (Kubernetes v1.36.2, KEDA v2.20, Prometheus 2.42), and the vectors (`tests/vectors`) hold them to it.
//!
//! Deliberately absent: sockets, clocks, chance, and the order of things that happen at the same moment: the driver's.

pub mod hpa;
pub mod keda;
pub mod pace;
pub mod pod;
pub mod prometheus;
pub mod replicaset;
pub mod statefulset;
pub mod watch;
