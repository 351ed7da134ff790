//! The admin API in one place: its paths ([`ROUTES`]), the types of its answers, and the OpenAPI document ([`openapi`]) that is
//! generated from both. The dispatcher, clients and tests all use this table, so they cannot disagree.
//!
//! Compatible changes: a new path, a new optional field. A client ignores fields that it does not know; a field that is added
//! later has a default here, so that a newer client reads an older dispatcher's answers.
#![warn(missing_docs)]

mod answers;
mod openapi;
mod pools;
mod routes;
mod sessions;

pub use answers::Problem;
pub use openapi::openapi;
pub use pools::{
    Asked, Condition, Phase, Pod, Pool, PoolList, PoolRemoved, PoolStatus, SessionCounts, Slots, UnknownPool,
};
pub use routes::{Body, Failure, Miss, Operation, PARAMETERS, Parameter, Parameters, ROUTES, Role, Route, Verb, find};
pub use sessions::{Reason, Session, SessionList, SessionState};
