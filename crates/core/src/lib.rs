//! Which session has which slot, and how many pods each pool needs: Slotkeeper's state machine, without I/O.
//!
//! A replicated state machine fed by an ordered journal. One mutation ([`Fleet::apply`]), and reads (`fleet/queries.rs`; above
//! all [`Fleet::place`], [`Fleet::next_deadline`], [`Fleet::owed`], [`Fleet::census`]). Every dispatcher that applies the same
//! entries computes the same state and the same effects.
//!
//! - **Time enters only with an entry.** `apply` first does what is due at the entry's time, then the entry itself;
//!   [`Command::Tick`] is the empty command. No dispatcher expires anything by its own clock.
//! - **Randomness never enters**: ids are created outside. **Settings are entries too** ([`Command::Rules`]).
//! - **Effects are the return value**, and those still owed can be derived from the state ([`Fleet::owed`]), as after a restart.
//! - **There is no `Result`.** Being queued or refused is an answer. A broken invariant is a bug: it panics in debug
//!   builds; in release builds it freezes placing in that pool and is reported ([`Effect::Broken`]).
//! - **Lost entries never put two sessions into one slot**: after [`Command::Lapse`] no session is placed until every replica
//!   that may have acted on lost entries has closed its streams, or has reported that it missed nothing ([`Command::Whole`]).
//! - **Outdated input is ignored**: entries by their replica's number, observations by the cluster's version, incarnations
//!   by uid. Applying anything twice or late is harmless.
//!
//! ```text
//! session:  (Visit) ─▶ Queued ─▶ Held{until} ◀─────▶ Taken{by replicas} ─▶ Ending{by replicas} ─▶ released
//!                        │          │ until passes       │ pod gone
//!                        ▼          ▼                    ▼
//!                     released   released            Queued (front), also from Held
//!
//! pod:      (new uid) Free ─▶ Serving ─▶ Free (keep) | Dirty (recycle) ─▶ (new uid) Free;   Free ─▶ Retiring ─▶ gone
//!           where sessions may be moved:  Serving ─▶ Surplus ─▶ Leaving ─▶ (empty) Retiring ─▶ gone
//! ```
//!
//! Deliberately absent: clocks, sockets, threads, randomly ordered maps. `no_std` makes the compiler enforce it.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

#[macro_use]
pub mod planted;

mod census;
mod check;
mod decision;
mod entry;
mod estimate;
mod fleet;
mod ids;
mod lapse;
mod load;
mod lookup;
mod pods;
mod pool;
mod prefix;
mod queue;
mod rules;
mod scale;
mod sessions;
mod time;

pub use census::{Census, Place};
pub use decision::Decision;
pub use entry::{Command, Effect, Entry, Phase, Sighting, Why};
pub use fleet::{Fleet, Reason};
pub use ids::{Incarnation, Ordinal, PoolId, ReplicaId, SessionId, Timeline, Uid};
pub use pods::{Life, Pod, Standing};
pub use rules::{AfterSession, Placement, Rules, Scaling, Shrink, Spare, Targets, Window};
pub use scale::{Asked, Seen, Span};
pub use sessions::{Session, State};
pub use time::{Millis, Time};
