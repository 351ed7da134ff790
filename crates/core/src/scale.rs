//! How many pods are needed now, and how many are desired (`docs/behaviour.md`, §7). Growing is immediate; shrinking waits until
//! no more was needed for a whole `cooldown`, and until no session is above the new end: either all have ended, or they
//! were moved ([`Shrink::Move`](crate::rules::Shrink)). `pool/cluster.rs` changes the standings of the pods concerned.

use crate::decision::Decision;
use crate::ids::Timeline;
use crate::load::Load;
use crate::pods::Standing;
use crate::prefix::Prefix;
use crate::rules::{Rules, Scaling, Window};
use crate::time::{Millis, Time};
use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

/// The ordinals `start..end`. The empty span is `0..0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// The lowest ordinal.
    pub start: u32,
    /// One more than the highest ordinal.
    pub end: u32,
}

impl Span {
    /// No ordinals.
    pub const EMPTY: Span = Span { start: 0, end: 0 };

    /// Reports whether this ordinal belongs to it.
    #[must_use]
    pub fn contains(self, ordinal: u32) -> bool {
        self.start <= ordinal && ordinal < self.end
    }

    /// Returns the number of ordinals.
    #[must_use]
    pub fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Reports whether it has no ordinals.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The part of it below this ordinal.
    fn below(self, end: u32) -> Span {
        Span { start: self.start, end: self.end.min(end) }
    }

    /// The smallest span that contains both.
    fn with(self, other: Span) -> Span {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Span { start: self.start.min(other.start), end: self.end.max(other.end) },
        }
    }

    /// Whether both have the same ordinals; all empty spans are the same.
    #[must_use]
    pub fn is_same(self, other: Span) -> bool {
        self == other || self.is_empty() && other.is_empty()
    }
}

/// A size as it was read from the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The ordinals that the cluster runs.
    pub span: Span,
    /// The journal position of the decision it carries out; 0 if that decision is not this fleet's.
    pub decided: u64,
    /// The timeline of that decision.
    #[serde(default)]
    pub timeline: Timeline,
    /// The cluster's version of the object that has the size.
    pub version: u64,
}

impl Seen {
    fn decision(self) -> Decision {
        Decision { timeline: self.timeline, position: self.decided }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scale {
    pub(crate) needed: Span,
    pub(crate) desired: Span,
    /// The position of the entry that last changed `desired`, plus `base`.
    pub(crate) decided: u64,
    /// The timeline of that entry.
    #[serde(default)]
    timeline: Timeline,
    /// When KEDA was first served a number after entries were lost: for `settle` from that time it may still act on a number that
    /// was served before. [`Time::NEVER`]: none has been served yet. 0: no entries were lost.
    #[serde(default)]
    doubted: Time,
    /// If the cluster has a size from a lost journal, positions continue after the one written with that size, so that new
    /// decisions do not look older.
    base: u64,
    pub(crate) seen: Option<Seen>,
    /// The number that KEDA was served last, and since when.
    pub(crate) served: Option<(u32, Time)>,
    /// The numbers that KEDA was served and may still act on, oldest first, each with when it was first served. Empty before
    /// [`Entry::SUCCESSORS`](crate::Entry::SUCCESSORS).
    #[serde(default)]
    numbers: VecDeque<(u32, Time)>,
    /// The end of the ordinals that are used because KEDA's scale-in is paused, and when the last of them was wanted again: lower
    /// numbers that KEDA was served before may take effect without the pause.
    #[serde(default)]
    paused: Option<(u32, Time)>,
    /// The end of `desired` after all sessions above it have been moved. The present end of `desired` if there are none.
    #[serde(default)]
    pub(crate) goal: u32,
    ends: Highest,
    /// `u32::MAX` minus the start, so that the lowest start is the highest value.
    starts: Highest,
}

/// The inputs of `needed`.
pub(crate) struct Demand<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) usable: &'a Prefix,
    /// The lowest and the highest ordinal with a busy slot.
    pub(crate) busy: Option<(u32, u32)>,
    pub(crate) busy_slots: u64,
    /// Free slots wanted: waiting sessions and spare.
    pub(crate) want: u64,
    /// 1 for each ordinal that is expected to bear its share of the load.
    pub(crate) able: &'a Prefix,
    pub(crate) load: &'a Load,
    /// The semantics in force know `shrink` and `targets`.
    pub(crate) targeted: bool,
}

