//! The state of one pod as read, and as reported.

use crate::cluster::kubernetes::Living;
use crate::cluster::kubernetes::reason::{self, Note};
use crate::cluster::kubernetes::snapshot::{PodSnapshot, Stage};
use slotkeeper_core::{Phase, planted};
use std::net::SocketAddr;
use tokio::task::AbortHandle;

pub(super) struct TrackedPod {
    pub(super) snapshot: PodSnapshot,
    pub(super) ordinal: u32,
    pub(super) version: u64,
    /// The current workload owns the pod, and has acted on its size since it was created. Otherwise the pod may run, but
    /// gets no new sessions: a set that adopts it may delete it next.
    pub(super) owned: bool,
    /// It has accepted a connection, or answered its probe.
    pub(super) answered: bool,
    /// A session may have used it.
    pub(super) used: bool,
    pub(super) note: Option<Note>,
    pub(super) reported: Option<Phase>,
    pub(super) knock: Option<AbortHandle>,
    /// Its node is lost, and it has not answered for `give_up`: it is not probed any more.
    pub(super) given_up: bool,
    /// The task that probes the pod while its node is lost.
    pub(super) inquiry: Option<AbortHandle>,
    /// It should have ended long ago.
    pub(super) overdue: bool,
    pub(super) reported_overdue: bool,
}

impl TrackedPod {
    pub(super) fn new(snapshot: PodSnapshot, ordinal: u32, version: u64, owned: bool) -> TrackedPod {
        let used = snapshot.used;
        TrackedPod {
            snapshot,
            ordinal,
            version,
            owned,
            answered: false,
            used,
            note: None,
            reported: None,
            knock: None,
            given_up: false,
            inquiry: None,
            overdue: false,
            reported_overdue: false,
        }
    }

    pub(super) fn is_terminating(&self) -> bool {
        matches!(self.snapshot.stage, Stage::Terminating)
    }

    /// It is being deleted and may never end: its ordinal is not counted on.
    pub(super) fn is_overdue(&self) -> bool {
        self.is_terminating() && (self.given_up || self.overdue)
    }

    /// Ready in Kubernetes, but it has not answered the dispatcher.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.snapshot.stage, Stage::Ready) && !self.answered
    }

    /// Ready in Kubernetes, and it has answered.
    fn is_ready(&self) -> bool {
        planted!(ReadyUnprobed => true);
        self.answered
    }

    /// It is starting, or runs without being ready.
    pub(super) fn is_coming(&self) -> bool {
        matches!(self.snapshot.stage, Stage::Unscheduled(_) | Stage::SettingUp(_) | Stage::Running)
    }

    pub(super) fn living(&self) -> Living {
        let PodSnapshot { uid, name, annotations, .. } = &self.snapshot;
        Living {
            uid: uid.clone(),
            name: name.clone(),
            terminating: self.is_terminating(),
            annotations: annotations.clone(),
        }
    }

    pub(super) fn phase(&self, port: u16) -> Phase {
        let address = self.snapshot.ip.map(|ip| SocketAddr::new(ip, port));
        match (&self.snapshot.stage, address) {
            (Stage::Ready, Some(address)) if self.is_ready() && self.owned => Phase::Ready { address },
            // A pod that has been ready may have been used: a list after a lapse must not report it as new.
            (Stage::Ready, _) => Phase::Unready,
            (Stage::Unscheduled(_) | Stage::SettingUp(_) | Stage::Running, _) if self.used => Phase::Unready,
            (stage, _) => reason::before_ready(stage, self.note.as_ref()),
        }
    }
}

impl Drop for TrackedPod {
    fn drop(&mut self) {
        self.knock.iter().chain(&self.inquiry).for_each(AbortHandle::abort);
    }
}
