//! The StatefulSet of a run: its scale, its pods, and a controller whose calls take time. One sync of the controller
//! decides with what it sees then; its creates and deletes are sent one after the other (`models::pace`), and it
//! syncs again only when all of them are done: every decision is executed, even if the scale has changed meanwhile.
//! The stage does the timing.

use crate::models::pace::Pace;
use crate::models::pod::{Pod, Times};
use crate::models::statefulset::{Action, Policy, StatefulSet, UpdateStrategy};
use crate::record::PodEnd;
use slotkeeper_core::Decision;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Milliseconds from the controller's decision to a pod in the API.
const CALL: u64 = 8;

/// The StatefulSet of a run.
pub(super) struct Cluster {
    set: StatefulSet,
    pods: BTreeMap<u32, Member>,
    pace: Pace,
    /// Ordinals that may need an action: a Parallel set without rolling updates checks only these.
    unsettled: BTreeSet<u32>,
    /// Calls that are decided but not yet made.
    calls: usize,
    /// The recent specs of the set, by generation: its window and the decision written with it. The oldest is the one
    /// that the last complete sync saw (`status.observedGeneration`); a sync may be executing any of them.
    written: VecDeque<WrittenSize>,
    generation: u64,
    /// The generation that the current sync uses.
    syncing: u64,
    lives: u64,
    ready: u32,
}

#[derive(Clone, Copy, Debug)]
struct WrittenSize {
    generation: u64,
    start: u32,
    end: u32,
    decided: Decision,
}

/// One pod, and why it ends.
struct Member {
    pod: Pod,
    ready: bool,
    end: Option<PodEnd>,
}

/// A change of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Created,
    Ready,
    Unready,
    Terminating,
    Gone,
}

impl Cluster {
    pub(super) fn new(set: StatefulSet, pace: Pace) -> Cluster {
        let (start, end) = (set.start, set.start + set.replicas);
        Cluster {
            set,
            pods: BTreeMap::new(),
            pace,
            unsettled: (start..end).collect(),
            calls: 0,
            written: VecDeque::from([WrittenSize { generation: 0, start, end, decided: Decision::default() }]),
            generation: 0,
            syncing: 0,
            lives: 0,
            ready: 0,
        }
    }

    pub(super) fn scale(&self) -> (u32, u32) {
        (self.set.start, self.set.replicas)
    }

    /// Returns what all specs that may be in use agree on: the start, the replicas, and the latest decision. A
    /// controller in the middle of a sync completes it with the window that it saw at its beginning.
    pub(super) fn certain(&self) -> (u32, u32, Decision) {
        let start = self.written.iter().map(|t| t.start).max().unwrap_or(0);
        let end = self.written.iter().map(|t| t.end).min().unwrap_or(0);
        (start, end.saturating_sub(start), self.written.back().map_or(Decision::default(), |t| t.decided))
    }

    /// Writes the scale.
    pub(super) fn write(&mut self, start: u32, replicas: u32, decided: Decision) {
        let end = start.saturating_add(replicas);
        match self.written.back_mut().filter(|t| (t.start, t.end) == (start, end)) {
            // A change of annotations creates no new generation.
            Some(written) => written.decided = decided,
            None => {
                self.generation += 1;
                self.written.push_back(WrittenSize { generation: self.generation, start, end, decided });
            }
        }
        let (old, new) = (self.set.start..self.set.start + self.set.replicas, start..start.saturating_add(replicas));
        (self.set.start, self.set.replicas) = (start, replicas);
        self.unsettled.extend(old.clone().filter(|o| !new.contains(o)));
        self.unsettled.extend(new.filter(|o| !old.contains(o)));
    }

    /// Rolls out a new template.
    pub(super) fn roll_out(&mut self) {
        self.set.roll_out();
    }

    /// `status.replicas`, which includes terminating pods.
    pub(super) fn pods(&self) -> u32 {
        self.pods.len() as u32
    }

    pub(super) fn ready(&self) -> u32 {
        self.ready
    }

    pub(super) fn pod(&self, ordinal: u32, uid: u64) -> Option<&Pod> {
        self.pods.get(&ordinal).map(|m| &m.pod).filter(|p| p.uid == uid)
    }

    pub(super) fn present(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(|m| &m.pod)
    }

    /// Runs one sync. Returns its calls, and when they are made; none while calls of the previous sync are pending.
    pub(super) fn sync(&mut self, now: u64) -> Vec<(u64, Action)> {
        if self.calls > 0 {
            return Vec::new();
        }
        let one_by_one = self.set.policy == Policy::OrderedReady || self.set.update != UpdateStrategy::OnDelete;
        let actions = if one_by_one {
            let views: Vec<_> = self.present().map(Pod::view).collect();
            self.set.sync(&views, now).actions
        } else {
            let unsettled = std::mem::take(&mut self.unsettled);
            let (inside, outside): (Vec<u32>, Vec<u32>) = unsettled.into_iter().partition(|o| self.set.covers(*o));
            inside.into_iter().chain(outside.into_iter().rev()).filter_map(|o| self.wants(o)).collect()
        };
        self.calls = actions.len();
        self.syncing = self.generation;
        actions.into_iter().map(|action| (self.pace.take(now) + CALL, action)).collect()
    }

    /// The only rule of a Parallel set: a pod for each ordinal inside the window, none outside. A test compares it
    /// with `StatefulSet::sync`.
    fn wants(&self, ordinal: u32) -> Option<Action> {
        match self.pods.get(&ordinal) {
            None => {
                let revision = self.set.revision_of(ordinal);
                self.set.covers(ordinal).then_some(Action::Create { ordinal, revision })
            }
            Some(member) => {
                let view = member.pod.view();
                let unwanted = view.is_over() || !self.set.covers(ordinal);
                (unwanted && !view.terminating).then_some(Action::Delete { ordinal, uid: view.uid })
            }
        }
    }

