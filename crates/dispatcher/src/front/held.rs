//! Requests that wait for a slot with their connection open (`hold_seconds`), and what happens if the client disconnects.

use crate::config::JournalConfig;
use crate::front::arrival::Arrival;
use crate::front::cookie::Ticket;
use crate::front::visit::{InFlight, NoSeat, Seat, answered};
use crate::front::waiting;
use crate::front::{Dispatcher, Pool};
use slotkeeper_core::{Command, Place, SessionId, State};
use std::sync::Arc;
use std::time::Duration;

/// A client whose held request broke off may return within this time without losing its place.
const RETURN: Duration = Duration::from_secs(2);

/// Returns a seat at once, or holds the request until there is one, if the pool allows that and the request is not for a page.
///
/// # Errors
/// [`NoSeat`] is the reason why there is none.
pub(crate) async fn seat(arrival: &Arrival<'_>, stream: &mut InFlight, ticket: &Ticket) -> Result<Arc<Seat>, NoSeat> {
    let (dispatcher, pool, class) = (arrival.dispatcher, arrival.pool, arrival.class);
    let first = stream.seat(ticket.last, class).await;
    if !matches!(first, Err(NoSeat::Queued)) || arrival.wants_page || pool.config.hold.is_zero() {
        return first;
    }
    let Ok(_held) = pool.holds.try_acquire() else { return first };
    let mut held =
        Held { dispatcher: dispatcher.clone(), pool: pool.clone(), session: ticket.session, disconnected: true };
    let mut view = dispatcher.view.clone();
    let id = &pool.config.id;
    let ready =
        crate::engine::view::until(&mut view, |v| !matches!(v.fleet.place(id, ticket.session), Place::Queued { .. }));
    let signs = async {
        loop {
            tokio::time::sleep(waiting::sign_every(dispatcher, pool)).await;
            pool.visits.still_waits(ticket.session);
        }
    };
    let seat = tokio::select! {
        biased;
        _ = ready => stream.seat(ticket.last, class).await,
        () = tokio::time::sleep(pool.config.hold) => first,
        () = signs => first,
    };
    held.disconnected = false;
    seat
}

/// A held request. If it is dropped before it is answered, the client has disconnected.
struct Held {
    dispatcher: Arc<Dispatcher>,
    pool: Arc<Pool>,
    session: SessionId,
    disconnected: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        // With a shared journal the session may also wait at another dispatcher, so `queue_lease` decides when it leaves.
        let shared = matches!(self.dispatcher.config.journal, JournalConfig::Redis(_));
        if self.disconnected && !shared {
            tokio::spawn(free(self.dispatcher.clone(), self.pool.clone(), self.session));
        }
    }
}

/// Removes a session whose client has disconnected from the queue. If the client returns later, it joins again.
async fn free(dispatcher: Arc<Dispatcher>, pool: Arc<Pool>, session: SessionId) {
    tokio::time::sleep(RETURN).await;
    let waits = {
        let view = dispatcher.view.borrow();
        let state = view.fleet.session(&pool.config.id, session).map(|s| &s.state);
        matches!(state, Some(State::Queued { lost: false, .. } | State::Held { came: false, .. }))
    };
    if !waits || pool.visits.is_here(session) {
        return;
    }
    tracing::debug!(pool = %pool.config.id, "client of a held request disconnected: removing its session from the queue");
    pool.recently_ended.leave_unnoted(session);
    let _ = answered(dispatcher.driver.write(&pool.config.id, Command::Leave { session })).await;
    pool.recently_ended.note_again(session);
}
