//! Judges the order of waiting visitors, and whether one waits although a slot is free.

use crate::observation::{PodId, VisitorId};
use crate::reference::{Reference, Rule};
use crate::visitors::{Home, State};
use std::collections::BTreeSet;

/// The waiting visitors at a snapshot, in order: visitor, episode (number of the wait), lane.
pub(crate) type Line = Vec<(VisitorId, u64, Option<u16>)>;

impl Reference {
    pub(crate) fn line_at_snapshot(&mut self, at: u64) {
        let mut shown: Vec<(u64, VisitorId, u64, Option<u16>)> = (self.visitors.iter())
            .filter_map(|(id, v)| {
                let wait = v.wait.as_ref().filter(|_| v.state == State::Waiting)?;
                Some((wait.ahead?, id.clone(), wait.episode, wait.lane))
            })
            .collect();
        shown.sort_by_key(|(ahead, ..)| *ahead);
        if let Some((ahead, id, ..)) = shown.iter().enumerate().find(|(n, s)| s.0 != *n as u64).map(|(_, s)| s) {
            let text = format!("{id} is shown {ahead} visitors ahead; the line is {shown:?}");
            self.report(Rule::Position, at, text);
        }
        let line: Line = shown.into_iter().map(|(_, id, episode, lane)| (id, episode, lane)).collect();
        let before = std::mem::replace(&mut self.line, line);
        self.nobody_is_overtaken_in_line(&before, at);
        self.nobody_is_overtaken_by_a_placement(&before, at);
    }

    fn nobody_is_overtaken_in_line(&mut self, before: &Line, at: u64) {
        let old = |episode: u64| before.iter().position(|(_, e, _)| *e == episode);
        let mut wrong = None;
        for (n, (first, e1, l1)) in self.line.iter().enumerate() {
            for (second, e2, l2) in &self.line[n + 1..] {
                let lawful = match (old(*e1), old(*e2)) {
                    (Some(one), Some(other)) => one < other,
                    // The first one is new: only its lane can put it before the second.
                    (None, Some(_)) => l1.zip(*l2).is_none_or(|(l1, l2)| l1 < l2 || l1 == 0),
                    (Some(_), None) => l1.zip(*l2).is_none_or(|(l1, l2)| l1 <= l2),
                    (None, None) => l1.zip(*l2).is_none_or(|(l1, l2)| l1 <= l2),
                };
                if !lawful {
                    wrong.get_or_insert_with(|| format!("{first} stands before {second}; it was {before:?}"));
                }
            }
        }
        if let Some(text) = wrong {
            self.report(Rule::Position, at, text);
        }
    }

    fn nobody_is_overtaken_by_a_placement(&mut self, before: &Line, at: u64) {
        let still: BTreeSet<u64> = self.line.iter().map(|(_, episode, _)| *episode).collect();
        let waits =
            |(id, episode, lane): &(VisitorId, u64, Option<u16>)| still.contains(episode).then(|| (id.clone(), *lane));
        let mut wrong = Vec::new();
        for (id, visitor) in &self.visitors {
            let Some(placed) = visitor.placed.as_ref().filter(|p| p.is_new) else {
                continue;
            };
            let index = placed.episode.and_then(|episode| before.iter().position(|(_, e, _)| *e == episode));
            // A visitor that lost its pod may overtake others that lost theirs, to return to its own ordinal.
            let is_home = match placed.home {
                Home::Nowhere => false,
                Home::Unknown => true,
                Home::At(ordinal) => match &visitor.state {
                    State::Seat(pod) => self.pods.get(pod).is_none_or(|pod| pod.ordinal == ordinal),
                    State::Ready => true,
                    State::Nowhere | State::Waiting | State::Over(_) => false,
                },
            };
            let waits = |waiting: &(VisitorId, u64, Option<u16>)| {
                waits(waiting).filter(|(_, lane)| !is_home || lane.is_some_and(|lane| lane > 0))
            };
            let passed = match index {
                Some(index) => before[..index].iter().find_map(waits),
                None => before.iter().filter_map(waits).find(|(_, lane)| {
                    lane.zip(placed.lane).is_some_and(|(waiting, placed)| placed > 0 && waiting <= placed)
                }),
            };
            if let Some((passed, _)) = passed {
                wrong.push(format!("{id} got a slot before {passed}, which came earlier; the line was {before:?}"));
            }
        }
        for visitor in self.visitors.values_mut() {
            if let Some(placed) = &mut visitor.placed {
                placed.is_new = false;
            }
        }
        for text in wrong {
            self.report(Rule::Position, at, text);
        }
    }

