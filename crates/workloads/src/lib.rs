//! The programs that run in the pods of the examples. Independent of the dispatcher, except that a header may name the
//! session of a request, and that the pages include the dispatcher's client.
//!
//! - [`console`]: an emulator that streams its screen to a page and receives keys; one session plays at a time.
//! - [`gateway`]: thousands of WebSockets per pod: echo, rooms, and a chat across pods.

#![warn(missing_docs)]

mod answer;
pub mod console;
pub mod gateway;
mod handshake;
mod listening;
pub mod logging;
mod name;
