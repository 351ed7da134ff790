//! The behaviour of clients: they connect, are sent to a pod, are accepted or refused there, lose their connection,
//! and reconnect.

use super::{Event, Place, Stage};
use crate::planner::tabletop::agenda::Rank;
use crate::planner::tabletop::dispatcher::News;

/// One client, from its first connect to the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// The pod that its cookie (or its balancer) sends it to.
    place: Option<Place>,
    /// The pod of its last connection: the cookie's hint.
    last: Option<u32>,
    /// The pod it is connected to.
    open: Option<Place>,
    /// The client has been sent to a pod and is not connected yet.
    dialing: bool,
    /// Without a connection since then.
    since: u64,
    /// Failed connects since the last successful one.
    failed: u32,
    /// Counts its attempts and connections.
    turn: u32,
}

impl Stage<'_> {
    /// Returns the client's current turn.
    pub(super) fn turn(&self, client: u32) -> u32 {
        self.clients[client as usize].turn
    }

    fn client(&mut self, client: u32) -> &mut Client {
        &mut self.clients[client as usize]
    }

    pub(super) fn come(&mut self, client: u32, now: u64) {
        self.client(client).since = now;
        self.away += 1;
        self.tally.away(now, self.away);
        self.knock(client, 0, now);
    }

    /// The client sends a connect.
    pub(super) fn knock(&mut self, client: u32, turn: u32, now: u64) {
        let it = self.client(client);
        if it.turn != turn {
            return;
        }
        it.turn += 1;
        let last = it.last;
        self.tally.connect(now);
        self.waiting.insert(client);
        self.hear(News::Visit { guest: client, last }, now);
        // A client that already had a pod gets no new placement event.
        if self.waiting.contains(&client)
            && let Some(place) = self.client(client).place
        {
            self.dial(client, place, now);
        }
    }

    /// The client is placed in a pod.
    pub(super) fn seat(&mut self, client: u32, place: Place, now: u64) {
        self.client(client).place = Some(place);
        if let Some(pod) = self.pod(place) {
            // The dispatcher places no client in a draining pod, so the drain is cancelled.
            pod.drained = None;
        }
        if self.waiting.contains(&client) {
            self.dial(client, place, now);
        }
    }

    /// The client loses its placement. `refused`: it is not queued either.
    pub(super) fn unseat(&mut self, client: u32, refused: bool, now: u64) {
        self.client(client).place = None;
        if refused && self.waiting.remove(&client) {
            self.tally.refused(now);
            self.again(client, now);
        }
    }

    fn dial(&mut self, client: u32, at: Place, now: u64) {
        self.waiting.remove(&client);
        let it = self.client(client);
        it.dialing = true;
        it.last = Some(at.ordinal);
        let turn = it.turn;
        self.hear(News::Attach { guest: client }, now);
        let way = self.setting.connect.sample(&mut self.ways);
        self.agenda.note(now + way, Rank::Visitors, Event::Arrive { client, turn, at });
    }

    pub(super) fn arrive(&mut self, client: u32, turn: u32, at: Place, now: u64) {
        let limits = self.setting.limits;
        let accepted = self.pod(at).and_then(|pod| pod.connect(now, limits));
        match accepted {
            Some(when) => self.agenda.note(when, Rank::Visitors, Event::Accept { client, turn, at }),
            None => self.refuse(client, turn, now),
        }
    }

    pub(super) fn accept(&mut self, client: u32, turn: u32, at: Place, now: u64) {
        let accepted = self.pod(at).and_then(|pod| pod.accept(client).then_some((pod.open.len(), pod.drained)));
        let Some((sockets, drained)) = accepted else { return self.refuse(client, turn, now) };
        self.tally.sockets(now, at.ordinal, sockets);
        let it = self.client(client);
        it.open = Some(at);
        it.dialing = false;
        it.failed = 0;
        let since = it.since;
        self.away -= 1;
        self.tally.away(now, self.away);
        self.tally.back(since, now);
        if let Some(until) = drained {
            // The client was sent here before the drain began.
            self.agenda.note(until.max(now), Rank::Visitors, Event::Close { client, turn });
        }
    }

    /// The pod does not answer, or refuses the connect.
    fn refuse(&mut self, client: u32, turn: u32, now: u64) {
        let it = self.client(client);
        if it.turn != turn || !it.dialing {
            return;
        }
        it.dialing = false;
        self.tally.refused(now);
        self.hear(News::Detach { guest: client }, now);
        self.again(client, now);
    }

    fn again(&mut self, client: u32, now: u64) {
        let failed = self.clients[client as usize].failed;
        let delay = self.design.reconnect.delay(failed, &mut self.waits);
        let it = self.client(client);
        it.failed += 1;
        let turn = it.turn;
        self.agenda.note(now + delay, Rank::Visitors, Event::Knock { client, turn });
    }

    /// Closes the connection with a close frame, if its pod is still to be emptied.
    pub(super) fn dismiss(&mut self, client: u32, turn: u32, now: u64) {
        let it = self.client(client);
        let Some(at) = it.open.filter(|_| it.turn == turn) else { return };
        if self.pod(at).is_some_and(|pod| pod.drained.is_some() || pod.is_deleted()) {
            self.lose(client, true, now);
        }
    }

    /// The client's connection ends.
    pub(super) fn lose(&mut self, client: u32, notice: bool, now: u64) {
        let Some(at) = self.client(client).open.take() else { return };
        if let Some(pod) = self.pod(at) {
            pod.open.remove(&client);
            let left = pod.open.len();
            self.tally.sockets(now, at.ordinal, left);
        }
        let it = self.client(client);
        it.turn += 1;
        it.since = now;
        self.away += 1;
        self.tally.away(now, self.away);
        self.tally.ended(now, notice);
        self.hear(News::Detach { guest: client }, now);
        self.again(client, now);
        self.leave_if_empty(at, now);
    }
}
