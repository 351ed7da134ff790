//! Operations that change something: sessions, pods, and whether a pool exists. Each is a command in the journal, and is
//! answered when it has been read back.

use super::answers::{configured, has_read, state_of};
use super::{AdminResult, Refusal, json_reply};
use crate::engine::Ended;
use crate::engine::view::session_ids;
use crate::front::cookie::public_name;
use crate::front::visit::{NoSeat, answered};
use crate::front::{Dispatcher, Pool};
use http::StatusCode;
use slotkeeper_api::{Parameters, PoolRemoved};
use slotkeeper_core::{Command, Ordinal, SessionId};

/// Writes a command on a session.
pub(super) async fn on_session(
    dispatcher: &Dispatcher,
    given: Parameters<'_>,
    act: &str,
    command: impl FnOnce(SessionId) -> Command,
) -> AdminResult {
    let pool = configured(dispatcher, given.pool)?;
    let found = find(dispatcher, pool, given.session);
    let Some(session) = found else {
        let what = "there is no such session; see the list of sessions for their names";
        return Err(Refusal(StatusCode::NOT_FOUND, what.into()));
    };
    submit(dispatcher, pool, act, given.session, command(session)).await
}

/// Writes a command on a pod.
pub(super) async fn on_pod(
    dispatcher: &Dispatcher,
    given: Parameters<'_>,
    act: &str,
    command: impl FnOnce(Ordinal) -> Command,
) -> AdminResult {
    let pool = configured(dispatcher, given.pool)?;
    let ordinal = given.ordinal;
    let max = pool.rules(&dispatcher.view.borrow().fleet).max;
    let known = ordinal.parse().ok().map(Ordinal).filter(|o| o.0 < max);
    let Some(pod) = known else {
        let last = max.saturating_sub(1);
        let what = format!("{ordinal:?} is not a pod of this pool; allowed: ordinals from 0 to {last}");
        return Err(Refusal(StatusCode::NOT_FOUND, what));
    };
    let command = command(pod);
    if matches!(command, Command::Empty { .. }) && !dispatcher.view.borrow().fleet.knows_targets() {
        let what = "an older dispatcher shares this journal, and does not support drain";
        return Err(Refusal(StatusCode::CONFLICT, what.into()));
    }
    submit(dispatcher, pool, act, ordinal, command).await
}

/// Removes a pool from the journal, also one that is not configured here (any more).
pub(super) async fn remove(dispatcher: &Dispatcher, name: &str) -> AdminResult {
    has_read(dispatcher)?;
    let pool = dispatcher.view.borrow().fleet.pools().find(|p| &*p.0 == name).cloned();
    let Some(pool) = pool else {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("there is no pool {name:?} in the journal")));
    };
    tracing::info!(%pool, "operator action: removing the pool");
    written(dispatcher.driver.write(&pool, Command::Remove)).await?;
    Ok(json_reply(StatusCode::OK, &PoolRemoved { pool: name.to_owned(), removed: true }))
}

/// Writes an operator's command, and answers with the resulting state of the pool.
async fn submit(dispatcher: &Dispatcher, pool: &Pool, act: &str, object: &str, command: Command) -> AdminResult {
    tracing::info!(pool = %pool.config.id, act, object, "operator action");
    written(dispatcher.driver.write(&pool.config.id, command)).await?;
    Ok(state_of(dispatcher, pool))
}

/// Waits for a write, but not for long if the journal does not answer.
async fn written(write: impl Future<Output = Result<(), Ended>>) -> Result<(), Refusal> {
    let late = "the journal does not answer now; the command is written as soon as it does";
    answered(write).await.map_err(|no_seat| {
        let ended = matches!(no_seat, NoSeat::Stopping);
        Refusal(StatusCode::SERVICE_UNAVAILABLE, if ended { Ended.to_string() } else { late.into() })
    })
}

/// Returns the session with this public name. O(n), which is acceptable for operators' requests.
fn find(dispatcher: &Dispatcher, pool: &Pool, name: &str) -> Option<SessionId> {
    session_ids(&dispatcher.view, &pool.config.id).into_iter().find(|id| public_name(*id) == name)
}
