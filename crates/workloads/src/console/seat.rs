//! The console's only seat: which session plays. It is free once the last socket of that session has closed.

use std::sync::{Arc, Mutex, PoisonError};

use super::metrics::Metrics;

/// The player that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Player {
    /// The session named by the header `X-Session-Id`.
    Session(String),
    /// A socket without that header; each one has its own number.
    Alone(u64),
}

/// Another session is playing.
#[derive(Debug, thiserror::Error)]
#[error("another session is playing on this console")]
pub(crate) struct Taken;

#[derive(Clone)]
pub(crate) struct Seat {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    /// The current player, or else the last one.
    player: Option<Player>,
    sockets: usize,
    /// The last number for players without a session and for sockets.
    numbers: u64,
}

/// A socket's part of the seat, released on drop.
pub(crate) struct Sitting {
    seat: Seat,
    /// The last socket belonged to another session, or there was none since the start.
    pub(crate) is_new: bool,
    /// The socket's number.
    pub(crate) socket: u64,
}

impl Seat {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Seat {
        Seat { state: Arc::default(), metrics }
    }

    /// # Errors
    /// If another session is playing.
    pub(crate) fn sit(&self, session: Option<&str>) -> Result<Sitting, Taken> {
        let mut state = self.lock();
        if !state.admits(session) {
            self.metrics.refused_players_total.inc();
            return Err(Taken);
        }
        state.numbers += 1;
        let number = state.numbers;
        let player = session.map_or(Player::Alone(number), |session| Player::Session(session.to_owned()));
        let is_new = state.player.as_ref() != Some(&player);
        if state.sockets == 0 {
            self.metrics.sessions_total.inc();
        }
        state.player = Some(player);
        state.sockets += 1;
        self.metrics.players.set(1);
        self.metrics.sockets.set(state.sockets as i64);
        Ok(Sitting { seat: self.clone(), is_new, socket: number })
    }

    /// Whether another session is playing.
    pub(crate) fn is_taken_for(&self, session: Option<&str>) -> bool {
        !self.lock().admits(session)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admits(&self, session: Option<&str>) -> bool {
        self.sockets == 0
            || match (&self.player, session) {
                (Some(Player::Session(playing)), Some(session)) => playing == session,
                _ => false,
            }
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let mut state = self.seat.lock();
        state.sockets = state.sockets.saturating_sub(1);
        self.seat.metrics.sockets.set(state.sockets as i64);
        self.seat.metrics.players.set(i64::from(state.sockets > 0));
    }
}
