//! Models of how Kubernetes, KEDA and Prometheus behave, as far as the number of pods and the choice of pods depend
//! on it: small state machines, pure and deterministic. Time is an argument, in milliseconds since the run began; a
//! model returns the writes it wants and never performs them; the driver adds delays and losses. The rules name their
//! source (Kubernetes v1.36.2, KEDA v2.20, Prometheus 2.42), and the vectors (`tests/vectors`) verify them.
//!
//! Deliberately not modelled: sockets, clocks, randomness, and the order of events at the same moment; the driver
//! decides these.

pub mod hpa;
pub mod keda;
pub mod pace;
pub mod pod;
pub mod prometheus;
pub mod replicaset;
pub mod statefulset;
pub mod watch;
