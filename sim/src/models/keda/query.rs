//! One round of questions to the triggers of a ScaledObject: by a poll, or for the HPA. Each trigger that fails is built
//! anew and asked once more; a round that ends with a failure closes the scaler cache both paths share
//! (`pkg/scaling/cache/scalers_cache.go`). All triggers of a round are taken to answer at the same moment.
//!
//! Since 2.20 whoever finds the cache closed under it, between its first answer and its second question, gets neither a
//! result nor an error. The time in between is how long the failing call took, so slow failures meet it and quick ones hardly.

use super::Release;

/// What a trigger says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// IsActive, or above the activation threshold.
    pub active: bool,
    /// The values of its metric in thousandths.
    pub milli: Vec<i64>,
}

/// One trigger's answer to one question.
pub type Answer = Result<Reading, Failure>;

/// Which call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// GetMetricSpec: without a metric there is nothing fallback could count.
    Spec,
    /// GetMetrics or IsActive; a Prometheus query.
    Metrics,
}

/// A round that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which life of the cache it holds.
    cache: u64,
    /// What each trigger is asked, and what it has come to.
    triggers: Vec<(Asked, Known)>,
    asked_twice: bool,
}

/// Which calls a round makes to a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Everything,
    /// GetMetricSpec only: the metric is not wanted, or the last poll's value will do.
    Spec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Open,
    /// It knows its metric, and that was all.
    NotAsked,
    Settled(Result<Reading, Lost>),
}

/// Why a trigger has no reading at the end of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Failed(Failure),
    CacheClosed,
}

/// How a round goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Some triggers failed: ask again, now, and report all answers once more (those known already do not count).
    Again,
    /// The round is over.
    Over,
}

/// The scaler cache of one ScaledObject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cache {
    life: u64,
}

impl Cache {
    pub(super) fn ask(self, triggers: impl Iterator<Item = Asked>) -> Query {
        let triggers = triggers.map(|asked| (asked, Known::Open)).collect();
        Query { cache: self.life, triggers, asked_twice: false }
    }

    /// Takes the answers of one question.
    pub(super) fn hear(&mut self, query: &mut Query, answers: &[Answer], release: Release) -> Heard {
        let closed = self.life != query.cache && release != Release::V2_19;
        let mut again = false;
        for (index, (asked, known)) in query.triggers.iter_mut().enumerate() {
            if *known != Known::Open {
                continue;
            }
            // A trigger without an answer failed.
            match (answers.get(index).cloned().unwrap_or(Err(Failure::Metrics)), *asked) {
                (Ok(reading), Asked::Everything) => *known = Known::Settled(Ok(reading)),
                (Ok(_) | Err(Failure::Metrics), Asked::Spec) => *known = Known::NotAsked,
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
    /// What each trigger came to; `None`: it was not asked for its metric.
    pub(super) fn results(self) -> Vec<Option<Result<Reading, Lost>>> {
        let result = |(_, known)| match known {
            Known::Open => Some(Err(Lost::Failed(Failure::Metrics))),
            Known::NotAsked => None,
            Known::Settled(result) => Some(result),
        };
        self.triggers.into_iter().map(result).collect()
    }
}
