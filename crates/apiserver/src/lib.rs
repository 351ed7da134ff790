//! A small Kubernetes API server for tests: the part of the API that a dispatcher uses, with the answers of a real server
//! (compared with recordings of a 1.36 server in tests/transcripts), and with faults on demand.
//!
//! - [`Store`]: the objects and the history of their changes. Pure: no socket, no clock (`now` in milliseconds since
//!   the epoch comes with each write), uids from a seed. Its methods answer as the API would, errors are [`Status`].
//! - [`Server`]: a cloneable handle that serves the API over any connection ([`Server::serve`]) or listener
//!   ([`Server::listen`]), with rights ([`Access`]), faults ([`Faults`]) and a record of requests.
//! - [`controllers`]: stand-ins for the controllers and for the kubelet, pure as well.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use slotkeeper_apiserver::{Faults, Refusal, Resource, Server, controllers};
//! let server = Server::on_tokio_time(1_764_000_000_000);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?; // http://{address} in a kubeconfig
//! tokio::spawn({ let server = server.clone(); async move { server.listen(listener).await } });
//! server.store(|store, now| {
//!     let set = serde_json::json!({"metadata": {"name": "gamecube"}, "spec": {/* .. */}});
//!     store.create(Resource::StatefulSets, "games", set, now)?;
//!     while controllers::step(store, now) {}
//!     controllers::pod(store, now, "games", "gamecube-0").schedule("node-a")?;
//!     controllers::pod(store, now, "games", "gamecube-0").run("127.0.0.2")
//! })?;
//! server.faults(|faults| faults.refuse(3, &Refusal::new(500).of("patch", "statefulsets")));
//! server.break_watches();
//! assert_eq!(server.records().count("patch", "statefulsets"), 0);
//! # Ok(()) }
//! ```
//!
//! Not implemented: other resources (404), patches other than merge patches and applies (415), dryRun (400), evictions,
//! keyed lists in field management, tables, protobuf, TLS, cascading deletion (except orphaning).

#![warn(missing_docs)]

mod access;
mod api;
mod content;
pub mod controllers;
mod discovery;
mod faults;
mod request;
mod resource;
pub mod selector;
mod server;
mod stamp;
mod status;
mod store;
mod watching;

pub use access::{Access, Rule, Wanted};
pub use faults::{Faults, Refusal};
pub use resource::Resource;
pub use server::{Line, Records, Server};
pub use stamp::{fine_stamp, milliseconds, stamp};
pub use status::{Cause, Status};
pub use store::{At, Change, Deletion, Key, Page, Part, Selection, Store, Writer};
