//! The complete state: fleet time, which replicas are alive, and the pools. Passes each command to its pool. Its queries are in
//! `fleet/queries.rs`.

mod checkpoint;
mod queries;

use crate::entry::{Command, Effect, Entry};
use crate::ids::{PoolId, ReplicaId, Timeline};
use crate::lapse::Lapse;
use crate::pool::{Pool, Step};
use crate::rules::Rules;
use crate::time::{Millis, Time};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Which session has which slot in every pool, and how many pods each pool needs. See the crate's documentation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Fleet {
    /// The version of the checkpoint format.
    format: u32,
    pools: BTreeMap<PoolId, Pool>,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Fleet time: never goes back, and does not advance over a gap in which no replica could write.
    now: Time,
    /// The journal's clock at the last entry.
    journal: Time,
    /// Entries applied so far: the journal position.
    applied: u64,
    /// The clock by which silent replicas are given up. Unlike `now`, it also advances during a lapse.
    alive: Time,
    lapse: Option<Lapse>,
    /// The semantics in force.
    semantics: u32,
    /// The timeline that this state belongs to; [`Timeline::FIRST`] until the semantics in force include [`Entry::TIMELINES`].
    #[serde(default)]
    timeline: Timeline,
    /// Fleet time at which time last passed that it does not count.
    #[serde(default)]
    stalled: Time,
    /// Derived: the longest `silence` and the longest `grace` of all pools.
    #[serde(skip)]
    longest: Longest,
}

#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    silence: Millis,
    grace: Millis,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Replica {
    /// The number of its last entry.
    number: u64,
    heard: Time,
    /// The longest `silence` plus `grace` that it may have known since that entry: how long it may keep its streams when it is
    /// cut off from the journal.
    patience: Millis,
    /// It is not given up before this: until then it may rely on a longer `patience`, even if it has written since.
    #[serde(default)]
    keeps: Time,
    /// The newest semantics it knows.
    speaks: u32,
}

impl Replica {
    fn departs(&self) -> Time {
        planted!(GivenUpEarly => self.heard + Millis(self.patience.0 / 2));
        (self.heard + self.patience).max(self.keeps)
    }
}

/// The kind of a deadline: `silence`, `lapse`, `stuck`, `cooldown`, `settle`, `load`, or why a session will end.
pub type Reason = &'static str;

impl Fleet {
    /// The version of the checkpoint format.
    pub const FORMAT: u32 = 1;

    /// A replica's first entry may be lost, and then the fleet does not know that replica. So a replica whose first entry is
    /// new must not rely on its seats for longer than this without proof that the journal still knows it, and no session is
    /// admitted until this long after a lapse began (or the lapse's `patience`, if that is shorter).
    pub const YOUTH: Millis = Millis::secs(5);

    /// Returns an empty fleet: before the journal's first entry.
    #[must_use]
    pub fn new() -> Fleet {
        Fleet {
            format: Self::FORMAT,
            pools: BTreeMap::new(),
            replicas: BTreeMap::new(),
            now: Time::default(),
            journal: Time::default(),
            applied: 0,
            alive: Time::default(),
            lapse: None,
            semantics: 0,
            timeline: Timeline::FIRST,
            stalled: Time::default(),
            longest: Longest::default(),
        }
        .renewed()
    }

    /// First does what is due at the entry's time, then applies the entry. Returns the effects, each with the pool it
    /// concerns.
    #[must_use]
    pub fn apply(&mut self, entry: &Entry) -> Vec<(PoolId, Effect)> {
        let mut effects = Vec::new();
        // From a checkpoint, which is input: it may be any number.
        self.applied = self.applied.saturating_add(1);
        self.advance(entry.at);
        let known = self.is_next(entry);
        if known {
            // Before anything expires: this entry proves that its replica is alive.
            let patience = self.patience();
            let before = self.replicas.get(&entry.from);
            let (keeps, speaks) = before.map_or((Time::default(), 1), |r| (r.keeps, r.speaks));
            let number = entry.number;
            self.replicas.insert(entry.from, Replica { number, heard: self.alive, patience, keeps, speaks });
        }
        if let Command::Lapse { patience, timeline } = entry.command {
            // Before expired slots are given to other sessions: they may still be in use.
            self.doubt(patience);
            if self.semantics >= Entry::TIMELINES {
                self.begin_timeline(timeline, entry, &mut effects);
            }
        }
        self.expire(&mut effects);
        if known {
            self.perform(entry, &mut effects);
        }
        self.end_lapse(&mut effects);
        let common = self.replicas.values().map(|r| r.speaks).min();
        let targeted = self.knows_targets();
        self.semantics = self.semantics.max(common.unwrap_or_default());
        if self.semantics >= Entry::TIMELINES && self.timeline == Timeline::FIRST {
            self.begin_timeline(Timeline::FIRST, entry, &mut effects);
        }
        if targeted != self.knows_targets() {
            let ids: Vec<PoolId> = self.pools.keys().cloned().collect();
            for id in ids {
                self.in_pool(&id, &mut effects, Pool::settle);
            }
        }
        keep_last_scale(&mut effects);
        self.withdraw_scales(&mut effects);
        #[cfg(debug_assertions)]
        if let Err(what) = self.invariants() {
            panic!("{what}\nafter {entry:?}");
        }
        effects
    }

