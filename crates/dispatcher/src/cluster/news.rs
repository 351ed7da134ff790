//! The ordered stream of observations from a pool without an API server: assigns a version to each, and queues it until it
//! is read.

use crate::outside::{BoxFuture, Clock, suspended};
use slotkeeper_core::{Command, Decision, Ordinal, Phase, Sighting, Time, Uid};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// Versions per millisecond of wall time. Versions follow wall time because the fleet ignores lower ones, and the journal
/// contains those of earlier processes and of other replicas. A process that reports fewer observations per millisecond
/// than this is never ahead of what others report later.
const PER_MILLISECOND: u64 = 1000;

/// The writing end.
pub(crate) struct Teller {
    // Unbounded, but never long: each observation follows from a probe, a process or an order, and those are paced.
    sender: mpsc::UnboundedSender<Command>,
    clock: Clock,
    version: u64,
}

/// The reading end, behind `Cluster::news`.
pub(crate) struct News(Mutex<mpsc::UnboundedReceiver<Command>>);

/// `since`: wall time at the start; versions are higher than those of any process that started earlier.
pub(crate) fn channel(since: Time) -> (Teller, News) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let clock = Clock::starting_at(since);
    (Teller { sender, clock, version: 0 }, News(Mutex::new(receiver)))
}

impl Teller {
    pub(crate) fn listed(&mut self, pods: Vec<Sighting>) {
        let version = self.next();
        self.tell(Command::PodsListed { pods, version });
    }

    pub(crate) fn seen(&mut self, ordinal: u32, uid: &Uid, phase: Phase) {
        let version = self.next();
        self.tell(Command::PodSeen { pod: Ordinal(ordinal), uid: uid.clone(), phase, version });
    }

    pub(crate) fn gone(&mut self, ordinal: u32, uid: &Uid) {
        let version = self.next();
        self.tell(Command::PodGone { pod: Ordinal(ordinal), uid: uid.clone(), version });
    }

    pub(crate) fn scale(&mut self, start: u32, replicas: u32, decided: Decision) {
        let (version, Decision { timeline, position: decided }) = (self.next(), decided);
        self.tell(Command::ScaleSeen { start, replicas, decided, timeline, version });
    }

    fn next(&mut self) -> u64 {
        self.version = (self.version + 1).max(self.time().saturating_mul(PER_MILLISECOND));
        self.version
    }

    /// Wall time, suspends included: other replicas have advanced while this machine was suspended.
    fn time(&self) -> u64 {
        self.clock.now().0.saturating_add(suspended().as_millis() as u64)
    }

    fn tell(&self, news: Command) {
        // The receiver is dropped only together with the pool.
        let _ = self.sender.send(news);
    }
}

impl News {
    /// As `Cluster::news`. Safe to cancel: nothing is lost.
    pub(crate) fn next(&self) -> BoxFuture<'_, Command> {
        Box::pin(async move {
            match self.0.lock().await.recv().await {
                Some(news) => news,
                None => std::future::pending().await,
            }
        })
    }
}

/// A pending phase with this reason, which the waiting room shows.
pub(crate) fn pending(why: impl Into<Arc<str>>) -> Phase {
    Phase::Pending { why: why.into() }
}
