//! A small correct cluster: one controller like that of a StatefulSet, and KEDA if the rules use it. It acts late, in any
//! order in which its controllers may act, and reports its changes with growing versions. A size is only written if
//! `Decision::may_overwrite` allows it.

use proptest::prelude::*;
use slotkeeper_core::{
    Command, Decision, Effect, Entry, Fleet, Ordinal, Phase, PoolId, Rules, Scaling, Sighting, Timeline, Uid,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// A dispatcher writes a size that was ordered earlier (which one). `Resize`: the one that is owed.
    Scale(u8),
    Resize,
    /// KEDA asks (and reads which of the answers that are not too old). `Keda`: it acts on a number that it was served.
    Serve(u8),
    Keda(u8),
    /// A dispatcher pauses KEDA's scale-in, and reports it. `Resume`: it ends the pause.
    Pause,
    Resume,
    /// The controller creates a missing pod. `Remove`: it begins to delete a surplus one.
    Create(u8),
    Remove(u8),
    /// A pod makes progress: from starting to ready, or from terminating to deleted.
    Progress(u8),
    /// A pod becomes unready or fails. `Evict`: it is terminated. `Vanish`: it is deleted at once.
    Falter(u8),
    Evict(u8),
    Vanish(u8),
    /// Everything that is owed a recycle is deleted. `RecycleLate`: one incarnation whose recycling was ordered earlier.
    Recycle,
    RecycleLate(u8),
    /// The complete list is read.
    List,
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let any = || 0..8u8;
    prop_oneof![
        2 => any().prop_map(Act::Scale),
        4 => Just(Act::Resize),
        3 => any().prop_map(Act::Serve),
        3 => any().prop_map(Act::Keda),
        3 => Just(Act::Pause),
        2 => Just(Act::Resume),
        5 => any().prop_map(Act::Create),
        4 => any().prop_map(Act::Remove),
        9 => any().prop_map(Act::Progress),
        1 => any().prop_map(Act::Falter),
        1 => any().prop_map(Act::Evict),
        1 => any().prop_map(Act::Vanish),
        3 => Just(Act::Recycle),
        1 => any().prop_map(Act::RecycleLate),
        1 => Just(Act::List),
    ]
}

/// The acts of a cluster that completes all outstanding work.
pub(super) const CALM: [Act; 16] = [
    Act::Resize,
    Act::Serve(0),
    Act::Pause,
    Act::Resume,
    Act::Keda(0),
    Act::Recycle,
    Act::Remove(0),
    Act::Remove(1),
    Act::Create(0),
    Act::Create(1),
    Act::Progress(0),
    Act::Progress(1),
    Act::Progress(2),
    Act::Progress(3),
    Act::Progress(4),
    Act::Progress(5),
];

/// Shortest real time from when the pause was last needed until a dispatcher ends it: `Pace::quiet` minus the age of its view.
const RESUMES: u64 = 15_000;

/// A size that was ordered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    start: u32,
    replicas: u32,
    decided: Decision,
    over: Timeline,
}

impl Order {
    fn of(effect: &Effect) -> Option<Order> {
        let Effect::Scale { start, replicas, decided, over } = *effect else { return None };
        Some(Order { start, replicas, decided, over })
    }
}

#[derive(Debug)]
pub(super) struct World {
    /// Real time in milliseconds: never jumps.
    pub(super) real: u64,
    start: u32,
    replicas: u32,
    decided: Decision,
    version: u64,
    births: u32,
    pods: BTreeMap<u32, (Uid, Phase)>,
    news: VecDeque<Command>,
    /// Sizes that were ordered and may still be written by a slow dispatcher.
    pub(super) orders: Vec<Order>,
    /// The numbers that KEDA was served, and when.
    served: Vec<(u32, u64)>,
    /// The newest number served according to the journal, and when it was first served; until KEDA has certainly acted on it.
    settling: Option<(u32, u64)>,
    /// KEDA's scale-in is paused.
    paused: bool,
    /// When the pause was last needed or reported.
    kept: u64,
    /// KEDA reads gauges that may be late (but never an older one after a newer one) instead of asking a current dispatcher.
    prometheus: bool,
    /// The number of the gauge that was read last.
    read: u64,
    /// The values of the gauges, oldest first.
    gauges: VecDeque<Gauge>,
    /// Incarnations whose recycling was ordered. `recycled`: those that were deleted because of that.
    recycles: Vec<(u32, Uid)>,
    pub(super) recycled: BTreeSet<Uid>,
    /// Incarnations that were removed because the dispatcher lowered the size.
    pub(super) scaled_away: BTreeSet<Uid>,
    /// Ordinals that have had a pod since the size last covered them.
    peopled: BTreeSet<u32>,
    /// Incarnations that a scale-down may remove under a session.
    excused: BTreeSet<Uid>,
}

