//! One ScaledObject as the operator runs it: its polls, its pushes, and its answers to the HPA. Writes are returned.
//!
//! A round of questions takes time, so it has a beginning and an end: `begin_poll`, ask the triggers, `hear` until it is
//! over, `end_poll`; the same with `begin_request` and `end_request` for each metric of each HPA sync. `poll` and `request`
//! do it in one go for triggers that answer in no time. One driver, one object: polls do not overlap.

use super::decide::{Decision, Moment, decide};
use super::fallback::{Replicas, evaluate};
use super::query::{Answer, Asked, Cache, Failure, Heard, Lost, Query, Reading};
use super::{Release, ScaledObject};
use crate::models::hpa::{self, NoAnswer, Target};

/// One trigger with one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub target: Target,
    /// `useCachedMetrics`: the HPA gets the value of the last poll.
    pub cached: bool,
}

/// From a change of the object to the first poll of its (new) loop, as measured.
const REACTION: u64 = 210;

#[derive(Clone, Debug)]
pub struct Keda {
    pub object: ScaledObject,
    pub release: Release,
    triggers: Vec<Trigger>,
    created: u64,
    last_active: Option<u64>,
    /// Per trigger: failures in a row, and what the last poll read (`Err`: that it failed).
    failures: Vec<u32>,
    stored: Vec<Option<Result<Vec<i64>, Failure>>>,
    cache: Cache,
    next_poll: u64,
    polling: bool,
    /// A push came while a poll held the lock.
    pushed: bool,
}

impl Keda {
    /// A new ScaledObject whose triggers answer: the loop starts, with a poll at once.
    #[must_use]
    pub fn new(object: ScaledObject, triggers: Vec<Trigger>, release: Release, now: u64) -> Keda {
        Keda {
            object,
            release,
            // The API keeps it in whole seconds.
            created: now - now % 1000,
            last_active: None,
            failures: vec![0; triggers.len()],
            stored: vec![None; triggers.len()],
            triggers,
            cache: Cache::default(),
            next_poll: now.saturating_add(REACTION),
            polling: false,
            pushed: false,
        }
    }

    #[must_use]
    pub fn triggers(&self) -> &[Trigger] {
        &self.triggers
    }

    #[must_use]
    pub fn last_active(&self) -> Option<u64> {
        self.last_active
    }

    /// Failures in a row, as the fallback of this trigger counts them.
    #[must_use]
    pub fn failures(&self, trigger: usize) -> u32 {
        self.failures.get(trigger).copied().unwrap_or(0)
    }

    /// The HPA as it should be now: minimum, maximum. `None`: paused, it is deleted. When it comes back it is a new one.
    #[must_use]
    pub fn hpa_bounds(&self) -> Option<(u32, u32)> {
        (!self.object.annotations.paused()).then(|| super::hpa_bounds(&self.object))
    }

    /// When the next poll starts; if that is over, now. `None`: one is under way, or the object is paused.
    #[must_use]
    pub fn next_poll(&self) -> Option<u64> {
        (!self.polling && !self.object.annotations.paused()).then_some(self.next_poll)
    }

    /// The spec has changed, or a pause annotation, or the operator has started: the loop starts anew, with a poll at once.
    /// Other annotations are seen at the next poll.
    pub fn restart_loop(&mut self, now: u64) {
        self.next_poll = now.saturating_add(REACTION);
    }

    /// Pausing with `paused-replicas` writes at once, without a poll.
    #[must_use]
    pub fn paused_write(&self, current: u32) -> Option<u32> {
        self.object.annotations.paused_replicas().filter(|n| *n != current)
    }

    /// A poll starts. It holds the lock until it ends: pushes wait.
    pub fn begin_poll(&mut self, now: u64) -> Query {
        self.polling = true;
        self.next_poll = now.saturating_add(self.object.polling.max(1));
        self.cache.ask(self.triggers.iter().map(|_| Asked::Everything))
    }

    /// The HPA asks for the metric of one trigger, through the API server and the adapter. Every trigger is asked for its
    /// spec, and that one for its value, unless the last poll's will do.
    #[must_use]
    pub fn begin_request(&self, trigger: usize) -> Query {
        let wanted = |index| index == trigger && self.stored.get(index).is_none_or(Option::is_none);
        let asked = |index| if wanted(index) { Asked::Everything } else { Asked::Spec };
        self.cache.ask((0..self.triggers.len()).map(asked))
    }

    /// The triggers' answers, one each. `Heard::Again`: ask them once more.
    pub fn hear(&mut self, query: &mut Query, answers: &[Answer]) -> Heard {
        self.cache.hear(query, answers, self.release)
    }

