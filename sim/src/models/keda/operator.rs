//! One ScaledObject as the operator runs it: its polls, its pushes, and its answers to the HPA. Writes are returned.
//!
//! Querying the triggers takes time, so it has a beginning and an end: `begin_poll`, query the triggers, pass the
//! answers to `hear` until it is complete, `end_poll`; the same with `begin_request` and `end_request` for each
//! metric of each HPA sync. `poll` and `request` do it in one step for triggers that answer immediately. One driver,
//! one object: polls do not overlap.

use super::decide::{Decision, Moment, decide};
use super::fallback::{Replicas, evaluate};
use super::query::{Answer, Cache, Calls, Failure, Heard, Lost, Query, Reading};
use super::{Release, ScaledObject};
use crate::models::hpa::{self, NoAnswer, Target};

/// One trigger with one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub target: Target,
    /// `useCachedMetrics`: the HPA gets the value of the last poll.
    pub cached: bool,
}

/// Measured time from a change of the object to the first poll of its (new) loop, in milliseconds.
const REACTION: u64 = 210;

#[derive(Clone, Debug)]
pub struct Keda {
    pub object: ScaledObject,
    pub release: Release,
    triggers: Vec<Trigger>,
    created: u64,
    last_active: Option<u64>,
    /// Per trigger: consecutive failures, and in `stored` the result of the last poll (`Err`: it failed).
    failures: Vec<u32>,
    stored: Vec<Option<Result<Vec<i64>, Failure>>>,
    cache: Cache,
    next_poll: u64,
    polling: bool,
    /// A push arrived while a poll held the lock.
    pushed: bool,
}

impl Keda {
    /// Creates a new ScaledObject whose triggers answer: the loop starts with an immediate poll.
    #[must_use]
    pub fn new(object: ScaledObject, triggers: Vec<Trigger>, release: Release, now: u64) -> Keda {
        Keda {
            object,
            release,
            // The API stores it in whole seconds.
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

    /// Returns the consecutive failures, as the fallback of this trigger counts them.
    #[must_use]
    pub fn failures(&self, trigger: usize) -> u32 {
        self.failures.get(trigger).copied().unwrap_or(0)
    }

    /// Returns the desired minimum and maximum of the HPA. `None`: paused, and the HPA is deleted. After the pause it
    /// is a new object.
    #[must_use]
    pub fn hpa_bounds(&self) -> Option<(u32, u32)> {
        (!self.object.annotations.paused()).then(|| super::hpa_bounds(&self.object))
    }

    /// Returns when the next poll starts; a time in the past means now. `None`: a poll is in progress, or the object
    /// is paused.
    #[must_use]
    pub fn next_poll(&self) -> Option<u64> {
        (!self.polling && !self.object.annotations.paused()).then_some(self.next_poll)
    }

    /// The spec or a pause annotation has changed, or the operator has started: the loop restarts with an immediate
    /// poll. Other annotations take effect at the next poll.
    pub fn restart_loop(&mut self, now: u64) {
        self.next_poll = now.saturating_add(REACTION);
    }

    /// Pausing with `paused-replicas` writes at once, without a poll.
    #[must_use]
    pub fn paused_write(&self, current: u32) -> Option<u32> {
        self.object.annotations.paused_replicas().filter(|n| *n != current)
    }

    /// Starts a poll. It holds the lock until it ends: pushes wait.
    pub fn begin_poll(&mut self, now: u64) -> Query {
        self.polling = true;
        self.next_poll = now.saturating_add(self.object.polling.max(1));
        self.cache.ask(self.triggers.iter().map(|_| Calls::Everything))
    }

    /// The HPA requests the metric of one trigger, through the API server and the adapter. Every trigger is queried
    /// for its spec, and this one also for its value, unless a value stored by the last poll can be used.
    #[must_use]
    pub fn begin_request(&self, trigger: usize) -> Query {
        let wanted = |index| index == trigger && self.stored.get(index).is_none_or(Option::is_none);
        let asked = |index| if wanted(index) { Calls::Everything } else { Calls::Spec };
        self.cache.ask((0..self.triggers.len()).map(asked))
    }

    /// Takes the triggers' answers, one each. `Heard::Again`: query them again.
    pub fn hear(&mut self, query: &mut Query, answers: &[Answer]) -> Heard {
        self.cache.hear(query, answers, self.release)
    }

    /// Ends a poll and decides. Call `take_push` next.
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

    /// Returns the decision of a push that arrived while the poll held the lock; it follows the poll's own write.
    /// `None`: there was no push.
    pub fn take_push(&mut self, current: u32, now: u64) -> Option<Decision> {
        std::mem::take(&mut self.pushed).then(|| self.decide(true, false, current, now))
    }

    /// Returns what the HPA gets for the metric of one trigger.
    pub fn end_request(&mut self, query: Query, trigger: usize, replicas: Replicas) -> hpa::Metric {
        let target = self.triggers.get(trigger).map_or(Target::AverageValue(1000), |t| t.target);
        let results = query.results();
        let failed = |f: Failure| results.contains(&Some(Err(Lost::Failed(f))));
        let (no_spec, no_metrics) = (failed(Failure::Spec), failed(Failure::Metrics));
        if (no_spec || no_metrics) && self.release != Release::Main {
            // A closed scaler cache loses the last poll's values too.
            self.stored.fill(None);
        }
        if no_spec {
            // The whole request fails, also for healthy triggers (kedacore/keda#5914).
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

    /// Runs a whole poll with triggers that answer immediately; a repeated query gets the same answers.
    pub fn poll(&mut self, answers: &[Answer], replicas: Replicas, now: u64) -> Decision {
        let mut query = self.begin_poll(now);
        while self.hear(&mut query, answers) == Heard::Again {}
        self.end_poll(query, replicas, now)
    }

    /// Runs a whole request of the HPA for one trigger's metric, with the same answers to repeated queries.
    pub fn request(&mut self, trigger: usize, answers: &[Answer], replicas: Replicas) -> hpa::Metric {
        let mut query = self.begin_request(trigger);
        while self.hear(&mut query, answers) == Heard::Again {}
        self.end_request(query, trigger, replicas)
    }

    /// Handles a message on a push stream. Only `true` has an effect: from 0 it activates at once, otherwise it
    /// refreshes the cooldown; it carries no value and does not trigger the HPA. `known`: the ScaledObject's status
    /// already lists the trigger's metric. `None`: nothing is decided (yet); while a poll is in progress, see
    /// `take_push`.
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

    /// Updates the failure counter; returns the synthetic metric if fallback applies.
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