    /// The visitor is shown again that it waits: not further back than before, and not after one that came later was placed.
    pub(crate) fn position_holds(&mut self, id: &VisitorId, ahead: Option<u64>, at: u64, earliest: u64) {
        if self.snapshots() {
            return;
        }
        let Some(wait) = self.visitor(id).wait.clone() else { return };
        let told_at = self.visitor(id).told_at;
        if self.is_disturbed(wait.earliest) {
            return;
        }
        let hidden = self.settings.as_ref().map_or(0, |s| s.hidden);
        if told_at >= earliest || self.moved_at >= wait.since {
            return;
        }
        if let Some((before, now)) = wait.ahead.zip(ahead)
            && now > before
            && self.moved_at + hidden < told_at
        {
            self.report(Rule::Position, at, format!("{id} had {before} visitors ahead, and now has {now}"));
        }
        let passer = self.visitors.iter().find(|(other, v)| {
            let Some(placed) = &v.placed else { return false };
            let later = placed.asked > wait.since && placed.at > wait.since && placed.at < earliest;
            let by_right = placed.lane.zip(wait.lane).is_none_or(|(theirs, own)| theirs == 0 || theirs < own);
            *other != id && later && !by_right
        });
        if let Some(passer) = passer.map(|(passer, _)| passer.clone()) {
            self.report(Rule::Position, at, format!("{id} waits, and {passer}, which came later, got a slot"));
        }
    }

    /// The slots that are surely free in this pod: 0 unless a visitor may be placed there, less those that others have.
    fn free(&self, id: &PodId) -> usize {
        let (Some(settings), Some(pod)) = (&self.settings, self.pods.get(id)) else { return 0 };
        if !self.pods.is_surely_placeable(pod, settings, self.snapshots()) {
            return 0;
        }
        let busy = (self.visitors.values())
            .filter(|v| {
                let there = matches!(&v.state, State::Seat(p) | State::Over(Some(p)) if p == id);
                let contact = v.contact.as_ref().is_some_and(|(p, _)| p == id);
                there || contact || v.has_stream_in(id)
            })
            .count();
        (settings.slots_per_pod as usize).saturating_sub(busy)
    }

    pub(crate) fn waiting_at_snapshot(&mut self, at: u64) {
        let Some(settings) = self.settings.clone() else { return };
        self.pods.judge(&settings, at);
        if self.removed {
            return;
        }
        let Some(free) = self.pods.iter().find(|(id, _)| self.free(id) > 0).map(|(id, _)| id.clone()) else { return };
        if let Some((waits, ..)) = self.line.first().cloned() {
            self.report(Rule::WaitsInVain, at, format!("{waits} waits, and {free} has a free slot"));
        }
        if let Some(turned_away) = self.turned_away.first().cloned() {
            self.report(Rule::WaitsInVain, at, format!("{turned_away} is turned away, and {free} has a free slot"));
        }
    }

    /// Reports a visitor that has been waiting while a pod was free, for longer than all that is hidden may take.
    pub(crate) fn waiting_over_time(&mut self, at: u64) {
        let Some(settings) = self.settings.clone() else { return };
        self.pods.judge(&settings, at);
        self.forget_the_absent(at, settings.hidden);
        let free: BTreeSet<PodId> =
            self.pods.iter().filter(|(id, _)| self.free(id) > 0).map(|(id, _)| id.clone()).collect();
        let ids: Vec<PodId> = self.pods.iter().map(|(id, _)| id.clone()).collect();
        let mut longest: Option<(u64, PodId)> = None;
        for id in ids {
            let Some(pod) = self.pods.get_mut(&id) else { continue };
            if !free.contains(&id) {
                pod.free_since = None;
                continue;
            }
            let since = *pod.free_since.get_or_insert(at);
            if longest.as_ref().is_none_or(|(first, _)| since < *first) {
                longest = Some((since, id));
            }
        }
        let Some((since, pod)) = longest else { return };
        let lately = 2 * settings.queue_lease;
        let waits = self.visitors.iter().find(|(_, v)| {
            let waits = v.wait.as_ref().filter(|_| v.state == State::Waiting && at < v.told_at + lately);
            waits.is_some_and(|wait| {
                let both = wait.since.max(since).max(self.disturbed_until);
                at.saturating_sub(both) > settings.hidden
            })
        });
        if let Some(waits) = waits.map(|(id, _)| id.clone()).filter(|_| !self.removed) {
            let text = format!("{waits} waits, and {pod} has had a free slot since {since} ms");
            self.report(Rule::WaitsInVain, at, text);
        }
    }

    /// A session that has not been observed in its pod for `hidden` has no slot there any more. It may continue all the same: while
    /// it is checked what a journal has lost, no session ends.
    fn forget_the_absent(&mut self, at: u64, hidden: u64) {
        for visitor in self.visitors.values_mut() {
            let newest = visitor.contact.as_ref().map_or(0, |c| c.1);
            if at.saturating_sub(newest) > hidden && at.saturating_sub(visitor.told_at) > hidden {
                visitor.contact = None;
                visitor.streams.retain(|_, s| at.saturating_sub(s.last) <= hidden);
                if matches!(visitor.state, State::Seat(_) | State::Over(_) | State::Ready) {
                    visitor.state = State::Nowhere;
                    visitor.asked = None;
                    visitor.past_unknown = true;
                }
            }
        }
    }
}
