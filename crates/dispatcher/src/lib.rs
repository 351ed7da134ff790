//! The process: everything that touches a socket, a file, a cluster or a clock. `main` reads the arguments and opens the
//! outside world; [`run`] does the rest, and runs unchanged in a simulation.
//!
//! The path of a request: `door` accepts it; `cookie` names the session; `visit` attaches the session and hands out
//! seats; `forward` and `tunnel` move the bytes; `waiting` serves the waiting room until there is a seat. The state is the
//! core's `Fleet`: `driver` writes it, everything else reads it through `view`, `hands` executes its effects, `keda` reports
//! its sizes to an external scaler. `tasks` runs the tasks of each pool, `reload` adds and removes pools.
//!
//! # The laws
//!
//! 1. **The journal decides.** No code outside `driver` changes the Fleet; no code outside `slotkeeper-core` decides a
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
pub mod dispatcher;
pub mod fleet;
pub mod front;
pub mod io;
pub mod journal;
pub mod live;
pub mod metrics;
pub mod ops;
pub mod run;
pub mod throttle;

pub use run::{Listening, run, run_until};
