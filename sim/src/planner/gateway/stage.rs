//! The event loop of a gateway run: takes the next event, applies it, and schedules what follows. Clients are in
//! `stage/clients.rs`, the life of pods in `stage/lives.rs`.

mod clients;
mod lives;

use super::balance::Balancer;
use super::outcome::Outcome;
use super::pods::{Pod, State};
use super::tally::Tally;
use super::{Design, Happening, Setting};
use crate::planner::tabletop::agenda::{Agenda, Rank};
use crate::planner::tabletop::dispatcher::{News, Order, Phase};
use crate::record::{Mark, MarkKind};
use clients::Client;
use rand_chacha::ChaCha8Rng;
use slotkeeper_core::Decision;
use std::collections::{BTreeMap, BTreeSet};

/// From the dispatcher's order to change the number of pods until the cluster acts on it.
const CALL: u64 = 100;
/// Interval of the heartbeats of waiting clients.
const SIGNS: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
enum Event {
    Come(u32),
    /// `turn`: the client's attempt that the event belongs to; events of an earlier one are ignored.
    Knock {
        client: u32,
        turn: u32,
    },
    Arrive {
        client: u32,
        turn: u32,
        at: Place,
    },
    Accept {
        client: u32,
        turn: u32,
        at: Place,
    },
    Close {
        client: u32,
        turn: u32,
    },
    Happen(Happening),
    /// A pod becomes ready; has been ready for long enough; starts to close; is killed.
    Ready(Place),
    Settled(Place),
    Leave(Place),
    Kill(Place),
    Resize {
        start: u32,
        replicas: u32,
        decided: Decision,
    },
    Tell {
        at: Place,
        phase: Phase,
    },
    Signs,
    Alarm,
}

/// A pod incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    ordinal: u32,
    uid: u64,
}

/// The state of a run.
struct Stage<'a> {
    setting: &'a Setting,
    design: &'a Design,
    agenda: Agenda<Event>,
    balancer: Balancer,
    alarm: Option<u64>,
    pods: BTreeMap<u32, Pod>,
    /// The wanted number of ordinals.
    wanted: u32,
    uids: u64,
    /// The ordinal that a rolling restart is at.
    restarting: Option<u32>,
    clients: Vec<Client>,
    /// Clients that try to connect and have no pod yet.
    waiting: BTreeSet<u32>,
    /// Number of clients that want a connection and have none.
    away: u32,
    tally: Tally,
    marks: Vec<Mark>,
    starts: ChaCha8Rng,
    ways: ChaCha8Rng,
    waits: ChaCha8Rng,
}

pub(super) fn run(setting: &Setting, design: &Design) -> Outcome {
    let mut stage = Stage::new(setting, design);
    stage.open();
    while let Some((now, event)) = stage.agenda.next(setting.length) {
        stage.happen(event, now);
    }
    stage.close()
}

impl<'a> Stage<'a> {
    fn new(setting: &'a Setting, design: &'a Design) -> Stage<'a> {
        let chance = setting.chance;
        Stage {
            setting,
            design,
            agenda: Agenda::new(),
            balancer: Balancer::new(&design.balance, setting.pods, chance),
            alarm: None,
            pods: BTreeMap::new(),
            wanted: setting.pods,
            uids: 0,
            restarting: None,
            clients: vec![Client::default(); setting.clients as usize],
            waiting: BTreeSet::new(),
            away: 0,
            tally: Tally::new(setting.from),
            marks: Vec::new(),
            starts: chance.stream("cold starts"),
            ways: chance.stream("connects"),
            waits: chance.stream("waits"),
        }
    }

    fn open(&mut self) {
        self.hear(News::Started, 0);
        for ordinal in 0..self.setting.pods {
            let at = self.create(ordinal, 0);
            if ordinal < self.setting.ready {
                self.ready(at, 0);
                self.told(at, Phase::Ready, 0);
            }
        }
        for (at, happening) in &self.setting.happenings {
            self.agenda.note(*at, Rank::Faults, Event::Happen(*happening));
        }
        let mut arrivals = self.setting.chance.stream("arrivals");
        let arrival = crate::chance::Draw::Between(0, self.setting.arrival);
        for client in 0..self.setting.clients {
            self.agenda.note(arrival.sample(&mut arrivals), Rank::Visitors, Event::Come(client));
        }
        self.agenda.note(SIGNS, Rank::Visitors, Event::Signs);
    }

    fn happen(&mut self, event: Event, now: u64) {
        match event {
            Event::Come(client) => self.come(client, now),
            Event::Knock { client, turn } => self.knock(client, turn, now),
            Event::Arrive { client, turn, at } => self.arrive(client, turn, at, now),
            Event::Accept { client, turn, at } => self.accept(client, turn, at, now),
            Event::Close { client, turn } => self.dismiss(client, turn, now),
            Event::Happen(happening) => self.befall(happening, now),
            Event::Ready(at) => self.ready(at, now),
            Event::Settled(at) => self.settled(at, now),
            Event::Leave(at) => self.take_leave(at, now),
            Event::Kill(at) => self.kill(at, now),
            Event::Resize { start, replicas, decided } => self.resize(start, replicas, decided, now),
            Event::Tell { at, phase } => self.told(at, phase, now),
            Event::Signs => {
                let guests: Vec<u32> = self.waiting.iter().copied().collect();
                if !guests.is_empty() {
                    self.hear(News::Active { guests: &guests }, now);
                }
                self.agenda.note(now + SIGNS, Rank::Visitors, Event::Signs);
            }
            Event::Alarm => {
                if self.alarm == Some(now) {
                    self.alarm = None;
                    self.hear(News::Tick, now);
                }
            }
        }
    }

    /// Passes an event to the balancer, and executes its orders.
    fn hear(&mut self, news: News<'_>, now: u64) {
        let orders = self.balancer.hear(now, news);
        if let Some(at) = self.balancer.alarm(now).filter(|at| self.alarm.is_none_or(|alarm| *at < alarm)) {
            self.alarm = Some(at);
            self.agenda.note(at, Rank::Dispatcher, Event::Alarm);
        }
        for order in orders {
            match order {
                Order::Seat { guest, ordinal, uid } => self.seat(guest, Place { ordinal, uid }, now),
                Order::Refuse { guest } | Order::Release { guest, .. } => self.unseat(guest, true, now),
                Order::Requeue { guest } => self.unseat(guest, false, now),
                Order::Drain { ordinal, uid } => self.drain(Place { ordinal, uid }, now),
                Order::Scale { start, replicas, decided } => {
                    self.agenda.note(now + CALL, Rank::Controller, Event::Resize { start, replicas, decided });
                }
                Order::Recycle { ordinal, uid } => self.delete(Place { ordinal, uid }, now),
            }
        }
    }

    fn told(&mut self, at: Place, phase: Phase, now: u64) {
        self.hear(News::Pod { ordinal: at.ordinal, uid: at.uid, phase }, now);
    }

    fn mark(&mut self, kind: MarkKind, text: impl Into<String>, now: u64) {
        self.marks.push(Mark { at: now, until: None, kind, text: text.into() });
    }

    fn close(self) -> Outcome {
        let ready: Vec<usize> = self.pods.values().filter(|p| p.state == State::Ready).map(|p| p.open.len()).collect();
        let Setting { length, clients, .. } = *self.setting;
        let (figures, charts) = self.tally.finish(clients, u64::from(self.away), &ready, length);
        Outcome {
            title: self.design.title.clone(),
            story: self.setting.story.clone(),
            seed: self.setting.chance.seed,
            length,
            figures,
            marks: self.marks,
            charts,
        }
    }
}
