//! The event loop of a run: takes the next event, applies it, and schedules what follows. All communication between
//! the parts goes through here; nothing is decided here. The behaviour of visitors, pods and scalers is in the
//! submodules.

mod guests;
mod pods;
mod scaling;
mod trouble;

use super::agenda::{Agenda, Rank};
use super::cluster::Cluster;
use super::crowd::Visitor;
use super::dispatcher::{Dispatcher, News, Order, Phase};
use super::naive::Naive;
use super::ours::Ours;
use super::scaler::{Path, Scaler};
use super::tally::{Outcome, Tally};
use super::{Design, Mind, Setting};
use crate::models::statefulset::{Action, StatefulSet};
use crate::record::{PodEnd, Sample};
use guests::{Guest, Step};
use rand_chacha::ChaCha8Rng;
use slotkeeper_core::Decision;
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds from a dispatcher's order to the API, and (`WATCH`) from the API to its watchers.
const CALL: u64 = 10;
const WATCH: u64 = 10;
/// Longer than any run: for a pod that never becomes ready.
const NEVER: u64 = u64::MAX / 4;

#[derive(Clone, Copy, Debug)]
enum Event {
    Sync,
    Call(Action),
    Pod { ordinal: u32, uid: u64 },
    Write { start: u32, replicas: u32, decided: Decision },
    Recycle { ordinal: u32, uid: u64 },
    PodNews { ordinal: u32, uid: u64, phase: Phase },
    ScaleNews { start: u32, replicas: u32, decided: Decision },
    Fault(usize),
    Back,
    PrometheusBack { keep: bool },
    Spare(usize),
    Arrive(Visitor),
    Guest { guest: u32, turn: u32, step: Step },
    Signs,
    Alarm,
    Begin(Path),
    Hear(Path),
    Push,
    Scrape,
}

/// The state of a run.
struct Stage<'a> {
    setting: &'a Setting,
    design: &'a Design,
    agenda: Agenda<Event>,
    cluster: Cluster,
    dispatcher: Box<dyn Dispatcher>,
    /// The dispatcher's process is not running.
    down: bool,
    scaler: Option<Scaler>,
    tally: Tally,
    starts: ChaCha8Rng,
    pod_starts: ChaCha8Rng,
    probes: ChaCha8Rng,
    stops: ChaCha8Rng,
    /// Ordinals whose pods never become ready.
    broken: BTreeSet<u32>,
    sync_noted: bool,
    push_noted: bool,
    alarm: Option<u64>,
    guests: BTreeMap<u32, Guest>,
    arrivals: u32,
    /// `waiting`: visitors without a slot; `outside`: those that must (again) request a slot to be queued; `sitting`:
    /// visitors with a slot, by the uid of their pod.
    waiting: BTreeSet<u32>,
    outside: BTreeSet<u32>,
    sitting: BTreeMap<u64, BTreeSet<u32>>,
    seated: u32,
}

pub(super) fn run(setting: &Setting, design: &Design, visitors: &mut dyn Iterator<Item = Visitor>) -> Outcome {
    let mut stage = Stage::new(setting, design);
    stage.open();
    stage.await_visitor(visitors);
    while let Some((now, event)) = stage.agenda.next(setting.length) {
        let arrival = matches!(event, Event::Arrive(_));
        stage.happen(event, now);
        if arrival {
            stage.await_visitor(visitors);
        }
        stage.afterwards(now);
    }
    stage.close()
}