/// A dispatcher's answer to KEDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gauge {
    replicas: u32,
    /// This answer has to be written to the journal (`Fleet::unserved`).
    is_news: bool,
    since: u64,
    /// Counts all gauges.
    number: u64,
}

impl World {
    pub(super) fn new(running: u32, rules: &Rules, prometheus: bool) -> World {
        let replicas = if rules.scaling == Scaling::None { rules.max } else { running };
        let mut world = World {
            real: 0,
            start: 0,
            replicas,
            decided: Decision::default(),
            version: 0,
            births: 0,
            pods: BTreeMap::new(),
            news: VecDeque::new(),
            orders: Vec::new(),
            served: Vec::new(),
            settling: None,
            paused: false,
            kept: 0,
            prometheus,
            read: 0,
            gauges: VecDeque::new(),
            recycles: Vec::new(),
            recycled: BTreeSet::new(),
            scaled_away: BTreeSet::new(),
            peopled: (0..running).collect(),
            excused: BTreeSet::new(),
        };
        for ordinal in 0..running {
            let uid = world.uid();
            world.pods.insert(ordinal, (uid, ready(ordinal)));
        }
        world.introduce();
        world
    }

    fn uid(&mut self) -> Uid {
        self.births += 1;
        Uid::from(format!("uid/{}", self.births).as_str())
    }

    fn version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Reports all pods and the size, as to a new dispatcher.
    pub(super) fn introduce(&mut self) {
        self.list();
        self.size();
    }

    fn list(&mut self) {
        let pods = self.pods.iter().map(|(o, (uid, phase))| Sighting {
            pod: Ordinal(*o),
            uid: uid.clone(),
            phase: phase.clone(),
        });
        let pods = pods.collect();
        let version = self.version();
        self.news.push_back(Command::PodsListed { pods, version });
    }

    fn size(&mut self) {
        let version = self.version();
        let (start, replicas, Decision { timeline, position: decided }) = (self.start, self.replicas, self.decided);
        self.news.push_back(Command::ScaleSeen { start, replicas, decided, timeline, version });
    }

    fn change(&mut self, ordinal: u32, phase: Phase) {
        let version = self.version();
        if let Some((uid, own)) = self.pods.get_mut(&ordinal) {
            *own = phase.clone();
            self.news.push_back(Command::PodSeen { pod: Ordinal(ordinal), uid: uid.clone(), phase, version });
        }
    }

    fn end(&mut self, ordinal: u32) {
        if let Some((uid, _)) = self.pods.remove(&ordinal) {
            let version = self.version();
            self.news.push_back(Command::PodGone { pod: Ordinal(ordinal), uid, version });
        }
    }

    fn contains(&self, ordinal: u32) -> bool {
        self.start <= ordinal && ordinal < self.start + self.replicas
    }

    /// The pods as the API server stores them.
    pub(super) fn pods(&self) -> &BTreeMap<u32, (Uid, Phase)> {
        &self.pods
    }

    /// The size that the API server stores: start, replicas, and the decision it carries out.
    pub(super) fn size_stored(&self) -> (u32, u32, Decision) {
        (self.start, self.replicas, self.decided)
    }

