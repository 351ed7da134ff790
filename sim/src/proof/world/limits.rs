//! Selects the worlds that a hunt draws, and restricts a world. Both are command-line options, so that the command
//! that replays a world includes them.

use super::faults::FaultKind;
use super::reset::Part;
use super::shape::Shape;
use serde::Serialize;
use std::collections::BTreeSet;

/// The empty value has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub selection: Selection,
    pub dispatchers: Option<u32>,
    pub visitors: Option<u32>,
    pub nodes: Option<u32>,
    /// Maximum number of pods.
    pub pods: Option<u32>,
    /// Milliseconds.
    pub chaos: Option<u64>,
    pub without: BTreeSet<FaultKind>,
    /// Only the faults with these numbers.
    pub faults: Option<BTreeSet<u32>>,
    /// Only the visitors with these numbers.
    pub guests: Option<BTreeSet<u32>>,
    /// Only these fault points.
    pub points: Option<BTreeSet<String>>,
    /// Settings that are reset to a simple value.
    pub reset: BTreeSet<Part>,
}

/// Selects the worlds to draw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only worlds with several dispatchers, instead of leaving that to the seed.
    pub several: bool,
    /// Only worlds with at most two faults.
    pub sparse: bool,
    /// Only these kinds of faults, each of them at least once; empty: a random subset of all kinds.
    pub only: BTreeSet<FaultKind>,
    /// Applied in this order.
    pub shapes: Vec<Shape>,
}

impl Limits {
    /// Returns the command-line arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut all = self.selection.arguments();
        let numbers = [
            ("--dispatchers", self.dispatchers.map(u64::from)),
            ("--visitors", self.visitors.map(u64::from)),
            ("--nodes", self.nodes.map(u64::from)),
            ("--pods", self.pods.map(u64::from)),
            ("--chaos-ms", self.chaos),
        ];
        for (name, number) in numbers {
            all.extend(number.into_iter().flat_map(|n| [name.to_owned(), n.to_string()]));
        }
        list(&mut all, "--without", self.without.iter().map(|k| k.word().to_owned()));
        for (name, chosen) in [("--faults", &self.faults), ("--guests", &self.guests)] {
            match chosen {
                Some(none) if none.is_empty() => all.extend([name.to_owned(), NONE.to_owned()]),
                Some(some) => list(&mut all, name, some.iter().map(u32::to_string)),
                None => {}
            }
        }
        match &self.points {
            Some(none) if none.is_empty() => all.extend(["--points".to_owned(), NONE.to_owned()]),
            Some(some) => list(&mut all, "--points", some.iter().cloned()),
            None => {}
        }
        list(&mut all, "--reset", self.reset.iter().map(|p| p.word().to_owned()));
        all
    }
}

impl Selection {
    fn arguments(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, chosen) in [("--several", self.several), ("--sparse", self.sparse)] {
            all.extend(chosen.then(|| name.to_owned()));
        }
        list(&mut all, "--only", self.only.iter().map(|k| k.word().to_owned()));
        list(&mut all, "--config", self.shapes.iter().map(|s| s.word().to_owned()));
        all
    }
}

fn list(all: &mut Vec<String>, name: &str, words: impl Iterator<Item = String>) {
    let words: Vec<String> = words.collect();
    if !words.is_empty() {
        all.extend([name.to_owned(), words.join(",")]);
    }
}

/// An empty list.
pub(super) const NONE: &str = "none";

/// A list of numbers as the command accepts it: `3,7`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Numbers(pub BTreeSet<u32>);

impl std::str::FromStr for Numbers {
    type Err = String;
    fn from_str(text: &str) -> Result<Numbers, String> {
        if text == NONE {
            return Ok(Numbers(BTreeSet::new()));
        }
        let number = |word: &str| {
            word.trim()
                .parse()
                .map_err(|_| format!("{word:?} is not a number; allowed: {NONE:?}, or comma-separated numbers"))
        };
        text.split(',').map(number).collect::<Result<_, _>>().map(Numbers)
    }
}
