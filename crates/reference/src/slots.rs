//! Judges how many sessions a pod has, and whether it has any when the dispatcher removes it.

use crate::observation::{PodId, PodState, Remover, Scaling, VisitorId};
use crate::pods::Pod;
use crate::reference::{Reference, Rule};
use crate::visitors::State;
use std::collections::{BTreeMap, BTreeSet};

impl Reference {
    /// The visitors that occupy a slot in each pod at a snapshot: with a seat, with a session that is ending, or with a stream.
    /// After a journal loss only streams are known.
    fn occupants(&self) -> BTreeMap<PodId, BTreeSet<VisitorId>> {
        let mut all: BTreeMap<PodId, BTreeSet<VisitorId>> = BTreeMap::new();
        let mut enter = |pod: &PodId, id: &VisitorId| {
            all.entry(pod.clone()).or_default().insert(id.clone());
        };
        for (id, visitor) in &self.visitors {
            if let State::Seat(pod) | State::Over(Some(pod)) = &visitor.state {
                enter(pod, id);
            }
            for stream in visitor.streams.values().filter(|s| s.open) {
                enter(&stream.pod, id);
            }
        }
        all
    }

    pub(crate) fn slots_at_snapshot(&mut self, at: u64) {
        for (id, there) in self.occupants() {
            let Some(pod) = self.pods.get(&id).filter(|p| !p.is_gone()) else { continue };
            if there.len() > pod.slots as usize {
                let text = format!("{id} has {} slots and {there:?}", pod.slots);
                self.report(Rule::SharedSlot, at, text);
            }
        }
    }

    /// An order that has just been observed must not exclude a pod that surely has a session ([`Watch::Events`](crate::Watch)).
    pub(crate) fn order_spares_sessions(&mut self, at: u64) {
        let own = self.settings.as_ref().is_some_and(|s| s.scaling == Scaling::Own);
        if self.snapshots() || self.lost || !own {
            return;
        }
        let outside = self.pods.iter().filter(|(_, p)| !p.is_going() && self.pods.order_excludes(p.ordinal));
        let inside = outside.filter_map(|(pod, known)| {
            let there = self.visitors.keys().find(|id| self.is_surely_in(id, pod, at))?;
            Some(format!("the newest order excludes {pod} (ordinal {}) with {there}", known.ordinal))
        });
        for text in inside.collect::<Vec<_>>() {
            self.report(Rule::Killed, at, text);
        }
    }

    /// The newest order must not exclude a pod with a session ([`Watch::Snapshots`](crate::Watch)).
    pub(crate) fn orders_spare_sessions(&mut self, at: u64) {
        for (id, there) in self.occupants() {
            let Some(pod) = self.pods.get(&id).filter(|p| !p.is_going() && self.pods.order_excludes(p.ordinal)) else {
                continue;
            };
            let text = format!("the newest order excludes {id} (ordinal {}) with {there:?}", pod.ordinal);
            self.report(Rule::Killed, at, text);
        }
    }

    pub(crate) fn pod(&mut self, id: &PodId, ordinal: u32, state: PodState, at: u64) {
        let Some(settings) = self.settings.clone() else { return };
        let ours = matches!(state, PodState::Terminating { by: Remover::ScaleDown | Remover::Recycle });
        if ours && !self.lost {
            let there: Vec<VisitorId> =
                self.visitors.keys().filter(|v| self.is_surely_in(v, id, at)).cloned().collect();
            if !there.is_empty() {
                self.report(Rule::Killed, at, format!("{id} is removed ({state:?}) under {there:?}"));
            }
        }
        let judged = !self.lost;
        self.pods.saw(id, ordinal, state, &settings, at, judged);
        if matches!(state, PodState::Terminating { .. } | PodState::Gone | PodState::Unready) {
            self.moved_at = at;
        }
    }

    /// Whether the visitor surely has a slot in this pod. After an answer of the pod it has, for as long as a slot is held for
    /// an absent session, unless the session may have ended for another reason.
    pub(crate) fn is_surely_in(&self, id: &VisitorId, pod: &PodId, at: u64) -> bool {
        let Some(visitor) = self.visitors.get(id) else { return false };
        if self.snapshots() {
            let seated = matches!(&visitor.state, State::Seat(p) | State::Over(Some(p)) if p == pod);
            return seated || visitor.has_stream_in(pod);
        }
        let (Some(clocks), Some((there, since))) = (&self.shortest, &visitor.contact) else { return false };
        let ended = visitor.left || visitor.kicked.is_some() || self.removed || visitor.notified.contains(pod);
        let time_up = match (clocks.max_session, visitor.first_stream) {
            (None, _) => false,
            // After a loss of entries, the session may have begun long before its first stream that is known here.
            (Some(_), _) if visitor.past_unknown => true,
            (Some(max), Some(first)) => at.saturating_sub(first) >= max,
            (Some(_), None) => true,
        };
        let held = clocks.grace.min(clocks.idle.unwrap_or(u64::MAX));
        let may_be_moved =
            clocks.moves || self.pods.get(pod).is_none_or(|p| p.is_going() || self.pods.is_emptied(p.ordinal));
        there == pod && !ended && !time_up && !clocks.clocks_jump && !may_be_moved && at.saturating_sub(*since) < held
    }