impl<'a> Stage<'a> {
    fn new(setting: &'a Setting, design: &'a Design) -> Stage<'a> {
        let set = StatefulSet { update: design.update, ..StatefulSet::new(design.policy, setting.pods) };
        let (dispatcher, dispatchers): (Box<dyn Dispatcher>, u32) = match design.mind {
            Mind::Slotkeeper(scaling) => {
                let rules = slotkeeper_core::Rules { scaling, ..setting.rules.clone() };
                (Box::new(Ours::new(rules, setting.pods)), 1)
            }
            Mind::Naive(habit) => (Box::new(Naive::new(habit)), habit.replicas),
        };
        Stage {
            setting,
            design,
            agenda: Agenda::new(),
            cluster: Cluster::new(set, setting.pace),
            dispatcher,
            down: false,
            scaler: design.wiring.clone().map(|wiring| Scaler::new(wiring, dispatchers, setting.phases)),
            tally: Tally::new(setting.detail),
            starts: setting.chance.stream("cold starts"),
            pod_starts: setting.chance.stream("pod starts"),
            probes: setting.chance.stream("probes"),
            stops: setting.chance.stream("stops"),
            broken: BTreeSet::new(),
            sync_noted: false,
            push_noted: false,
            alarm: None,
            guests: BTreeMap::new(),
            arrivals: 0,
            waiting: BTreeSet::new(),
            outside: BTreeSet::new(),
            sitting: BTreeMap::new(),
            seated: 0,
        }
    }

    fn open(&mut self) {
        for (index, (at, _)) in self.setting.faults.iter().enumerate() {
            self.agenda.note(*at, Rank::Faults, Event::Fault(index));
        }
        for (index, (at, _)) in self.setting.spare.iter().enumerate() {
            self.agenda.note(*at, Rank::Faults, Event::Spare(index));
        }
        self.agenda.note(0, Rank::Visitors, Event::Signs);
        if self.scaler.is_some() {
            self.note_scaler(0);
        }
        self.tell(News::Started, 0);
        self.want_sync(0);
        self.afterwards(0);
    }

    fn await_visitor(&mut self, visitors: &mut dyn Iterator<Item = Visitor>) {
        if let Some(visitor) = visitors.next() {
            self.agenda.note(visitor.arrives, Rank::Visitors, Event::Arrive(visitor));
        }
    }

    fn happen(&mut self, event: Event, now: u64) {
        match event {
            Event::Sync => self.sync(now),
            Event::Call(action) => self.call(action, now),
            Event::Pod { ordinal, uid } => self.advance(ordinal, uid, now),
            Event::Write { start, replicas, decided } => self.write(start, replicas, decided, now),
            Event::Recycle { ordinal, uid } => self.delete(ordinal, uid, PodEnd::Recycled, now),
            Event::PodNews { ordinal, uid, phase } => self.tell(News::Pod { ordinal, uid, phase }, now),
            Event::ScaleNews { start, replicas, decided } => self.tell(News::Scale { start, replicas, decided }, now),
            Event::Fault(index) => {
                if let Some((_, fault)) = self.setting.faults.get(index) {
                    self.fail(*fault, now);
                }
            }
            Event::Back => self.come_back(now),
            Event::PrometheusBack { keep } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.start_prometheus(keep, now);
                }
                self.note_scrape();
            }
            Event::Spare(index) => {
                if let Some((_, spare)) = self.setting.spare.get(index) {
                    self.tell(News::Spare { slots: *spare }, now);
                }
            }
            Event::Arrive(visitor) => self.arrive(visitor, now),
            Event::Guest { guest, turn, step } => self.act(guest, turn, step, now),
            Event::Signs => {
                self.signs_of_life(now);
                let every = self.setting.rules.queue_lease.0.min(self.setting.rules.idle.map_or(u64::MAX, |i| i.0)) / 3;
                self.agenda.note(now + every.max(1), Rank::Visitors, Event::Signs);
                self.want_push(now);
            }
            Event::Alarm => {
                if self.alarm == Some(now) {
                    self.alarm = None;
                    self.tell(News::Tick, now);
                }
            }
            Event::Begin(path) => self.begin(path, now),
            Event::Hear(path) => self.hear(path, now),
            Event::Push => self.push(now),
            Event::Scrape => self.scrape(now),
        }
    }

    /// After every event: schedules the dispatcher's alarm and a push to KEDA, and takes a sample.
    fn afterwards(&mut self, now: u64) {
        if !self.down
            && let Some(at) = self.dispatcher.alarm(now)
            && self.alarm.is_none_or(|noted| at < noted)
        {
            self.alarm = Some(at);
            self.agenda.note(at, Rank::Dispatcher, Event::Alarm);
        }
        let active = self.dispatcher.gauge().active;
        if !self.down
            && let Some(scaler) = &mut self.scaler
            && scaler.keep_guard(active, now)
        {
            self.note_scaler(now);
        }
        let (_, replicas) = self.cluster.scale();
        if active && replicas == 0 {
            self.want_push(now);
        }
        self.tally.sample(Sample {
            at: now,
            desired: self.dispatcher.desired(),
            replicas: self.cluster.scale().1,
            pods: self.cluster.pods(),
            ready: self.cluster.ready(),
            seated: self.seated,
            waiting: self.waiting.len() as u32,
        });
    }

    // ---- the dispatcher ----

    /// Passes an event to the dispatcher, and executes its orders.
    fn tell(&mut self, news: News<'_>, now: u64) {
        if self.down {
            return;
        }
        for order in self.dispatcher.hear(now, news) {
            self.execute(order, now);
        }
    }

    fn execute(&mut self, order: Order, now: u64) {
        match order {
            Order::Scale { start, replicas, decided } => {
                self.agenda.note(now + CALL, Rank::Controller, Event::Write { start, replicas, decided });
            }
            Order::Recycle { ordinal, uid } => {
                self.agenda.note(now + CALL, Rank::Controller, Event::Recycle { ordinal, uid });
            }
            Order::Seat { guest, ordinal, uid } => self.seat(guest, ordinal, uid, now),
            Order::Refuse { guest } => {
                if self.waiting.contains(&guest) {
                    self.outside.insert(guest);
                }
            }
            Order::Release { guest, why } => self.release(guest, why, now),
            Order::Requeue { guest } => self.requeue(guest, now),
            Order::Drain { ordinal: _, uid } => {
                for guest in self.sitting.get(&uid).cloned().unwrap_or_default() {
                    self.tell(News::Detach { guest }, now);
                }
            }
        }
    }

    fn close(self) -> Outcome {
        let now = self.setting.length;
        let first = self.waiting.iter().filter(|g| self.guests.get(g).is_some_and(|g| !g.served)).count() as u64;
        let there = self.guests.len() as u64 - first;
        let mut outcome = self.tally.outcome(first, there, self.seated, now);
        outcome.record.seed = Some(self.setting.chance.seed);
        outcome.record.title.clone_from(&self.design.title);
        outcome.record.story.clone_from(&self.setting.story);
        outcome
    }
}