/// How many pods each reason requires. The largest number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// For free slots and, if sessions are not moved, for the highest busy ordinal.
    pub slots: u32,
    /// For [`Targets::sessions`](crate::Targets). 0 without that target.
    pub sessions: u32,
    /// For [`Targets::messages`](crate::Targets). 0 without that target.
    pub messages: u32,
    /// For [`Targets::gauge`](crate::Targets). 0 without that target.
    pub gauge: u32,
}

impl Asked {
    fn most(self) -> u32 {
        self.slots.max(self.sessions).max(self.messages).max(self.gauge)
    }
}

impl Scale {
    /// The pool had this size when it was first read: treats it as needed until now.
    pub(crate) fn adopt(&mut self, span: Span, now: Time) {
        if !span.is_empty() {
            self.remember(span, now);
        }
    }

    /// Records that the entry at this journal position decided the present `desired`.
    pub(crate) fn decide(&mut self, position: u64, timeline: Timeline) {
        self.decided = self.base.saturating_add(position);
        self.timeline = timeline;
    }

    /// The last decision, as written with the size.
    pub(crate) fn decision(&self) -> Decision {
        Decision { timeline: self.timeline, position: self.decided }
    }

    /// Judges a size that was read, by an entry at this journal position. Decisions of this journal are not later than its last
    /// one. A later one was made by another journal or by lost entries, and so was one of another timeline: it proves nothing,
    /// and is overruled.
    pub(crate) fn judge(&mut self, span: Span, written: Decision, version: u64, position: u64) -> Seen {
        let Decision { timeline, position: decided } = written;
        planted!(LaterDecisionWins => Seen { span, decided, timeline, version });
        if timeline != self.timeline {
            return Seen { span, decided: 0, timeline, version };
        }
        if decided <= self.decided {
            return Seen { span, decided, timeline, version };
        }
        self.base = self.base.max(decided.saturating_add(1).saturating_sub(position));
        self.decide(position, timeline);
        Seen { span, decided: 0, timeline, version }
    }

    /// Entries may be lost, and with them numbers that KEDA was served: only numbers served from now on count.
    pub(crate) fn doubt(&mut self) {
        self.served = None;
        self.numbers.clear();
        self.doubted = Time::NEVER;
        self.paused = None;
    }

    /// Records that ordinals below `end` are used because KEDA's scale-in is paused; the last of them is wanted again since
    /// `since`.
    pub(crate) fn rely_on_pause(&mut self, end: u32, since: Time) {
        let (before, then) = self.paused.unwrap_or_default();
        self.paused = Some((before.max(end), then.max(since)));
    }

    /// Reports whether KEDA may still act on a number that was served before those ordinals were wanted again.
    pub(crate) fn needs_pause(&self, rules: &Rules, now: Time) -> bool {
        self.pause_ends(rules).is_some_and(|at| at > now)
    }

    /// Returns when KEDA can no longer do that. [`Time::NEVER`]: it has not been served a number that covers them yet.
    pub(crate) fn pause_ends(&self, rules: &Rules) -> Option<Time> {
        let (end, since) = self.paused?;
        let last = end.min(self.desired.end).checked_sub(1)?;
        Some(self.settled_at(last, since, rules).unwrap_or(Time::NEVER))
    }

    /// Whether KEDA may still act on a number that was served because of lost entries.
    pub(crate) fn is_doubted(&self, rules: &Rules, now: Time) -> bool {
        let Scaling::Keda { settle } = rules.scaling else { return false };
        self.doubted != Time::default() && self.doubted + settle > now
    }