    /// One call of a sync has been made. Returns true if it was the last one: the controller syncs again.
    pub(super) fn called(&mut self) -> bool {
        self.calls = self.calls.saturating_sub(1);
        self.calls == 0
    }

    /// A sync without pending calls is complete: its generation is observed. Returns true if that is a change.
    pub(super) fn observe(&mut self) -> bool {
        let before = self.written.len();
        if self.calls == 0 {
            self.written.retain(|t| t.generation >= self.syncing);
        }
        self.written.len() < before
    }

    /// Creates a pod, and returns its uid, unless the ordinal has a pod.
    pub(super) fn create(&mut self, ordinal: u32, revision: u32, times: Times, now: u64) -> Option<u64> {
        if self.pods.contains_key(&ordinal) {
            return None;
        }
        self.lives += 1;
        let pod = Pod::new(ordinal, self.lives, revision, now, times);
        self.pods.insert(ordinal, Member { pod, ready: false, end: None });
        Some(self.lives)
    }

    /// Deletes a pod. Returns false if there is no such pod, or it is already terminating.
    pub(super) fn delete(&mut self, ordinal: u32, uid: u64, end: PodEnd, now: u64) -> bool {
        let Some(member) = self.pods.get_mut(&ordinal).filter(|m| m.pod.uid == uid) else { return false };
        let first = member.pod.deleted.is_none();
        member.pod.delete(now);
        member.end.get_or_insert(end);
        first
    }

    /// Returns why the controller deletes a pod.
    pub(super) fn reason(&self, ordinal: u32) -> PodEnd {
        match self.pods.get(&ordinal) {
            Some(member) if member.pod.failed => PodEnd::Crashed,
            Some(member) if self.set.covers(ordinal) && member.pod.revision != self.set.revision => PodEnd::RolledOut,
            Some(_) | None => PodEnd::ScaledDown,
        }
    }

    /// Applies a change to a pod.
    pub(super) fn touch(&mut self, ordinal: u32, act: impl FnOnce(&mut Pod)) -> Option<u64> {
        let member = self.pods.get_mut(&ordinal)?;
        act(&mut member.pod);
        self.unsettled.insert(ordinal);
        Some(member.pod.uid)
    }

    /// Returns the change of a pod that is due by now, and when the next one is due.
    pub(super) fn advance(&mut self, ordinal: u32, uid: u64, now: u64) -> (Option<Change>, Option<u64>) {
        let Some(member) = self.pods.get_mut(&ordinal).filter(|m| m.pod.uid == uid) else { return (None, None) };
        member.pod.advance(now);
        if member.pod.is_gone(now) {
            self.ready -= u32::from(member.ready);
            self.pods.remove(&ordinal);
            self.unsettled.insert(ordinal);
            return (Some(Change::Gone), None);
        }
        let ready = member.pod.view().is_ready();
        let change = (ready != member.ready).then_some(if ready { Change::Ready } else { Change::Unready });
        self.ready = self.ready + u32::from(ready) - u32::from(member.ready);
        member.ready = ready;
        (change, member.pod.next())
    }

    pub(super) fn end(&self, ordinal: u32, uid: u64) -> Option<PodEnd> {
        self.pods.get(&ordinal).filter(|m| m.pod.uid == uid).and_then(|m| m.end)
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Cluster};
    use crate::chance::Chance;
    use crate::models::pace::Pace;
    use crate::models::pod::{Pod, Times};
    use crate::models::statefulset::{Policy, StatefulSet, UpdateStrategy};
    use crate::record::PodEnd;
    use rand::Rng;

    #[test]
    fn checking_only_changed_ordinals_decides_like_a_whole_sync() {
        let mut chance = Chance::new(7).stream("windows");
        let set = StatefulSet { update: UpdateStrategy::OnDelete, ..StatefulSet::new(Policy::Parallel, 3) };
        let mut cluster = Cluster::new(set, Pace::new(1000, 0));
        let times = Times { start: 50, stop: 70, grace: 30_000 };
        let mut actions_seen = 0;
        for now in (0..100_000).step_by(10) {
            match chance.random_range(0..8) {
                0 => cluster.write(
                    chance.random_range(0..4),
                    chance.random_range(0..8),
                    slotkeeper_core::Decision::default(),
                ),
                1 => {
                    cluster.touch(chance.random_range(0..8), Pod::fail);
                }
                _ => {}
            }
            let pods: Vec<(u32, u64)> = cluster.present().map(|p| (p.ordinal, p.uid)).collect();
            for (ordinal, uid) in pods {
                cluster.advance(ordinal, uid, now);
            }
            let views: Vec<_> = cluster.present().map(Pod::view).collect();
            let mut expected = cluster.set.sync(&views, now).actions;
            let mut actions: Vec<Action> = cluster.sync(now).into_iter().map(|(_, action)| action).collect();
            let key = |action: &Action| match *action {
                Action::Create { ordinal, .. } => (0, ordinal),
                Action::Delete { ordinal, .. } => (1, ordinal),
            };
            expected.sort_by_key(key);
            actions.sort_by_key(key);
            assert_eq!(actions, expected, "at {now}");
            actions_seen += actions.len();
            for action in actions {
                match action {
                    Action::Create { ordinal, revision } => {
                        cluster.create(ordinal, revision, times, now);
                    }
                    Action::Delete { ordinal, uid } => {
                        cluster.delete(ordinal, uid, PodEnd::ScaledDown, now);
                    }
                }
                cluster.called();
            }
        }
        assert!(actions_seen > 1000, "{actions_seen}");
    }
}
