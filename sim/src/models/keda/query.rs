//! One query of the triggers of a ScaledObject: by a poll, or for the HPA. Each failing trigger is rebuilt and
//! queried once more; a query that ends with a failure closes the scaler cache that both paths share
//! (`pkg/scaling/cache/scalers_cache.go`). All triggers of a query are assumed to answer at the same moment.
//!
//! Since 2.20, a query that finds the cache closed between its first answer and its retry gets neither a result nor
//! an error. That interval is as long as the failing call takes, so slow failures are affected and quick ones hardly
//! ever.

use super::Release;

/// A trigger's reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// IsActive, or above the activation threshold.
    pub active: bool,
    /// The values of its metric in thousandths.
    pub milli: Vec<i64>,
}

/// One trigger's answer to one query.
pub type Answer = Result<Reading, Failure>;

/// Which call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// GetMetricSpec: without a metric, fallback has nothing to count.
    Spec,
    /// GetMetrics or IsActive; a Prometheus query.
    Metrics,
}

/// A query in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The generation of the cache that the query uses.
    cache: u64,
    /// The calls to each trigger, and their result so far.
    triggers: Vec<(Calls, Known)>,
    asked_twice: bool,
}

/// Which calls a query makes to a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    Everything,
    /// GetMetricSpec only: the metric is not wanted, or the value of the last poll is used.
    Spec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Open,
    /// The trigger returned its metric spec; no more was requested.
    NotAsked,
    Settled(Result<Reading, Lost>),
}

/// Why a trigger has no reading at the end of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Failed(Failure),
    CacheClosed,
}

/// The driver's next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Some triggers failed: query again immediately, and pass all answers again (those already known are ignored).
    Again,
    /// The query is complete.
    Over,
}

/// The scaler cache of one ScaledObject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cache {
    life: u64,
}

impl Cache {
    pub(super) fn ask(self, triggers: impl Iterator<Item = Calls>) -> Query {
        let triggers = triggers.map(|asked| (asked, Known::Open)).collect();
        Query { cache: self.life, triggers, asked_twice: false }
    }

    /// Takes the answers of one attempt.
    pub(super) fn hear(&mut self, query: &mut Query, answers: &[Answer], release: Release) -> Heard {
        let closed = self.life != query.cache && release != Release::V2_19;
        let mut again = false;
        for (index, (asked, known)) in query.triggers.iter_mut().enumerate() {
            if *known != Known::Open {
                continue;
            }
            // A trigger without an answer counts as failed.
            match (answers.get(index).cloned().unwrap_or(Err(Failure::Metrics)), *asked) {
                (Ok(reading), Calls::Everything) => *known = Known::Settled(Ok(reading)),
                (Ok(_) | Err(Failure::Metrics), Calls::Spec) => *known = Known::NotAsked,
                (Err(failure), _) if query.asked_twice => *known = Known::Settled(Err(Lost::Failed(failure))),
                (Err(_), _) if closed => *known = Known::Settled(Err(Lost::CacheClosed)),
                (Err(_), _) => again = true,
            }
        }
        query.asked_twice = true;
        if again {
            return Heard::Again;
        }
        if query.triggers.iter().any(|(_, known)| matches!(known, Known::Settled(Err(Lost::Failed(_))))) {
            self.life += 1;
        }
        Heard::Over
    }
}

impl Query {
    /// Returns the result of each trigger; `None`: its metric was not requested.
    pub(super) fn results(self) -> Vec<Option<Result<Reading, Lost>>> {
        let result = |(_, known)| match known {
            Known::Open => Some(Err(Lost::Failed(Failure::Metrics))),
            Known::NotAsked => None,
            Known::Settled(result) => Some(result),
        };
        self.triggers.into_iter().map(result).collect()
    }
}