    /// A poll ends and decides. Take the push that waited for it next.
    pub fn end_poll(&mut self, query: Query, replicas: Replicas, now: u64) -> Decision {
        let (mut active, mut error) = (false, false);
        for (index, result) in query.results().into_iter().enumerate() {
            self.store(index, result.as_ref());
            match result {
                Some(Ok(reading)) => {
                    self.count(index, false, replicas);
                    active |= reading.active;
                }
                // No result and no error.
                Some(Err(Lost::CacheClosed)) | None => {}
                Some(Err(Lost::Failed(Failure::Spec))) => error = true,
                Some(Err(Lost::Failed(Failure::Metrics))) => match self.count(index, true, replicas) {
                    Some(_) => active = true,
                    None => error = true,
                },
            }
        }
        self.polling = false;
        self.decide(active, error, replicas.current, now)
    }

    /// The push that came while the poll held the lock, after the poll's own write. `None`: there was none.
    pub fn take_push(&mut self, current: u32, now: u64) -> Option<Decision> {
        std::mem::take(&mut self.pushed).then(|| self.decide(true, false, current, now))
    }

    /// What the HPA gets for the metric of one trigger.
    pub fn end_request(&mut self, query: Query, trigger: usize, replicas: Replicas) -> hpa::Metric {
        let target = self.triggers.get(trigger).map_or(Target::AverageValue(1000), |t| t.target);
        let results = query.results();
        let failed = |f: Failure| results.contains(&Some(Err(Lost::Failed(f))));
        let (no_spec, no_metrics) = (failed(Failure::Spec), failed(Failure::Metrics));
        if (no_spec || no_metrics) && self.release != Release::Main {
            // With the scaler cache the last poll's values go.
            self.stored.fill(None);
        }
        if no_spec {
            // The whole request fails, for triggers that are well too (kedacore/keda#5914).
            return hpa::Metric { target, answer: Err(NoAnswer) };
        }
        let asked = results.into_iter().nth(trigger).flatten().map(|r| r.map(|reading| reading.milli));
        let stored = || self.stored.get(trigger).cloned().flatten().map(|s| s.map_err(Lost::Failed));
        let answer = match asked.or_else(stored) {
            Some(Ok(milli)) => {
                self.count(trigger, false, replicas);
                Ok(milli)
            }
            Some(Err(Lost::Failed(_))) => self.count(trigger, true, replicas).map(|m| vec![m]).ok_or(NoAnswer),
            Some(Err(Lost::CacheClosed)) | None => Err(NoAnswer),
        };
        hpa::Metric { target, answer }
    }

    /// A whole poll, with triggers that answer at once. Asked again they say the same.
    pub fn poll(&mut self, answers: &[Answer], replicas: Replicas, now: u64) -> Decision {
        let mut query = self.begin_poll(now);
        while self.hear(&mut query, answers) == Heard::Again {}
        self.end_poll(query, replicas, now)
    }

    /// A whole request of the HPA for one trigger's metric, likewise.
    pub fn request(&mut self, trigger: usize, answers: &[Answer], replicas: Replicas) -> hpa::Metric {
        let mut query = self.begin_request(trigger);
        while self.hear(&mut query, answers) == Heard::Again {}
        self.end_request(query, trigger, replicas)
    }

    /// A message on a push stream. Only `true` means anything: from 0 it activates at once, else it keeps alive; it carries
    /// no value and does not wake the HPA. `known`: the ScaledObject's status lists the trigger's metric already.
    /// `None`: nothing is decided (now); while a poll is under way, see `take_push`.
    pub fn push(&mut self, active: bool, known: bool, current: u32, now: u64) -> Option<Decision> {
        if !active || !known || self.object.annotations.paused() {
            return None;
        }
        if self.polling {
            self.pushed = true;
            return None;
        }
        Some(self.decide(true, false, current, now))
    }

    fn decide(&mut self, active: bool, error: bool, current: u32, now: u64) -> Decision {
        let moment = Moment { now, current, active, error, last_active: self.last_active, created: self.created };
        let decision = decide(&self.object, &moment);
        if decision.refreshed {
            // The API stores it in whole seconds.
            self.last_active = Some(now - now % 1000);
        }
        decision
    }

    /// Turns the failure counter; the synthetic metric, if fallback holds.
    fn count(&mut self, trigger: usize, failed: bool, replicas: Replicas) -> Option<i64> {
        let (Some(failures), Some(t)) = (self.failures.get_mut(trigger), self.triggers.get(trigger)) else {
            return None;
        };
        let evaluation = evaluate(self.object.fallback.as_ref(), *failures, failed, t.target, replicas);
        *failures = evaluation.failures;
        evaluation.synthetic
    }

    fn store(&mut self, trigger: usize, result: Option<&Result<Reading, Lost>>) {
        if let (Some(slot), Some(true)) = (self.stored.get_mut(trigger), self.triggers.get(trigger).map(|t| t.cached)) {
            *slot = match result {
                Some(Ok(reading)) => Some(Ok(reading.milli.clone())),
                Some(Err(Lost::Failed(failure))) => Some(Err(*failure)),
                Some(Err(Lost::CacheClosed)) | None => None,
            };
        }
    }
}
