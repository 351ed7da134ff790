//! The API's answers about pools and sessions, made from the fleet's state.

use super::{AdminResult, Refusal, json_reply};
use crate::engine::view::session_ids;
use crate::front::cookie::public_name;
use crate::front::endpoints::condition;
use crate::front::forward::body::ResponseBody;
use crate::front::{Dispatcher, Pool};
use http::{Response, StatusCode};
use slotkeeper_api as api;
use slotkeeper_core::{Fleet, Life, Ordinal, Phase, Pod, Rules, Session, SessionId, Standing, State, Time, Why};
use std::sync::Arc;

/// Maximum number of listed sessions; the total is always reported.
const LISTED: usize = 1000;

pub(super) fn pools(dispatcher: &Dispatcher) -> AdminResult {
    has_read(dispatcher)?;
    let view = dispatcher.view.borrow();
    let pools = dispatcher.pools.iter().map(|p| status(&view.fleet, p)).collect();
    Ok(json_reply(StatusCode::OK, &api::PoolList { lapse: view.fleet.is_quiet(), pools }))
}

pub(super) fn pool(dispatcher: &Dispatcher, name: &str) -> AdminResult {
    Ok(state_of(dispatcher, configured(dispatcher, name)?))
}

pub(super) fn sessions(dispatcher: &Dispatcher, name: &str) -> AdminResult {
    let pool = configured(dispatcher, name)?;
    let all = session_ids(&dispatcher.view, &pool.config.id);
    let view = dispatcher.view.borrow();
    // The current time, not that of the last entry.
    let now = view.fleet.now() + view.age();
    let rules = pool.rules(&view.fleet);
    let known = all.iter().filter_map(|id| Some((*id, view.fleet.session(&pool.config.id, *id)?)));
    let listed = known.take(LISTED).map(|(id, s)| session(rules, now, id, s)).collect();
    Ok(json_reply(StatusCode::OK, &api::SessionList { total: all.len() as u64, sessions: listed }))
}

/// Returns the pool as it is now.
pub(super) fn state_of(dispatcher: &Dispatcher, pool: &Pool) -> Response<ResponseBody> {
    json_reply(StatusCode::OK, &status(&dispatcher.view.borrow().fleet, pool))
}

pub(super) fn has_read(dispatcher: &Dispatcher) -> Result<(), Refusal> {
    if dispatcher.has_read(&dispatcher.view.borrow()) {
        return Ok(());
    }
    Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "the journal has not been read yet".into()))
}

/// Returns the pool that is configured by this name.
pub(super) fn configured<'a>(dispatcher: &'a Dispatcher, name: &str) -> Result<&'a Arc<Pool>, Refusal> {
    has_read(dispatcher)?;
    dispatcher
        .pools
        .iter()
        .find(|p| &*p.config.id.0 == name)
        .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there is no pool {name:?}; see /api/v1/pools")))
}

fn status(fleet: &Fleet, pool: &Pool) -> api::Pool {
    let id = &pool.config.id;
    let Some((census, rules)) = fleet.census(id).zip(fleet.rules(id)) else {
        return api::Pool::Unknown(api::UnknownPool { pool: (*id.0).to_owned() });
    };
    let asked = census.asked;
    api::Pool::Known(Box::new(api::PoolStatus {
        pool: (*id.0).to_owned(),
        title: pool.config.title.clone(),
        state: condition(&census, rules),
        sessions: api::SessionCounts {
            queued: census.queued,
            held: census.held,
            taken: census.taken,
            ending: census.ending,
        },
        slots: api::Slots { busy: census.busy_slots, free: census.free_slots, per_pod: rules.slots_per_pod },
        needed: census.needed.len(),
        desired: census.desired.len(),
        start: census.desired.start,
        asked: api::Asked {
            slots: asked.slots,
            sessions: asked.sessions,
            messages: asked.messages,
            gauge: asked.gauge,
        },
        messages_per_second: census.messages_per_second,
        gauge: census.gauge.map(|milli| milli as f64 / 1000.0),
        min: rules.min,
        max: rules.max,
        frozen: census.frozen,
        pods: fleet.pods(id).filter(|(_, p)| p.life.is_some() || p.cordoned).map(|(o, p)| pod(o, p)).collect(),
    }))
}

fn pod(ordinal: Ordinal, pod: &Pod) -> api::Pod {
    let life = pod.life.as_ref();
    api::Pod {
        ordinal: ordinal.0,
        uid: life.map(|l| (*l.uid.0).to_owned()),
        phase: life.map_or(api::Phase::Absent, phase),
        why: life.and_then(why).map(str::to_owned),
        address: life.and_then(|l| l.incarnation.as_ref()).map(|i| i.address.to_string()),
        sessions: pod.sessions.len() as u64,
        slots: pod.slots,
        cordoned: pod.cordoned,
        retiring: life.is_some_and(|l| matches!(l.standing, Standing::Retiring | Standing::Returning { .. })),
        leaving: life.is_some_and(|l| matches!(l.standing, Standing::Surplus | Standing::Leaving)),
        dirty: life.is_some_and(|l| l.dirty),
    }
}

fn phase(life: &Life) -> api::Phase {
    match life.phase {
        Phase::Pending { .. } => api::Phase::Pending,
        Phase::Starting => api::Phase::Starting,
        Phase::Ready { .. } => api::Phase::Ready,
        Phase::Unready => api::Phase::Unready,
        Phase::Terminating => api::Phase::Terminating,
        Phase::Failed { .. } => api::Phase::Failed,
    }
}

fn why(life: &Life) -> Option<&str> {
    match &life.phase {
        Phase::Pending { why } | Phase::Failed { why } => Some(why),
        Phase::Starting | Phase::Ready { .. } | Phase::Unready | Phase::Terminating => None,
    }
}

fn session(rules: &Rules, now: Time, id: SessionId, session: &Session) -> api::Session {
    let seconds_ago = |at: Time| now.since(at).0 / 1000;
    let ends = session.ends(rules);
    api::Session {
        session: public_name(id),
        state: state(session),
        pod: session.pod().map(|o| o.0),
        since_seconds: seconds_ago(session.since),
        active_seconds_ago: seconds_ago(session.active),
        ends_in_seconds: ends.map(|(at, _)| at.since(now).0 / 1000),
        ends_because: ends.map(|(_, why)| reason(why)),
    }
}

fn state(session: &Session) -> api::SessionState {
    match session.state {
        State::Queued { .. } => api::SessionState::Queued,
        State::Held { .. } => api::SessionState::Held,
        State::Taken { .. } => api::SessionState::Taken,
        State::Ending { .. } => api::SessionState::Ending,
    }
}

fn reason(why: Why) -> api::Reason {
    match why {
        Why::LeftQueue => api::Reason::LeftQueue,
        Why::NoShow => api::Reason::NoShow,
        Why::Disconnected => api::Reason::Disconnected,
        Why::Idle => api::Reason::Idle,
        Why::TimeUp => api::Reason::TimeUp,
        Why::Left => api::Reason::Left,
        Why::Kicked => api::Reason::Kicked,
        Why::PodLost => api::Reason::PodLost,
        Why::PoolRemoved => api::Reason::PoolRemoved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_has_the_same_words_for_reasons_as_log_and_metrics() {
        for why in Why::ALL {
            assert_eq!(serde_json::to_value(reason(why)).unwrap(), why.word());
        }
    }
}
