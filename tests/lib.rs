//! Shared by the black-box tests: a dispatcher that is really started, pods that follow a script, visitors with a cookie
//! jar. Nothing here uses the dispatcher's code, but the types of its admin API; everything goes through its sockets, files and signals.
//!
//! No test sleeps for a result: each waits until a condition holds ([`patience`]).

pub mod contract;
pub mod dispatcher;
pub mod patience;
pub mod pod;
pub mod visitor;
pub mod wire;

pub use dispatcher::{Dispatcher, Setup};
pub use patience::{eventually, patiently};
pub use pod::{Pod, Request};
pub use visitor::{Answer, Visitor};
pub use wire::{Head, Wire};
