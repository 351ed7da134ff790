//! The behaviour of visitors: they arrive, wait, connect to their slot, lose their connection and reconnect, leave,
//! or give up.

use super::{Event, Stage};
use crate::planner::tabletop::agenda::Rank;
use crate::planner::tabletop::crowd::Visitor;
use crate::planner::tabletop::dispatcher::News;
use crate::record::{MarkKind, PodEnd};
use std::collections::BTreeSet;

/// Milliseconds from a free slot to the first byte at the pod: the page notices the slot and reloads.
const RELOAD: u64 = 500;
/// How often a visitor whose pod does not answer retries, in milliseconds.
const RETRY: u64 = 5000;

/// One visitor, from arrival to departure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest {
    visitor: Visitor,
    /// Counts its states: a step scheduled in an earlier state is ignored.
    turn: u32,
    state: State,
    /// What is left of its stay.
    stays: u64,
    /// The period without a connection that is still to come.
    away: Option<(u64, u64)>,
    pub(super) served: bool,
    last: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat {
    ordinal: u32,
    uid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Has a slot, and is loading the page.
    Coming(Seat),
    Here {
        seat: Seat,
        since: u64,
    },
    /// Without a connection; without a seat if the slot was given to another session.
    Away(Option<Seat>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Come,
    Leave,
    LoseConnection,
    Return,
    GiveUp,
}

impl State {
    fn seat(self) -> Option<Seat> {
        match self {
            State::Waiting => None,
            State::Coming(seat) | State::Here { seat, .. } => Some(seat),
            State::Away(seat) => seat,
        }
    }
}

impl Stage<'_> {
    pub(super) fn arrive(&mut self, visitor: Visitor, now: u64) {
        let guest = self.arrivals;
        self.arrivals += 1;
        let Visitor { stays, away, .. } = visitor;
        let new = Guest { visitor, turn: 0, state: State::Waiting, stays, away, served: false, last: None };
        self.guests.insert(guest, new);
        self.tally.arrived(guest, now);
        self.ask(guest, now);
    }

    /// The visitor requests a slot.
    fn ask(&mut self, guest: u32, now: u64) {
        let Some(patience) = self.guests.get(&guest).map(|g| g.visitor.patience) else { return };
        self.turn(guest, State::Waiting);
        self.waiting.insert(guest);
        if patience < u64::MAX {
            self.note(guest, now.saturating_add(patience), Step::GiveUp);
        }
        self.knock(guest, now);
    }

    /// Sends the visitor's request to the dispatcher, or as soon as the dispatcher is up again.
    fn knock(&mut self, guest: u32, now: u64) {
        let last = self.guests.get(&guest).and_then(|g| g.last);
        self.outside.remove(&guest);
        if self.down {
            self.outside.insert(guest);
        } else {
            self.tell(News::Visit { guest, last }, now);
        }
    }

    fn turn(&mut self, guest: u32, state: State) {
        if let Some(g) = self.guests.get_mut(&guest) {
            g.turn += 1;
            g.state = state;
        }
    }

    fn note(&mut self, guest: u32, at: u64, step: Step) {
        if let Some(g) = self.guests.get(&guest) {
            self.agenda.note(at, Rank::Visitors, Event::Guest { guest, turn: g.turn, step });
        }
    }

    pub(super) fn act(&mut self, guest: u32, turn: u32, step: Step, now: u64) {
        let Some(state) = self.guests.get(&guest).filter(|g| g.turn == turn).map(|g| g.state) else { return };
        match (step, state) {
            (Step::Come, State::Coming(seat)) | (Step::Return, State::Away(Some(seat))) => {
                if self.answers(seat.ordinal, seat.uid) && !self.down {
                    self.sit(guest, seat, now);
                } else {
                    self.note(guest, now + RETRY, step);
                }
            }
            (Step::Return, State::Away(None)) => self.ask(guest, now),
            (Step::Leave, State::Here { .. }) => {
                self.tell(News::Detach { guest }, now);
                self.say_goodbye(guest, "left", now);
            }
            (Step::LoseConnection, State::Here { seat, since }) => self.lose_connection(guest, seat, since, now),
            (Step::GiveUp, State::Waiting) => {
                self.tell(News::Close { guest }, now);
                self.say_goodbye(guest, "gave up waiting", now);
            }
            // Its state has changed without a turn, so this step no longer applies.
            (Step::Come | Step::Leave | Step::LoseConnection | Step::Return | Step::GiveUp, _) => {}
        }
    }

    fn sit(&mut self, guest: u32, seat: Seat, now: u64) {
        self.tell(News::Attach { guest }, now);
        self.turn(guest, State::Here { seat, since: now });
        let Some(g) = self.guests.get(&guest) else { return };
        match g.away {
            Some((after, _)) if after < g.stays => self.note(guest, now + after, Step::LoseConnection),
            Some(_) | None => self.note(guest, now.saturating_add(g.stays), Step::Leave),
        }
        let company = self.sitting.get(&seat.uid).map_or(0, BTreeSet::len);
        if company > self.setting.rules.slots_per_pod as usize {
            let text = format!("pod {} is given to {company} visitors at once", seat.ordinal);
            self.tally.mark(now, None, MarkKind::Violation, text);
        }
    }

    fn lose_connection(&mut self, guest: u32, seat: Seat, since: u64, now: u64) {
        self.turn(guest, State::Away(Some(seat)));
        if let Some(g) = self.guests.get_mut(&guest) {
            g.stays = g.stays.saturating_sub(now - since).max(1);
            let back = g.away.take().map_or(RELOAD, |(_, away)| away);
            self.note(guest, now + back, Step::Return);
        }
        self.tell(News::Detach { guest }, now);
    }

    /// Removes the visitor from its pod's list.
    fn stand_up(&mut self, guest: u32, now: u64) {
        let Some(seat) = self.guests.get(&guest).and_then(|g| g.state.seat()) else { return };
        self.seated -= 1;
        self.tally.unseated(guest, seat.uid, now);
        if let Some(all) = self.sitting.get_mut(&seat.uid) {
            all.remove(&guest);
            if all.is_empty() {
                self.sitting.remove(&seat.uid);
                self.emptied(seat.ordinal, seat.uid, now);
            }
        }
    }

    fn say_goodbye(&mut self, guest: u32, why: &str, now: u64) {
        self.stand_up(guest, now);
        self.waiting.remove(&guest);
        self.outside.remove(&guest);
        if let Some(g) = self.guests.remove(&guest) {
            self.tally.gone(guest, g.served, why, now);
        }
    }

    // ---- what the dispatcher orders ----

    pub(super) fn seat(&mut self, guest: u32, ordinal: u32, uid: u64, now: u64) {
        // A visitor that has left does not connect: its slot is kept unused, as in reality.
        let Some(g) = self.guests.get_mut(&guest).filter(|g| g.state.seat().is_none()) else { return };
        let waited = (!g.served).then(|| now - g.visitor.arrives);
        (g.served, g.last) = (true, Some(ordinal));
        let away = matches!(g.state, State::Away(_));
        let seat = Seat { ordinal, uid };
        self.waiting.remove(&guest);
        self.outside.remove(&guest);
        self.sitting.entry(uid).or_default().insert(guest);
        self.seated += 1;
        self.tally.seated(guest, ordinal, uid, waited, now);
        if away {
            // The visitor uses the slot when it reconnects.
            if let Some(g) = self.guests.get_mut(&guest) {
                g.state = State::Away(Some(seat));
            }
        } else {
            self.turn(guest, State::Coming(seat));
            self.note(guest, now + RELOAD, Step::Come);
        }
    }

    pub(super) fn release(&mut self, guest: u32, why: &'static str, now: u64) {
        let Some(state) = self.guests.get(&guest).map(|g| g.state) else { return };
        match state {
            State::Here { .. } => {
                self.tell(News::Detach { guest }, now);
                self.say_goodbye(guest, why, now);
            }
            State::Away(_) => {
                self.stand_up(guest, now);
                if let Some(g) = self.guests.get_mut(&guest) {
                    g.state = State::Away(None);
                }
            }
            State::Coming(_) => {
                self.stand_up(guest, now);
                self.ask(guest, now);
            }
            State::Waiting => {
                self.outside.insert(guest);
            }
        }
    }

    pub(super) fn requeue(&mut self, guest: u32, now: u64) {
        let Some(state) = self.guests.get(&guest).map(|g| g.state) else { return };
        // Moving the visitor in time avoids an interruption, but the session in the pod is lost.
        if let Some(Seat { ordinal, uid }) = state.seat()
            && let Some(how) = scaled_away(self.end(ordinal, uid))
        {
            self.tally.killed(guest, ordinal, how, now);
        }
        self.stand_up(guest, now);
        match state {
            State::Here { since, .. } => {
                if let Some(g) = self.guests.get_mut(&guest) {
                    g.stays = g.stays.saturating_sub(now - since).max(1);
                }
                self.ask(guest, now);
            }
            State::Coming(_) | State::Waiting => self.ask(guest, now),
            State::Away(_) => {
                if let Some(g) = self.guests.get_mut(&guest) {
                    g.state = State::Away(None);
                }
            }
        }
    }

    // ---- what happens to them ----

    /// The pod has ended with visitors connected.
    pub(super) fn bereave(&mut self, ordinal: u32, uid: u64, end: Option<PodEnd>, now: u64) {
        let by_a_scaler = scaled_away(end);
        for guest in self.sitting.get(&uid).cloned().unwrap_or_default() {
            if let Some(how) = by_a_scaler {
                self.tally.killed(guest, ordinal, how, now);
            }
            if !self.dispatcher.moves_guests() {
                self.tell(News::Detach { guest }, now);
                let why = by_a_scaler.map_or("its pod ended".to_owned(), |how| format!("its pod was {how}"));
                self.say_goodbye(guest, &why, now);
            }
        }
    }

    /// Periodic heartbeats of all visitors.
    pub(super) fn signs_of_life(&mut self, now: u64) {
        for guest in self.outside.clone() {
            self.knock(guest, now);
        }
        let waiting: Vec<u32> = self.waiting.difference(&self.outside).copied().collect();
        if !waiting.is_empty() {
            self.tell(News::Active { guests: &waiting }, now);
        }
        if self.setting.rules.idle.is_some() {
            let here = self.here();
            self.tell(News::Active { guests: &here }, now);
        }
    }

    fn here(&self) -> Vec<u32> {
        let here = self.guests.iter().filter(|(_, g)| matches!(g.state, State::Here { .. }));
        here.map(|(guest, _)| *guest).collect()
    }

    /// The dispatcher is up again: visitors with a slot reconnect, and waiting ones request a slot again.
    pub(super) fn reconnect(&mut self, now: u64) {
        for guest in self.here() {
            self.tell(News::Attach { guest }, now);
        }
        for guest in self.waiting.clone() {
            self.knock(guest, now);
        }
    }
}

/// Returns how a pod ended, if it was removed by scaling, a rollout or another intervention, and did not end by
/// itself.
fn scaled_away(end: Option<PodEnd>) -> Option<&'static str> {
    match end? {
        PodEnd::ScaledDown => Some("scaled down"),
        PodEnd::RolledOut => Some("replaced by a newer template"),
        PodEnd::Preempted => Some("for a pod with a higher priority"),
        PodEnd::NodeLost | PodEnd::Drained => Some("on a node that was taken away"),
        PodEnd::Recycled | PodEnd::Crashed => None,
    }
}
