//! What runs in the pods of the examples. It stands alone: nothing here knows the dispatcher, except that a header may name
//! the session of a request.
//!
//! - [`console`]: an emulator that streams its screen to a page and takes keys back; one player session at a time.

pub mod console;
