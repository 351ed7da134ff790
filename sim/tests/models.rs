//! What the vectors do not cover: the models over time, and where a real control plane was measured to behave otherwise
//! than its source suggests.

mod hpa;
mod keda;
mod outage;
mod pods;
mod prometheus;
mod statefulset;
mod watch;
