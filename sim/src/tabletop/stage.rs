//! The play: takes the next event, lets it happen, and passes on what follows. Here are the cluster and the scalers; what
//! visitors do is in `guests.rs`. Everybody hears of everything by way of here, nobody decides anything here.

use super::agenda::{Agenda, Rank};
use super::cluster::{Change, Cluster};
use super::crowd::Visitor;
use super::dispatcher::{Dispatcher, News, Order, Phase};
use super::fault::Fault;
use super::guests::{Guest, Step as GuestStep};
use super::naive::Naive;
use super::ours::Ours;
use super::scaler::{Path, Scaler, Step};
use super::tally::{Outcome, Tally};
use super::{Believes, Design, Mind, Setting};
use crate::models::hpa::Scale;
use crate::models::pod::{Pod, Times};
use crate::models::statefulset::{Action, StatefulSet};
use crate::record::{MarkKind, PodEnd, Sample};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// From a dispatcher's order to the API, and from the API to whoever watches it.
const CALL: u64 = 10;
const WATCH: u64 = 10;
/// Longer than any run: a pod that never gets ready.
const NEVER: u64 = u64::MAX / 4;

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Sync,
    Call(Action),
    Pod { ordinal: u32, uid: u64 },
    Write { start: u32, replicas: u32, decided: u64 },
    Recycle { ordinal: u32, uid: u64 },
    PodNews { ordinal: u32, uid: u64, phase: Phase },
    ScaleNews { start: u32, replicas: u32, decided: u64 },
    Fault(usize),
    Back,
    PrometheusBack { keep: bool },
    Spare(usize),
    Arrive(Visitor),
    Guest { guest: u32, turn: u32, step: GuestStep },
    Signs,
    Alarm,
    Begin(Path),
    Hear(Path),
    Push,
    Scrape,
}

