//! The life of pods: created, ready, deleted, drained, gone. The cluster here is a StatefulSet that acts at once; the
//! real controllers are modelled in `crate::models`.

use super::{Event, Place, Stage};
use crate::planner::gateway::pods::{Pod, State};
use crate::planner::gateway::{Balance, Farewell, Happening};
use crate::planner::tabletop::agenda::Rank;
use crate::planner::tabletop::dispatcher::{News, Phase};
use crate::record::MarkKind;
use slotkeeper_core::Decision;
use slotkeeper_core::Scaling;

impl Stage<'_> {
    /// Returns this incarnation, if it still exists.
    pub(super) fn pod(&mut self, at: Place) -> Option<&mut Pod> {
        self.pods.get_mut(&at.ordinal).filter(|pod| pod.uid == at.uid && pod.state != State::Gone)
    }

    fn place(&self, ordinal: u32) -> Option<Place> {
        let pod = self.pods.get(&ordinal).filter(|pod| pod.state != State::Gone)?;
        Some(Place { ordinal, uid: pod.uid })
    }

    /// Schedules the event that reports the pod's state to the balancer.
    fn tell(&mut self, at: Place, phase: Phase, now: u64) {
        let lag = self.design.balance.lag();
        self.agenda.note(now + lag, Rank::Pods, Event::Tell { at, phase });
    }

    pub(super) fn create(&mut self, ordinal: u32, now: u64) -> Place {
        self.uids += 1;
        let at = Place { ordinal, uid: self.uids };
        self.pods.insert(ordinal, Pod::new(at.uid));
        self.tally.sockets(now, ordinal, 0);
        let start = self.setting.cold_start.sample(&mut self.starts);
        self.tell(at, Phase::Starting, now);
        self.agenda.note(now + start, Rank::Pods, Event::Ready(at));
        at
    }

    pub(super) fn ready(&mut self, at: Place, now: u64) {
        let Some(pod) = self.pod(at).filter(|pod| pod.state == State::Starting) else { return };
        pod.state = State::Ready;
        self.tell(at, Phase::Ready, now);
        let settled = now + self.setting.min_ready;
        self.agenda.note(settled, Rank::Pods, Event::Settled(at));
    }

    pub(super) fn befall(&mut self, happening: Happening, now: u64) {
        match happening {
            Happening::RollingRestart => {
                self.mark(MarkKind::Note, "all pods are restarted, one at a time", now);
                self.restarting = self.wanted.checked_sub(1);
                self.restart(now);
            }
            Happening::ScaleDown if self.scales_itself() => {}
            Happening::ScaleDown => {
                self.wanted = self.wanted.saturating_sub(1);
                self.delete_unwanted(now);
            }
            Happening::Loss { ordinal } => {
                let Some(at) = self.place(ordinal) else { return };
                self.mark(MarkKind::Fault, format!("the node of pod {ordinal} is lost"), now);
                self.end(at, now);
            }
        }
    }

    fn scales_itself(&self) -> bool {
        matches!(&self.design.balance, Balance::Slotkeeper(rules) if matches!(rules.scaling, Scaling::Direct { .. }))
    }

    fn restart(&mut self, now: u64) {
        if let Some(at) = self.restarting.and_then(|ordinal| self.place(ordinal)) {
            self.delete(at, now);
        }
    }

    /// A pod has been ready for long enough: if a rolling restart waits for it, continues with the next pod.
    pub(super) fn settled(&mut self, at: Place, now: u64) {
        let ready = self.pod(at).is_some_and(|pod| pod.state == State::Ready);
        // A pod from before the restart settled long ago.
        if ready && self.restarting == Some(at.ordinal) {
            self.restarting = at.ordinal.checked_sub(1);
            self.restart(now);
            if self.restarting.is_none() {
                self.mark(MarkKind::Note, "all pods have been restarted", now);
            }
        }
    }

    /// The dispatcher changes the number of pods.
    pub(super) fn resize(&mut self, start: u32, replicas: u32, decided: Decision, now: u64) {
        self.wanted = start + replicas;
        self.delete_unwanted(now);
        for ordinal in 0..self.wanted {
            if self.place(ordinal).is_none() {
                self.create(ordinal, now);
            }
        }
        self.hear(News::Scale { start, replicas, decided }, now);
    }

    fn delete_unwanted(&mut self, now: u64) {
        let surplus = self.pods.range(self.wanted..).filter_map(|(ordinal, _)| self.place(*ordinal));
        for at in surplus.collect::<Vec<_>>() {
            self.delete(at, now);
        }
    }

    /// Deletes the pod; the design determines what follows.
    pub(super) fn delete(&mut self, at: Place, now: u64) {
        let farewell = self.design.farewell;
        let Some(pod) = self.pod(at).filter(|pod| !pod.is_deleted()) else { return };
        pod.state = match farewell {
            Farewell::Notice { .. } => State::Leaving,
            Farewell::Cut | Farewell::Dispatcher { .. } => State::Closing,
        };
        let connected = pod.open.len();
        self.mark(MarkKind::Note, format!("pod {} is deleted, with {connected} connections", at.ordinal), now);
        self.tell(at, Phase::Terminating, now);
        match farewell {
            Farewell::Cut => return self.end(at, now),
            Farewell::Notice { wait, .. } => self.agenda.note(now + wait, Rank::Pods, Event::Leave(at)),
            Farewell::Dispatcher { .. } => self.leave_if_empty(at, now),
        }
        self.agenda.note(now + self.setting.kill_after, Rank::Pods, Event::Kill(at));
    }

    /// `preStop` has ended.
    pub(super) fn take_leave(&mut self, at: Place, now: u64) {
        let Farewell::Notice { over, .. } = self.design.farewell else { return };
        if let Some(pod) = self.pod(at) {
            pod.state = State::Closing;
            self.close_all(at, over, now);
            self.leave_if_empty(at, now);
        }
    }

    /// The dispatcher drains the pod.
    pub(super) fn drain(&mut self, at: Place, now: u64) {
        let Farewell::Dispatcher { over } = self.design.farewell else { return };
        let Some(pod) = self.pod(at).filter(|pod| pod.drained.is_none()) else { return };
        pod.drained = Some(now + over);
        let connected = pod.open.len();
        self.mark(MarkKind::Note, format!("pod {} is drained of {connected} connections", at.ordinal), now);
        self.close_all(at, over, now);
    }

    /// Closes all connections with a close frame, one after the other.
    fn close_all(&mut self, at: Place, over: u64, now: u64) {
        let clients: Vec<u32> = self.pod(at).map(|pod| pod.open.iter().copied().collect()).unwrap_or_default();
        let number = clients.len().max(1) as u64;
        for (nth, client) in (0..).zip(clients) {
            let turn = self.turn(client);
            self.agenda.note(now + over * nth / number, Rank::Visitors, Event::Close { client, turn });
        }
    }

    /// Ends the process of a closing pod once no client is connected.
    pub(super) fn leave_if_empty(&mut self, at: Place, now: u64) {
        if self.pod(at).is_some_and(|pod| pod.state == State::Closing && pod.open.is_empty()) {
            self.end(at, now);
        }
    }

    pub(super) fn kill(&mut self, at: Place, now: u64) {
        if self.pod(at).is_some() {
            self.end(at, now);
        }
    }

    /// The process ends, and all its sockets with it.
    fn end(&mut self, at: Place, now: u64) {
        let Some(pod) = self.pod(at) else { return };
        pod.state = State::Gone;
        let cut: Vec<u32> = core::mem::take(&mut pod.open).into_iter().collect();
        self.tally.sockets(now, at.ordinal, 0);
        if !cut.is_empty() {
            let text = format!("pod {} ends with {} connections open", at.ordinal, cut.len());
            self.mark(MarkKind::Kill, text, now);
        }
        self.tell(at, Phase::Gone, now);
        for client in cut {
            self.lose(client, false, now);
        }
        if at.ordinal < self.wanted {
            self.create(at.ordinal, now);
        }
    }
}