    pub(crate) fn serve(&mut self, replicas: u32, now: Time) {
        if self.doubted == Time::NEVER {
            self.doubted = now;
        }
        if self.served.is_none_or(|(served, _)| served != replicas) {
            self.served = Some((replicas, now));
        }
    }

    /// Remembers the number that KEDA was served as long as KEDA may act on it.
    pub(crate) fn remember_number(&mut self, replicas: u32, rules: &Rules, now: Time) {
        let Scaling::Keda { settle } = rules.scaling else { return };
        if self.numbers.is_empty() {
            self.numbers.extend(self.served);
        }
        if self.numbers.back().is_none_or(|(last, _)| *last != replicas) {
            self.numbers.push_back((replicas, now));
        }
        while self.numbers.get(1).is_some_and(|(_, at)| *at + settle <= now) {
            self.numbers.pop_front();
        }
    }

    /// Since when every number that KEDA was served has covered the ordinal.
    fn served_since(&self, ordinal: u32) -> Option<Time> {
        if self.numbers.is_empty() {
            return self.served.filter(|(replicas, _)| *replicas > ordinal).map(|(_, at)| at);
        }
        let covering = self.numbers.iter().rev().take_while(|(replicas, _)| *replicas > ordinal);
        covering.last().map(|(_, at)| *at)
    }

    fn remember(&mut self, span: Span, now: Time) {
        self.ends.set(span.end, now);
        self.starts.set(if span.is_empty() { 0 } else { u32::MAX - span.start }, now);
    }

    /// Updates `needed` and `desired` from the present demand. Returns whether `desired` changed. `quiet`: there may be sessions
    /// on any pod, so everything that is desired or that the cluster has (maybe because of lost entries) is needed.
    pub(crate) fn update(&mut self, demand: &Demand<'_>, quiet: bool, now: Time) -> bool {
        let rules = demand.rules;
        self.needed = demand.needed(self.desired, self.goal);
        if quiet {
            self.needed =
                self.needed.with(self.desired).with(self.seen.map_or(Span::EMPTY, |s| s.span.below(rules.max)));
        }
        // No busy pod is removed: where sessions are moved, busy pods are not part of `needed`, but of `desired`.
        let floor = if demand.moves() { demand.floor() } else { 0 };
        let desired = if rules.scaling == Scaling::None {
            self.goal = rules.max.max(self.needed.end).max(floor);
            Span { start: 0, end: self.goal }
        } else {
            self.remember(self.needed, now);
            let lowest = u32::MAX - self.starts.over(rules.cooldown, now);
            self.goal = self.ends.over(rules.cooldown, now).min(rules.max).max(self.needed.end);
            let end = self.goal.max(floor);
            let start = match rules.scaling {
                Scaling::Direct { window: Window::Sliding } => lowest,
                Scaling::Direct { window: Window::Fixed } | Scaling::Keda { .. } | Scaling::None => 0,
            };
            if start < end { Span { start, end } } else { Span::EMPTY }
        };
        let changed = desired != self.desired;
        self.desired = desired;
        changed
    }

    /// The standing of a pod inside `desired` that is certain to stay there: below `goal`, above it, or (the highest above it)
    /// being emptied.
    pub(crate) fn standing(&self, ordinal: u32) -> Standing {
        if ordinal < self.goal || self.goal >= self.desired.end {
            Standing::Wanted
        } else if ordinal < self.desired.end.saturating_sub(1) {
            Standing::Surplus
        } else {
            Standing::Leaving
        }
    }

    /// The part of `desired` that is removed when it is empty.
    pub(crate) fn surplus(&self) -> Span {
        Span { start: self.goal.min(self.desired.end), end: self.desired.end }
    }

    /// When time alone will change `desired`.
    pub(crate) fn deadline(&self, rules: &Rules) -> Option<Time> {
        planted!(CooldownNotScheduled => None);
        if rules.scaling == Scaling::None {
            return None;
        }
        [self.ends.deadline(rules.cooldown), self.starts.deadline(rules.cooldown)].into_iter().flatten().min()
    }

