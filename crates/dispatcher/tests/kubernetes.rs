//! A StatefulSet and a Deployment, through the real client of the Kubernetes API, on a server that answers as a real one does.

mod again;
mod deployment;
mod lost;
mod marks;
mod orders;
mod pause;
mod pods;
mod rig;
mod sizes;
mod trouble;
