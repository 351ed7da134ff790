//! A second, independent oracle for Slotkeeper, written from the promised behaviour alone. It shares no code with the core and
//! does not know how the core decides. It consumes what outsiders observed and reports where that contradicts a promise:
//!
//! | rule | the promise |
//! |---|---|
//! | [`Rule::SharedSlot`] | an incarnation never has more sessions than slots; with recycling, no visitor gets a used one |
//! | [`Rule::Moved`] | a session stays with its incarnation until it ends, the pod terminates, or an operator moves it |
//! | [`Rule::Killed`] | a pod that the dispatcher removes has no session; the reason given for a session's end is true |
//! | [`Rule::WaitsInVain`] | no visitor waits (or is turned away) while a slot is surely free |
//! | [`Rule::Position`] | first come, first served within a priority class; a visitor that sends heartbeats keeps its position |
//! | [`Rule::Notice`] | a visitor whose session ends, or whose pod terminates while it has an open stream, is notified |
//!
//! # What it does not know
//!
//! An outsider cannot see everything. Where the observations leave a question open, the answer is *unknown* and nothing is
//! reported:
//!
//! - The dispatcher's clocks may stand still during an outage, but they never run faster than real time. So a session that
//!   ends before its deadline is a finding; one that ends later is not.
//! - A pod outside any ordered size may be deleted at any moment, and one step may lower the number and raise it again. So a pod
//!   counts as surely free only when the newest order covers its ordinal, the API server stores that order, and all events have
//!   been delivered. KEDA may act on older numbers: there a pod that was ever outside stays unknown, and no pod is surely
//!   free at the moment of a snapshot.
//! - A pod that was not observed from its first moment has an unknown history: with recycling it is never surely free.
//! - After [`Observation::JournalLost`] sessions, positions, operator commands and orders may be forgotten. Until
//!   [`Observation::JournalSettled`] only [`Rule::SharedSlot`] (by open streams) and [`Rule::Killed`] (by pods) are judged, and
//!   no visitor may get a slot. Afterwards each visitor's first answer is accepted as it is.
//! - Where sessions may be moved (`moves`), the dispatcher decides when to move one. Only the notification is judged.
//!
//! # Two kinds of observation
//!
//! [`Watch::Snapshots`]: every visitor is queried at every [`Observation::Snapshot`], so the answers are complete and can be
//! compared exactly. [`Watch::Events`]: observations come as visitors and pods happen to make them, each with a tolerance; an
//! answer then proves something only for its moment, and for as long as the slot must be held afterwards.

#![warn(missing_docs)]

mod observation;
mod pods;
mod queue;
mod reference;
mod slots;
#[cfg(test)]
mod tests;
mod visitors;

pub use observation::{Answer, Observation, Observed, PodId, PodState, Reason, Remover, Scaling, Settings, VisitorId};
pub use reference::{Finding, Reference, Rule, Watch};