    /// Whether it is certain that no number decided before `decided`, or in another timeline, can still delete a pod at
    /// `ordinal`.
    pub(crate) fn is_certain(&self, ordinal: u32, decided: u64, since: Time, rules: &Rules, now: Time) -> bool {
        planted!(CertainUnseen => true);
        match rules.scaling {
            Scaling::Direct { .. } => self.is_seen(ordinal, decided),
            Scaling::Keda { .. } => {
                self.is_covered(ordinal) && self.settled_at(ordinal, since, rules).is_some_and(|at| at <= now)
            }
            Scaling::None => true,
        }
    }

    /// Whether the cluster has a size that covers the ordinal, by that decision or a later one of the same timeline.
    pub(crate) fn is_seen(&self, ordinal: u32, decided: u64) -> bool {
        let earliest = Decision { position: decided, ..self.decision() };
        self.is_covered(ordinal) && self.seen.is_some_and(|s| s.decision().covers(earliest))
    }

    /// Reports whether the cluster may have a size that covers the ordinal: the one that was read last, or a number on which KEDA
    /// may have acted since. If it may not, KEDA must act on a later number before the ordinal has a pod.
    pub(crate) fn may_be_covered(&self, ordinal: u32, rules: &Rules, now: Time) -> bool {
        let Scaling::Keda { settle } = rules.scaling else { return false };
        let ends = self.numbers.iter().skip(1).map(|(_, at)| *at + settle).chain([Time::NEVER]);
        let mut valid = self.numbers.iter().zip(ends).filter(|(_, end)| *end > now);
        self.is_covered(ordinal) || valid.any(|((replicas, _), _)| *replicas > ordinal)
    }

    /// Reports whether KEDA may still act on a number that was served before the ordinal, contested at this time, was wanted again.
    pub(crate) fn is_contested(&self, at: Option<Time>, ordinal: u32, rules: &Rules, now: Time) -> bool {
        planted!(SuccessorAtOnce => false);
        at.is_some_and(|at| self.settled_at(ordinal, at, rules).is_none_or(|settled| settled > now))
    }

    pub(crate) fn is_covered(&self, ordinal: u32) -> bool {
        self.seen.is_some_and(|s| s.span.contains(ordinal))
    }

    /// Whether the size that was read last does not carry the last decision.
    pub(crate) fn is_behind(&self, seen: Seen) -> bool {
        !seen.decision().covers(self.decision())
    }

    /// When KEDA has certainly acted on a raised number, if it has been served one that covers the ordinal.
    pub(crate) fn settled_at(&self, ordinal: u32, since: Time, rules: &Rules) -> Option<Time> {
        let Scaling::Keda { settle } = rules.scaling else { return None };
        planted!(SettleIgnored => self.served.filter(|(n, _)| *n > ordinal).map(|(_, at)| at.max(since)));
        self.served_since(ordinal).map(|at| at.max(since) + settle)
    }
}

