//! The task that owns a pool's processes: starts and stops them as ordered, restarts those that end unexpectedly, and
//! reports observations in order.
//!
//! ```text
//! Alive ─ ends by itself ─▶ removed; a new life is Waiting (reported as Failed) ─ back-off ─▶ Alive ─▶ ...
//! Alive ─ is stopped ─▶ Terminating ─ has ended ─▶ removed; a new life if the ordinal is wanted (again)
//! ```

use super::adoption::{self, Adopted};
use super::child::{End, Event, Life, Pool, Stop, What};
use super::crashes::{Crashes, ending};
use crate::cluster::observations::Reporter;
use crate::cluster::probe::in_words;
use crate::cluster::{ClusterError, Size};
use crate::config::OnRestart;
use crate::io::{Ids, now};
use slotkeeper_core::{Decision, Ordinal, Phase, Sighting, Span, Uid, planted};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// An order to the pool. Answered when it has been accepted; `Stop`, when all processes have ended.
pub(super) enum Request {
    Scale {
        size: Size,
        reply: oneshot::Sender<Result<(), ClusterError>>,
    },
    Recycle {
        pod: Ordinal,
        uid: Uid,
        reply: oneshot::Sender<Result<(), ClusterError>>,
    },
    /// `leave`: with [`OnRestart::Adopt`], running pods are left running.
    Stop {
        leave: bool,
        reply: oneshot::Sender<()>,
    },
}

pub(super) struct Keeper {
    pool: Arc<Pool>,
    ids: Ids,
    reporter: Reporter,
    wanted: Span,
    decided: Decision,
    members: BTreeMap<u32, Member>,
    events: mpsc::Sender<Event>,
    stopping: bool,
    /// Notified when all processes have ended.
    stopped: Vec<oneshot::Sender<()>>,
}

/// One ordinal's current life.
struct Member {
    uid: Uid,
    /// The last phase that was reported of this life.
    reported: Option<Phase>,
    crashes: Crashes,
    state: State,
}

enum State {
    /// No process; one is started at this moment.
    Waiting { until: Instant },
    /// The process runs or is being started. `stop` is taken when it is asked to end.
    Alive { stop: Option<oneshot::Sender<Stop>>, ready_since: Option<Instant> },
}

impl Member {
    fn is_ending(&self) -> bool {
        matches!(self.state, State::Alive { stop: None, .. })
    }
}

impl Keeper {
    pub(super) fn start(pool: Arc<Pool>, ids: Ids, reporter: Reporter, requests: mpsc::Receiver<Request>) {
        let (events, reports) = mpsc::channel(64);
        let keeper = Keeper {
            pool,
            ids,
            reporter,
            wanted: Span::EMPTY,
            decided: Decision::default(),
            members: BTreeMap::new(),
            events,
            stopping: false,
            stopped: Vec::new(),
        };
        tokio::spawn(keeper.run(requests, reports));
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut reports: mpsc::Receiver<Event>) {
        self.adopt().await;
        let mut deserted = false;
        while !(deserted && self.members.is_empty()) {
            let next_start = self.next_start();
            tokio::select! {
                biased;
                request = requests.recv(), if !deserted => match request {
                    Some(request) => self.serve(request),
                    None => {
                        deserted = true;
                        self.stop(true);
                    }
                },
                Some(event) = reports.recv() => self.heed(event),
                () = until(next_start) => self.start_due(),
            }
            if self.stopping && self.members.is_empty() {
                for waiting in self.stopped.drain(..) {
                    let _ = waiting.send(());
                }
            }
        }
    }

