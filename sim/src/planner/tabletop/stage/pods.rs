//! The cluster on the stage: the StatefulSet's controller, the life of its pods, and the resulting watch events.

use super::{CALL, Event, NEVER, Stage, WATCH};
use crate::models::pod::Times;
use crate::models::statefulset::Action;
use crate::planner::tabletop::Believes;
use crate::planner::tabletop::agenda::Rank;
use crate::planner::tabletop::cluster::Change;
use crate::planner::tabletop::dispatcher::Phase;
use crate::record::PodEnd;
use rand::Rng;
use slotkeeper_core::Decision;

impl Stage<'_> {
    pub(super) fn want_sync(&mut self, now: u64) {
        if !self.sync_noted {
            self.sync_noted = true;
            self.agenda.note(now, Rank::Controller, Event::Sync);
        }
    }

    pub(super) fn sync(&mut self, now: u64) {
        self.sync_noted = false;
        for (at, action) in self.cluster.sync(now) {
            self.agenda.note(at, Rank::Controller, Event::Call(action));
        }
        self.observe(now);
    }

    pub(super) fn call(&mut self, action: Action, now: u64) {
        match action {
            Action::Create { ordinal, revision } => {
                let start = self.start_time();
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

    /// A pod's probes begin with the pod, not with its program, so the program is found ready at a random time within
    /// a period.
    fn start_time(&mut self) -> u64 {
        let program = self.setting.cold_start.sample(&mut self.starts);
        let before = self.setting.pod_start.sample(&mut self.pod_starts);
        let probe = match self.setting.probe_period {
            0 => 0,
            period => self.probes.random_range(0..period),
        };
        before.saturating_add(program).saturating_add(probe)
    }

    pub(super) fn delete(&mut self, ordinal: u32, uid: u64, end: PodEnd, now: u64) {
        let busy = self.sitting.get(&uid).is_some_and(|s| !s.is_empty());
        if self.setting.pods_wait && busy {
            self.cluster.touch(ordinal, |pod| pod.times.stop = NEVER);
        }
        if self.cluster.delete(ordinal, uid, end, now) {
            self.changed(ordinal, uid, Change::Terminating, now);
            self.advance(ordinal, uid, now);
        }
    }

    /// The last visitor of a pod has left: a pod that waited for that may end.
    pub(super) fn emptied(&mut self, ordinal: u32, uid: u64, now: u64) {
        if let Some(deleted) = self.cluster.pod(ordinal, uid).and_then(|p| p.deleted)
            && self.setting.pods_wait
        {
            let stop = now - deleted + self.setting.stop.sample(&mut self.stops);
            self.cluster.touch(ordinal, |pod| pod.times.stop = stop);
            self.advance(ordinal, uid, now);
        }
    }

    /// Reports whether visitors can connect to this incarnation.
    pub(super) fn answers(&self, ordinal: u32, uid: u64) -> bool {
        self.cluster.pod(ordinal, uid).is_some_and(|pod| pod.view().is_ready())
    }

    /// Returns why an existing pod ends.
    pub(super) fn end(&self, ordinal: u32, uid: u64) -> Option<PodEnd> {
        self.cluster.end(ordinal, uid)
    }

    pub(super) fn advance(&mut self, ordinal: u32, uid: u64, now: u64) {
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

    pub(super) fn changed(&mut self, ordinal: u32, uid: u64, change: Change, now: u64) {
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

    pub(super) fn pod_news(&mut self, ordinal: u32, uid: u64, phase: Phase, now: u64) {
        self.agenda.note(now + WATCH, Rank::Dispatcher, Event::PodNews { ordinal, uid, phase });
    }

    /// Writes the scale, for any writer: the last write wins.
    pub(super) fn write(&mut self, start: u32, replicas: u32, decided: Decision, now: u64) {
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

    /// The controller has completed a sync, and reports it in the set's status.
    pub(super) fn observe(&mut self, now: u64) {
        if self.cluster.observe() && self.design.believes == Believes::Observed {
            self.certain_news(now + CALL + WATCH);
        }
    }

    pub(super) fn certain_news(&mut self, at: u64) {
        let (start, replicas, decided) = self.cluster.certain();
        self.agenda.note(at, Rank::Dispatcher, Event::ScaleNews { start, replicas, decided });
    }
}