    /// With recycling, no visitor gets a slot in an incarnation that a session has left. If the pod has several slots, a guest
    /// that leaves at this moment may have left after the placement.
    pub(crate) fn meets_no_traces(&mut self, id: &VisitorId, pod: &PodId, was: &State, at: u64) {
        let recycle = self.settings.as_ref().is_some_and(|s| s.recycle);
        if !recycle || matches!(was, State::Seat(p) if p == pod) {
            return;
        }
        let traced = |p: &&Pod| p.traces.is_some_and(|since| since < at || p.slots == 1);
        let Some(known) = self.pods.get(pod).filter(|p| traced(p) && !p.guests.contains(id)) else { return };
        let text =
            format!("{id} gets a slot in {pod}, where {:?} was before, and sessions are to be recycled", known.guests);
        self.report(Rule::SharedSlot, at, text);
    }

    /// A pod has answered the visitor between `earliest` and `at`.
    pub(crate) fn answered(&mut self, id: &VisitorId, pod: &PodId, at: u64, earliest: u64) {
        let Some(slots) = self.settings.as_ref().map(|s| s.slots_per_pod as usize) else { return };
        if let Some(removed) = self.pods.get(pod).and_then(|p| p.removed).filter(|removed| earliest > *removed)
            && !self.lost
        {
            self.report(Rule::Killed, at, format!("{pod} was removed by us at {removed} ms, and {id} is still there"));
        }
        // Visitors that must still have a slot here, and were answered before this one made its request.
        let held: Vec<VisitorId> = (self.visitors.iter())
            .filter(|(other, v)| {
                *other != id
                    && !self.lost
                    && self.is_surely_in(other, pod, at)
                    && v.contact.as_ref().is_some_and(|c| c.1 < earliest)
            })
            .map(|(other, _)| other.clone())
            .collect();
        if held.len() >= slots {
            self.report(Rule::SharedSlot, at, format!("{pod} answers {id}; its {slots} slots are those of {held:?}"));
        }
        if let Some(pod) = self.pods.get_mut(pod) {
            let strangers = self.settings.as_ref().is_some_and(|s| s.recycle) && slots == 1;
            let other = pod.guests.iter().find(|g| *g != id).cloned();
            pod.guests.insert(id.clone());
            if let Some(other) = other.filter(|_| strangers) {
                let text = format!("{id} is answered where {other} was before, and sessions are to be recycled");
                self.report(Rule::SharedSlot, at, text);
            }
        }
        let visitor = self.visitor(id);
        visitor.contact = Some((pod.clone(), earliest));
    }

    /// A stream that was open when an operator ended its session must be closed within `grace`.
    pub(crate) fn is_notified_of_a_kick(&mut self, id: &VisitorId, number: u64, at: u64, earliest: u64) {
        let grace = self.shortest.as_ref().map_or(0, |s| s.grace);
        let visitor = self.visitor(id);
        let Some(kicked) = visitor.kicked else { return };
        let older = visitor.streams.get(&number).is_some_and(|s| s.opened < kicked);
        if older && earliest > kicked + grace && !self.lost && !self.is_disturbed(kicked) {
            let text = format!("{id} was ended by an operator at {kicked} ms, and its stream is still open");
            self.report(Rule::Notice, at, text);
        }
    }

    /// A stream must be closed with a reason before it breaks because its pod terminates, unless something else is broken.
    pub(crate) fn is_notified_of_its_pods_end(&mut self, id: &VisitorId, number: u64, at: u64) {
        let visitor = self.visitor(id);
        let Some(stream) = visitor.streams.get(&number) else { return };
        let (pod, notified) = (stream.pod.clone(), visitor.notified.contains(&stream.pod));
        let Some(going) = self.pods.get(&pod).and_then(|p| p.going) else { return };
        if !notified && !self.is_disturbed(going) {
            let text = format!("the stream of {id} broke off; {pod} has been terminating since {going} ms");
            self.report(Rule::Notice, at, text);
        }
    }

    /// The stream was open from its beginning until `until`: the streams of other visitors meanwhile must leave a slot for it.
    pub(crate) fn streams_overlap(&mut self, id: &VisitorId, pod: &PodId, number: u64, until: u64) {
        let Some(slots) = self.pods.get(pod).map(|p| p.slots as usize) else { return };
        let Some(since) = self.visitor(id).streams.get(&number).map(|s| s.opened) else { return };
        let others: Vec<(&VisitorId, u64, u64)> = (self.visitors.iter())
            .filter(|(other, _)| *other != id)
            .flat_map(|(other, v)| v.streams.values().filter(|s| s.pod == *pod).map(move |s| (other, s.opened, s.last)))
            .filter(|(_, opened, last)| opened <= last && *last >= since && *opened <= until)
            .collect();
        let moments = others.iter().map(|(_, opened, _)| (*opened).max(since));
        for moment in moments {
            let there: BTreeSet<&VisitorId> =
                others.iter().filter(|(_, o, l)| *o <= moment && moment <= *l).map(|(v, _, _)| *v).collect();
            if there.len() >= slots {
                let text =
                    format!("at {moment} ms {id} and {there:?} all have streams to {pod}, which has {slots} slots");
                self.report(Rule::SharedSlot, until, text);
                return;
            }
        }
    }
}
