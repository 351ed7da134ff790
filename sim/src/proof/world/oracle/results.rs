//! The results of the oracle, for the end of a world and for its report.

use super::super::evidence::Subject;
use super::{Line, Oracle, Violation, short};
use crate::record::{Mark, SessionLife};
use slotkeeper::cookie::public_name;
use slotkeeper_core::{Census, Rules};
use std::collections::BTreeMap;

impl Oracle {
    #[must_use]
    pub fn census(&self) -> Option<Census> {
        self.locked().mirror.census(&self.pool)
    }

    /// Returns the rules in force.
    #[must_use]
    pub fn rules(&self) -> Option<Rules> {
        self.locked().mirror.rules(&self.pool).cloned()
    }

    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut all = self.locked().violations.clone();
        all.extend(self.beside.iter().flat_map(|t| t.violations()));
        all.sort_by_key(|v| v.at);
        all
    }

    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.locked().violations.is_empty() || self.beside.as_ref().is_some_and(|t| t.is_broken())
    }

    #[must_use]
    pub fn coverage(&self) -> BTreeMap<String, u64> {
        let mut all = self.locked().coverage.clone();
        for (what, times) in self.beside.iter().flat_map(|t| t.coverage()) {
            *all.entry(what).or_default() += times;
        }
        all
    }

    #[must_use]
    pub fn story(&self) -> Vec<Line> {
        let mut all: Vec<Line> = self.locked().story.iter().cloned().collect();
        let others = self.beside.iter().flat_map(|t| t.story().into_iter().map(|line| (&t.pool, line)));
        all.extend(others.map(|(pool, line)| Line { text: format!("[{pool}] {}", line.text), ..line }));
        all.sort_by_key(|line| line.at);
        all
    }

    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.locked().marks.clone()
    }

    #[must_use]
    pub fn sessions(&self) -> Vec<SessionLife> {
        self.locked().sessions.values().cloned().collect()
    }

    /// Returns milliseconds from request to slot, and from slot to the pod's first answer.
    #[must_use]
    pub fn waits(&self) -> (Vec<u64>, Vec<u64>) {
        let inner = self.locked();
        (inner.waited.clone(), inner.answered.clone())
    }

    /// Returns the explanation of the first broken promise.
    #[must_use]
    pub fn evidence(&self) -> Vec<Subject> {
        let inner = self.locked();
        let Some(first) = inner.violations.first() else {
            return self.beside.as_ref().map(|t| t.evidence()).unwrap_or_default();
        };
        inner.ledger.about(&first.what, &inner.names, &inner.story)
    }

    /// Returns the position of the journal's last entry.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.locked().mirror.applied()
    }

    /// Returns the remaining sessions of all pools, for the last check.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let inner = self.locked();
        let sessions = inner.mirror.sessions(&self.pool);
        let own = sessions.into_iter().map(|(id, s)| format!("{} {:?}", short(&public_name(id)), s.state));
        own.chain(self.beside.iter().flat_map(|t| t.left())).collect()
    }
}
