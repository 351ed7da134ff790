//! A small honest cluster: one StatefulSet-like controller, and KEDA where the rules say so. It obeys late, in any order
//! its controllers may act, and tells what it did with growing versions. Writes of the size are ordered as the house
//! demands: nobody writes over a later decision.

use proptest::prelude::*;
use slotkeeper_core::{Command, Effect, Ordinal, Phase, Rules, Scaling, Sighting, Uid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Somebody carries out a size that was told once (which), or the one that is owed.
    Scale(u8),
    Resize,
    /// KEDA asks; KEDA acts on something it was told.
    Serve,
    Keda(u8),
    /// The controller creates what is missing, and begins to remove what is too much.
    Create(u8),
    Remove(u8),
    /// A pod goes on: starting, ready; or terminating, gone.
    Progress(u8),
    /// A pod falters, is evicted, or vanishes.
    Falter(u8),
    Evict(u8),
    Vanish(u8),
    /// Recycling is carried out.
    Recycle,
    /// The complete list is read.
    List,
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let any = || 0..8u8;
    prop_oneof![
        2 => any().prop_map(Act::Scale),
        4 => Just(Act::Resize),
        3 => Just(Act::Serve),
        3 => any().prop_map(Act::Keda),
        5 => any().prop_map(Act::Create),
        4 => any().prop_map(Act::Remove),
        9 => any().prop_map(Act::Progress),
        1 => any().prop_map(Act::Falter),
        1 => any().prop_map(Act::Evict),
        1 => any().prop_map(Act::Vanish),
        3 => Just(Act::Recycle),
        1 => Just(Act::List),
    ]
}

/// What a cluster does that has nothing else to do.
pub(super) const CALM: [Act; 14] = [
    Act::Resize,
    Act::Serve,
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

#[derive(Debug)]
pub(super) struct World {
    /// Real time in milliseconds: never jumps.
    pub(super) real: u64,
    start: u32,
    replicas: u32,
    decided: u64,
    version: u64,
    births: u32,
    pods: BTreeMap<u32, (Uid, Phase)>,
    news: VecDeque<Command>,
    /// Sizes that were told and may still be carried out by somebody slow.
    pub(super) orders: Vec<(u32, u32, u64)>,
    /// What KEDA was told, and when.
    served: Vec<(u32, u64)>,
    /// Incarnations that were removed because the dispatcher said so.
    pub(super) scaled_away: BTreeSet<Uid>,
}

impl World {
    pub(super) fn new(running: u32, rules: &Rules) -> World {
        let replicas = if rules.scaling == Scaling::None { rules.max } else { running };
        let mut world = World {
            real: 0,
            start: 0,
            replicas,
            decided: 0,
            version: 0,
            births: 0,
            pods: BTreeMap::new(),
            news: VecDeque::new(),
            orders: Vec::new(),
            served: Vec::new(),
            scaled_away: BTreeSet::new(),
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

    /// To somebody who knows nothing.
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
        let (start, replicas, decided) = (self.start, self.replicas, self.decided);
        self.news.push_back(Command::ScaleSeen { start, replicas, decided, version });
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
    pub(super) fn size_stored(&self) -> (u32, u32, u64) {
        (self.start, self.replicas, self.decided)
    }

    /// All news has been delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.news.is_empty()
    }

    pub(super) fn ordinals(&self) -> Vec<u32> {
        self.pods.keys().copied().collect()
    }

    /// One piece of news, not necessarily the first; it may come again.
    pub(super) fn tell(&mut self, which: usize, again: bool) -> Option<Command> {
        let at = if which < self.news.len() { which } else { 0 };
        if again { self.news.get(at).cloned() } else { self.news.remove(at) }
    }

    pub(super) fn hear(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Scale { start, replicas, decided } = effect {
                self.orders.push((*start, *replicas, *decided));
            }
        }
    }

    /// Somebody is placed in an incarnation that was never there.
    pub(super) fn lies_about(&self, uid: &Uid) -> bool {
        let number = uid.0.strip_prefix("uid/").and_then(|n| n.parse().ok());
        number.is_none_or(|n: u32| n > self.births)
    }

    fn resize(&mut self, (start, replicas, decided): (u32, u32, u64)) {
        if decided >= self.decided {
            (self.start, self.replicas, self.decided) = (start, replicas, decided);
            self.size();
        }
    }

    fn nth(&self, n: u8) -> Option<u32> {
        self.pods.keys().nth(usize::from(n)).copied()
    }

    /// Returns what KEDA was served, if it was.
    pub(super) fn act(&mut self, act: Act, rules: &Rules, desired: u32, owed: &[Effect]) -> Option<u32> {
        match act {
            Act::Scale(n) if matches!(rules.scaling, Scaling::Direct { .. }) => {
                if usize::from(n) < self.orders.len() {
                    let order = self.orders.remove(usize::from(n));
                    self.resize(order);
                }
            }
            Act::Resize => {
                for effect in owed {
                    if let Effect::Scale { start, replicas, decided } = effect {
                        self.resize((*start, *replicas, *decided));
                    }
                }
                if rules.scaling == Scaling::None && self.replicas != rules.max {
                    (self.start, self.replicas) = (0, rules.max);
                    self.size();
                }
            }
            Act::Serve if matches!(rules.scaling, Scaling::Keda { .. }) => {
                self.served.push((desired, self.real));
                return Some(desired);
            }
            Act::Keda(n) => {
                if let Scaling::Keda { settle } = rules.scaling {
                    self.keda(n, settle.0);
                }
            }
            Act::Create(n) => {
                let missing = (self.start..self.start + self.replicas).filter(|o| !self.pods.contains_key(o));
                if let Some(ordinal) = missing.clone().nth(usize::from(n)).or(missing.clone().next()) {
                    let uid = self.uid();
                    self.pods.insert(ordinal, (uid, Phase::Starting));
                    self.change(ordinal, Phase::Starting);
                }
            }
            Act::Remove(n) => {
                let mut over =
                    self.pods.iter().rev().filter(|(o, (_, p))| !self.contains(**o) && *p != Phase::Terminating);
                if let Some((&ordinal, (uid, _))) = over.nth(usize::from(n)) {
                    if matches!(rules.scaling, Scaling::Direct { .. }) {
                        self.scaled_away.insert(uid.clone());
                    }
                    self.change(ordinal, Phase::Terminating);
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
                if let Some(ordinal) = self.nth(n)
                    && self.pods[&ordinal].1 != Phase::Terminating
                {
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
                for effect in owed {
                    let Effect::Recycle { pod, uid } = effect else { continue };
                    if self.pods.get(&pod.0).is_some_and(|(own, phase)| own == uid && *phase != Phase::Terminating) {
                        self.change(pod.0, Phase::Terminating);
                    }
                }
            }
            Act::List => self.list(),
            Act::Scale(_) | Act::Serve => {}
        }
        None
    }

    /// KEDA acts on what it was told last, or on anything not older than `settle`.
    fn keda(&mut self, n: u8, settle: u64) {
        let Some((_, last)) = self.served.last().copied() else { return };
        let since = last.min(self.real.saturating_sub(settle));
        self.served.retain(|(_, at)| *at >= since);
        let at = self.served.len().saturating_sub(1 + usize::from(n));
        let (replicas, _) = self.served[at];
        if (self.start, self.replicas) != (0, replicas) {
            (self.start, self.replicas) = (0, replicas);
            self.size();
        }
    }
}

fn ready(ordinal: u32) -> Phase {
    Phase::Ready { address: ([10, 0, 0, ordinal as u8], 80).into() }
}
