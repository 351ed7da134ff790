//! The ordered stream of observations from a pool without an API server: assigns a version to each, and queues it until it
//! is read.

use crate::io::{BoxFuture, Clock, suspended};
use slotkeeper_core::{Command, Decision, Ordinal, Phase, Sighting, Time, Uid};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// Versions per millisecond of wall time. Versions follow wall time because the fleet ignores lower ones, and the journal
/// contains those of earlier processes and of other replicas. A process that reports fewer observations per millisecond
/// than this is never ahead of what others report later.
const PER_MILLISECOND: u64 = 1000;

/// The writing end.
pub(crate) struct Reporter {
    // Unbounded, but never long: each observation follows from a probe, a process or an order, and those are paced.
    sender: mpsc::UnboundedSender<Command>,
    clock: Clock,
    version: u64,
}

/// The reading end, behind `Cluster::next_observation`.
pub(crate) struct Observations(Mutex<mpsc::UnboundedReceiver<Command>>);

/// `since`: wall time at the start; versions are higher than those of any process that started earlier.
pub(crate) fn channel(since: Time) -> (Reporter, Observations) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let clock = Clock::starting_at(since);
    (Reporter { sender, clock, version: 0 }, Observations(Mutex::new(receiver)))
}

impl Reporter {
    pub(crate) fn listed(&mut self, pods: Vec<Sighting>) {
        let version = self.next();
        self.send(Command::PodsListed { pods, version });
    }

    pub(crate) fn seen(&mut self, ordinal: u32, uid: &Uid, phase: Phase) {
        let version = self.next();
        self.send(Command::PodSeen { pod: Ordinal(ordinal), uid: uid.clone(), phase, version });
    }

    pub(crate) fn gone(&mut self, ordinal: u32, uid: &Uid) {
        let version = self.next();
        self.send(Command::PodGone { pod: Ordinal(ordinal), uid: uid.clone(), version });
    }

    pub(crate) fn scale(&mut self, start: u32, replicas: u32, decided: Decision) {
        let (version, Decision { timeline, position: decided }) = (self.next(), decided);
        self.send(Command::ScaleSeen { start, replicas, decided, timeline, version });
    }

    fn next(&mut self) -> u64 {
        self.version = (self.version + 1).max(self.time().saturating_mul(PER_MILLISECOND));
        self.version
    }

    /// Wall time, suspends included: other replicas have advanced while this machine was suspended.
    fn time(&self) -> u64 {
        self.clock.now().0.saturating_add(suspended().as_millis() as u64)
    }

    fn send(&self, observation: Command) {
        // The receiver is dropped only together with the pool.
        let _ = self.sender.send(observation);
    }
}

impl Observations {
    /// As `Cluster::next_observation`. Safe to cancel: nothing is lost.
    pub(crate) fn next(&self) -> BoxFuture<'_, Command> {
        Box::pin(async move {
            match self.0.lock().await.recv().await {
                Some(observation) => observation,
                None => std::future::pending().await,
            }
        })
    }
}

/// A pending phase with this reason, which the waiting room shows.
pub(crate) fn pending(why: impl Into<Arc<str>>) -> Phase {
    Phase::Pending { why: why.into() }
}