impl Demand<'_> {
    fn moves(&self) -> bool {
        self.rules.moves(self.targeted)
    }

    /// One above the highest ordinal with a busy slot.
    fn floor(&self) -> u32 {
        self.busy.map_or(0, |(_, highest)| highest.saturating_add(1))
    }

    /// How many pods each reason requires. `now`: how many are kept at present.
    pub(crate) fn asked(&self, now: u32) -> Asked {
        let free = self.usable.least(self.want);
        if !self.targeted {
            return Asked { slots: free.max(self.floor()), ..Asked::default() };
        }
        let targets = &self.rules.targets;
        let now = now.min(self.rules.max);
        let sessions = self.busy_slots.saturating_add(self.want);
        let slots = u64::from(self.rules.slots_per_pod);
        // Where sessions are moved there must be room for all of them, wherever they are now.
        let held = if self.moves() { self.pods(sessions, slots) } else { self.floor() };
        let bear = |load: u64, each: u64| self.steady(load, each, now);
        Asked {
            slots: free.max(held),
            sessions: targets.sessions.map_or(0, |each| bear(sessions, u64::from(each))),
            messages: targets
                .messages
                .map_or(0, |each| bear(self.load.rate(targets.window), u64::from(each).saturating_mul(1000))),
            // A gauge that cannot be read requires the present number of pods.
            gauge: targets.gauge.map_or(0, |each| self.load.gauge().map_or(now, |load| bear(load, each))),
        }
    }

    /// The least number of ordinals that bear this load, at `each` per ordinal.
    fn pods(&self, load: u64, each: u64) -> u32 {
        self.able.least(load.div_ceil(each.max(1)))
    }

    /// As `pods`, but does not fall below `now` while the remaining pods would be near the limit.
    fn steady(&self, load: u64, each: u64, now: u32) -> u32 {
        let least = self.pods(load, each);
        if least >= now {
            return least;
        }
        let easy = u128::from(each) * u128::from(100 - self.rules.targets.slack.min(90)) / 100;
        let easy = self.pods(load, u64::try_from(easy).unwrap_or(u64::MAX));
        easy.min(now)
    }

    fn needed(&self, desired: Span, goal: u32) -> Span {
        let min = self.rules.min;
        if self.busy.is_none() && self.want == 0 && min == 0 {
            return Span::EMPTY;
        }
        if let Scaling::Direct { window: Window::Sliding } = self.rules.scaling {
            return self.needed_sliding(desired);
        }
        Span { start: 0, end: min.max(self.asked(goal).most()) }
    }

    /// The busy range, widened until it holds enough: first over what runs below it, then upwards, then down to 0.
    fn needed_sliding(&self, desired: Span) -> Span {
        let max = self.rules.max;
        let (mut lo, mut hi) = match self.busy {
            Some((lowest, highest)) => (lowest, highest.saturating_add(1)),
            None => (desired.start.min(max), desired.start.min(max)),
        };
        let short = |lo: u32, hi: u32| self.want.saturating_sub(self.usable.below(hi) - self.usable.below(lo));
        let down_to = |lo: u32, hi: u32, bottom: u32| {
            // The highest start whose span holds enough, if there is one above the bottom.
            let spare_below = self.usable.below(hi).saturating_sub(self.want);
            let enough = self.usable.least(spare_below.saturating_add(1)).saturating_sub(1);
            lo.min(enough.max(bottom))
        };
        if short(lo, hi) > 0 {
            lo = down_to(lo, hi, desired.start.min(lo));
        }
        if short(lo, hi) > 0 {
            hi = hi.max(self.usable.least(self.usable.below(lo).saturating_add(self.want)));
        }
        if short(lo, hi) > 0 {
            lo = down_to(lo, hi, 0);
        }
        let lacking = self.rules.min.saturating_sub(hi - lo);
        let up = lacking.min(max.saturating_sub(hi));
        Span { start: lo.saturating_sub(lacking - up), end: hi.saturating_add(up) }
    }
}

/// A value, and its maximum over a period that ends now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Highest {
    now: u32,
    /// Higher past values in falling order, each with the moment it ended.
    past: VecDeque<(u32, Time)>,
}

impl Highest {
    fn set(&mut self, value: u32, at: Time) {
        if value < self.now {
            self.past.push_back((self.now, at));
        }
        self.now = value;
        while self.past.back().is_some_and(|(v, _)| *v <= value) {
            self.past.pop_back();
        }
    }

    fn over(&mut self, time: Millis, now: Time) -> u32 {
        planted!(ShrinkAtOnce => self.now);
        while self.past.front().is_some_and(|(_, ended)| *ended + time <= now) {
            self.past.pop_front();
        }
        self.past.front().map_or(self.now, |(v, _)| *v)
    }

    fn deadline(&self, time: Millis) -> Option<Time> {
        self.past.front().map(|(_, ended)| *ended + time)
    }
}
