//! Shrinks a failing world while the same promise still breaks: removes faults, visitors and settings, then shortens
//! its time. Deterministic; the number of worlds played is bounded.

use crate::proof::world::limits::Limits;
use crate::proof::world::reset::Part;
use crate::proof::world::setting::Setting;
use crate::proof::world::{Outcome, play};
use std::collections::BTreeSet;

/// Maximum number of worlds played.
const WORLDS: usize = 160;
/// Minimum duration of a world's fault phase, in milliseconds.
const SHORTEST: u64 = 5_000;

struct Shrinker<S> {
    limits: Limits,
    smallest: Outcome,
    played: usize,
    say: S,
}

/// Returns the smallest failing world found. Calls `say` after each world with the number of worlds played, and with
/// what was removed if the promise still breaks.
pub fn shrink(limits: &Limits, failing: Outcome, say: impl FnMut(usize, Option<String>)) -> (Limits, Outcome) {
    let mut shrinker = Shrinker { limits: limits.clone(), smallest: failing, played: 0, say };
    loop {
        let before = shrinker.limits.clone();
        shrinker.pass();
        if shrinker.limits == before || shrinker.played >= WORLDS {
            return (shrinker.limits, shrinker.smallest);
        }
    }
}

impl<S: FnMut(usize, Option<String>)> Shrinker<S> {
    /// Attempts every kind of reduction once.
    fn pass(&mut self) {
        self.thin("faults", |s| s.faults.iter().map(|f| f.number).collect(), |l, kept| l.faults = Some(kept));
        self.thin(
            "fault points",
            |s| s.points.iter().map(|rate| rate.point.clone()).collect(),
            |l, kept| l.points = Some(kept),
        );
        self.thin("visitors", |s| s.comers().collect(), |l, kept| l.guests = Some(kept));
        self.lower("dispatchers", |s| s.dispatchers, |l, n| l.dispatchers = Some(n));
        self.lower("nodes", |s| s.nodes, |l, n| l.nodes = Some(n));
        self.lower("pods", |s| s.rules.max, |l, n| l.pods = Some(n));
        for part in Part::ALL {
            self.attempt(&format!("{part} reset"), |l, _| {
                l.reset.insert(*part);
            });
        }
        for (share, of) in [(1, 4), (1, 2), (3, 4)] {
            let shorter = |l: &mut Limits, s: &Setting| l.chaos = Some(s.chaos * share / of);
            while self.smallest.setting.chaos * share / of >= SHORTEST && self.attempt("less time", shorter) {}
        }
    }

    /// Plays the changed world. If the same promise breaks, it becomes the smallest one, and this returns true.
    fn attempt(&mut self, what: &str, change: impl FnOnce(&mut Limits, &Setting)) -> bool {
        let mut candidate = self.limits.clone();
        change(&mut candidate, &self.smallest.setting);
        if candidate == self.limits || self.played >= WORLDS {
            return false;
        }
        let promise = |outcome: &Outcome| outcome.violations.first().map(|v| v.promise);
        let setting = Setting::limited(self.smallest.setting.seed, &candidate);
        if serde_json::to_string(&setting).ok() == serde_json::to_string(&self.smallest.setting).ok() {
            // The change has no effect on this world.
            return false;
        }
        let outcome = play(&setting, false);
        self.played += 1;
        let breaks = promise(&outcome).is_some() && promise(&outcome) == promise(&self.smallest);
        if breaks {
            (self.limits, self.smallest) = (candidate, outcome);
        }
        (self.say)(self.played, breaks.then(|| what.to_owned()));
        breaks
    }

    /// Removes halves, then quarters, and finally single elements.
    fn thin<T: Clone + Ord>(
        &mut self,
        what: &str,
        all: impl Fn(&Setting) -> Vec<T>,
        keep: impl Fn(&mut Limits, BTreeSet<T>),
    ) {
        let mut size = all(&self.smallest.setting).len();
        while size > 0 {
            let mut from = 0;
            loop {
                let there = all(&self.smallest.setting);
                if from >= there.len() {
                    break;
                }
                let kept = there.iter().enumerate().filter(|(n, _)| *n < from || *n >= from + size);
                let kept: BTreeSet<T> = kept.map(|(_, one)| one.clone()).collect();
                if !self.attempt(&format!("{} of {} {what}", kept.len(), there.len()), |l, _| keep(l, kept)) {
                    from += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// Lowers a number as far as possible, to no less than 1.
    fn lower(&mut self, what: &str, number: impl Fn(&Setting) -> u32, set: impl Fn(&mut Limits, u32)) {
        for fewer in 1..number(&self.smallest.setting) {
            if self.attempt(&format!("{fewer} {what}"), |l, _| set(l, fewer)) {
                return;
            }
        }
    }
}