    /// Reports the first observation: the adopted pods of a former dispatcher.
    async fn adopt(&mut self) {
        let mut listed = Vec::new();
        for Adopted { record, link, health } in adoption::find(&self.pool).await {
            let (ordinal, uid) = (record.ordinal, Uid(record.uid.as_str().into()));
            let phase = if health.ready { Phase::Ready { address: record.address } } else { Phase::Unready };
            listed.push(Sighting { pod: Ordinal(ordinal), uid: uid.clone(), phase: phase.clone() });
            let (stop, stopped) = oneshot::channel();
            let state = State::Alive { stop: Some(stop), ready_since: health.ready.then(now) };
            self.members.insert(
                ordinal,
                Member { uid: uid.clone(), reported: Some(phase), crashes: Crashes::default(), state },
            );
            let life = Life { pool: self.pool.clone(), ordinal, uid, events: self.events.clone() };
            tokio::spawn(life.go_on(link, record, health, stopped));
        }
        let ordinals = || self.members.keys().copied();
        self.wanted = ordinals()
            .min()
            .zip(ordinals().max())
            .map_or(Span::EMPTY, |(low, high)| Span { start: low, end: high + 1 });
        self.reporter.listed(listed);
        self.reporter.scale(self.wanted.start, self.wanted.end - self.wanted.start, Decision::default());
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Scale { reply, .. } | Request::Recycle { reply, .. } if self.stopping => {
                let _ = reply.send(Err(ClusterError::Stopping));
            }
            Request::Scale { size, reply } => {
                self.scale(size);
                let _ = reply.send(Ok(()));
            }
            Request::Recycle { pod, uid, reply } => {
                self.recycle(pod.0, &uid);
                let _ = reply.send(Ok(()));
            }
            Request::Stop { leave, reply } => {
                self.stop(leave);
                self.stopped.push(reply);
            }
        }
    }

    /// Reports terminating pods before the new size: a reader of the size then knows that all other pods stay.
    fn scale(&mut self, size: Size) {
        if self.is_overruled(&size) {
            return;
        }
        self.decided = size.decided;
        self.wanted = size.span();
        self.end_unwanted();
        self.reporter.scale(size.start, size.replicas, size.decided);
        self.fill();
    }

    fn recycle(&mut self, ordinal: u32, uid: &Uid) {
        if self.lives(ordinal, uid) {
            self.end(ordinal);
            self.fill();
        }
    }

    /// Reports whether a later size is already known.
    fn is_overruled(&self, size: &Size) -> bool {
        planted!(OlderScaleWins => false);
        !size.may_overwrite(self.decided)
    }

    /// Reports whether this is the ordinal's current life.
    fn lives(&self, ordinal: u32, uid: &Uid) -> bool {
        let life = self.members.get(&ordinal).map(|member| &member.uid);
        planted!(RecycleAnyLife => life.is_some());
        life == Some(uid)
    }

    fn stop(&mut self, leave: bool) {
        self.stopping = true;
        self.wanted = Span::EMPTY;
        if leave && self.pool.config.on_restart == OnRestart::Adopt {
            self.leave();
        }
        self.end_unwanted();
    }

    /// Leaves all running pods to the next dispatcher.
    fn leave(&mut self) {
        for member in self.members.values_mut() {
            if let State::Alive { stop, .. } = &mut member.state
                && let Some(stop) = stop.take()
            {
                let _ = stop.send(Stop::Leave);
            }
        }
    }

    fn end_unwanted(&mut self) {
        let wanted = self.wanted;
        let unwanted: Vec<u32> = self.members.keys().copied().filter(|o| !wanted.contains(*o)).collect();
        for ordinal in unwanted {
            self.end(ordinal);
        }
    }

    /// Ends this life, unless it is ending already.
    fn end(&mut self, ordinal: u32) {
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        match &mut member.state {
            State::Waiting { .. } => self.forget(ordinal),
            State::Alive { stop, .. } => {
                let Some(stop) = stop.take() else { return };
                self.see_end(ordinal);
                let _ = stop.send(Stop::End);
            }
        }
    }

    /// Starts the wanted pods that are missing.
    fn fill(&mut self) {
        for ordinal in self.wanted.start..self.wanted.end {
            if !self.members.contains_key(&ordinal) {
                self.add(ordinal, Crashes::default());
                self.launch(ordinal);
            }
        }
    }

    /// Adds a new life, still without a process.
    fn add(&mut self, ordinal: u32, crashes: Crashes) {
        let uid = match self.ids.draw128() {
            Ok(random) => Uid(format!("{random:032x}").into()),
            // Cannot happen: the ids are seeded.
            Err(e) => return tracing::error!(pool = %self.pool.id, ordinal, "no uid for a new process: {e}"),
        };
        let state = State::Waiting { until: now() };
        self.members.insert(ordinal, Member { uid, reported: None, crashes, state });
    }

    fn launch(&mut self, ordinal: u32) {
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        let (stop, stopped) = oneshot::channel();
        member.state = State::Alive { stop: Some(stop), ready_since: None };
        let (pool, uid, events) = (self.pool.clone(), member.uid.clone(), self.events.clone());
        tokio::spawn(Life { pool, ordinal, uid, events }.live(stopped));
    }

    fn next_start(&self) -> Option<Instant> {
        let waiting = self.members.values().filter_map(|m| match m.state {
            State::Waiting { until } => Some(until),
            State::Alive { .. } => None,
        });
        waiting.min()
    }

    fn start_due(&mut self) {
        let now = now();
        let due = |m: &Member| matches!(m.state, State::Waiting { until } if until <= now);
        let due: Vec<u32> = self.members.iter().filter(|(_, m)| due(m)).map(|(o, _)| *o).collect();
        for ordinal in due {
            self.launch(ordinal);
        }
    }

    fn heed(&mut self, Event { ordinal, uid, what }: Event) {
        let Some(member) = self.members.get_mut(&ordinal).filter(|m| m.uid == uid) else { return };
        match what {
            What::Running | What::Ready(_) | What::Silent(_) | What::Unready(_) if member.is_ending() => {}
            What::Running => self.see(ordinal, Phase::Starting),
            What::Ready(address) => {
                if let State::Alive { ready_since, .. } = &mut member.state {
                    ready_since.get_or_insert_with(now);
                }
                tracing::info!(pool = %self.pool.id, ordinal, %address, "pod is ready");
                self.see(ordinal, Phase::Ready { address });
            }
            What::Silent(why) => {
                tracing::warn!(pool = %self.pool.id, ordinal, "pod is not ready: {why}");
                self.see(ordinal, Phase::Pending { why: why.into() });
            }
            What::Unready(why) => {
                tracing::warn!(pool = %self.pool.id, ordinal, "pod no longer answers: {why}");
                self.see(ordinal, Phase::Unready);
            }
            What::Left => drop(self.members.remove(&ordinal)),
            What::NotStarted(_) | What::Ended(_) if member.is_ending() => {
                self.forget(ordinal);
                self.fill();
            }
            What::NotStarted(why) => self.not_started(ordinal, &why),
            What::Ended(end) => self.crashed(ordinal, &end),
        }
    }

    /// No process was started: the same life tries again later.
    fn not_started(&mut self, ordinal: u32, why: &str) {
        self.pool.metrics.failed(None);
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        let wait = member.crashes.another(self.pool.config.backoff);
        member.state = State::Waiting { until: now() + wait };
        tracing::warn!(pool = %self.pool.id, ordinal, "pod not started: {why}");
        self.see(ordinal, Phase::Failed { why: format!("{why}; next try in {}", in_words(wait)).into() });
    }

    /// The pod ended unexpectedly. Reports its end at once, so that its sessions can move; the next life starts after the
    /// back-off.
    fn crashed(&mut self, ordinal: u32, end: &End) {
        let backoff = self.pool.config.backoff;
        self.pool.metrics.failed(Some(end));
        let Some(member) = self.members.get(&ordinal) else { return };
        let was_steady = match member.state {
            State::Alive { ready_since: Some(since), .. } => now().duration_since(since) >= backoff.1,
            State::Alive { ready_since: None, .. } | State::Waiting { .. } => false,
        };
        let mut crashes = if was_steady { Crashes::default() } else { member.crashes };
        let wait = crashes.another(backoff);
        let why = crashes.why(end, wait);
        if crashes.is_loop() {
            tracing::warn!(pool = %self.pool.id, ordinal, "pod keeps failing: {why}");
        } else if matches!(end, End::Status(_) | End::Before) {
            tracing::info!(pool = %self.pool.id, ordinal, "pod ended by itself: {}", ending(end));
        } else {
            tracing::warn!(pool = %self.pool.id, ordinal, "pod ended unexpectedly: {}", ending(end));
        }
        self.forget(ordinal);
        self.add(ordinal, crashes);
        if let Some(next) = self.members.get_mut(&ordinal) {
            next.state = State::Waiting { until: now() + wait };
            self.see(ordinal, Phase::Failed { why });
        }
    }

    /// Removes this life, and reports its end.
    fn forget(&mut self, ordinal: u32) {
        if let Some(member) = self.members.remove(&ordinal)
            && member.reported.is_some()
        {
            tracing::info!(pool = %self.pool.id, ordinal, "pod removed");
            self.reporter.gone(ordinal, &member.uid);
        }
    }

    /// Reports this life as terminating, unless nothing has been reported of it yet.
    fn see_end(&mut self, ordinal: u32) {
        planted!(TerminatingUntold => ());
        if self.members.get(&ordinal).is_some_and(|member| member.reported.is_some()) {
            self.see(ordinal, Phase::Terminating);
        }
    }

    /// Reports this life's phase if it has changed.
    fn see(&mut self, ordinal: u32, phase: Phase) {
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        if member.reported.as_ref() != Some(&phase) {
            self.reporter.seen(ordinal, &member.uid, phase.clone());
            member.reported = Some(phase);
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
