//! The process: everything that touches a socket, a file, a cluster or a clock. `main` reads the arguments and opens the
//! outside world; [`run()`] does the rest, and runs unchanged in a simulation.
//!
//! | room | responsible for |
//! |---|---|
//! | [`run`](mod@run) | one life of the process: prepare, read the journal, open listeners, serve, drain |
//! | [`front`] | visitors: a request from its arrival to its pod, the waiting room, the dispatcher's own paths |
//! | [`fleet`] | the state: its only writer (`engine`), its readers (`engine::view`), and what follows from it |
//! | [`ops`] | operators and scalers: admin listener, KEDA, reload |
//! | [`cluster`] | pods: Kubernetes, local processes, fixed lists |
//! | [`journal`] | entries and checkpoints: in memory, in files, in Redis |
//! | [`config`] | settings: reading, checking, describing |
//! | [`io`] | sockets, time, randomness, files of TLS, what a process inherits |
//! | [`dispatcher`](mod@dispatcher) | what all tasks of a process share |
//!
//! `docs/architecture.md` follows a request, an entry, an observation, an effect and a setting through them.
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

#[macro_use]
pub mod faultpoints;

pub mod authority;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod fleet;
pub mod front;
pub mod io;
pub mod journal;
pub mod live;
pub mod metrics;
pub mod ops;
pub mod run;
pub mod shell;

pub use run::{Listening, Outside, run, run_until};
