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
    /// What each trigger has come to, once asked.
    known: Vec<Known>,
    asked_twice: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Open,
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
    pub(super) fn ask(self, triggers: usize) -> Query {
        Query { cache: self.life, known: vec![Known::Open; triggers], asked_twice: false }
    }

    /// Takes the answers of one question.
    pub(super) fn hear(&mut self, query: &mut Query, answers: &[Answer], release: Release) -> Heard {
        let closed = self.life != query.cache && release != Release::V2_19;
        let mut again = false;
        for (index, known) in query.known.iter_mut().enumerate() {
            if let Known::Settled(_) = known {
                continue;
            }
            match answers.get(index) {
                Some(Ok(reading)) => *known = Known::Settled(Ok(reading.clone())),
                Some(Err(failure)) if query.asked_twice => *known = Known::Settled(Err(Lost::Failed(*failure))),
                Some(Err(_)) if closed => *known = Known::Settled(Err(Lost::CacheClosed)),
                // A trigger without an answer failed.
                None if query.asked_twice => *known = Known::Settled(Err(Lost::Failed(Failure::Metrics))),
                Some(Err(_)) | None => again = true,
            }
        }
        query.asked_twice = true;
        if again {
            return Heard::Again;
        }
        if query.lost().any(|l| matches!(l, Lost::Failed(_))) {
            self.life += 1;
        }
        Heard::Over
    }
}

impl Query {
    /// What each trigger came to.
    pub(super) fn results(self) -> impl Iterator<Item = Result<Reading, Lost>> {
        self.known.into_iter().map(|known| match known {
            Known::Open => Err(Lost::Failed(Failure::Metrics)),
            Known::Settled(result) => result,
        })
    }

    fn lost(&self) -> impl Iterator<Item = Lost> {
        self.known.iter().filter_map(|known| match known {
            Known::Settled(Err(lost)) => Some(*lost),
            Known::Settled(Ok(_)) | Known::Open => None,
        })
    }
}
