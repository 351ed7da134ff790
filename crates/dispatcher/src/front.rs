//! Visitors. `connection` serves their connections; `request` is the life of a request, top to bottom; `cookie` names the session; `visit` attaches it and hands out
//! seats; `forward` and `tunnel` move the bytes; `waiting` is the waiting room; `endpoints` are the dispatcher's own paths.

pub mod access_log;
pub mod activity;
pub mod ages;
pub(crate) mod arrival;
pub mod client;
pub mod connection;
pub mod cookie;
pub mod dispatcher;
pub mod effects;
pub(crate) mod endpoints;
pub mod error;
pub mod forward;
pub mod framed_socket;
pub mod held;
pub(crate) mod http2;
pub mod newcomer;
pub mod passive;
pub mod recently_ended;
pub(crate) mod redirect;
pub(crate) mod repeats;
pub mod request;
pub(crate) mod route;
pub mod tunnel;
pub mod visit;
pub mod waiting;

pub use dispatcher::{Dispatcher, Pool};