/// See the file.
pub(super) struct Stage<'a> {
    pub(super) setting: &'a Setting,
    design: &'a Design,
    pub(super) agenda: Agenda<Event>,
    cluster: Cluster,
    pub(super) dispatcher: Box<dyn Dispatcher>,
    /// The dispatcher's process is not there.
    pub(super) down: bool,
    scaler: Option<Scaler>,
    pub(super) tally: Tally,
    starts: ChaCha8Rng,
    stops: ChaCha8Rng,
    /// Ordinals whose pods never get ready.
    broken: BTreeSet<u32>,
    sync_noted: bool,
    push_noted: bool,
    alarm: Option<u64>,
    pub(super) guests: BTreeMap<u32, Guest>,
    pub(super) arrivals: u32,
    /// Who waits; who has to ask (again) to get into the line; who sits where, by uid.
    pub(super) waiting: BTreeSet<u32>,
    pub(super) outside: BTreeSet<u32>,
    pub(super) sitting: BTreeMap<u64, BTreeSet<u32>>,
    pub(super) seated: u32,
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

    /// After every event: the dispatcher's alarm, KEDA's ear, and a sample.
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

    /// Says something to the dispatcher, and does what it orders.
    pub(super) fn tell(&mut self, news: News<'_>, now: u64) {
        if self.down {
            return;
        }
        for order in self.dispatcher.hear(now, news) {
            self.obey(order, now);
        }
    }

    fn obey(&mut self, order: Order, now: u64) {
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

    // ---- the cluster ----

    fn want_sync(&mut self, now: u64) {
        if !self.sync_noted {
            self.sync_noted = true;
            self.agenda.note(now, Rank::Controller, Event::Sync);
        }
    }

    fn sync(&mut self, now: u64) {
        self.sync_noted = false;
        for (at, action) in self.cluster.sync(now) {
            self.agenda.note(at, Rank::Controller, Event::Call(action));
        }
        self.observe(now);
    }

    fn call(&mut self, action: Action, now: u64) {
        match action {
            Action::Create { ordinal, revision } => {
                let start = self.setting.cold_start.sample(&mut self.starts);
                let start = if self.broken.contains(&ordinal) { NEVER } else { start };
                let times =
                    Times { start, stop: self.setting.stop.sample(&mut self.stops), grace: self.setting.kill_after };
                if let Some(uid) = self.cluster.create(ordinal, revision, times, now) {
                    self.changed(ordinal, uid, Change::Created, now);
                    self.advance(ordinal, uid, now);
                }
            }
            Action::Delete { ordinal, uid } => self.delete(ordinal, uid, self.cluster.reason(ordinal), now),
        }
        if self.cluster.called() {
            self.observe(now);
            self.want_sync(now);
        }
    }

    fn delete(&mut self, ordinal: u32, uid: u64, end: PodEnd, now: u64) {
        let busy = self.sitting.get(&uid).is_some_and(|s| !s.is_empty());
        if self.setting.pods_wait && busy {
            self.cluster.touch(ordinal, |pod| pod.times.stop = NEVER);
        }
        if self.cluster.delete(ordinal, uid, end, now) {
            self.changed(ordinal, uid, Change::Terminating, now);
            self.advance(ordinal, uid, now);
        }
    }

    /// The last visitor of a pod has left it: a pod that waited for that may end.
    pub(super) fn emptied(&mut self, ordinal: u32, uid: u64, now: u64) {
        if let Some(deleted) = self.cluster.pod(ordinal, uid).and_then(|p| p.deleted)
            && self.setting.pods_wait
        {
            let stop = now - deleted + self.setting.stop.sample(&mut self.stops);
            self.cluster.touch(ordinal, |pod| pod.times.stop = stop);
            self.advance(ordinal, uid, now);
        }
    }

    /// Whether visitors can connect to this incarnation.
    pub(super) fn answers(&self, ordinal: u32, uid: u64) -> bool {
        self.cluster.pod(ordinal, uid).is_some_and(|pod| pod.view().is_ready())
    }

    /// Why a pod that is there ends.
    pub(super) fn end(&self, ordinal: u32, uid: u64) -> Option<PodEnd> {
        self.cluster.end(ordinal, uid)
    }

    fn advance(&mut self, ordinal: u32, uid: u64, now: u64) {
        let end = self.cluster.end(ordinal, uid);
        let (change, next) = self.cluster.advance(ordinal, uid, now);
        if let Some(at) = next.filter(|at| *at > now && *at < NEVER) {
            self.agenda.note(at, Rank::Pods, Event::Pod { ordinal, uid });
        }
        match change {
            Some(Change::Gone) => {
                self.bereave(ordinal, uid, end, now);
                self.tally.pod_gone(uid, end, now);
                self.pod_news(ordinal, uid, Phase::Gone, now);
                self.want_sync(now);
            }
            Some(change) => self.changed(ordinal, uid, change, now),
            None => {}
        }
    }

    fn changed(&mut self, ordinal: u32, uid: u64, change: Change, now: u64) {
        let phase = match change {
            Change::Created => {
                self.tally.pod_created(ordinal, uid, now);
                if self.broken.contains(&ordinal) { Phase::Failed } else { Phase::Starting }
            }
            Change::Ready => {
                self.tally.pod_ready(uid, now);
                Phase::Ready
            }
            Change::Terminating => {
                self.tally.pod_terminating(uid, self.cluster.end(ordinal, uid), now);
                Phase::Terminating
            }
            Change::Unready if self.broken.contains(&ordinal) => Phase::Failed,
            Change::Unready => Phase::Unready,
            Change::Gone => Phase::Gone,
        };
        self.pod_news(ordinal, uid, phase, now);
        self.want_sync(now);
    }

    fn pod_news(&mut self, ordinal: u32, uid: u64, phase: Phase, now: u64) {
        self.agenda.note(now + WATCH, Rank::Dispatcher, Event::PodNews { ordinal, uid, phase });
    }

    /// A write of the scale, by whomever: the last one wins.
    fn write(&mut self, start: u32, replicas: u32, decided: u64, now: u64) {
        self.tally.write();
        self.cluster.write(start, replicas, decided);
        match self.design.believes {
            Believes::Spec => {
                self.agenda.note(now + WATCH, Rank::Dispatcher, Event::ScaleNews { start, replicas, decided });
            }
            Believes::Observed => self.certain_news(now + WATCH),
        }
        self.want_sync(now);
    }

    /// The controller has completed a sync, and says so in the set's status.
    fn observe(&mut self, now: u64) {
        if self.cluster.observe() && self.design.believes == Believes::Observed {
            self.certain_news(now + CALL + WATCH);
        }
    }

    fn certain_news(&mut self, at: u64) {
        let (start, replicas, decided) = self.cluster.certain();
        self.agenda.note(at, Rank::Dispatcher, Event::ScaleNews { start, replicas, decided });
    }

    // ---- the scalers ----

    fn scale(&self) -> Scale {
        let (_, spec) = self.cluster.scale();
        Scale { spec, status: self.cluster.pods(), ready: self.cluster.ready() }
    }

    /// Notes what the scaler will do next; what was noted before and is no longer true is passed over.
    fn note_scaler(&mut self, now: u64) {
        let Some(scaler) = &self.scaler else { return };
        if let Some(at) = scaler.next_poll() {
            self.agenda.note(at.max(now), Rank::Keda, Event::Begin(Path::Poll));
        }
        if let Some(at) = scaler.next_sync() {
            self.agenda.note(at.max(now), Rank::Hpa, Event::Begin(Path::Hpa));
        }
        self.note_scrape();
    }

    fn note_scrape(&mut self) {
        if let Some(at) = self.scaler.as_ref().and_then(Scaler::next_scrape) {
            self.agenda.note(at, Rank::Scrape, Event::Scrape);
        }
    }

    fn begin(&mut self, path: Path, now: u64) {
        let (gauge, scale) = (self.gauge(), self.scale());
        let Some(scaler) = &mut self.scaler else { return };
        let due = match path {
            Path::Poll => scaler.next_poll(),
            Path::Hpa => scaler.next_sync(),
        };
        if due.is_some_and(|at| at <= now) {
            let step = scaler.begin(path, gauge, scale, now);
            self.follow(path, step, now);
        }
    }

    fn hear(&mut self, path: Path, now: u64) {
        let (gauge, scale) = (self.gauge(), self.scale());
        let Some(scaler) = &mut self.scaler else { return };
        let step = scaler.hear(path, gauge, scale, now);
        self.follow(path, step, now);
    }

    fn follow(&mut self, path: Path, step: Step, now: u64) {
        let rank = match path {
            Path::Poll => Rank::Keda,
            Path::Hpa => Rank::Hpa,
        };
        match step {
            Step::Later(at) => self.agenda.note(at, rank, Event::Hear(path)),
            Step::Over(write) => {
                if let Some(scaler) = &self.scaler {
                    let next = match path {
                        Path::Poll => scaler.next_poll(),
                        Path::Hpa => scaler.next_sync(),
                    };
                    if let Some(at) = next {
                        self.agenda.note(at.max(now), rank, Event::Begin(path));
                    }
                    if scaler.is_external() {
                        self.tell(News::Served, now);
                    }
                }
                self.scaler_writes(write, now);
            }
        }
    }

    fn scaler_writes(&mut self, write: Option<u32>, now: u64) {
        if let Some(replicas) = write {
            let (start, _) = self.cluster.scale();
            self.write(start, replicas, 0, now);
        }
    }

    fn gauge(&self) -> Option<super::dispatcher::Gauge> {
        (!self.down).then(|| self.dispatcher.gauge())
    }

    /// KEDA is to be told that somebody is there, if it listens.
    fn want_push(&mut self, now: u64) {
        if !self.push_noted && self.scaler.as_ref().is_some_and(Scaler::takes_pushes) {
            self.push_noted = true;
            self.agenda.note(now + CALL, Rank::Push, Event::Push);
        }
    }

    fn push(&mut self, now: u64) {
        self.push_noted = false;
        let (gauge, scale) = (self.gauge(), self.scale());
        if let Some(scaler) = &mut self.scaler
            && gauge.is_some_and(|g| g.active)
        {
            let write = scaler.push(scale.spec, now);
            self.scaler_writes(write, now);
        }
    }

    fn scrape(&mut self, now: u64) {
        let gauge = self.gauge();
        let Some(scaler) = &mut self.scaler else { return };
        if scaler.next_scrape() != Some(now) {
            return;
        }
        scaler.scrape(gauge, now);
        self.note_scrape();
        self.tell(News::Served, now);
    }

    // ---- faults ----

    fn fail(&mut self, fault: Fault, now: u64) {
        self.tally.mark(now, fault.until(now), MarkKind::Fault, fault.to_string());
        match fault {
            Fault::Restart { down } => {
                self.down = true;
                self.agenda.note(now + down, Rank::Faults, Event::Back);
            }
            Fault::PrometheusDown { lasts, keeps } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.stop_prometheus();
                }
                self.agenda.note(now + lasts, Rank::Faults, Event::PrometheusBack { keep: keeps });
            }
            Fault::TriggerHangs { lasts } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.hang(now + lasts);
                }
            }
            Fault::ScalerUnreachable { lasts } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.cut_off(now + lasts);
                }
            }
            Fault::CrashLoop { ordinal } => {
                self.broken.insert(ordinal);
                let uid = self.cluster.touch(ordinal, |pod| {
                    pod.times.start = NEVER;
                    pod.crash(now);
                });
                if let Some(uid) = uid {
                    self.advance(ordinal, uid, now);
                }
            }
            Fault::Evicted { ordinal } => {
                if let Some(uid) = self.cluster.touch(ordinal, Pod::fail) {
                    self.advance(ordinal, uid, now);
                }
                self.want_sync(now);
            }
            Fault::NodeDrained { ordinal } => {
                let uid = self.cluster.present().find(|p| p.ordinal == ordinal).map(|p| p.uid);
                if let Some(uid) = uid.filter(|_| !self.design.holds_nodes) {
                    self.delete(ordinal, uid, PodEnd::NodeLost, now);
                }
            }
            Fault::RollOut => {
                self.cluster.roll_out();
                self.want_sync(now);
            }
            Fault::MaxPods { pods } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.set_max(pods, now);
                }
                self.tell(News::Max { pods }, now);
                self.note_scaler(now);
            }
            Fault::ScaledObjectDeleted { original } => {
                if self.scaler.take().is_some() {
                    self.scaler_writes(Some(original), now);
                }
            }
            Fault::TargetLost => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.lose_target();
                }
            }
            Fault::ScaledObjectRecreated => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.recreate(now);
                }
                self.note_scaler(now);
            }
        }
    }

    /// The dispatcher's new process is there.
    fn come_back(&mut self, now: u64) {
        self.down = false;
        if let Some(scaler) = &mut self.scaler {
            scaler.replace_targets(now);
        }
        self.note_scrape();
        self.tell(News::Restarted, now);
        self.reconnect(now);
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
