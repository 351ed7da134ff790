//! The process: everything that touches a socket, a file, a cluster or a clock. `main` reads the arguments and opens the
//! outside world; [`run()`] does the rest, and runs unchanged in a simulation.
//!
//! A room uses only rooms below it in this table (`tests/rooms.rs` holds that).
//!
//! | room | responsible for |
//! |---|---|
//! | [`run`](mod@run) | one life of the process: prepare, read the journal, open listeners, serve, drain |
//! | [`ops`] | operators and scalers: admin listener, KEDA, a scrape's gauges, reload |
//! | `front` | visitors: a request from its arrival to its pod, the waiting room, the dispatcher's own paths |
//! | `fleet` | what follows from the state: effects are executed, pods observed, load and occupancy reported |
//! | `shell` | what every task may know: configuration, state, metrics, clock, network |
//! | [`engine`] | the state's only writer, and `engine::view`, through which it is read |
//! | [`journal`] | entries and checkpoints: in memory, in files, in Redis |
//! | [`cluster`] | pods: Kubernetes, local processes, fixed lists |
//! | `metrics` | counters, and how metrics are registered |
//! | [`config`] | settings: reading, checking, describing |
//! | [`io`] | sockets, listeners, time, randomness, TLS files, what a process inherits |
//! | `authority` | hosts and origins, and patterns for them |
//! | `live` | values that a reload replaces |
//! | [`faultpoints`] | places where the simulation stops or delays a task |
//!
//! `docs/architecture.md` follows a request, an entry, an observation, an effect and a setting through them, and lists where a
//! slot becomes free.
//!
//! # The laws
//!
//! 1. **The journal decides.** No code outside `engine` changes the Fleet; no code outside `slotkeeper-core` decides a
//!    place or a number of pods.
//! 2. **Time is in the entry.** No replica expires anything by its own clock.
//! 3. **Unknown is not new.** A cookie that this replica does not know may be in entries it has not read yet: `Visit` is
//!    written, and the answer is read after that entry has been applied here.
//! 4. **Attach, then forward.** No byte reaches a pod before this replica has read its own `Attach` back and looked the
//!    place up again.
//! 5. **Silence closes.** A replica cut off from a shared journal closes its streams before the fleet reassigns their slots.
//! 6. **Effects may be executed twice, and late.** An effect of entries that are lost changes no pod that is in use: a size is
//!    written together with the decision it is compared by, and a deletion ends before any lapse does. The proof is in
//!    `docs/lapse.md`.

#![warn(missing_docs)]

#[macro_use]
pub mod faultpoints;

#[expect(unreachable_pub, reason = "in a private room, `pub` marks what other rooms use")]
mod authority;
pub mod cluster;
pub mod config;
pub mod engine;
#[expect(unreachable_pub, reason = "as above")]
mod fleet;
#[expect(unreachable_pub, reason = "as above")]
mod front;
pub mod io;
pub mod journal;
#[expect(unreachable_pub, reason = "as above")]
mod live;
#[expect(unreachable_pub, reason = "as above")]
mod metrics;
pub mod ops;
pub mod run;
#[expect(unreachable_pub, reason = "as above")]
mod shell;

pub use front::cookie;
pub use run::{Listening, Outside, run, run_until};
