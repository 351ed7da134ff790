//! Counts what occurred in the cases of a run: every command (and whether it did anything), effect, reason, standing and
//! kind of scaling. A run in which one of them never occurred proves nothing about it.

use slotkeeper_core::{Command, Effect, Entry, Fleet, Phase, PoolId, Scaling, Standing, State, Why, Window};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(super) struct Coverage(BTreeMap<&'static str, u64>);

// Not demanded: "surplus" and "leaving" (pods with sessions above the goal), which random cases hardly ever reach; stories do.
const DEMANDED: &[&str] = &[
    "visit",
    "attach",
    "detach",
    "active",
    "leave",
    "kick",
    "extend",
    "pod seen",
    "pod gone",
    "pods listed",
    "scale seen",
    "served",
    "scale in paused",
    "load",
    "cordon",
    "uncordon",
    "empty",
    "rules",
    "schedule",
    "remove",
    "hello",
    "lapse",
    "whole",
    "farewell",
    "tick",
    // Commands that did something.
    "a session joins",
    "an attach takes a slot",
    "a load counts",
    "a pause makes a pod usable",
    "a pause is kept for a number that may come",
    "a gauge counts",
    "an emptied pod had sessions",
    "an extension counts",
    "a replica has missed nothing",
    "a cordoned pod had a free slot",
    "a schedule changes the spare slots",
    "scale",
    "recycle",
    "drain",
    "drain of a lost pod",
    "placed",
    "released",
    "requeued",
    "started",
    "wanted",
    "retiring",
    "returning",
    "pending",
    "starting",
    "ready",
    "unready",
    "terminating",
    "failed",
    "queued",
    "held",
    "taken",
    "ending",
    "direct",
    "sliding",
    "keda",
    "prometheus",
    "fixed",
    // Events that the promises are about.
    "a number removes a pod",
    "a number of KEDA removes a pod",
    "a recycle removes a pod",
    "KEDA obeys at the last moment",
    "streams are closed",
    "entries are lost",
    "a gap does not count",
];

impl Coverage {
    pub(super) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: Coverage) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Everything that should have occurred and did not.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let reasons = Why::ALL.map(Why::word);
        DEMANDED.iter().copied().chain(reasons).filter(|what| !self.0.contains_key(what)).collect()
    }

    /// Everything that occurred, rarest first.
    pub(super) fn rarest(&self) -> Vec<(u64, &'static str)> {
        let mut all: Vec<(u64, &'static str)> = self.0.iter().map(|(what, count)| (*count, *what)).collect();
        all.sort_unstable();
        all
    }

    pub(super) fn entry(&mut self, command: &Command, effects: &[Effect]) {
        self.note(word(command));
        for effect in effects {
            self.note(match effect {
                Effect::Scale { .. } => "scale",
                Effect::Recycle { .. } => "recycle",
                Effect::Drain { gone: false, .. } => "drain",
                Effect::Drain { gone: true, .. } => "drain of a lost pod",
                Effect::Placed { .. } => "placed",
                Effect::Released { .. } => "released",
                Effect::Requeued { .. } => "requeued",
                Effect::Started { .. } => "started",
                Effect::Broken { .. } => "broken",
            });
            if let Effect::Released { why, .. } = effect {
                self.note(why.word());
            }
        }
    }

    /// Notes whether an accepted entry had its intended effect, for commands that often do nothing.
    pub(super) fn change(&mut self, entry: &Entry, before: &Fleet, after: &Fleet, pool: &PoolId) {
        let census = || before.census(pool).zip(after.census(pool));
        let did = match &entry.command {
            Command::Visit { session, .. } => {
                let joins = before.session(pool, *session).is_none() && after.session(pool, *session).is_some();
                joins.then_some("a session joins")
            }
            Command::Attach { session } => {
                let held =
                    |fleet: &Fleet| matches!(fleet.session(pool, *session).map(|s| &s.state), Some(State::Held { .. }));
                (held(before) && !held(after)).then_some("an attach takes a slot")
            }
            Command::Load { gauge, .. } => census().and_then(|(old, new)| {
                if new.asked.gauge > 0 && new.gauge == *gauge {
                    self.note("a gauge counts");
                }
                (new.messages_per_second > old.messages_per_second).then_some("a load counts")
            }),
            Command::ScaleInPaused { .. } => {
                if !before.needs_pause(pool) && after.needs_pause(pool) {
                    self.note("a pause is kept for a number that may come");
                }
                let usable = census().is_some_and(|(old, new)| new.retiring < old.retiring);
                usable.then_some("a pause makes a pod usable")
            }
            Command::Cordon { .. } => {
                let taken = census().is_some_and(|(old, new)| new.free_slots < old.free_slots);
                taken.then_some("a cordoned pod had a free slot")
            }
            Command::Empty { pod: ordinal } => before
                .pod(pool, *ordinal)
                .is_some_and(|p| !p.sessions.is_empty() && !p.emptied)
                .then_some("an emptied pod had sessions"),
            Command::Extend { session } => {
                let extended = |fleet: &Fleet| fleet.session(pool, *session).map(|s| s.extended);
                (extended(before) < extended(after)).then_some("an extension counts")
            }
            Command::Whole { .. } => {
                let doubted = |fleet: &Fleet| fleet.doubts(entry.from).is_some();
                (doubted(before) && !doubted(after)).then_some("a replica has missed nothing")
            }
            Command::Schedule(_) => {
                let spare = |fleet: &Fleet| fleet.rules(pool).map(|r| r.spare);
                (spare(before) != spare(after)).then_some("a schedule changes the spare slots")
            }
            _ => None,
        };
        if let Some(did) = did {
            self.note(did);
        }
    }

    /// Notes the present states of sessions, standings and phases of pods, and the kind of scaling.
    pub(super) fn state(&mut self, fleet: &Fleet, pool: &PoolId, prometheus: bool) {
        if let Some(rules) = fleet.rules(pool) {
            self.note(match rules.scaling {
                Scaling::Direct { window: Window::Fixed } => "direct",
                Scaling::Direct { window: Window::Sliding } => "sliding",
                Scaling::Keda { .. } if prometheus => "prometheus",
                Scaling::Keda { .. } => "keda",
                Scaling::None => "fixed",
            });
        }
        for (_, session) in fleet.sessions(pool) {
            self.note(match session.state {
                State::Queued { .. } => "queued",
                State::Held { .. } => "held",
                State::Taken { .. } => "taken",
                State::Ending { .. } => "ending",
            });
        }
        for life in fleet.pods(pool).filter_map(|(_, p)| p.life.as_ref()) {
            self.note(match life.standing {
                Standing::Wanted => "wanted",
                Standing::Surplus => "surplus",
                Standing::Leaving => "leaving",
                Standing::Retiring => "retiring",
                Standing::Returning { .. } => "returning",
            });
            self.note(match life.phase {
                Phase::Pending { .. } => "pending",
                Phase::Starting => "starting",
                Phase::Ready { .. } => "ready",
                Phase::Unready => "unready",
                Phase::Terminating => "terminating",
                Phase::Failed { .. } => "failed",
            });
        }
    }
}

fn word(command: &Command) -> &'static str {
    match command {
        Command::Visit { .. } => "visit",
        Command::Attach { .. } => "attach",
        Command::Detach { .. } => "detach",
        Command::Active { .. } => "active",
        Command::Leave { .. } => "leave",
        Command::Kick { .. } => "kick",
        Command::Extend { .. } => "extend",
        Command::PodSeen { .. } => "pod seen",
        Command::PodGone { .. } => "pod gone",
        Command::PodsListed { .. } => "pods listed",
        Command::ScaleSeen { .. } => "scale seen",
        Command::Served { .. } => "served",
        Command::ScaleInPaused { .. } => "scale in paused",
        Command::Load { .. } => "load",
        Command::Cordon { .. } => "cordon",
        Command::Uncordon { .. } => "uncordon",
        Command::Empty { .. } => "empty",
        Command::Rules(_) => "rules",
        Command::Schedule(_) => "schedule",
        Command::Remove => "remove",
        Command::Hello { .. } => "hello",
        Command::Lapse { .. } => "lapse",
        Command::Whole { .. } => "whole",
        Command::Farewell => "farewell",
        Command::Tick => "tick",
    }
}