    /// Whether all observations have been delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.news.is_empty()
    }

    pub(super) fn ordinals(&self) -> Vec<u32> {
        self.pods.keys().copied().collect()
    }

    /// One observation, not necessarily the first; it may be delivered again.
    pub(super) fn tell(&mut self, which: usize, again: bool) -> Option<Command> {
        let at = if which < self.news.len() { which } else { 0 };
        if again { self.news.get(at).cloned() } else { self.news.remove(at) }
    }

    pub(super) fn hear(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.orders.extend(Order::of(effect));
            if let Effect::Recycle { pod, uid } = effect {
                self.recycles.push((pod.0, uid.clone()));
            }
        }
    }

    /// The journal has an entry that KEDA has been served this number.
    pub(super) fn settle_on(&mut self, replicas: u32) {
        if self.settling.is_none_or(|(told, _)| told != replicas) {
            self.settling = Some((replicas, self.real));
        }
    }

    /// Stores the answer to KEDA of a dispatcher that is up to date.
    pub(super) fn show(&mut self, fleet: &Fleet, pool: &PoolId) {
        if fleet.needs_pause(pool) || fleet.census(pool).is_some_and(|c| c.is_active()) {
            self.kept = self.real;
        }
        // Before the list and the size have both been read, a dispatcher does not answer.
        let is_known = fleet.is_listed(pool) && fleet.scale_seen(pool).is_some();
        let Some(desired) = fleet.desired(pool).filter(|_| is_known) else { return };
        let last = self.gauges.back();
        let number = last.map_or(1, |last| last.number + 1);
        let gauge =
            Gauge { replicas: desired.len(), is_news: fleet.unserved(pool).is_some(), since: self.real, number };
        if last.is_none_or(|last| (last.replicas, last.is_news) != (gauge.replicas, gauge.is_news)) {
            self.gauges.push_back(gauge);
        }
        if self.gauges.len() > 8 {
            self.gauges.pop_front();
        }
    }

    /// KEDA and its controller act on a number within `settle` after it was served, and that is also reported by then: if that
    /// time would pass now, they act first. Returns whether they did.
    pub(super) fn obey(&mut self, passes: u64, rules: &Rules) -> bool {
        let Scaling::Keda { settle } = rules.scaling else { return false };
        let Some((replicas, _)) = self.settling.take_if(|(_, at)| *at + settle.0 <= self.real + passes) else {
            return false;
        };
        self.scale_to(replicas);
        self.served = vec![(replicas, self.real)];
        while let Some(ordinal) = self.surplus(0) {
            self.remove(ordinal, rules);
        }
        true
    }

    /// Forgets recycles ordered by lost entries: those pods were empty then. Sessions that seem to be there now had left.
    pub(super) fn forget_recycles(&mut self) {
        self.recycles.clear();
        self.recycled.clear();
    }

    /// The nth pod from the top that has to be removed.
    fn surplus(&self, n: usize) -> Option<u32> {
        let over = self.pods.iter().rev().filter(|(o, (_, p))| !self.contains(**o) && *p != Phase::Terminating);
        over.map(|(o, _)| *o).nth(n)
    }

    fn remove(&mut self, ordinal: u32, rules: &Rules) {
        if rules.scaling != Scaling::None
            && let Some((uid, _)) = self.pods.get(&ordinal)
            && !self.excused.contains(uid)
        {
            self.scaled_away.insert(uid.clone());
        }
        self.change(ordinal, Phase::Terminating);
    }

    /// Deletes this incarnation, if it still runs.
    fn recycle(&mut self, ordinal: u32, uid: &Uid) {
        if self.pods.get(&ordinal).is_some_and(|(own, phase)| own == uid && *phase != Phase::Terminating) {
            self.recycled.insert(uid.clone());
            self.change(ordinal, Phase::Terminating);
        }
    }

    /// The answer that KEDA reads: the newest one, or one that is `late`.
    fn answer(&mut self, late: u8, settle: u64) -> Option<Gauge> {
        let newest = *self.gauges.back()?;
        let at = self.gauges.len().checked_sub(1 + usize::from(late)).filter(|_| self.prometheus);
        let fresh = |at: &usize| self.gauges.get(at + 1).is_none_or(|next| next.since + settle / 4 >= self.real);
        let read = at.filter(fresh).map_or(newest, |at| self.gauges[at]);
        let gauge = if read.number < self.read { newest } else { read };
        self.read = gauge.number;
        Some(gauge)
    }

    /// Whether this incarnation never existed.
    pub(super) fn lies_about(&self, uid: &Uid) -> bool {
        let number = uid.0.strip_prefix("uid/").and_then(|n| n.parse().ok());
        number.is_none_or(|n: u32| n > self.births)
    }

    fn resize(&mut self, Order { start, replicas, decided, over }: Order) {
        if decided.may_overwrite(self.decided, over) {
            (self.start, self.replicas, self.decided) = (start, replicas, decided);
            self.size();
        }
    }

    fn nth(&self, n: u8) -> Option<u32> {
        self.pods.keys().nth(usize::from(n)).copied()
    }

    /// Returns the number that KEDA was served, if that has to be written to the journal.
    pub(super) fn act(&mut self, act: Act, rules: &Rules, fleet: &Fleet) -> Option<u32> {
        match act {
            Act::Scale(n) if matches!(rules.scaling, Scaling::Direct { .. }) => {
                if usize::from(n) < self.orders.len() {
                    let order = self.orders.remove(usize::from(n));
                    self.resize(order);
                }
            }
            Act::Resize => {
                for (_, effect) in fleet.owed() {
                    if let Some(order) = Order::of(&effect) {
                        self.resize(order);
                    }
                }
                if rules.scaling == Scaling::None && (self.start, self.replicas) != (0, rules.max) {
                    (self.start, self.replicas) = (0, rules.max);
                    self.size();
                }
            }
            Act::Serve(late) => {
                if let Scaling::Keda { settle } = rules.scaling
                    && let Some(gauge) = self.answer(late, settle.0)
                {
                    self.served.push((gauge.replicas, self.real));
                    return gauge.is_news.then_some(gauge.replicas);
                }
            }
            Act::Keda(n) => {
                if let Scaling::Keda { settle } = rules.scaling {
                    self.keda(n, settle.0);
                }
            }
            Act::Pause => self.pause(fleet),
            Act::Resume => self.resume(),
            Act::Create(n) => {
                let missing = (self.start..self.start + self.replicas).filter(|o| !self.pods.contains_key(o));
                if let Some(ordinal) = missing.clone().nth(usize::from(n)).or(missing.clone().next()) {
                    let uid = self.uid();
                    // Older semantics have a known gap: a pod that is created again while KEDA may still act on a lower number.
                    let knows =
                        fleet.semantics() >= Entry::SUCCESSORS || !matches!(rules.scaling, Scaling::Keda { .. });
                    if !self.peopled.insert(ordinal) && !knows {
                        self.excused.insert(uid.clone());
                    }
                    self.pods.insert(ordinal, (uid, Phase::Starting));
                    self.change(ordinal, Phase::Starting);
                }
            }
            Act::Remove(n) => {
                if let Some(ordinal) = self.surplus(usize::from(n)) {
                    self.remove(ordinal, rules);
                }
            }
            Act::Progress(n) => {
                let ordinal = self.nth(n)?;
                match self.pods[&ordinal].1 {
                    Phase::Terminating => self.end(ordinal),
                    Phase::Ready { .. } => {}
                    _ => self.change(ordinal, ready(ordinal)),
                }
            }
            Act::Falter(n) => {
                let ordinal = self.nth(n)?;
                if self.pods[&ordinal].1 == Phase::Terminating && !self.news.is_empty() {
                    // That its end is overdue is only reported after the report that it is terminating.
                } else if self.pods[&ordinal].1 == Phase::Terminating {
                    // That its end is overdue is reported; the pod itself does not change.
                    let (version, uid) = (self.version(), self.pods[&ordinal].0.clone());
                    let phase = Phase::Failed { why: "its machine does not answer".into() };
                    self.news.push_back(Command::PodSeen { pod: Ordinal(ordinal), uid, phase, version });
                } else {
                    let phase = if n % 2 == 0 { Phase::Unready } else { Phase::Failed { why: "it crashes".into() } };
                    self.change(ordinal, phase);
                }
            }
            Act::Evict(n) => {
                if let Some(ordinal) = self.nth(n) {
                    self.change(ordinal, Phase::Terminating);
                }
            }
            Act::Vanish(n) => {
                if let Some(ordinal) = self.nth(n) {
                    self.end(ordinal);
                }
            }
            Act::Recycle => {
                for (_, effect) in fleet.owed() {
                    if let Effect::Recycle { pod, uid } = effect {
                        self.recycle(pod.0, &uid);
                    }
                }
            }
            Act::RecycleLate(n) => {
                if usize::from(n) < self.recycles.len() {
                    let (ordinal, uid) = self.recycles.swap_remove(usize::from(n));
                    self.recycle(ordinal, &uid);
                }
            }
            Act::List => self.list(),
            Act::Scale(_) => {}
        }
        None
    }

    /// KEDA acts on the number that it was served last, or on any number not older than `settle`, but never on an older one
    /// after a newer one.
    fn keda(&mut self, n: u8, settle: u64) {
        let Some((_, last)) = self.served.last().copied() else { return };
        let since = last.min(self.real.saturating_sub(settle));
        self.served.retain(|(_, at)| *at >= since);
        let at = self.served.len().saturating_sub(1 + usize::from(n));
        let (replicas, _) = self.served[at];
        self.served.drain(..at);
        self.scale_to(replicas);
    }

    /// KEDA's autoscaler writes the size.
    fn scale_to(&mut self, replicas: u32) {
        let replicas = if self.paused { replicas.max(self.replicas) } else { replicas };
        if (self.start, self.replicas) != (0, replicas) {
            (self.start, self.replicas) = (0, replicas);
            self.peopled.retain(|ordinal| *ordinal < replicas);
            self.size();
        }
    }

    /// Pauses, if pods could be used if it were certain that KEDA removes none. All earlier writes have arrived.
    fn pause(&mut self, fleet: &Fleet) {
        let Some(pool) = fleet.pools().find(|pool| fleet.awaits_pause(pool)) else { return };
        if fleet.census(pool).is_some_and(|c| c.is_active()) {
            (self.paused, self.kept) = (true, self.real);
            self.news.push_back(Command::ScaleInPaused { at: fleet.now(), timeline: fleet.timeline() });
        }
    }

    /// Ends the pause, if it was last needed long enough ago.
    fn resume(&mut self) {
        if self.paused && self.kept + RESUMES <= self.real {
            self.paused = false;
        }
    }
}

fn ready(ordinal: u32) -> Phase {
    Phase::Ready { address: ([10, 0, 0, ordinal as u8], 80).into() }
}
