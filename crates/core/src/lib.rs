//! Who sits where, and how many pods: the pure heart of Slotkeeper.
//!
//! A replicated state machine fed by an ordered journal. Four reads ([`Fleet::place`], [`Fleet::next_deadline`],
//! [`Fleet::owed`], [`Fleet::census`]) and one mutation ([`Fleet::apply`]). Every dispatcher that applies the same
//! entries computes the same state and the same effects.
//!
//! - **Time enters only with an entry.** `apply` first does what is due at the entry's time, then the entry itself;
//!   [`Command::Tick`] is the empty command. Nobody expires anything by a clock of their own.
//! - **Randomness never enters**: ids are minted outside. **Settings are entries too** ([`Command::Rules`]).
//! - **Effects are the return value**, and levels as much as edges: [`Fleet::owed`] derives them again after a restart.
//! - **There is no `Result`.** Being queued or refused is an answer. A broken invariant is a bug: it panics in debug
//!   builds, and in release builds freezes the pool's placing and says so ([`Effect::Broken`]).
//! - **What is lost is never given away twice**: after [`Command::Lapse`] nobody is placed until everybody who may have acted on
//!   entries that are gone has closed the streams, or has said that it has missed nothing ([`Command::Whole`]).
//! - **Old news is recognised**: entries by their replica's number, observations by the cluster's version, incarnations
//!   by uid. Everything is safe twice and late.
//!
//! ```text
//! session:  (Visit) ─▶ Queued ─▶ Held{until} ◀─────▶ Taken{by replicas} ─▶ Ending{by replicas} ─▶ released
//!                        │          │ until passes       │ pod gone
//!                        ▼          ▼                    ▼
//!                     released   released            Queued (front)
//!
//! pod:      (new uid) Free ─▶ Serving ─▶ Free (keep) | Dirty (recycle) ─▶ (new uid) Free;   Free ─▶ Retiring ─▶ gone
//!           where sessions may be moved:  Serving ─▶ Surplus ─▶ Leaving ─▶ (empty) Retiring ─▶ gone
//! ```
//!
//! Deliberately absent: clocks, sockets, threads, randomly ordered maps. `no_std` makes the compiler the reviewer.
#![no_std]

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