    /// A size that became due, but is not wanted any more at the end of the entry, is not ordered: the command may have changed
    /// the scaler of the pool, and sessions may have been placed on pods outside of that size.
    fn withdraw_scales(&self, effects: &mut Vec<(PoolId, Effect)>) {
        effects.retain(|(id, effect)| {
            let Effect::Scale { start, replicas, .. } = effect else { return true };
            self.pools.get(id).is_none_or(|pool| pool.orders(*start, *replicas))
        });
    }

    /// A replica's numbers start at 1, and exactly last + 1 is accepted. Any other entry is a repetition, or its replica has
    /// been given up.
    fn is_next(&self, entry: &Entry) -> bool {
        let last = self.replicas.get(&entry.from).map_or(0, |r| r.number);
        planted!(ActTwice => entry.number > 0 && entry.number <= last.saturating_add(1));
        planted!(EntryGapAccepted => entry.number > last);
        // `None` after the highest number: nothing follows it.
        last.checked_add(1) == Some(entry.number)
    }

    /// Replicas tick every third of a `silence` while any deadline is pending. So a gap of more than half a `silence` means
    /// that no replica could write: it does not count as fleet time, and no session is released because of it. Time
    /// without a living replica does not count either, since no visitor could have been admitted.
    fn advance(&mut self, at: Time) {
        let passed = if self.replicas.is_empty() { Millis::ZERO } else { at.since(self.journal) };
        if self.applied == 1 {
            (self.now, self.alive) = (at, at);
        } else if self.could_write(passed) {
            self.alive += passed;
            if !self.is_quiet() {
                self.now += passed;
            }
        }
        if self.replicas.is_empty() || at < self.journal || !self.could_write(passed) {
            self.stalled = self.now;
        }
        self.journal = at;
    }

    /// Whether the journal accepted entries during the time since the last one.
    fn could_write(&self, passed: Millis) -> bool {
        planted!(GapCounts => true);
        passed <= Millis(self.longest.silence.0 / 2)
    }

    fn perform(&mut self, entry: &Entry, effects: &mut Vec<(PoolId, Effect)>) {
        let relied = !self.pools.is_empty();
        if let Command::Rules(rules) = &entry.command
            && !self.pools.contains_key(&entry.pool)
        {
            self.pools.insert(entry.pool.clone(), Pool::new(rules.clone()));
        }
        if matches!(entry.command, Command::Farewell) {
            // It has closed its streams, whatever it had read. (A silent replica may have closed them later than assumed.)
            if let Some(lapse) = &mut self.lapse {
                lapse.trust(entry.from);
            }
            self.depart(entry.from, false, effects);
        } else if let Command::Hello { speaks } = entry.command {
            self.replicas.entry(entry.from).and_modify(|replica| replica.speaks = speaks);
        } else if let Command::Whole { lapse: position } = entry.command {
            if let Some(lapse) = self.lapse.as_mut().filter(|lapse| lapse.position == position) {
                lapse.trust(entry.from);
            }
        } else {
            self.in_pool(&entry.pool, effects, |pool, step| pool.apply(entry.from, &entry.command, step));
        }
        if matches!(entry.command, Command::Rules(_)) {
            self.renew(relied);
        }
    }

    fn expire(&mut self, effects: &mut Vec<(PoolId, Effect)>) {
        while let Some((replica, at)) = self.next_departure()
            && at <= self.alive
        {
            // During a lapse no session can reconnect, so its grace has not passed.
            self.depart(replica, !self.is_quiet(), effects);
        }
        self.end_lapse(effects);
        let due: Vec<PoolId> =
            self.pools.iter().filter(|(_, p)| p.is_due(self.now)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.in_pool(&id, effects, Pool::expire);
        }
    }

    fn doubt(&mut self, patience: Millis) {
        // The writer of the lapse may have known shorter times than this fleet. (A fleet without pools knows none.)
        let known = if self.pools.is_empty() { Millis::default() } else { self.patience() };
        let doubted = self.replicas.keys().copied().collect();
        let lapse = Lapse::new(self.applied, self.alive, patience.max(known), Self::YOUTH, doubted);
        self.lapse = Some(lapse.after(self.lapse.take()));
    }

