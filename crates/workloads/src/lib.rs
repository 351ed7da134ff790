//! What runs in the pods of the examples. It stands alone: nothing here knows the dispatcher, except that a header may name
//! the session of a request, and that the pages bring the dispatcher's client with them.
//!
//! - [`console`]: an emulator that streams its screen to a page and takes keys back; one player session at a time.
//! - [`gateway`]: thousands of WebSockets per pod: echo, rooms, and a chat across pods.

mod answer;
pub mod console;
pub mod gateway;
mod handshake;
mod listening;
pub mod logging;
mod name;
