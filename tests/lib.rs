//! What the black-box tests share: a dispatcher that is really started, pods that do what a script says, visitors with a
//! cookie jar. Nothing here knows the dispatcher's code; everything goes through its sockets, files and signals.
//!
//! Nobody sleeps for a result: whoever waits, waits until something is so ([`patience`]).

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