    /// Decisions of entries that this fleet does not know must not take effect any more. `named`: the timeline in the entry; if
    /// it has none, the name is made of values that no other entry has.
    fn begin_timeline(&mut self, named: Timeline, entry: &Entry, effects: &mut Vec<(PoolId, Effect)>) {
        let made = [entry.number, entry.at.0, self.applied]
            .into_iter()
            .fold(entry.from.0, |name, part| (name ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
        self.timeline = if named == Timeline::FIRST { Timeline(made | 1) } else { named };
        let ids: Vec<PoolId> = self.pools.keys().cloned().collect();
        for id in ids {
            self.in_pool(&id, effects, Pool::doubt);
        }
    }

    /// Ends the lapse if it is due.
    fn end_lapse(&mut self, effects: &mut Vec<(PoolId, Effect)>) {
        let Some(lapse) = self.lapse.take_if(|lapse| lapse.ends() <= self.alive) else { return };
        let ids: Vec<PoolId> = self.pools.keys().cloned().collect();
        for id in ids {
            self.in_pool(&id, effects, |pool, step| pool.resume(lapse.is_loss(), step));
        }
    }

    /// Its streams are closed: it reported that, or it was silent for long enough to have closed them itself (law 5 of the
    /// dispatcher).
    fn depart(&mut self, replica: ReplicaId, graced: bool, effects: &mut Vec<(PoolId, Effect)>) {
        self.replicas.remove(&replica);
        let ids: Vec<PoolId> = self.pools.keys().cloned().collect();
        for id in ids {
            self.in_pool(&id, effects, |pool, step| pool.replica_gone(replica, graced, step));
        }
    }

    fn in_pool(
        &mut self,
        id: &PoolId,
        effects: &mut Vec<(PoolId, Effect)>,
        act: impl FnOnce(&mut Pool, &mut Step<'_>),
    ) {
        let (quiet, targeted) = (self.is_quiet(), self.knows_targets());
        let Some(pool) = self.pools.get_mut(id) else { return };
        let mut own = Vec::new();
        let (now, position, timeline, stalled) = (self.now, self.applied, self.timeline, self.stalled);
        let knows = |semantics| self.semantics >= semantics;
        let mut step = Step {
            now,
            stalled,
            position,
            quiet,
            targeted,
            returns: knows(Entry::RETURNS),
            pauses: knows(Entry::PAUSES),
            successors: knows(Entry::SUCCESSORS),
            timeline,
            effects: &mut own,
        };
        act(pool, &mut step);
        if quiet {
            own.retain(|effect| !matches!(effect, Effect::Recycle { .. }));
        }
        let over = pool.removed && pool.sessions.len() == 0;
        effects.extend(own.into_iter().map(|e| (id.clone(), e)));
        if over {
            self.pools.remove(id);
            self.renew(true);
        }
    }

    /// The pools or their rules have changed: no replica that may have read longer times is given up earlier.
    /// `relied`: replicas may have relied on the old rules.
    fn renew(&mut self, relied: bool) {
        let before = self.patience();
        let rules = || self.pools.values().map(|p| &p.rules);
        self.longest = Longest {
            silence: rules().map(|r| r.silence).max().unwrap_or(Rules::default().silence),
            grace: rules().map(|r| r.grace).max().unwrap_or_default(),
        };
        if self.pools.is_empty() {
            return;
        }
        let patience = self.patience();
        let keeps = self.alive + before;
        for replica in self.replicas.values_mut() {
            replica.patience = replica.patience.max(patience);
            if relied && patience < before {
                // An entry of its own does not prove that it has read this one.
                replica.keeps = replica.keeps.max(keeps);
            }
        }
    }

    fn renewed(mut self) -> Fleet {
        self.renew(false);
        self
    }

    /// The replica that will be given up first, and when.
    fn next_departure(&self) -> Option<(ReplicaId, Time)> {
        self.replicas.iter().map(|(id, r)| (*id, r.departs())).min_by_key(|(_, at)| *at)
    }
}

/// Two sizes decided at the same journal position could not be distinguished later: keeps only the last one.
fn keep_last_scale(effects: &mut Vec<(PoolId, Effect)>) {
    let is_scale = |(_, effect): &(PoolId, Effect)| matches!(effect, Effect::Scale { .. });
    if effects.iter().filter(|e| is_scale(e)).nth(1).is_none() {
        return;
    }
    let mut scaled = BTreeSet::new();
    let mut at = effects.len();
    while at > 0 {
        at -= 1;
        if is_scale(&effects[at]) && !scaled.insert(effects[at].0.clone()) {
            effects.remove(at);
        }
    }
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet::new()
    }
}
