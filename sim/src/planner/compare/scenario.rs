//! A small scenario in which the least-effort design does harm without an injected kill, and Slotkeeper does not.

use crate::planner::tabletop::{self, Design, Setting, Visitor};
use crate::record::Record;

pub use super::scenarios::scenarios;

/// One known failure, with its setting and the designs to play.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// `f1-count-not-ordinal`.
    pub name: &'static str,
    /// What happens and why, understandable without further context.
    pub story: &'static str,
    /// The harm that the least-effort design does.
    pub harm: Harm,
    pub setting: Setting,
    pub visitors: Vec<Visitor>,
    /// The least-effort design, with the variation that this failure needs.
    pub naive: Design,
    /// Slotkeeper, with each kind of scaling that is affected.
    pub ours: Vec<Design>,
}

/// The harm that a design does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// This many live sessions are killed.
    Killed(u64),
    /// This many visitors never get a slot, however long they wait.
    NeverServed(u64),
    /// This many times as many pods as sessions.
    TooManyPods(u32),
}

/// Returns the scenario with this name.
#[must_use]
pub fn scenario(name: &str) -> Option<Scenario> {
    scenarios().into_iter().find(|s| s.name == name)
}

impl Scenario {
    /// Plays the least-effort design first, then ours.
    #[must_use]
    pub fn play(&self) -> Vec<Record> {
        let designs = std::iter::once(&self.naive).chain(&self.ours);
        let setting = Setting { story: self.story.to_owned(), ..self.setting.clone() };
        designs.map(|design| tabletop::run(&setting, design, self.visitors.clone()).record).collect()
    }
}

impl Harm {
    /// Returns the amount of this harm in a record.
    #[must_use]
    pub fn in_record(self, record: &Record) -> u64 {
        match self {
            Harm::Killed(_) => record.figures.killed,
            Harm::NeverServed(_) => record.figures.never_served,
            Harm::TooManyPods(_) => {
                let most = |number: fn(&crate::record::Sample) -> u32| record.samples.iter().map(number).max();
                let sessions = most(|s| s.seated + s.waiting).unwrap_or(0).max(1);
                u64::from(most(|s| s.pods).unwrap_or(0) / sessions)
            }
        }
    }

    /// Reports whether a record has at least the harm that the scenario expects.
    #[must_use]
    pub fn is_done(self, record: &Record) -> bool {
        let expected = match self {
            Harm::Killed(n) | Harm::NeverServed(n) => n,
            Harm::TooManyPods(n) => u64::from(n),
        };
        self.in_record(record) >= expected
    }

    /// Reports whether no session was killed, every visitor was served, and there were never twice as many pods as
    /// sessions.
    #[must_use]
    pub fn is_spared(self, record: &Record) -> bool {
        let figures = &record.figures;
        figures.killed == 0 && figures.never_served == 0 && Harm::TooManyPods(2).in_record(record) < 2
    }
}
